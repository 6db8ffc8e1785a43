// Pods that want to be near others, or away from them; and pods already placed that want others near or away.

import ClusterObjects

/// Required terms filter, in both directions; `InterPodAffinity+Score` has the preferred ones.
public struct InterPodAffinity: FilterPlugin, ScorePlugin {
  public let name = "InterPodAffinity"
  /// What a required affinity term of a placed pod is worth to a pod that it matches.
  public var hardPodAffinityWeight: Int64 = 1
  public var ignorePreferredTermsOfExistingPods = false
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    let wants = !pod.affinity.isEmpty || !pod.antiAffinity.isEmpty
    if !wants, cluster.podsWithAntiAffinity == 0 { return .skip }
    var rules = Rules(pod: pod, cluster: cluster)
    for node in cluster.nodes {
      if wants {
        for other in node.pods { rules.count(other, node, 1) }
      } else {
        for other in node.podsWithAntiAffinity { rules.count(other, node, 1) }
      }
    }
    if !wants, rules.existing.isEmpty { return .skip }
    return .filter(rules)
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    let nothing = ClusterState()
    switch event {
    case .nodeAdded(let node):
      return (pod.affinity + pod.antiAffinity).allSatisfy { node.labels[$0.topologyKey] != nil }
        || pod.affinity.isEmpty
    case .nodeChanged(let old, let node): return old.labels != node.labels
    case .podAssigned(let other):
      // With a namespace selector the labels of namespaces count, which are not at hand: perhaps.
      return pod.affinity.contains {
        $0.matches(other, nothing) || ($0.namespaceSelector != nil && $0.selector.matches(other.labels))
      }
    case .podChanged(let old, let new): return old.labels != new.labels
    case .podRemoved(let other): return !pod.antiAffinity.isEmpty || !other.antiAffinity.isEmpty
    case .selectors: return true
    case .storage: return false
    }
  }

  private struct Rules: NodeFilter {
    var pod: PodInfo
    var cluster: ClusterState
    /// Domains where a placed pod's anti-affinity speaks against this pod.
    var existing = TopologyCounts()
    /// Pods that match all of this pod's affinity terms, and those that match each anti-affinity term.
    var near = TopologyCounts()
    var away = TopologyCounts()

    mutating func count(_ other: PodInfo, _ node: NodeInfo, _ step: Int64) {
      for term in other.antiAffinity where term.matches(pod, cluster) {
        existing.add(term.topologyKey, node, step)
      }
      if !pod.affinity.isEmpty, pod.affinity.allSatisfy({ $0.matches(other, cluster) }) {
        for term in pod.affinity { near.add(term.topologyKey, node, step) }
      }
      for term in pod.antiAffinity where term.matches(other, cluster) {
        away.add(term.topologyKey, node, step)
      }
    }

    mutating func podAdded(_ other: PodInfo, to node: NodeInfo) { count(other, node, 1) }
    mutating func podRemoved(_ other: PodInfo, from node: NodeInfo) { count(other, node, -1) }

    func check(_ node: NodeInfo) -> Rejection? {
      if !isNear(node) { return Rejection("node(s) didn't match pod affinity rules", isResolvable: false) }
      if pod.antiAffinity.contains(where: { away.count($0.topologyKey, node) > 0 }) {
        return Rejection("node(s) didn't match pod anti-affinity rules")
      }
      if !existing.isEmpty, existing.counts.keys.contains(where: { node.labels[$0.key] == $0.value }) {
        return Rejection("node(s) didn't satisfy existing pods anti-affinity rules")
      }
      return nil
    }

    private func isNear(_ node: NodeInfo) -> Bool {
      if pod.affinity.isEmpty { return true }
      var isBeside = true
      for term in pod.affinity {
        guard node.labels[term.topologyKey] != nil else { return false }
        if near.count(term.topologyKey, node) <= 0 { isBeside = false }
      }
      if isBeside { return true }
      // The first of a group that wants its own kind near has to stand somewhere.
      return near.isEmpty && pod.affinity.allSatisfy { $0.matches(pod, cluster) }
    }
  }
}
