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
    if cluster.podsWithAntiAffinity > 0 { rules.countExisting() }
    if !pod.affinity.isEmpty { rules.countNear() }
    for term in pod.antiAffinity { rules.countAway(term) }
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

    mutating func countExisting() {
      if let opponents = cluster.opponents(of: pod) {
        for entry in opponents {
          if let node = cluster[entry.node] { countExisting(entry.pod, node, 1) }
        }
      } else {
        for node in cluster.nodes {
          for other in node.podsWithAntiAffinity { countExisting(other, node, 1) }
        }
      }
    }

    mutating func countNear() {
      // A pod that matches all terms is among the candidates of any.
      let fewest = pod.affinity.compactMap { cluster.candidates($0) }.min { $0.count < $1.count }
      if let fewest {
        for entry in fewest {
          if let node = cluster[entry.node] { countNear(entry.pod, node, 1) }
        }
      } else {
        for node in cluster.nodes {
          for other in node.pods { countNear(other, node, 1) }
        }
      }
    }

    mutating func countAway(_ term: PodTerm) {
      if let candidates = cluster.candidates(term) {
        for entry in candidates where term.matches(entry.pod, cluster) {
          if let node = cluster[entry.node] { away.add(term.topologyKey, node, 1) }
        }
      } else {
        for node in cluster.nodes {
          for other in node.pods where term.matches(other, cluster) { away.add(term.topologyKey, node, 1) }
        }
      }
    }

    private mutating func countExisting(_ other: PodInfo, _ node: NodeInfo, _ step: Int64) {
      for term in other.antiAffinity where term.matches(pod, cluster) {
        existing.add(term.topologyKey, node, step)
      }
    }

    private mutating func countNear(_ other: PodInfo, _ node: NodeInfo, _ step: Int64) {
      guard pod.affinity.allSatisfy({ $0.matches(other, cluster) }) else { return }
      for term in pod.affinity { near.add(term.topologyKey, node, step) }
    }

    mutating func count(_ other: PodInfo, _ node: NodeInfo, _ step: Int64) {
      countExisting(other, node, step)
      if !pod.affinity.isEmpty { countNear(other, node, step) }
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
