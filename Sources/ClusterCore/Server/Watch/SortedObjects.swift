// Objects in order of their keys, in chunks: a change copies one chunk, a snapshot of the whole copies a few pointers.

/// A sorted collection of objects. Look-up and insertion are logarithmic plus one chunk of at most 512.
struct SortedObjects: Sendable {
  private var chunks: [[CachedObject]] = []
  private(set) var count = 0
  private static let chunkMax = 512

  /// The chunk that holds `key`, or would.
  private func chunk(for key: String) -> Int {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle][0].key <= key { low = middle + 1 } else { high = middle }
    }
    return max(0, low - 1)
  }

  private static func position(of key: String, in chunk: [CachedObject]) -> (index: Int, isFound: Bool) {
    var low = 0
    var high = chunk.count
    while low < high {
      let middle = (low + high) / 2
      if chunk[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return (low, low < chunk.count && chunk[low].key == key)
  }

  subscript(_ key: String) -> CachedObject? {
    if chunks.isEmpty { return nil }
    let chunk = chunks[chunk(for: key)]
    let (index, isFound) = Self.position(of: key, in: chunk)
    return isFound ? chunk[index] : nil
  }

  /// Puts an object in; gives the one it replaces.
  @discardableResult mutating func insert(_ object: CachedObject) -> CachedObject? {
    if chunks.isEmpty {
      chunks = [[object]]
      count = 1
      return nil
    }
    let at = chunk(for: object.key)
    let (index, isFound) = Self.position(of: object.key, in: chunks[at])
    if isFound {
      defer { chunks[at][index] = object }
      return chunks[at][index]
    }
    chunks[at].insert(object, at: index)
    count += 1
    if chunks[at].count > Self.chunkMax {
      let half = chunks[at].count / 2
      let upper = Array(chunks[at][half...])
      chunks[at].removeSubrange(half...)
      chunks.insert(upper, at: at + 1)
    }
    return nil
  }

  @discardableResult mutating func remove(_ key: String) -> CachedObject? {
    if chunks.isEmpty { return nil }
    let at = chunk(for: key)
    let (index, isFound) = Self.position(of: key, in: chunks[at])
    guard isFound else { return nil }
    let old = chunks[at].remove(at: index)
    count -= 1
    if chunks[at].isEmpty { chunks.remove(at: at) }
    return old
  }

  /// Calls `body` with the objects whose keys begin with `prefix`, after `after`, until it says false.
  func forEach(prefix: String, after: String?, _ body: (CachedObject) -> Bool) {
    if chunks.isEmpty { return }
    let start = max(prefix, after ?? "")
    var at = chunk(for: start)
    var index = Self.position(of: start, in: chunks[at]).index
    while at < chunks.count {
      while index < chunks[at].count {
        let object = chunks[at][index]
        index += 1
        if let after, object.key <= after { continue }
        guard object.key.hasPrefix(prefix) else { return }
        if !body(object) { return }
      }
      at += 1
      index = 0
    }
  }
}
