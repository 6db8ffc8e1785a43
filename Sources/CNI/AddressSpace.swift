// The addresses of a range set, numbered, so that an index over them is a bitmap.
import Addresses

/// The addresses of one range set as consecutive numbers: the first range's, then the second's, and so on.
struct AddressSpace: Sendable {
  let ranges: [AddressRange]
  let capacity: Int

  /// A set larger than this gives out its first addresses only.
  static let capacityMax = 1 << 20

  init(_ ranges: [AddressRange]) {
    self.ranges = ranges
    capacity = min(ranges.reduce(0) { min($0 + Self.count($1), Self.capacityMax) }, Self.capacityMax)
  }

  /// As usual for disks: from 90 % on. Said by STATUS, by `weft cni check` and by the node agent.
  static func isNearlyExhausted(used: Int, total: Int) -> Bool { used * 10 >= total * 9 }

  static func count(_ range: AddressRange) -> Int {
    switch (range.first, range.last) {
    case (.v4(let first), .v4(let last)): Int(last.bits - first.bits) + 1
    case (.v6(let first), .v6(let last)): Int(min(last.bits - first.bits, UInt128(capacityMax))) + 1
    default: 0
    }
  }

  func address(at offset: Int) -> (address: IPAddress, range: AddressRange)? {
    guard (0..<capacity).contains(offset) else { return nil }
    var rest = offset
    for range in ranges {
      let count = Self.count(range)
      if rest < count {
        switch range.first {
        case .v4(let first): return (.v4(IPv4Address(bits: first.bits + UInt32(rest))), range)
        case .v6(let first): return (.v6(IPv6Address(bits: first.bits + UInt128(rest))), range)
        }
      }
      rest -= count
    }
    return nil
  }

  func offset(of address: IPAddress) -> Int? {
    var base = 0
    for range in ranges {
      if range.first.family == address.family, range.first <= address, address <= range.last {
        let distance: Int
        switch (range.first, address) {
        case (.v4(let first), .v4(let own)): distance = Int(own.bits - first.bits)
        case (.v6(let first), .v6(let own)):
          distance = Int(min(own.bits - first.bits, UInt128(Self.capacityMax)))
        default: return nil
        }
        return base + distance < capacity ? base + distance : nil
      }
      base = min(base + Self.count(range), Self.capacityMax)
    }
    return nil
  }

  /// A number that changes when the ranges do.
  var shape: UInt64 {
    ranges.reduce(Hash.start) { Hash.add("\($1.subnet) \($1.first) \($1.last) \($1.gateway);", to: $0) }
  }

  var description: String { ranges.map { "\($0.first)-\($0.last)" }.joined(separator: ", ") }
}

/// FNV-1a: small and the same in every process.
enum Hash {
  static let start: UInt64 = 0xcbf2_9ce4_8422_2325
  static func add(_ text: String, to hash: UInt64) -> UInt64 {
    text.utf8.reduce(hash) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
