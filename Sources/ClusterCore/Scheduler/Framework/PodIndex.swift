// Pods of a cluster by what selectors ask for, so that a selector looks at the pods that it may match and not at all of them.
//
//   (namespace, label, value) -> pods, with their nodes       in buckets: a change copies one, not the table

import ClusterObjects

/// A value, kept beside the nodes. A pod more or less costs as many entries as it has keys.
struct PodIndex: Sendable {
  /// Above this many a key says so little that looking at all pods costs no more; it is given up until its last pod went.
  static let keyPodsMax = 1024
  private static let bucketCount = 256

  struct Entry: Sendable {
    var pod: PodInfo
    var node: String
  }

  struct Key: Hashable, Sendable {
    var namespace: String
    var label: String
    var value: String
    /// For what no label finds.
    static let any = Key(namespace: "", label: "", value: "")
  }

  private enum Bag: Sendable {
    case few([Entry])
    case many(Int)
  }

  private var buckets = [[Key: Bag]](repeating: [:], count: PodIndex.bucketCount)

  private static func bucket(_ key: Key) -> Int {
    // Of the standard library's own seed: the same within a process.
    Int(truncatingIfNeeded: UInt(bitPattern: key.hashValue) % UInt(bucketCount))
  }

  mutating func add(_ entry: Entry, _ keys: [Key]) {
    for key in keys { Self.add(entry, key, &buckets[Self.bucket(key)]) }
  }

  private static func add(_ entry: Entry, _ key: Key, _ bucket: inout [Key: Bag]) {
    switch bucket.removeValue(forKey: key) {
    case nil: bucket[key] = .few([entry])
    case .many(let count): bucket[key] = .many(count + 1)
    case .few(var entries):
      if entries.count >= keyPodsMax {
        bucket[key] = .many(entries.count + 1)
      } else {
        entries.append(entry)
        bucket[key] = .few(entries)
      }
    }
  }

  mutating func remove(_ pod: PodInfo, _ keys: [Key]) {
    for key in keys { Self.remove(pod, key, &buckets[Self.bucket(key)]) }
  }

  private static func remove(_ pod: PodInfo, _ key: Key, _ bucket: inout [Key: Bag]) {
    switch bucket.removeValue(forKey: key) {
    case nil: return
    case .many(let count): if count > 1 { bucket[key] = .many(count - 1) }
    case .few(var entries):
      if let index = entries.firstIndex(where: { $0.pod.key == pod.key }) { entries.remove(at: index) }
      if !entries.isEmpty { bucket[key] = .few(entries) }
    }
  }

  /// The pods of these keys, one after the other; nil when a key has too many.
  func entries(_ keys: [Key]) -> [Entry]? {
    var found: [Entry] = []
    for key in keys {
      switch buckets[Self.bucket(key)][key] {
      case nil: continue
      case .many: return nil
      case .few(let entries): if found.isEmpty { found = entries } else { found += entries }
      }
    }
    return found
  }

  /// The pods that a selector may match in these namespaces, by its label with the fewest: each once, and none that it matches is
  /// missing. Nil when all have to be looked at.
  func candidates(_ selector: LabelSelector, namespaces: Set<String>) -> [Entry]? {
    if selector.isNothing { return [] }
    var best: [Entry]?
    for requirement in selector.requirements where requirement.operator == .in {
      let values = Set(requirement.values)
      let keys = namespaces.flatMap { namespace in
        values.map { Key(namespace: namespace, label: requirement.key, value: $0) }
      }
      guard let found = entries(keys) else { continue }
      if found.isEmpty { return [] }
      if best.map({ found.count < $0.count }) ?? true { best = found }
    }
    return best
  }
}

extension PodInfo {
  /// Each of its labels finds it.
  var labelKeys: [PodIndex.Key] {
    labels.map { PodIndex.Key(namespace: namespace, label: $0.key, value: $0.value) }
  }

  /// What a pod must have to be matched by one of the required anti-affinity terms: each term by its first label with values, else
  /// by `Key.any`. Each key once.
  var antiAffinityKeys: [PodIndex.Key] {
    var keys: Set<PodIndex.Key> = []
    for term in antiAffinity where !term.selector.isNothing {
      if term.namespaceSelector == nil,
        let requirement = term.selector.requirements.first(where: { $0.operator == .in })
      {
        for namespace in term.namespaces {
          for value in requirement.values {
            keys.insert(PodIndex.Key(namespace: namespace, label: requirement.key, value: value))
          }
        }
      } else {
        keys.insert(.any)
      }
    }
    return Array(keys)
  }

  /// What it says of other pods counts when nodes are scored; required anti-affinity does not.
  var leansOnOthers: Bool {
    !affinity.isEmpty || !preferredAffinity.isEmpty || !preferredAntiAffinity.isEmpty
  }
}
