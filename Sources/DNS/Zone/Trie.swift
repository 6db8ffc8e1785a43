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

  /// Takes entries out and others in. An entry leaves when its key is named and `isRemoved` says so. Many changes at once
  /// build the trie anew, which costs less than a path for each.
  mutating func update(
    removed: [UInt128], where isRemoved: (Entry) -> Bool, added: [(entry: Entry, owner: AnyObject?)]
  ) {
    if removed.count + added.count > 256, removed.count + added.count > count / 4 {
      return rebuild(Set(removed), isRemoved, added)
    }
    for key in removed {
      guard let old = root else { break }
      root = remove(old, key, isRemoved, depth: 0)
    }
    for (entry, owner) in added {
      count += 1
      root = root.map { insert($0, entry, owner, depth: 0) } ?? leaf([entry], owner.map { [$0] } ?? [])
    }
  }

  /// Every entry, in order. Costs all.
  var all: [Entry] {
    var result: [Entry] = []
    func walk(_ node: TrieNode<Entry>) {
      if node.isLeaf { result += node.entries } else { for case let child? in node.children { walk(child) } }
    }
    if let root { walk(root) }
    return result
  }

  private mutating func rebuild(
    _ removed: Set<UInt128>, _ isRemoved: (Entry) -> Bool, _ added: [(entry: Entry, owner: AnyObject?)]
  ) {
    var pairs = added
    func walk(_ node: TrieNode<Entry>) {
      if node.isLeaf {
        for (index, entry) in node.entries.enumerated()
        where !(removed.contains(entry.key) && isRemoved(entry)) {
          pairs.append((entry, index < node.owners.count ? node.owners[index] : nil))
        }
      } else {
        for case let child? in node.children { walk(child) }
      }
    }
    if let root { walk(root) }
    pairs.sort {
      $0.entry.key != $1.entry.key ? $0.entry.key < $1.entry.key : Entry.isBefore($0.entry, $1.entry)
    }
    count = pairs.count
    root = pairs.isEmpty ? nil : build(pairs[...], depth: 0)
  }

  private mutating func build(_ pairs: ArraySlice<(entry: Entry, owner: AnyObject?)>, depth: Int) -> TrieNode<
    Entry
  > {
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

  private mutating func insert(_ node: TrieNode<Entry>, _ entry: Entry, _ owner: AnyObject?, depth: Int)
    -> TrieNode<Entry>
  {
    if node.isLeaf {
      var entries = node.entries
      var owners = node.owners
      let at =
        entries.firstIndex {
          entry.key != $0.key ? entry.key < $0.key : Entry.isBefore(entry, $0)
        } ?? entries.count
      entries.insert(entry, at: at)
      if let owner { owners.insert(owner, at: min(at, owners.count)) }
      if entries.count <= Self.leafEntriesMax || depth >= Self.depthMax { return leaf(entries, owners) }
      let pairs = entries.enumerated().map { index, entry in
        (entry: entry, owner: index < owners.count ? owners[index] : nil)
      }
      return build(pairs[...], depth: depth)
    }
    var children = node.children
    let place = Self.place(entry.key, depth)
    children[place] =
      children[place].map { insert($0, entry, owner, depth: depth + 1) }
      ?? leaf([entry], owner.map { [$0] } ?? [])
    return inner(children)
  }

  private mutating func remove(
    _ node: TrieNode<Entry>, _ key: UInt128, _ isRemoved: (Entry) -> Bool, depth: Int
  )
    -> TrieNode<Entry>?
  {
    if node.isLeaf {
      var entries: [Entry] = []
      var owners: [AnyObject] = []
      for (index, entry) in node.entries.enumerated() where !(entry.key == key && isRemoved(entry)) {
        entries.append(entry)
        if index < node.owners.count { owners.append(node.owners[index]) }
      }
      if entries.count == TrieView<Entry>(word: node.word).leaf.count { return node }
      count -= TrieView<Entry>(word: node.word).leaf.count - entries.count
      return entries.isEmpty ? nil : leaf(entries, owners)
    }
    let place = Self.place(key, depth)
    guard let child = node.children[place] else { return node }
    let left = remove(child, key, isRemoved, depth: depth + 1)
    if left === child { return node }
    var children = node.children
    children[place] = left
    let others = children.compactMap { $0 }
    // A leaf is right at any depth, so one that is alone takes its parent's place.
    if others.isEmpty { return nil }
    if others.count == 1, others[0].isLeaf { return others[0] }
    return inner(children)
  }
}
