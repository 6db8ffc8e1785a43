// An IPv6 address as one 128-bit number. Text as RFC 4291 section 2.2 reads it and RFC 5952 writes it.

/// An IPv6 address. `bits` holds it in host order. Zones (`%eth0`) are not part of it.
public struct IPv6Address: Hashable, Sendable, Comparable {
  public var bits: UInt128

  @inlinable public init(bits: UInt128) { self.bits = bits }

  /// Reads exactly sixteen bytes in network order.
  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 16 else { return nil }
    bits = bytes.reduce(0) { $0 << 8 | UInt128($1) }
  }

  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count >= 3, parts.count <= 9 else { return nil }
    var groups: [UInt16] = []
    var gapAt: Int? = nil
    for (index, part) in parts.enumerated() {
      if part.isEmpty {
        let atEdge = index == 0 || index == parts.count - 1
        if atEdge {
          // "::x" and "x::" show as two empty parts at the edge; a single one is malformed.
          let neighbour = index == 0 ? parts[1] : parts[index - 1]
          guard neighbour.isEmpty else { return nil }
          continue
        }
        guard gapAt == nil else { return nil }
        gapAt = groups.count
      } else if index == parts.count - 1, part.contains(".") {
        guard let four = IPv4Address(part) else { return nil }
        groups.append(UInt16(truncatingIfNeeded: four.bits >> 16))
        groups.append(UInt16(truncatingIfNeeded: four.bits))
      } else {
        guard part.utf8.count <= 4,
          part.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
          let group = UInt16(part, radix: 16)
        else { return nil }
        groups.append(group)
      }
    }
    if let gapAt {
      guard groups.count < 8 else { return nil }
      groups.insert(contentsOf: [UInt16](repeating: 0, count: 8 - groups.count), at: gapAt)
    }
    guard groups.count == 8 else { return nil }
    bits = groups.reduce(0) { $0 << 16 | UInt128($1) }
  }

  /// Sixteen bytes in network order.
  public var bytes: [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: bits >> UInt128(120 - 8 * $0)) } }

  @inlinable public static func < (a: Self, b: Self) -> Bool { a.bits < b.bits }

  public var isLoopback: Bool { bits == 1 }
  public var isLinkLocal: Bool { bits >> 118 == 0x3fa }
  public var isMulticast: Bool { bits >> 120 == 0xff }
  public var isUnspecified: Bool { bits == 0 }
}

extension IPv6Address: CustomStringConvertible, LosslessStringConvertible {
  public init?(_ description: String) { self.init(description[...]) }

  /// RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups as `::`.
  public var description: String {
    let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> UInt128(112 - 16 * $0)) }
    var best = 0..<0
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, groups[end] == 0 { end += 1 }
      if end - start >= 2, end - start > best.count { best = start..<end }
      start = max(end, start + 1)
    }
    func text(_ range: Range<Int>) -> String {
      range.map { String(groups[$0], radix: 16) }.joined(separator: ":")
    }
    return best.isEmpty ? text(0..<8) : text(0..<best.lowerBound) + "::" + text(best.upperBound..<8)
  }
}
