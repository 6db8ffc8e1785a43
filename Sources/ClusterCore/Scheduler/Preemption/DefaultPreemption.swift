// The PostFilter plugin: when no node has room, pods of lower priority make some.

import ClusterClient
import ClusterObjects

public struct DefaultPreemption: PostFilterPlugin {
  public let name = "DefaultPreemption"
  /// Nodes with victims that are enough to choose from: a share of all, and at least so many.
  public var minCandidateNodesPercentage = 10
  public var minCandidateNodesAbsolute = 100
  public init() {}

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool { false }

  public func postFilter(
    _ pod: PodInfo, _ search: Search, _ cluster: ClusterState, _ nominated: [String: [PodInfo]]
  ) -> PostFilterResult {
    if pod.preemptionPolicy == "Never" {
      return .rejected("preemption: not eligible due to preemptionPolicy=Never.")
    }
    if Self.isRoomBeingMade(for: pod, cluster, search) {
      return .rejected("preemption: not eligible due to a terminating pod on the nominated node.")
    }
    let notHelpful = Rejection("Preemption is not helpful for scheduling", isResolvable: false)
    var refusals: [Rejection] = []
    if search.rejectedAsAWhole != nil {
      refusals = cluster.nodes.map { _ in notHelpful }
    }
    let budgets = cluster.objects.budgets.values.sorted { $0.key < $1.key }.map(DisruptionBudget.init)
    let enough = max(cluster.nodes.count * minCandidateNodesPercentage / 100, minCandidateNodesAbsolute)
    var plans: [PreemptionPlan] = []
    for (name, rejection) in search.rejections {
      guard rejection.isResolvable, let node = cluster[name] else {
        refusals.append(notHelpful)
        continue
      }
      if plans.count >= enough { break }
      switch planVictims(pod, node, search.filters, budgets: budgets, nominated: nominated[name] ?? []) {
      case .success(let plan): plans.append(plan)
      case .failure(let refusal): refusals.append(refusal)
      }
    }
    if !plans.isEmpty { return .nominate(plans) }
    return .rejected(
      "preemption: 0/\(cluster.nodes.count) nodes are available: \(Search.counted(refusals)).")
  }

  /// Victims of an earlier attempt are still leaving the node that is meant for the pod.
  private static func isRoomBeingMade(for pod: PodInfo, _ cluster: ClusterState, _ search: Search) -> Bool {
    guard let node = cluster[pod.nominatedNodeName] else { return false }
    let isHopeless = search.rejections.contains { $0.node == node.name && !$0.rejection.isResolvable }
    if isHopeless { return false }
    return node.pods.contains {
      $0.isTerminating && $0.priority < pod.priority
        && $0.object.condition("DisruptionTarget")?["reason"] == "PreemptionByScheduler"
    }
  }
}
