// Room on a node: CPU, memory, storage, devices, number of pods; and three ways to prefer one that has it.

/// How `NodeResourcesFit` ranks the nodes that have room.
public enum ScoringStrategy: Sendable, Equatable {
  case leastAllocated
  case mostAllocated
  /// Points of utilization (0…100) and score (0…10), by rising utilization; straight lines between.
  case requestedToCapacityRatio([UtilizationPoint])
}

public struct UtilizationPoint: Sendable, Equatable {
  public var utilization: Int64
  public var score: Int64
  public init(utilization: Int64, score: Int64) {
    self.utilization = utilization
    self.score = score
  }
}

public struct ResourceWeight: Sendable, Equatable {
  public var name: String
  public var weight: Int64
  public init(_ name: String, _ weight: Int64 = 1) {
    self.name = name
    self.weight = weight
  }
  public static let standard = [ResourceWeight("cpu"), ResourceWeight("memory")]
}

public struct NodeResourcesFit: FilterPlugin, ScorePlugin {
  public let name = "NodeResourcesFit"
  public var strategy = ScoringStrategy.leastAllocated
  public var resources = ResourceWeight.standard
  /// Resources and groups of them (`example.com`) that somebody else looks after.
  public var ignoredResources: Set<String> = []
  public var ignoredResourceGroups: Set<String> = []
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    .filter(room(for: pod))
  }

  private func room(for pod: PodInfo) -> Room {
    let others = pod.requests.others.filter { name, amount in
      amount != 0 && !ignoredResources.contains(name)
        && !ignoredResourceGroups.contains(String(name.prefix { $0 != "/" }))
    }
    return Room(pod: pod, others: others.sorted { $0.key < $1.key })
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    switch event {
    case .nodeAdded(let node): room(for: pod).check(NodeInfo(node.facts)) == nil
    case .nodeChanged(let old, let node):
      (old.allocatable != node.facts.allocatable || old.podsMax != node.facts.podsMax)
        && room(for: pod).check(NodeInfo(node.facts)) == nil
    case .podRemoved: true
    case .podChanged(let old, let new): old.requests != new.requests
    default: false
    }
  }

  private struct Room: NodeFilter {
    var pod: PodInfo
    var others: [(key: String, value: Int64)]

    func check(_ node: NodeInfo) -> Rejection? {
      let has = node.facts.allocatable
      let used = node.requested
      let wants = pod.requests
      var reasons: [String] = []
      var isResolvable = true
      if let podsMax = node.facts.podsMax, Int64(node.pods.count) + 1 > podsMax {
        reasons.append("Too many pods")
        if podsMax < 1 { isResolvable = false }
      }
      func look(_ name: String, _ wanted: Int64, _ has: Int64, _ used: Int64) {
        guard wanted > 0, wanted > has - used else { return }
        reasons.append("Insufficient \(name)")
        if wanted > has { isResolvable = false }
      }
      look("cpu", wants.cpu, has.cpu, used.cpu)
      look("memory", wants.memory, has.memory, used.memory)
      look("ephemeral-storage", wants.ephemeralStorage, has.ephemeralStorage, used.ephemeralStorage)
      for (name, wanted) in others { look(name, wanted, has.others[name] ?? 0, used.others[name] ?? 0) }
      return reasons.isEmpty ? nil : Rejection(reasons, isResolvable: isResolvable)
    }
  }

  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    Ranking(pod: pod, strategy: strategy, resources: resources)
  }

  private struct Ranking: NodeScorer {
    var pod: PodInfo
    var strategy: ScoringStrategy
    var resources: [ResourceWeight]

    func score(_ node: NodeInfo) -> Int64 {
      var total: Int64 = 0
      var weights: Int64 = 0
      for resource in resources {
        let use = node.use(of: resource.name, with: pod)
        // A resource that the node does not have, or the pod not want, says nothing about the node.
        guard use.capacity > 0, use.isWanted else { continue }
        total += resource.weight * rank(use.requested, use.capacity)
        weights += resource.weight
      }
      return weights == 0 ? 0 : total / weights
    }

    private func rank(_ requested: Int64, _ capacity: Int64) -> Int64 {
      switch strategy {
      case .leastAllocated:
        requested > capacity ? 0 : percent(capacity - requested, of: capacity)
      case .mostAllocated: percent(min(requested, capacity), of: capacity)
      case .requestedToCapacityRatio(let shape):
        Self.value(of: shape, at: requested > capacity ? 100 : percent(requested, of: capacity))
      }
    }

    private func percent(_ part: Int64, of whole: Int64) -> Int64 {
      let (product, isOver) = part.multipliedReportingOverflow(by: 100)
      return isOver ? Int64(Double(part) / Double(whole) * 100) : product / whole
    }

    /// On the line through the two points around it; the ends go on level. Scores of 0…10 become 0…100.
    static func value(of shape: [UtilizationPoint], at utilization: Int64) -> Int64 {
      guard let first = shape.first, let last = shape.last else { return 0 }
      if utilization <= first.utilization { return first.score * 10 }
      for (left, right) in zip(shape, shape.dropFirst()) where utilization <= right.utilization {
        let width = right.utilization - left.utilization
        if width <= 0 { return right.score * 10 }
        return left.score * 10 + (right.score - left.score) * 10 * (utilization - left.utilization) / width
      }
      return last.score * 10
    }
  }
}

extension NodeInfo {
  /// What of a resource would be asked for with the pod on the node, and what there is.
  func use(of resource: String, with pod: PodInfo) -> (requested: Int64, capacity: Int64, isWanted: Bool) {
    switch resource {
    case "cpu": (sum(scoredCPU, pod.scoredCPU), facts.allocatable.cpu, true)
    case "memory": (sum(scoredMemory, pod.scoredMemory), facts.allocatable.memory, true)
    default:
      (
        sum(requested[resource], pod.requests[resource]), facts.allocatable[resource],
        pod.requests[resource] > 0
      )
    }
  }
}

/// Prefers nodes on which no resource is used much more than the others.
public struct NodeResourcesBalancedAllocation: ScorePlugin {
  public let name = "NodeResourcesBalancedAllocation"
  public var resources = ResourceWeight.standard
  public init() {}

  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    // A pod that asks for nothing changes no balance.
    pod.requests.isZero ? nil : Balance(pod: pod, resources: resources.map(\.name))
  }

  private struct Balance: NodeScorer {
    var pod: PodInfo
    var resources: [String]

    func score(_ node: NodeInfo) -> Int64 {
      var sum = 0.0
      var squares = 0.0
      var count = 0.0
      for resource in resources {
        let capacity = node.facts.allocatable[resource]
        if capacity <= 0 { continue }
        let requested = Double(node.requested[resource]) + Double(pod.requests[resource])
        let share = min(1, requested / Double(capacity))
        sum += share
        squares += share * share
        count += 1
      }
      guard count > 1 else { return nodeScoreMax }
      let mean = sum / count
      let deviation = max(0, squares / count - mean * mean).squareRoot()
      return Int64((1 - deviation) * Double(nodeScoreMax))
    }
  }
}
