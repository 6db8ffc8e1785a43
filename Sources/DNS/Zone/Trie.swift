// A persistent map: a change copies the path to one leaf and shares the rest with the map before it, so that a new zone
// costs what changed and not what there is.
//
//   root -> 16 places by the key's first four bits -> 16 by the next four -> ... -> leaf of at most 16 entries
//
// Owners are objects and count references; readers go along plain addresses and count none. Whoever reads holds the root.

/// What a trie holds: plain values placed by 128 bits of key, the highest first. Equal keys are kept in their own order.
protocol TrieEntry: BitwiseCopyable, Sendable {
  var key: UInt128 { get }
  static func isBefore(_ a: Self, _ b: Self) -> Bool
}

/// One node, immutable. `word` is where readers begin: an address, its lowest bit set for a leaf.
///
///     inner: 16 words, 0 for an empty place        leaf: count (16 octets), then the entries, sorted
final class TrieNode<Entry: TrieEntry>: @unchecked Sendable {
  let word: UInt
  private let memory: UnsafeMutableRawPointer
  /// Of an inner node: 16 places.
  fileprivate let children: [TrieNode?]
  /// Of a leaf: what each entry points into, kept alive by the node.
  fileprivate let owners: [AnyObject]

  fileprivate init(children: [TrieNode?]) {
    memory = .allocate(byteCount: 16 * 8, alignment: 16)
    for (index, child) in children.enumerated() {
      memory.storeBytes(of: child?.word ?? 0, toByteOffset: index * 8, as: UInt.self)
    }
    word = UInt(bitPattern: memory)
    self.children = children
    owners = []
  }

  fileprivate init(entries: [Entry], owners: [AnyObject]) {
    memory = .allocate(byteCount: 16 + max(1, entries.count) * MemoryLayout<Entry>.stride, alignment: 16)
    memory.storeBytes(of: entries.count, as: Int.self)
    for (index, entry) in entries.enumerated() {
      memory.storeBytes(of: entry, toByteOffset: 16 + index * MemoryLayout<Entry>.stride, as: Entry.self)
    }
    word = UInt(bitPattern: memory) | 1
    children = []
    self.owners = owners
  }

  deinit { memory.deallocate() }

  fileprivate var isLeaf: Bool { word & 1 == 1 }
  fileprivate var entries: [Entry] { Array(TrieView<Entry>(word: word).leaf) }
}

/// Reads a trie. Valid while somebody holds the root it came from.
struct TrieView<Entry: TrieEntry> {
  let word: UInt

  /// The entries of a leaf; only to be asked of a leaf's word.
  @inline(__always) var leaf: UnsafeBufferPointer<Entry> {
    guard word & 1 == 1, let base = UnsafeRawPointer(bitPattern: word & ~1) else {
      return .init(start: nil, count: 0)
    }
    return UnsafeBufferPointer(
      start: (base + 16).assumingMemoryBound(to: Entry.self), count: base.load(as: Int.self))
  }

  /// Entries among which those with `key` are, sorted; often none or few others.
  @inline(__always)
  func candidates(_ key: UInt128) -> UnsafeBufferPointer<Entry> {
    var at = word
    var bits = key
    while at & 1 == 0, let base = UnsafeRawPointer(bitPattern: at) {
      at = base.load(fromByteOffset: Int(truncatingIfNeeded: bits >> 124) &* 8, as: UInt.self)
      bits = bits << 4
    }
    return TrieView(word: at).leaf
  }

  /// Whether an entry's key begins with the first `bits` of `key`; bits is a multiple of four.
  func hasPrefix(_ key: UInt128, bits: Int) -> Bool {
    var at = word
    for step in 0..<bits / 4 {
      guard at & 1 == 0, let base = UnsafeRawPointer(bitPattern: at) else { break }
      at = base.load(
        fromByteOffset: Int(truncatingIfNeeded: key >> UInt128(124 - 4 * step) & 15) * 8, as: UInt.self)
    }
    if at & 1 == 0 { return at != 0 }
    if bits == 0 { return true }
    let shift = UInt128(128 - bits)
    return TrieView(word: at).leaf.contains { $0.key >> shift == key >> shift }
  }
}

/// The map itself: a value whose copies share everything.
struct Trie<Entry: TrieEntry>: Sendable {
  static var leafEntriesMax: Int { 16 }
  static var depthMax: Int { 32 }

  private var root: TrieNode<Entry>?
  private(set) var count = 0
  /// Nodes made since the beginning: what changes have cost.
  private(set) var nodesMade = 0

  init() {}

  var view: TrieView<Entry> { TrieView(word: root?.word ?? 0) }

