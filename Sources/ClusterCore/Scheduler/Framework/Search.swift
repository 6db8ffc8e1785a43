// Filtering and scoring: which nodes fit a pod, and which of them is best. Pure.

import ClusterObjects

/// One filter made for the pod, with the plugin it belongs to.
public struct PreparedFilter: Sendable {
  public var plugin: String
  public var filter: any NodeFilter
}

/// What filtering found.
public struct Search: Sendable {
  public internal(set) var feasible: [NodeInfo] = []
  /// Why each other node that was looked at does not fit.
  public internal(set) var rejections: [(node: String, rejection: Rejection)] = []
  /// Set when the pod fits nowhere whatever the node.
  public internal(set) var rejectedAsAWhole: Rejection?
  public internal(set) var filters: [PreparedFilter] = []
  /// Nodes looked at, from the start position on.
  public internal(set) var looked = 0
  public internal(set) var nodesTotal = 0

  /// The plugins that rejected a node or the pod: whose events wake it.
  public var plugins: Set<String> {
    // Without any node there is one to wait for that takes pods.
    if nodesTotal == 0 { return ["NodeUnschedulable"] }
    var names = Set(rejections.lazy.map(\.rejection.plugin))
    if let rejectedAsAWhole { names.insert(rejectedAsAWhole.plugin) }
    return names
  }

  /// Upstream's words: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
  public func message(preemption: String = "") -> String {
    if nodesTotal == 0 { return "no nodes available to schedule pods" }
    var text = "0/\(nodesTotal) nodes are available:"
    if let rejectedAsAWhole {
      text += " \(rejectedAsAWhole.reasons.joined(separator: ", "))."
    } else {
      let counted = Self.counted(rejections.map(\.rejection))
      if !counted.isEmpty { text += " \(counted)." }
    }
    return preemption.isEmpty ? text : text + " " + preemption
  }

  static func counted(_ rejections: [Rejection]) -> String {
    var counts: [String: Int] = [:]
    for rejection in rejections { for reason in rejection.reasons { counts[reason, default: 0] += 1 } }
    return counts.map { "\($0.value) \($0.key)" }.sorted().joined(separator: ", ")
  }
}

/// Filters the nodes from `start` on, round the end, until enough fit.
/// - Parameter nominated: pods that wait for victims on a node, by its name: the pod must fit beside those
///   of its own or higher priority, and without them.
public func planFeasible(
  _ pod: PodInfo, _ cluster: ClusterState, _ profile: Profile, nominated: [String: [PodInfo]] = [:],
  start: Int = 0
) -> Search {
  var search = Search()
  search.nodesTotal = cluster.nodes.count
  if cluster.nodes.isEmpty { return search }
  var allowed: Set<String>?
  var narrowing: [String] = []
  for plugin in profile.filters {
    switch plugin.preFilter(pod, cluster) {
    case .skip: break
    case .filter(let filter): search.filters.append(PreparedFilter(plugin: plugin.name, filter: filter))
    case .only(let names, let filter):
      allowed = allowed.map { $0.intersection(names) } ?? names
      narrowing.append(plugin.name)
      if let filter { search.filters.append(PreparedFilter(plugin: plugin.name, filter: filter)) }
    case .rejected(var rejection):
      rejection.plugin = plugin.name
      search.rejectedAsAWhole = rejection
      return search
    }
  }
  // A node that victims were removed from for this very pod comes first.
  if !pod.nominatedNodeName.isEmpty, allowed?.contains(pod.nominatedNodeName) ?? true,
    let node = cluster[pod.nominatedNodeName],
    search.filters.reject(pod, node, nominated: nominated[node.name] ?? []) == nil
  {
    search.feasible = [node]
    return search
  }
  if let allowed {
    for node in cluster.nodes {
      if allowed.contains(node.name) {
        search.consider(node, pod, nominated)
      } else {
        var rejection = Rejection(
          "node(s) didn't satisfy plugin(s) [\(narrowing.joined(separator: " "))]", isResolvable: false)
        rejection.plugin = narrowing[0]
        search.rejections.append((node.name, rejection))
      }
    }
    return search
  }
  let count = cluster.nodes.count
  let wanted = profile.nodesWanted(of: count)
  var position = start % count
  while search.looked < count, search.feasible.count < wanted {
    search.consider(cluster.nodes[position], pod, nominated)
    position = position + 1 == count ? 0 : position + 1
  }
  return search
}

extension Search {
  fileprivate mutating func consider(
    _ node: NodeInfo, _ pod: PodInfo, _ nominated: [String: [PodInfo]]
  ) {
    looked += 1
    let waiting = nominated.isEmpty ? [] : nominated[node.name] ?? []
    if let rejection = filters.reject(pod, node, nominated: waiting) {
      rejections.append((node.name, rejection))
    } else {
      feasible.append(node)
    }
  }
}

extension [PreparedFilter] {
  func reject(_ node: NodeInfo) -> Rejection? {
    for prepared in self {
      if var rejection = prepared.filter.check(node) {
        rejection.plugin = prepared.plugin
        return rejection
      }
    }
    return nil
  }

  /// Twice where nominated pods stand before this one: with them for room, without them for company that
  /// may never come.
  func reject(_ pod: PodInfo, _ node: NodeInfo, nominated: [PodInfo]) -> Rejection? {
    let before = nominated.filter { $0.priority >= pod.priority && $0.key != pod.key }
    if !before.isEmpty {
      var filters = self
      var crowded = node
      for other in before where !node.pods.contains(where: { $0.key == other.key }) {
        crowded = crowded.adding(other)
        filters.add(other, to: node)
      }
      if let rejection = filters.reject(crowded) { return rejection }
    }
    return reject(node)
  }

  mutating func add(_ pod: PodInfo, to node: NodeInfo) {
    for index in indices { self[index].filter.podAdded(pod, to: node) }
  }
  mutating func remove(_ pod: PodInfo, from node: NodeInfo) {
    for index in indices { self[index].filter.podRemoved(pod, from: node) }
  }
}

/// The weighted scores of the nodes, in their order.
public func planScores(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState, _ profile: Profile)
  -> [Int64]
{
  var totals = [Int64](repeating: 0, count: nodes.count)
  for (plugin, weight) in profile.scores {
    guard let scorer = plugin.preScore(pod, nodes, cluster) else { continue }
    var scores = nodes.map { scorer.score($0) }
    scorer.normalize(&scores, nodes)
    for index in scores.indices { totals[index] += weight * min(max(scores[index], 0), nodeScoreMax) }
  }
  return totals
}

/// The first of the best: the start position moves on with every pod, so equal nodes take turns.
public func planBest(_ nodes: [NodeInfo], _ scores: [Int64]) -> NodeInfo? {
  var best = 0
  for index in scores.indices where scores[index] > scores[best] { best = index }
  return nodes.isEmpty ? nil : nodes[best]
}

extension [Int64] {
  /// To 0…100 by the largest; `reversed` for scores where less is better.
  mutating func normalizeByLargest(reversed: Bool = false) {
    let largest = self.max() ?? 0
    if largest == 0 {
      if reversed { for index in indices { self[index] = nodeScoreMax } }
      return
    }
    for index in indices {
      let score = nodeScoreMax * self[index] / largest
      self[index] = reversed ? nodeScoreMax - score : score
    }
  }
}
