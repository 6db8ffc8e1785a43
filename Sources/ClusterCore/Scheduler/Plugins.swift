// What a scheduling decision is made of: filters that rule nodes out, each with upstream's reason, and
// scores that rank the rest. A plugin is pure and synchronous; it sees values.

import ClusterClient
import ClusterObjects

/// Rules nodes out for a pod.
public protocol FilterPlugin: Sendable {
  var name: String { get }
  /// Why the pod cannot run there, in the words that `kubectl describe` counts by; empty when it can.
  func reasons(_ pod: JSON, on node: NodeState) -> [String]
}

/// Ranks the nodes left.
public protocol ScorePlugin: Sendable {
  var name: String { get }
  var weight: Int { get }
  /// 0 to 100, more is better.
  func score(_ pod: JSON, on node: NodeState) -> Int
}

/// The plugins of one scheduler.
public struct SchedulerPlugins: Sendable {
  public var filters: [any FilterPlugin]
  public var scores: [any ScorePlugin]
  public init(filters: [any FilterPlugin], scores: [any ScorePlugin]) {
    self.filters = filters
    self.scores = scores
  }
  /// Upstream's defaults as far as they are built.
  public static let standard = SchedulerPlugins(
    filters: [
      NodeUnschedulable(), NodeName(), TaintToleration(), NodeAffinity(), NodePorts(), NodeResourcesFit(),
    ],
    scores: [LeastAllocated(), Spreading(), PreferredAffinity()])
}

public struct NodeName: FilterPlugin {
  public let name = "NodeName"
  public init() {}
  public func reasons(_ pod: JSON, on node: NodeState) -> [String] {
    guard let wanted = pod.at("spec", "nodeName")?.string, !wanted.isEmpty, wanted != node.name else {
      return []
    }
    return ["node(s) didn't match the requested node name"]
  }
}

public struct NodeUnschedulable: FilterPlugin {
  public let name = "NodeUnschedulable"
  public init() {}
  public func reasons(_ pod: JSON, on node: NodeState) -> [String] {
    guard node.node.at("spec", "unschedulable")?.bool == true else { return [] }
    let taint: JSON = ["key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"]
    return Tolerations.tolerate(taint, pod) ? [] : ["node(s) were unschedulable"]
  }
}

/// `spec.nodeSelector` and `requiredDuringSchedulingIgnoredDuringExecution` of node affinity.
public struct NodeAffinity: FilterPlugin {
  public let name = "NodeAffinity"
  public init() {}
  public func reasons(_ pod: JSON, on node: NodeState) -> [String] {
    guard let spec = pod["spec"], !NodeSelection.allows(node.node, by: spec) else { return [] }
    return ["node(s) didn't match Pod's node affinity/selector"]
  }
}

public struct TaintToleration: FilterPlugin {
  public let name = "TaintToleration"
  public init() {}
  public func reasons(_ pod: JSON, on node: NodeState) -> [String] {
    for taint in node.node.at("spec", "taints")?.elements ?? []
    where ["NoSchedule", "NoExecute"].contains(taint["effect"]?.string ?? "") {
      if !Tolerations.tolerate(taint, pod) {
        return [
          "node(s) had untolerated taint {\(taint["key"]?.string ?? ""): \(taint["value"]?.string ?? "")}"
        ]
      }
    }
    return []
  }
}

public struct NodePorts: FilterPlugin {
  public let name = "NodePorts"
  public init() {}
  public func reasons(_ pod: JSON, on node: NodeState) -> [String] {
    let wanted = HostPort.all(of: pod)
    if wanted.isEmpty { return [] }
    let isTaken = wanted.contains { port in node.hostPorts.contains { $0.conflicts(with: port) } }
    return isTaken ? ["node(s) didn't have free ports for the requested pod ports"] : []
  }
}

public struct NodeResourcesFit: FilterPlugin {
  public let name = "NodeResourcesFit"
  public init() {}
  public func reasons(_ pod: JSON, on node: NodeState) -> [String] {
    var reasons: [String] = []
    if node.allocatable.amounts["pods"] != nil, Int64(node.pods.count) + 1 > node.allocatable["pods"].value {
      reasons.append("Too many pods")
    }
    let requests = ResourceList.requests(ofPod: pod)
    for (resource, amount) in requests.amounts.sorted(by: { $0.key < $1.key }) where !amount.isZero {
      if node.requested[resource] + amount > node.allocatable[resource] {
        reasons.append("Insufficient \(resource)")
      }
    }
    return reasons
  }
}

/// Prefers nodes with more CPU and memory left. A pod that asks for nothing counts as 100m and 200Mi.
public struct LeastAllocated: ScorePlugin {
  public let name = "NodeResourcesFit"
  public let weight = 1
  public init() {}
  public func score(_ pod: JSON, on node: NodeState) -> Int {
    let requests = ResourceList.requests(ofPod: pod)
    func free(_ resource: String, default least: Int64) -> Double {
      let total = Double(node.allocatable[resource].milliValue)
      guard total > 0 else { return 0 }
      let own = requests[resource].isZero ? least : requests[resource].milliValue
      let used = Double(node.requested[resource].milliValue) + Double(own)
      return max(0, total - used) / total
    }
    return Int((free("cpu", default: 100) + free("memory", default: 209_715_200_000)) * 50)
  }
}

/// Prefers nodes with fewer pods of the same controller, so that one node's end is not the end of all
/// replicas.
public struct Spreading: ScorePlugin {
  public let name = "PodTopologySpread"
  public let weight = 2
  public init() {}
  public func score(_ pod: JSON, on node: NodeState) -> Int {
    guard let owner = pod.controllerReference?["uid"]?.string else { return 100 }
    let siblings = node.pods.count { $0.controllerReference?["uid"]?.string == owner }
    return 100 / (1 + siblings)
  }
}

/// `preferredDuringSchedulingIgnoredDuringExecution` of node affinity, and PreferNoSchedule taints against
/// it.
public struct PreferredAffinity: ScorePlugin {
  public let name = "NodeAffinity"
  public let weight = 2
  public init() {}
  public func score(_ pod: JSON, on node: NodeState) -> Int {
    let preferences = pod.at(
      "spec", "affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution")
    let all = (preferences?.elements ?? []).map { ($0["weight"]?.int ?? 0, $0["preference"] ?? .null) }
    let total = all.map(\.0).reduce(0, +)
    let labels = node.node.labels
    let met = all.filter { NodeSelection.matches($0.1, node.node, labels) }.map(\.0).reduce(0, +)
    let unwelcome = (node.node.at("spec", "taints")?.elements ?? []).count {
      $0["effect"]?.string == "PreferNoSchedule" && !Tolerations.tolerate($0, pod)
    }
    return max(0, (total > 0 ? 100 * met / total : 100) - 50 * unwelcome)
  }
}
