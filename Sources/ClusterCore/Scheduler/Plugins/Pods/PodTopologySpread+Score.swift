// Preferring the domains with fewer pods of the sort.

import ClusterObjects
import Glibc

extension PodTopologySpread {
  static let hostnameKey = "kubernetes.io/hostname"

  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    let constraints = constraints(pod, cluster, required: false)
    if constraints.isEmpty { return nil }
    let needsAllKeys = !pod.spreadConstraints.isEmpty || !usesSystemDefaults
    var evenness = Evenness(pod: pod, constraints: constraints, needsAllKeys: needsAllKeys)
    let onNodes = constraints.map { cluster.count($0, namespace: pod.namespace) }
    let counted = nodes.filter { !evenness.ignores($0) }
    for (index, constraint) in constraints.enumerated() {
      var domains = counted.count
      if constraint.topologyKey != Self.hostnameKey {
        for node in counted {
          if let value = node.labels[constraint.topologyKey] { evenness.counts[index][value] = 0 }
        }
        domains = evenness.counts[index].count
      }
      // Many domains hold few pods each: they weigh more, or the constraint would be lost among others.
      evenness.weights.append(log(Double(domains + 2)))
    }
    for (index, constraint) in constraints.enumerated() {
      if constraint.topologyKey == Self.hostnameKey {
        evenness.counts[index] = onNodes[index]
        continue
      }
      for (name, count) in onNodes[index] {
        guard let node = cluster[name], !evenness.ignores(node),
          let value = node.labels[constraint.topologyKey],
          let before = evenness.counts[index][value], constraint.counts(node, for: pod)
        else { continue }
        evenness.counts[index][value] = before + count
      }
    }
    return evenness
  }

  private struct Evenness: NodeScorer {
    var pod: PodInfo
    var constraints: [SpreadConstraint]
    var needsAllKeys: Bool
    /// By constraint: pods of each domain by its value; of each node by its name where nodes are the domains.
    var counts: [[String: Int64]]
    var weights: [Double] = []

    init(pod: PodInfo, constraints: [SpreadConstraint], needsAllKeys: Bool) {
      self.pod = pod
      self.constraints = constraints
      self.needsAllKeys = needsAllKeys
      counts = constraints.map { _ in [:] }
    }

    func ignores(_ node: NodeInfo) -> Bool {
      needsAllKeys && !constraints.allSatisfy { node.labels[$0.topologyKey] != nil }
    }

    func score(_ node: NodeInfo) -> Int64 {
      if ignores(node) { return 0 }
      var score = 0.0
      for (index, constraint) in constraints.enumerated() {
        guard let value = node.labels[constraint.topologyKey] else { continue }
        let count = counts[index][constraint.topologyKey == hostnameKey ? node.name : value] ?? 0
        score += Double(count) * weights[index] + Double(constraint.maxSkew - 1)
      }
      return Int64(score.rounded())
    }

    func normalize(_ scores: inout [Int64], _ nodes: [NodeInfo]) {
      var least = Int64.max
      var most = Int64.min
      for (index, node) in nodes.enumerated() where !ignores(node) {
        least = min(least, scores[index])
        most = max(most, scores[index])
      }
      for (index, node) in nodes.enumerated() {
        if ignores(node) {
          scores[index] = 0
        } else {
          scores[index] = most == 0 ? nodeScoreMax : nodeScoreMax * (most + least - scores[index]) / most
        }
      }
    }
  }
}
