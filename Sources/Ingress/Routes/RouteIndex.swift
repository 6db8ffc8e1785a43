// How a request finds its rule among many without trying one after another: exact paths by hash, prefixes by a tree of their
// elements, patterns in turn. Rules of one path lie together and are tried in the order of their precedence.
//
//   host -> exact:    hash of (host, path)            -> rules of that path
//        -> patterns: in turn
//        -> prefix:   root -> "api" -> "v1" -> ...    -> the deepest node with rules, then the ones above it
//
// One index for all hosts: flat arrays, built in one pass over sorted rules. Immutable; a look-up allocates nothing.

import Patterns

struct RouteIndex: Sendable {
  /// A rule as matching needs it.
  struct Entry: Sendable {
    var pathStart: UInt32
    var pathCount: UInt32
    /// Behind the last entry of the same path.
    var groupEnd: UInt32
    var backend: Int32
    var action: Int32
    /// Indices into `conditions` and `patterns`; -1 for none.
    var conditions: Int32
    var pattern: Int32
    var kind: RoutePathKind
    var redirects: Bool
  }

  /// Where a host's entries are. Exact ones begin at `start`.
  private struct Slot {
    var start: UInt32
    var patterns: UInt32
    var prefixes: UInt32
    var end: UInt32
    /// -1 when its rules are so few that they are tried in turn.
    var root: Int32
  }

  private struct Node {
    var parent: Int32
    var elementStart: UInt32
    var elementCount: UInt32
    /// First entry of the prefix that ends here; -1 when none does.
    var rules: Int32
    /// The nearest node above with rules; -1 for none.
    var above: Int32
  }

  /// Up to this many rules are tried in turn.
  static let fewMax = 8

  private(set) var entries: [Entry] = []
  private var slots: [Slot] = []
  private var bytes: [UInt8] = []
  private var nodes: [Node] = []
  /// Open addressing: index of a node or entry plus one, 0 for free.
  private var edges: [UInt32] = []
  private var exact: [UInt32] = []
  private var conditions: [RouteConditions] = []
  private var patterns: [BytePattern] = []

  init() {}

  init(_ hosts: [RouteHost]) {
    let count = hosts.reduce(0) { $0 + $1.paths.count }
    entries.reserveCapacity(count)
    slots.reserveCapacity(hosts.count)
    for host in hosts { append(host) }
    markGroups()
    plantTrees()
    fillExact()
  }

  // MARK: - Building

  private mutating func append(_ host: RouteHost) {
    var slot = Slot(
      start: UInt32(entries.count), patterns: UInt32(entries.count), prefixes: UInt32(entries.count),
      end: UInt32(entries.count + host.paths.count), root: -1)
    for path in host.paths {
      var entry = Entry(
        pathStart: UInt32(bytes.count), pathCount: UInt32(path.path.count), groupEnd: 0,
        backend: Int32(path.backend), action: Int32(path.action), conditions: -1, pattern: -1,
        kind: path.kind, redirects: path.redirectsToHTTPS)
      if path.kind != .pattern { bytes.append(contentsOf: path.path) }
      if let own = path.conditions {
        entry.conditions = Int32(conditions.count)
        conditions.append(own)
      }
      if let pattern = path.pattern {
        entry.pattern = Int32(patterns.count)
        patterns.append(pattern)
      }
      entries.append(entry)
      if path.kind == .exact { slot.patterns += 1 }
      if path.kind != .prefix { slot.prefixes += 1 }
    }
    slots.append(slot)
  }

  /// Entries of one path end together.
  private mutating func markGroups() {
    for slot in slots {
      var end = slot.end
      for index in stride(from: Int(slot.end) - 1, through: Int(slot.start), by: -1) {
        let next = index + 1
        if next < Int(slot.end), !isSamePath(entries[index], entries[next]) { end = UInt32(next) }
        entries[index].groupEnd = end
      }
    }
  }

  private func isSamePath(_ a: Entry, _ b: Entry) -> Bool {
    guard a.kind == b.kind, a.kind != .pattern, a.pathCount == b.pathCount else { return false }
    for offset in 0..<Int(a.pathCount)
    where bytes[Int(a.pathStart) + offset] != bytes[Int(b.pathStart) + offset] { return false }
    return true
  }

