// `spec.nodeSelector` and node affinity: what a pod asks of a node's labels.

/// Required terms filter, preferred ones score.
public struct NodeAffinity: FilterPlugin, ScorePlugin {
  public let name = "NodeAffinity"
  /// Terms that the profile adds to those of every pod (`addedAffinity`).
  var addedRequired: [NodeTerm]?
  var addedPreferred: [NodeTerm] = []
  public init() {}

  /// Whether the pod's own terms allow the node.
  public static func isAllowed(_ pod: PodInfo, _ node: NodeInfo) -> Bool {
    for (key, value) in pod.nodeSelector where node.labels[key] != value { return false }
    guard let terms = pod.requiredNodeTerms else { return true }
    return terms.contains { $0.matches(name: node.name, labels: node.labels) }
  }

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    if pod.nodeSelector.isEmpty, pod.requiredNodeTerms == nil, addedRequired == nil { return .skip }
    let filter = Matching(pod: pod, added: addedRequired)
    // DaemonSet pods name their one node: the others need not be asked.
    if let terms = pod.requiredNodeTerms, !terms.isEmpty {
      var names: Set<String> = []
      for term in terms {
        guard let some = term.names else { return .filter(filter) }
        names.formUnion(some)
      }
      return .only(names, filter)
    }
    return .filter(filter)
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    event.node.map { Matching(pod: pod, added: addedRequired).check($0) == nil } ?? false
  }

  private struct Matching: NodeFilter {
    var pod: PodInfo
    var added: [NodeTerm]?
    func check(_ node: NodeInfo) -> Rejection? {
      if let added, !added.contains(where: { $0.matches(name: node.name, labels: node.labels) }) {
        return Rejection("node(s) didn't match scheduler-enforced node affinity", isResolvable: false)
      }
      if NodeAffinity.isAllowed(pod, node) { return nil }
      return Rejection("node(s) didn't match Pod's node affinity/selector", isResolvable: false)
    }
  }

  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    let terms = pod.preferredNodeTerms + addedPreferred
    return terms.isEmpty ? nil : Preferred(terms: terms)
  }

  private struct Preferred: NodeScorer {
    var terms: [NodeTerm]
    func score(_ node: NodeInfo) -> Int64 {
      terms.reduce(0) { $0 + ($1.matches(name: node.name, labels: node.labels) ? $1.weight : 0) }
    }
    func normalize(_ scores: inout [Int64], _ nodes: [NodeInfo]) { scores.normalizeByLargest() }
  }
}
