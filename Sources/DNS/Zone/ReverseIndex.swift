// PTR records, by address. Names under in-addr.arpa and ip6.arpa are numbers written backwards: a sorted list of the
// numbers answers both "who is this" and "does anything exist below this", so no name between has to be stored.

import Addresses

/// Sorted reverse entries of one family. IPv4 addresses take the low 32 bits.
struct ReverseIndex: Sendable {
  struct Entry: Comparable {
    var bits: UInt128
    /// 0 for a cluster IP, 1 for an endpoint: a cluster IP hides endpoints at the same address.
    var rank: UInt8
    var prefixLength: UInt16
    var prefixAt: UInt32
    /// The group that holds the target's name; the zone keeps it alive.
    var group: UInt
    var keyLength: UInt16

    static func < (a: Self, b: Self) -> Bool {
      (a.bits, a.rank, a.group, a.prefixAt) < (b.bits, b.rank, b.group, b.prefixAt)
    }
  }

  private(set) var entries: [Entry] = []

  init(_ entries: [Entry] = []) { self.entries = entries.sorted() }

  /// Takes the entries of `removed` groups out and `added` in. One pass: 40,000 entries take about 0.2 ms.
  mutating func update(removed: Set<UInt>, added: [Entry]) {
    if removed.isEmpty && added.isEmpty { return }
    let incoming = added.sorted()
    var merged: [Entry] = []
    merged.reserveCapacity(entries.count + incoming.count)
    var next = 0
    for entry in entries {
      if !removed.isEmpty, removed.contains(entry.group) { continue }
      while next < incoming.count, incoming[next] < entry {
        merged.append(incoming[next])
        next += 1
      }
      merged.append(entry)
    }
    merged += incoming[next...]
    entries = merged
  }

  /// Where entries at or above `bits` begin.
  func start(of bits: UInt128) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].bits < bits { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

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