  private mutating func plantTrees() {
    var elements = 0
    for slot in slots where Int(slot.end - slot.start) > Self.fewMax {
      elements += 1
      for index in Int(slot.prefixes)..<Int(slot.end) {
        for at in 0..<Int(entries[index].pathCount)
        where bytes[Int(entries[index].pathStart) + at] == UInt8(ascii: "/") { elements += 1 }
      }
    }
    if elements == 0 { return }
    edges = Array(repeating: 0, count: Self.tableSize(elements))
    nodes.reserveCapacity(elements)
    for index in slots.indices where Int(slots[index].end - slots[index].start) > Self.fewMax {
      let root = Int32(nodes.count)
      slots[index].root = root
      nodes.append(Node(parent: -1, elementStart: 0, elementCount: 0, rules: -1, above: -1))
      var at = Int(slots[index].prefixes)
      while at < Int(slots[index].end) {
        let node = grow(root, entries[at])
        nodes[node].rules = Int32(at)
        at = Int(entries[at].groupEnd)
      }
    }
    // Parents come before their children.
    for index in nodes.indices where nodes[index].parent >= 0 {
      let parent = nodes[index].parent
      nodes[index].above = nodes[Int(parent)].rules >= 0 ? parent : nodes[Int(parent)].above
    }
  }

  /// The node of a prefix, made with those above it.
  private mutating func grow(_ root: Int32, _ entry: Entry) -> Int {
    var node = Int(root)
    let end = Int(entry.pathStart + entry.pathCount)
    var at = Int(entry.pathStart)
    // A prefix is empty or begins with a slash.
    while at < end {
      let start = at + 1
      at = start
      while at < end, bytes[at] != UInt8(ascii: "/") { at += 1 }
      let found = bytes.withUnsafeBytes {
        child(of: node, UnsafeRawBufferPointer(rebasing: $0[start..<at]), $0)
      }
      if let next = found.node {
        node = next
        continue
      }
      edges[found.bucket] = UInt32(nodes.count + 1)
      nodes.append(
        Node(
          parent: Int32(node), elementStart: UInt32(start), elementCount: UInt32(at - start), rules: -1,
          above: -1))
      node = nodes.count - 1
    }
    return node
  }

  private mutating func fillExact() {
    var count = 0
    for slot in slots where slot.root >= 0 { count += Int(slot.patterns - slot.start) }
    if count == 0 { return }
    exact = Array(repeating: 0, count: Self.tableSize(count))
    let mask = exact.count - 1
    for (host, slot) in slots.enumerated() where slot.root >= 0 {
      var at = Int(slot.start)
      while at < Int(slot.patterns) {
        let entry = entries[at]
        let hash = bytes.withUnsafeBytes {
          Self.hash(
            UnsafeRawBufferPointer(
              rebasing: $0[Int(entry.pathStart)..<Int(entry.pathStart + entry.pathCount)]), host)
        }
        var bucket = hash & mask
        while exact[bucket] != 0 { bucket = (bucket + 1) & mask }
        exact[bucket] = UInt32(at + 1)
        at = Int(entry.groupEnd)
      }
    }
  }

  private static func tableSize(_ count: Int) -> Int {
    var size = 8
    while size < count * 2 { size *= 2 }
    return size
  }

  // MARK: - Looking up

  /// The first entry of a host: its paths are numbered from there.
  func start(ofHost host: Int) -> Int { Int(slots[host].start) }

