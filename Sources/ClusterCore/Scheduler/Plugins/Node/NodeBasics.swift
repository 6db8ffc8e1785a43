// Filters by what a node is called and whether it takes pods at all.

import ClusterClient

/// `spec.nodeName` set before scheduling.
public struct NodeName: FilterPlugin {
  public let name = "NodeName"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    pod.nodeName.isEmpty ? .skip : .filter(Named(node: pod.nodeName))
  }
  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool { event.node?.name == pod.nodeName }

  private struct Named: NodeFilter {
    var node: String
    func check(_ node: NodeInfo) -> Rejection? {
      node.name == self.node
        ? nil : Rejection("node(s) didn't match the requested node name", isResolvable: false)
    }
  }
}

/// `kubectl cordon`.
public struct NodeUnschedulable: FilterPlugin {
  static let taint = Taint(key: "node.kubernetes.io/unschedulable", effect: "NoSchedule")
  public let name = "NodeUnschedulable"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    pod.tolerations.contains { $0.covers(Self.taint) } ? .skip : .filter(Open())
  }
  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    event.node.map { !$0.facts.isUnschedulable } ?? false
  }

  private struct Open: NodeFilter {
    func check(_ node: NodeInfo) -> Rejection? {
      node.facts.isUnschedulable ? Rejection("node(s) were unschedulable", isResolvable: false) : nil
    }
  }
}

/// Host ports, each given once a node.
public struct NodePorts: FilterPlugin {
  public let name = "NodePorts"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    pod.hostPorts.isEmpty ? .skip : .filter(Free(ports: pod.hostPorts))
  }
  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    switch event {
    case .nodeAdded: true
    case .podRemoved(let gone):
      gone.hostPorts.contains { port in pod.hostPorts.contains { $0.conflicts(with: port) } }
    default: false
    }
  }

  private struct Free: NodeFilter {
    var ports: [HostPort]
    func check(_ node: NodeInfo) -> Rejection? {
      if node.hostPorts.isEmpty { return nil }
      let isTaken = ports.contains { port in node.hostPorts.contains { $0.conflicts(with: port) } }
      return isTaken ? Rejection("node(s) didn't have free ports for the requested pod ports") : nil
    }
  }
}

/// `spec.schedulingGates`: the pod stays out of the queue while there is one.
public struct SchedulingGates: PreEnqueuePlugin {
  public let name = "SchedulingGates"
  public init() {}

  public func preEnqueue(_ pod: PodInfo) -> Rejection? {
    if pod.schedulingGates.isEmpty { return nil }
    return Rejection(
      "waiting for scheduling gates: [\(pod.schedulingGates.joined(separator: " "))]", isResolvable: false)
  }
  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool { false }
}
