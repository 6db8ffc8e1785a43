// The names of the zone by the hash of their last labels.

/// Where the group with a hash lies.
struct NameEntry: TrieEntry, @unchecked Sendable {
  var hash: UInt64
  var base: UnsafeRawPointer

  var key: UInt128 { UInt128(hash) << 64 }
  static func isBefore(_ a: Self, _ b: Self) -> Bool { a.base < b.base }
}

typealias NameIndex = Trie<NameEntry>

extension TrieView<NameEntry> {
  /// The same walk as `candidates`, on the 64 bits a name's key has.
  @inline(__always)
  func candidates(hash: UInt64) -> UnsafeBufferPointer<NameEntry> {
    var at = word
    var bits = hash
    while at & 1 == 0, let base = UnsafeRawPointer(bitPattern: at) {
      at = base.load(fromByteOffset: Int(truncatingIfNeeded: bits >> 60) &* 8, as: UInt.self)
      bits = bits << 4
    }
    return TrieView(word: at).leaf
  }

  /// Where the leaf of a hash begins; nil when there is none. Nothing of the leaf is read.
  @inline(__always)
  func leafAddress(hash: UInt64) -> UnsafeRawPointer? {
    var at = word
    var bits = hash
    while at & 1 == 0, let base = UnsafeRawPointer(bitPattern: at) {
      at = base.load(fromByteOffset: Int(truncatingIfNeeded: bits >> 60) &* 8, as: UInt.self)
      bits = bits << 4
    }
    return UnsafeRawPointer(bitPattern: at & ~1)
  }
}

/// A pod's address in a namespace, for `pods verified`. The key mixes both, so that addresses of one network spread.
struct PodEntry: TrieEntry, Hashable {
  /// The hash of `<namespace>.pod.<zone>`.
  var namespace: UInt64
  var bits: UInt128
  var isSix: Bool

  var key: UInt128 {
    let high = (namespace ^ UInt64(truncatingIfNeeded: bits)).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    let low = (UInt64(truncatingIfNeeded: bits >> 64) ^ high.low).multipliedFullWidth(
      by: 0xbf58_476d_1ce4_e5b9)
    return UInt128(high.high ^ low.low) << 64 | UInt128(low.high ^ high.low)
  }
  static func isBefore(_ a: Self, _ b: Self) -> Bool {
    (a.namespace, a.bits, a.isSix ? 1 : 0) < (b.namespace, b.bits, b.isSix ? 1 : 0)
  }
}