  /// The entry of a host that takes a request. Cost: the path's length, times the conditions of rules of the same path, plus
  /// the host's patterns.
  func find(_ request: RouteRequest, host: Int, _ space: MatchSpace) -> Int? {
    let slot = slots[host]
    return bytes.withUnsafeBytes { bytes in
      if slot.root < 0 {
        for index in Int(slot.start)..<Int(slot.end) {
          if matchesPath(entries[index], request.path, bytes, space), holds(index, request, space) {
            return index
          }
        }
        return nil
      }
      if slot.patterns > slot.start, let first = exactly(request.path, host, slot, bytes),
        let found = firstHolding(first, request, space)
      {
        return found
      }
      for index in Int(slot.patterns)..<Int(slot.prefixes) {
        if matchesPath(entries[index], request.path, bytes, space), holds(index, request, space) {
          return index
        }
      }
      var node = deepest(Int(slot.root), request.path, bytes)
      while node >= 0 {
        if nodes[node].rules >= 0, let found = firstHolding(Int(nodes[node].rules), request, space) {
          return found
        }
        node = Int(nodes[node].above)
      }
      return nil
    }
  }

  @inline(__always)
  private func holds(_ index: Int, _ request: RouteRequest, _ space: MatchSpace) -> Bool {
    let own = entries[index].conditions
    return own < 0 || request.meets(conditions[Int(own)], space)
  }

  /// The first entry of a path whose conditions hold.
  private func firstHolding(_ first: Int, _ request: RouteRequest, _ space: MatchSpace) -> Int? {
    for index in first..<Int(entries[first].groupEnd) where holds(index, request, space) { return index }
    return nil
  }

  private func matchesPath(
    _ entry: Entry, _ path: UnsafeRawBufferPointer, _ bytes: UnsafeRawBufferPointer, _ space: MatchSpace
  ) -> Bool {
    if entry.pattern >= 0 { return patterns[Int(entry.pattern)].matches(path, in: space.patterns) }
    let count = Int(entry.pathCount)
    guard path.count >= count, entry.kind == .prefix || path.count == count else { return false }
    let start = Int(entry.pathStart)
    for offset in 0..<count where bytes[start + offset] != path[offset] { return false }
    return entry.kind == .exact || path.count == count || path[count] == UInt8(ascii: "/")
  }

  private func exactly(
    _ path: UnsafeRawBufferPointer, _ host: Int, _ slot: Slot, _ bytes: UnsafeRawBufferPointer
  ) -> Int? {
    let mask = exact.count - 1
    var bucket = Self.hash(path, host) & mask
    while exact[bucket] != 0 {
      let index = Int(exact[bucket] - 1)
      let entry = entries[index]
      if index >= Int(slot.start), index < Int(slot.patterns), Int(entry.pathCount) == path.count {
        let start = Int(entry.pathStart)
        if bytes[start..<start + path.count].elementsEqual(path) { return index }
      }
      bucket = (bucket + 1) & mask
    }
    return nil
  }

  /// The deepest node that the path's elements lead to; -1 for a path that does not begin with a slash.
  private func deepest(
    _ root: Int, _ path: UnsafeRawBufferPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    guard path.first == UInt8(ascii: "/") else { return -1 }
    var node = root
    var at = 0
    while at < path.count {
      let start = at + 1
      at = start
      while at < path.count, path[at] != UInt8(ascii: "/") { at += 1 }
      guard let next = child(of: node, UnsafeRawBufferPointer(rebasing: path[start..<at]), bytes).node else {
        return node
      }
      node = next
    }
    return node
  }

  private func child(
    of parent: Int, _ element: UnsafeRawBufferPointer, _ bytes: UnsafeRawBufferPointer
  ) -> (node: Int?, bucket: Int) {
    let mask = edges.count - 1
    var bucket = Self.hash(element, parent) & mask
    while edges[bucket] != 0 {
      let node = nodes[Int(edges[bucket] - 1)]
      if Int(node.parent) == parent, Int(node.elementCount) == element.count {
        let start = Int(node.elementStart)
        if bytes[start..<start + element.count].elementsEqual(element) {
          return (Int(edges[bucket] - 1), bucket)
        }
      }
      bucket = (bucket + 1) & mask
    }
    return (nil, bucket)
  }

  /// FNV-1a from a seed. Collisions are made by the cluster's owners, for themselves.
  private static func hash(_ bytes: UnsafeRawBufferPointer, _ seed: Int) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ (UInt64(truncatingIfNeeded: seed) &* 0x9e37_79b9_7f4a_7c15)
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return Int(truncatingIfNeeded: hash ^ hash >> 32) & Int.max
  }
}
