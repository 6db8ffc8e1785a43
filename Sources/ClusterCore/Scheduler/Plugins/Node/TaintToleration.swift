// Taints: NoSchedule and NoExecute keep pods out that do not tolerate them, PreferNoSchedule makes a node the
// second choice.

public struct TaintToleration: FilterPlugin, ScorePlugin {
  public let name = "TaintToleration"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    .filter(Tolerated(pod: pod))
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    event.node.map { Tolerated(pod: pod).check($0) == nil } ?? false
  }

  private struct Tolerated: NodeFilter {
    var pod: PodInfo
    func check(_ node: NodeInfo) -> Rejection? {
      if node.facts.taints.isEmpty { return nil }
      if node.untolerated(by: pod, ["NoSchedule", "NoExecute"]) == nil { return nil }
      return Rejection("node(s) had untolerated taint(s)", isResolvable: false)
    }
  }

  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    nodes.contains { !$0.facts.taints.isEmpty } ? Unwelcome(pod: pod) : nil
  }

  private struct Unwelcome: NodeScorer {
    var pod: PodInfo
    func score(_ node: NodeInfo) -> Int64 {
      var count: Int64 = 0
      for taint in node.facts.taints where taint.effect == "PreferNoSchedule" {
        if !pod.tolerations.contains(where: { $0.covers(taint) }) { count += 1 }
      }
      return count
    }
    func normalize(_ scores: inout [Int64], _ nodes: [NodeInfo]) {
      scores.normalizeByLargest(reversed: true)
    }
  }
}