  /// Takes entries out and others in. An entry leaves when its key is named and `isRemoved` says so. Every node on the way to a
  /// change is copied once, however many changes lie below it.
  mutating func update(
    removed: [UInt128], where isRemoved: (Entry) -> Bool, added: consuming [Pair]
  ) {
    var added = added
    added.sort {
      $0.entry.key != $1.entry.key ? $0.entry.key < $1.entry.key : Entry.isBefore($0.entry, $1.entry)
    }
    let removed = removed.sorted()
    count += added.count
    root = merge(root, removed[...], isRemoved, added[...], depth: 0)
  }

  typealias Pair = (entry: Entry, owner: AnyObject?)

  /// Every entry, in order. Costs all.
  var all: [Entry] {
    var result: [Entry] = []
    func walk(_ node: TrieNode<Entry>) {
      if node.isLeaf { result += node.entries } else { for case let child? in node.children { walk(child) } }
    }
    if let root { walk(root) }
    return result
  }

  /// The node with the changes below it; both lists are sorted and begin with the node's own bits.
  private mutating func merge(
    _ node: TrieNode<Entry>?, _ removed: ArraySlice<UInt128>, _ isRemoved: (Entry) -> Bool,
    _ added: ArraySlice<Pair>, depth: Int
  ) -> TrieNode<Entry>? {
    if removed.isEmpty, added.isEmpty { return node }
    guard let node else { return added.isEmpty ? nil : build(added, depth: depth) }
    if node.isLeaf { return merge(leaf: node, removed, isRemoved, added, depth: depth) }
    var children = node.children
    var hasChanged = false
    var (removed, added) = (removed, added)
    for place in 0..<16 {
      let gone = removed.prefix { Self.place($0, depth) == place }
      let come = added.prefix { Self.place($0.entry.key, depth) == place }
      removed = removed.dropFirst(gone.count)
      added = added.dropFirst(come.count)
      let child = merge(children[place], gone, isRemoved, come, depth: depth + 1)
      if child !== children[place] { hasChanged = true }
      children[place] = child
    }
    guard hasChanged else { return node }
    // A leaf is right at any depth, so one that is alone takes its parent's place.
    let others = children.compactMap { $0 }
    if others.isEmpty { return nil }
    if others.count == 1, others[0].isLeaf { return others[0] }
    return inner(children)
  }

  private mutating func merge(
    leaf node: TrieNode<Entry>, _ removed: ArraySlice<UInt128>, _ isRemoved: (Entry) -> Bool,
    _ added: ArraySlice<Pair>, depth: Int
  ) -> TrieNode<Entry>? {
    let old = node.entries
    var pairs: [Pair] = []
    pairs.reserveCapacity(old.count + added.count)
    for (index, entry) in old.enumerated() where !(removed.contains(entry.key) && isRemoved(entry)) {
      pairs.append((entry, index < node.owners.count ? node.owners[index] : nil))
    }
    if pairs.count == old.count, added.isEmpty { return node }
    count -= old.count - pairs.count
    pairs += added
    if pairs.isEmpty { return nil }
    pairs.sort {
      $0.entry.key != $1.entry.key ? $0.entry.key < $1.entry.key : Entry.isBefore($0.entry, $1.entry)
    }
    return build(pairs[...], depth: depth)
  }

  private mutating func build(_ pairs: ArraySlice<Pair>, depth: Int) -> TrieNode<Entry> {
    if pairs.count <= Self.leafEntriesMax || depth >= Self.depthMax {
      return leaf(pairs.map(\.entry), pairs.compactMap(\.owner))
    }
    var children: [TrieNode<Entry>?] = Array(repeating: nil, count: 16)
    var start = pairs.startIndex
    while start < pairs.endIndex {
      let place = Self.place(pairs[start].entry.key, depth)
      var end = start + 1
      while end < pairs.endIndex, Self.place(pairs[end].entry.key, depth) == place { end += 1 }
      children[place] = build(pairs[start..<end], depth: depth + 1)
      start = end
    }
    return inner(children)
  }

  private static func place(_ key: UInt128, _ depth: Int) -> Int {
    Int(truncatingIfNeeded: key >> UInt128(124 - 4 * depth) & 15)
  }

  private mutating func leaf(_ entries: [Entry], _ owners: [AnyObject]) -> TrieNode<Entry> {
    nodesMade += 1
    return TrieNode(entries: entries, owners: owners)
  }

  private mutating func inner(_ children: [TrieNode<Entry>?]) -> TrieNode<Entry> {
    nodesMade += 1
    return TrieNode(children: children)
  }
}
