// One decision: which node, or why none. Pure.

import ClusterObjects

/// The outcome of looking at every node for one pod.
public enum Decision: Sendable, Equatable {
  case node(String)
  /// No node fits; the message counts nodes by reason, as `kubectl describe pod` shows it.
  case none(String)
}

/// Filters, then scores; of equal scores the first by name wins.
public func planScheduling(_ pod: JSON, nodes: [NodeState], plugins: SchedulerPlugins = .standard) -> Decision
{
  if nodes.isEmpty { return .none("no nodes available to schedule pods") }
  var counts: [String: Int] = [:]
  var best: (name: String, score: Int)?
  for node in nodes {
    var reasons: [String] = []
    for filter in plugins.filters {
      reasons = filter.reasons(pod, on: node)
      if !reasons.isEmpty { break }
    }
    if !reasons.isEmpty {
      for reason in reasons { counts[reason, default: 0] += 1 }
      continue
    }
    let score = plugins.scores.reduce(0) { $0 + $1.weight * $1.score(pod, on: node) }
    if best == nil || score > best!.score { best = (node.name, score) }
  }
  if let best { return .node(best.name) }
  let reasons = counts.map { "\($0.value) \($0.key)" }.sorted().joined(separator: ", ")
  return .none("0/\(nodes.count) nodes are available: \(reasons).")
}
