// Addresses that are given out one by one: blocks and ranges as an operator writes them.

/// Ranges of addresses: `192.0.2.0/28, 198.51.100.10-198.51.100.20, 2001:db8::5`. A value; look-ups cost its ranges.
public struct AddressPool: Hashable, Sendable, CustomStringConvertible {
  /// More are refused: a pool is written by hand.
  public static let rangesMax = 64
  /// Addresses that a search looks at before it gives up.
  public static let searchMax = 1 << 20

  private struct Range: Hashable, Sendable {
    var family: IPFamily
    var first: UInt128
    var last: UInt128
  }
  private var ranges: [Range] = []

  /// The empty pool.
  public init() {}

  /// Reads blocks, ranges and single addresses, separated by commas or white space. Of an IPv4 block up to /30 the first
  /// and last address stay out: neighbours take them for the network and for everybody. Nil when anything is unreadable.
  public init?(_ text: some StringProtocol) {
    for word in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
      guard ranges.count < Self.rangesMax, let range = Self.read(word) else { return nil }
      ranges.append(range)
    }
  }

  private static func read(_ word: some StringProtocol) -> Range? {
    if let block = IPPrefix(word), word.contains("/") {
      let width = block.address.family.width
      let size = block.length == 0 && width == 128 ? UInt128.max : (UInt128(1) << (width - block.length)) - 1
      var range = Range(family: block.address.family, first: block.address.number, last: 0)
      range.last = range.first + size
      if range.family == .v4, block.length <= 30 {
        range.first += 1
        range.last -= 1
      }
      return range
    }
    let ends = word.split(separator: "-", omittingEmptySubsequences: false)
    guard (1...2).contains(ends.count), let first = IPAddress(ends[0]),
      let last = IPAddress(ends[ends.count - 1]), first.family == last.family, first <= last
    else { return nil }
    return Range(family: first.family, first: first.number, last: last.number)
  }

  public var isEmpty: Bool { ranges.isEmpty }

  public func has(_ family: IPFamily) -> Bool { ranges.contains { $0.family == family } }

  public func contains(_ address: IPAddress) -> Bool {
    let number = address.number
    return ranges.contains { $0.family == address.family && $0.first <= number && number <= $0.last }
  }

  /// The first address of a family that is free, in the order of the ranges.
  public func first(_ family: IPFamily, where isFree: (IPAddress) -> Bool) -> IPAddress? {
    var looked = 0
    for range in ranges where range.family == family {
      var number = range.first
      while looked < Self.searchMax {
        looked += 1
        let address = IPAddress(family, number)
        if isFree(address) { return address }
        if number == range.last { break }
        number += 1
      }
    }
    return nil
  }

  public var description: String {
    ranges.map { "\(IPAddress($0.family, $0.first))-\(IPAddress($0.family, $0.last))" }.joined(separator: ",")
  }
}

extension IPAddress {
  fileprivate var number: UInt128 {
    switch self {
    case .v4(let address): UInt128(address.bits)
    case .v6(let address): address.bits
    }
  }
  fileprivate init(_ family: IPFamily, _ number: UInt128) {
    self =
      family == .v4
      ? .v4(IPv4Address(bits: UInt32(truncatingIfNeeded: number))) : .v6(IPv6Address(bits: number))
  }
}
