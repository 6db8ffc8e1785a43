// Pods of one sort, evenly over zones, racks, nodes.

import ClusterClient
import ClusterObjects

/// `DoNotSchedule` constraints filter; `PodTopologySpread+Score` has `ScheduleAnyway` and the defaults.
public struct PodTopologySpread: FilterPlugin, ScorePlugin {
  public let name = "PodTopologySpread"
  /// For pods without constraints of their own; the selector is that of their Services and owner.
  public var defaultConstraints: [SpreadConstraint]
  /// The built-in defaults count nodes that lack a topology key too.
  public var usesSystemDefaults: Bool

  /// Upstream's defaults: gently over zones, a little less gently over nodes.
  public init() {
    defaultConstraints = [
      SpreadConstraint(
        ["maxSkew": 3, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"],
        labels: [:]),
      SpreadConstraint(
        ["maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"],
        labels: [:]),
    ]
    usesSystemDefaults = true
  }

  public init(defaultConstraints: [SpreadConstraint]) {
    self.defaultConstraints = defaultConstraints
    usesSystemDefaults = false
  }

  /// The pod's own constraints, else the defaults with what selects the pod.
  func constraints(_ pod: PodInfo, _ cluster: ClusterState, required: Bool) -> [SpreadConstraint] {
    if !pod.spreadConstraints.isEmpty { return pod.spreadConstraints.filter { $0.isRequired == required } }
    let defaults = defaultConstraints.filter { $0.isRequired == required }
    guard !defaults.isEmpty, let selector = DefaultSelector.of(pod, cluster.objects) else { return [] }
    return defaults.map { constraint in
      var constraint = constraint
      constraint.selector = selector
      return constraint
    }
  }

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    let constraints = constraints(pod, cluster, required: true)
    if constraints.isEmpty { return .skip }
    var skew = Skew(pod: pod, constraints: constraints)
    let counts = constraints.map { cluster.count($0, namespace: pod.namespace) }
    for node in cluster.nodes where constraints.allSatisfy({ node.labels[$0.topologyKey] != nil }) {
      for (index, constraint) in constraints.enumerated() where constraint.counts(node, for: pod) {
        skew.add(index, node, counts[index][node.name] ?? 0)
      }
    }
    return .filter(skew)
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    switch event {
    case .nodeAdded: return true
    case .nodeChanged(let old, let node): return old.labels != node.labels || old.taints != node.facts.taints
    case .podAssigned(let other), .podRemoved(let other), .podChanged(_, let other):
      return other.namespace == pod.namespace
    case .selectors: return true
    case .storage: return false
    }
  }

  private struct Skew: NodeFilter {
    var pod: PodInfo
    var constraints: [SpreadConstraint]
    /// By constraint: pods in each domain that could take this one, by the domain's value.
    var counts: [[String: Int64]]

    init(pod: PodInfo, constraints: [SpreadConstraint]) {
      self.pod = pod
      self.constraints = constraints
      counts = constraints.map { _ in [:] }
    }

    mutating func add(_ index: Int, _ node: NodeInfo, _ step: Int64) {
      guard let value = node.labels[constraints[index].topologyKey] else { return }
      counts[index][value, default: 0] += step
    }

    private mutating func move(_ other: PodInfo, _ node: NodeInfo, _ step: Int64) {
      guard constraints.allSatisfy({ node.labels[$0.topologyKey] != nil }) else { return }
      for (index, constraint) in constraints.enumerated()
      where constraint.matches(other, namespace: pod.namespace) && constraint.counts(node, for: pod) {
        add(index, node, step)
      }
    }
    mutating func podAdded(_ other: PodInfo, to node: NodeInfo) { move(other, node, 1) }
    mutating func podRemoved(_ other: PodInfo, from node: NodeInfo) { move(other, node, -1) }

    func check(_ node: NodeInfo) -> Rejection? {
      for (index, constraint) in constraints.enumerated() {
        guard let value = node.labels[constraint.topologyKey] else {
          return Rejection(
            "node(s) didn't match pod topology spread constraints (missing required label)",
            isResolvable: false)
        }
        // With fewer domains than asked for the emptiest one counts as empty.
        let least =
          counts[index].count < constraint.minDomains ? 0 : counts[index].values.min() ?? 0
        let itself: Int64 = constraint.selector.matches(pod.labels) ? 1 : 0
        if (counts[index][value] ?? 0) + itself - least > constraint.maxSkew {
          return Rejection("node(s) didn't match pod topology spread constraints")
        }
      }
      return nil
    }
  }
}

/// What selects a pod: its Services and the controller it belongs to.
enum DefaultSelector {
  static func of(_ pod: PodInfo, _ objects: ClusterObjectsView) -> LabelSelector? {
    var requirements: [LabelSelector.Requirement] = []
    if !objects.services.isEmpty {
      for service in objects.services.inNamespace(pod.namespace) {
        let selector = service.at("spec", "selector")?.stringMap ?? [:]
        if SelectorMatch.contains(selector, pod.labels) {
          requirements += LabelSelector(matchLabels: selector).requirements
        }
      }
    }
    if let owner = pod.object.controllerReference, let name = owner["name"]?.string {
      switch owner["kind"]?.string {
      case "ReplicationController":
        let found = objects.replicationControllers[pod.namespace, name]
        requirements +=
          LabelSelector(matchLabels: found?.at("spec", "selector")?.stringMap ?? [:]).requirements
      case "ReplicaSet": requirements += selector(objects.replicaSets[pod.namespace, name])
      case "StatefulSet": requirements += selector(objects.statefulSets[pod.namespace, name])
      default: break
      }
    }
    return requirements.isEmpty ? nil : LabelSelector(requirements)
  }

  private static func selector(_ owner: JSON?) -> [LabelSelector.Requirement] {
    guard let owner, let selector = try? LabelSelector(owner.at("spec", "selector")) else { return [] }
    return selector.requirements
  }
}
