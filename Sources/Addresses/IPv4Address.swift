// An IPv4 address as one 32-bit number, so that masks, ranges and map keys are arithmetic.

/// An IPv4 address. `bits` holds it in host order: 10.0.0.1 is 0x0a000001.
public struct IPv4Address: Hashable, Sendable, Comparable {
  public var bits: UInt32

  @inlinable public init(bits: UInt32) { self.bits = bits }

  @inlinable public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    bits = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }

  /// Reads four decimal numbers. Leading zeros and other notations are refused, as Go's `netip` refuses them
  /// (CVE-2021-29923: readers that disagree on octal).
  public init?(_ text: some StringProtocol) {
    var bits: UInt32 = 0
    var parts = 0
    var digits = 0
    var value: UInt32 = 0
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        if digits > 0 && value == 0 { return nil }
        value = value * 10 + UInt32(byte - UInt8(ascii: "0"))
        digits += 1
        if digits > 3 || value > 255 { return nil }
      case UInt8(ascii: "."):
        guard digits > 0, parts < 3 else { return nil }
        bits = bits << 8 | value
        parts += 1
        digits = 0
        value = 0
      default: return nil
      }
    }
    guard parts == 3, digits > 0 else { return nil }
    self.bits = bits << 8 | value
  }

  /// Reads exactly four bytes in network order.
  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 4 else { return nil }
    bits = bytes.reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Four bytes in network order.
  public var bytes: [UInt8] {
    [
      UInt8(truncatingIfNeeded: bits >> 24), UInt8(truncatingIfNeeded: bits >> 16),
      UInt8(truncatingIfNeeded: bits >> 8), UInt8(truncatingIfNeeded: bits),
    ]
  }

  @inlinable public static func < (a: Self, b: Self) -> Bool { a.bits < b.bits }

  public var isLoopback: Bool { bits >> 24 == 127 }
  public var isLinkLocal: Bool { bits >> 16 == 0xa9fe }
  public var isMulticast: Bool { bits >> 28 == 0xe }
  public var isUnspecified: Bool { bits == 0 }
}

extension IPv4Address: CustomStringConvertible, LosslessStringConvertible {
  public init?(_ description: String) { self.init(description[...]) }
  public var description: String {
    String(unsafeUninitializedCapacity: 15) { text in
      var length = 0
      func append(_ byte: UInt8) {
        text[length] = byte
        length += 1
      }
      for shift in [UInt32(24), 16, 8, 0] {
        let number = UInt8(truncatingIfNeeded: bits >> shift)
        if number >= 100 { append(0x30 + number / 100) }
        if number >= 10 { append(0x30 + number / 10 % 10) }
        append(0x30 + number % 10)
        if shift > 0 { append(UInt8(ascii: ".")) }
      }
      return length
    }
  }
}
