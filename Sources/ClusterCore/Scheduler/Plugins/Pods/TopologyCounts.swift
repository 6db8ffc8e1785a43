// Counts by topology domain: how many pods of some sort stand in each zone, rack or node.

/// A node label's key and value: one domain.
struct Domain: Hashable, Sendable {
  var key: String
  var value: String
}

struct TopologyCounts: Sendable {
  private(set) var counts: [Domain: Int64] = [:]
  var isEmpty: Bool { counts.isEmpty }

  mutating func add(_ key: String, _ node: NodeInfo, _ step: Int64) {
    guard let value = node.labels[key] else { return }
    let domain = Domain(key: key, value: value)
    let count = (counts[domain] ?? 0) + step
    counts[domain] = count == 0 ? nil : count
  }

  func count(_ key: String, _ node: NodeInfo) -> Int64 {
    guard !counts.isEmpty, let value = node.labels[key] else { return 0 }
    return counts[Domain(key: key, value: value)] ?? 0
  }
}
