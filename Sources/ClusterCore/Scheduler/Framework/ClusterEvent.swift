// What happened in the cluster that may let a waiting pod fit.

/// Told to the plugins that rejected a pod; each says whether it may help.
public enum ClusterEvent: Sendable {
  case nodeAdded(NodeInfo)
  case nodeChanged(NodeFacts, NodeInfo)
  /// A pod has a node now.
  case podAssigned(PodInfo)
  /// A pod on a node has other labels or asks for less.
  case podChanged(PodInfo, PodInfo)
  /// A pod on a node ended or is gone.
  case podRemoved(PodInfo)
  /// A volume, a claim, a class or a driver's limits.
  case storage
  /// A namespace or what selects pods.
  case selectors

  /// Upstream's label of `scheduler_queue_incoming_pods_total`.
  var label: String {
    switch self {
    case .nodeAdded: "NodeAdd"
    case .nodeChanged: "NodeUpdate"
    case .podAssigned: "AssignedPodAdd"
    case .podChanged: "AssignedPodUpdate"
    case .podRemoved: "AssignedPodDelete"
    case .storage: "PvUpdate"
    case .selectors: "ServiceUpdate"
    }
  }

  /// The node that is new or different.
  var node: NodeInfo? {
    switch self {
    case .nodeAdded(let node), .nodeChanged(_, let node): node
    default: nil
    }
  }
}
