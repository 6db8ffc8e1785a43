// PTR records, by address. Names under in-addr.arpa and ip6.arpa are numbers written backwards: a trie over the numbers'
// bits answers both "who is this" and "does anything exist below this", so no name between has to be stored.

import Addresses

/// One PTR record: an address, and where its target's name stands.
struct ReverseEntry: TrieEntry {
  /// The address, at the top of the 128 bits.
  var key: UInt128
  /// The group that holds the target's name; the zone keeps it alive.
  var group: UInt
  var prefixAt: UInt32
  /// Names have 255 octets at most.
  var prefixLength: UInt8
  var keyLength: UInt8
  /// 0 for a cluster IP, 1 for an endpoint, 2 and 3 for those of the cluster set: the lower hides the others at the same address.
  var rank: UInt8

  static func isBefore(_ a: Self, _ b: Self) -> Bool {
    (a.rank, a.group, a.prefixAt) < (b.rank, b.group, b.prefixAt)
  }

  static func key(_ address: IPAddress) -> UInt128 {
    switch address {
    case .v4(let four): UInt128(four.bits) << 96
    case .v6(let six): six.bits
    }
  }
}

typealias ReverseIndex = Trie<ReverseEntry>

/// A name under a reverse zone, read back as the leading bits of an address.
struct ReverseName {
  var family: IPFamily
  /// The known bits, at the top of the family's width.
  var bits: UInt128
  var knownBits: Int

  /// Reads the labels in front of `in-addr.arpa` or `ip6.arpa`. Nil when a label is no number of its kind: such a
  /// name cannot exist.
  init?(_ packet: RawSpan, _ head: borrowing QueryHead, family: IPFamily) {
    let count = head.labelCount - 2
    guard count >= 0, count <= (family == .v4 ? 4 : 32) else { return nil }
    var bits: UInt128 = 0
    for index in 0..<count {
      let at = Header.byteCount + Int(head.labels[count - 1 - index])
      let length = Int(packet.byte(at: at))
      var value = 0
      switch family {
      case .v4:
        guard length <= 3 else { return nil }
        for offset in 1...length {
          let digit = packet.byte(at: at + offset) &- 48
          guard digit < 10, !(offset > 1 && value == 0) else { return nil }
          value = value * 10 + Int(digit)
        }
        guard value < 256 else { return nil }
        bits = bits << 8 | UInt128(value)
      case .v6:
        guard length == 1 else { return nil }
        let digit = foldedByte(packet.byte(at: at + 1))
        switch digit {
        case 48...57: value = Int(digit - 48)
        case 97...102: value = Int(digit - 87)
        default: return nil
        }
        bits = bits << 4 | UInt128(value)
      }
    }
    knownBits = count * (family == .v4 ? 8 : 4)
    self.family = family
    self.bits = knownBits == 0 ? 0 : bits << UInt128(family.width - knownBits)
  }
}
