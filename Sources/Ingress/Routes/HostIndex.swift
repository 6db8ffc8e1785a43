// Names of hosts by look-up over bytes, for routes and for certificates: an exact name, then `*.` and everything behind
// the first label, then the name of every host.

/// Where a host's entry is among the names it was made of. Immutable; a look-up allocates nothing.
struct HostIndex: Sendable, Hashable {
  /// Open addressing over the hash of the lower-case name: index into `names` plus one, 0 for free.
  private var buckets: [UInt32]
  /// Names behind a wildcard are kept with their dot.
  private var names: [[UInt8]]
  private var anyHost: Int?
  /// `*.` stands for any number of labels, not for one.
  private let isDeep: Bool

  /// - Parameter hosts: distinct, lower case; empty for every host, `*.` in front for one label more.
  init(_ hosts: [String], isDeep: Bool = false) {
    self.isDeep = isDeep
    names = hosts.map { Array(($0.hasPrefix("*.") ? $0.dropFirst(1) : $0[...]).utf8) }
    var size = 8
    while size < hosts.count * 2 { size *= 2 }
    buckets = Array(repeating: 0, count: size)
    for (index, host) in hosts.enumerated() {
      if host.isEmpty {
        anyHost = index
        continue
      }
      var at = names[index].withUnsafeBytes { Self.hash($0) } & (size - 1)
      while buckets[at] != 0 { at = (at + 1) & (size - 1) }
      buckets[at] = UInt32(index + 1)
    }
  }

  /// The entry that a host falls under: case does not matter, a port and a dot at its end are passed over. Constant in
  /// the number of names.
  func find(host: UnsafeRawBufferPointer) -> Int? {
    var found: Int?
    forEach(host: host) {
      found = $0
      return false
    }
    return found
  }

  /// The entries that a host falls under, the most specific first, until `body` answers false. Constant in the number of
  /// names.
  func forEach(host: UnsafeRawBufferPointer, _ body: (Int) -> Bool) {
    let name = Self.withoutPort(host)
    // A host that begins with a dot is none of the names behind a wildcard.
    if name.first != UInt8(ascii: ".") {
      if let exact = lookUp(name), !body(exact) { return }
      var from = 1
      while from < name.count, let dot = name[from...].firstIndex(of: UInt8(ascii: ".")) {
        let rest = UnsafeRawBufferPointer(rebasing: name[dot...])
        if let wildcard = lookUp(rest), !body(wildcard) { return }
        if !isDeep { break }
        from = dot + 1
      }
    }
    if let anyHost { _ = body(anyHost) }
  }

  private func lookUp(_ name: UnsafeRawBufferPointer) -> Int? {
    if name.isEmpty { return nil }
    let mask = buckets.count - 1
    var at = Self.hash(name) & mask
    while buckets[at] != 0 {
      let index = Int(buckets[at] - 1)
      if Self.isEqual(names[index], name) { return index }
      at = (at + 1) & mask
    }
    return nil
  }

  static func withoutPort(_ host: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var end = host.count
    if let colon = host.lastIndex(of: UInt8(ascii: ":")), !host[colon...].contains(UInt8(ascii: "]")) {
      end = colon
    }
    if end > 0, host[end - 1] == UInt8(ascii: ".") { end -= 1 }
    return UnsafeRawBufferPointer(rebasing: host[..<end])
  }

  /// FNV-1a over lower-case bytes. An attacker's collisions cost probes only among hosts that the cluster's
  /// owners wrote.
  private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(lowercase(byte))) &* 0x100_0000_01b3 }
    return Int(truncatingIfNeeded: hash ^ hash >> 32) & Int.max
  }

  private static func isEqual(_ name: [UInt8], _ bytes: UnsafeRawBufferPointer) -> Bool {
    guard name.count == bytes.count else { return false }
    for index in name.indices where name[index] != lowercase(bytes[index]) { return false }
    return true
  }
}

@inline(__always) func lowercase(_ byte: UInt8) -> UInt8 { byte &- 65 < 26 ? byte | 0x20 : byte }
