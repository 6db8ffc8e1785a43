// Preferred affinity: what the pod would like, and what the pods already placed would like of it.

extension InterPodAffinity {
  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    let wants = !pod.preferredAffinity.isEmpty || !pod.preferredAntiAffinity.isEmpty
    if !wants, cluster.podsWithAffinity == 0 || ignorePreferredTermsOfExistingPods { return nil }
    var sums = TopologyCounts()
    for node in cluster.nodes {
      let others = wants ? node.pods : node.podsWithAffinity
      for other in others { count(other, pod, node, cluster, wants, &sums) }
    }
    return sums.isEmpty ? nil : Sympathy(sums: sums)
  }

  private func count(
    _ other: PodInfo, _ pod: PodInfo, _ node: NodeInfo, _ cluster: ClusterState, _ wants: Bool,
    _ sums: inout TopologyCounts
  ) {
    for term in pod.preferredAffinity where term.matches(other, cluster) {
      sums.add(term.topologyKey, node, term.weight)
    }
    for term in pod.preferredAntiAffinity where term.matches(other, cluster) {
      sums.add(term.topologyKey, node, -term.weight)
    }
    if hardPodAffinityWeight > 0 {
      for term in other.affinity where term.matches(pod, cluster) {
        sums.add(term.topologyKey, node, hardPodAffinityWeight)
      }
    }
    if ignorePreferredTermsOfExistingPods { return }
    for term in other.preferredAffinity where term.matches(pod, cluster) {
      sums.add(term.topologyKey, node, term.weight)
    }
    for term in other.preferredAntiAffinity where term.matches(pod, cluster) {
      sums.add(term.topologyKey, node, -term.weight)
    }
  }

  private struct Sympathy: NodeScorer {
    var sums: TopologyCounts
    func score(_ node: NodeInfo) -> Int64 {
      sums.counts.reduce(0) { $0 + (node.labels[$1.key.key] == $1.key.value ? $1.value : 0) }
    }
    func normalize(_ scores: inout [Int64], _ nodes: [NodeInfo]) {
      let least = scores.min() ?? 0
      let range = (scores.max() ?? 0) - least
      for index in scores.indices {
        scores[index] = range == 0 ? 0 : nodeScoreMax * (scores[index] - least) / range
      }
    }
  }
}
