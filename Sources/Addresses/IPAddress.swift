// An address of either family, and what goes with it: prefixes, ports, protocols, hardware addresses.

/// An IP address of either family. IPv4 sorts before IPv6.
public enum IPAddress: Hashable, Sendable, Comparable {
  case v4(IPv4Address)
  case v6(IPv6Address)

  /// Reads what `inet_pton` reads for either family, in canonical decimal or RFC 4291 text.
  public init?(_ text: some StringProtocol) {
    if let four = IPv4Address(text) {
      self = .v4(four)
    } else if let six = IPv6Address(text) {
      self = .v6(six)
    } else {
      return nil
    }
  }

  /// Reads four or sixteen bytes in network order.
  public init?(bytes: some Collection<UInt8>) {
    if let four = IPv4Address(bytes: bytes) {
      self = .v4(four)
    } else if let six = IPv6Address(bytes: bytes) {
      self = .v6(six)
    } else {
      return nil
    }
  }

  public var family: IPFamily {
    switch self {
    case .v4: .v4
    case .v6: .v6
    }
  }

  public var v4: IPv4Address? { if case .v4(let address) = self { address } else { nil } }
  public var v6: IPv6Address? { if case .v6(let address) = self { address } else { nil } }

  /// Four or sixteen bytes in network order.
  public var bytes: [UInt8] {
    switch self {
    case .v4(let address): address.bytes
    case .v6(let address): address.bytes
    }
  }

  public var isLoopback: Bool {
    switch self {
    case .v4(let address): address.isLoopback
    case .v6(let address): address.isLoopback
    }
  }
}

extension IPAddress: CustomStringConvertible, LosslessStringConvertible {
  public init?(_ description: String) { self.init(description[...]) }
  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}

/// Which of the two. The raw value is Kubernetes' spelling (`ipFamilies`).
public enum IPFamily: String, Hashable, Sendable, CaseIterable, Comparable {
  case v4 = "IPv4"
  case v6 = "IPv6"
  public static func < (a: Self, b: Self) -> Bool { a == .v4 && b == .v6 }
  /// Bits of an address.
  public var width: Int { self == .v4 ? 32 : 128 }
}

/// An address block such as 10.42.0.0/16. Host bits are kept out: two equal blocks are equal values.
public struct IPPrefix: Hashable, Sendable, Comparable {
  public let address: IPAddress
  public let length: Int

  /// Nil when `length` is out of range for the family. Host bits of `address` are cleared.
  public init?(_ address: IPAddress, length: Int) {
    guard (0...address.family.width).contains(length) else { return nil }
    self.length = length
    switch address {
    case .v4(let four):
      self.address = .v4(IPv4Address(bits: length == 0 ? 0 : four.bits & (~0 << UInt32(32 - length))))
    case .v6(let six):
      self.address = .v6(IPv6Address(bits: length == 0 ? 0 : six.bits & (~0 << UInt128(128 - length))))
    }
  }

  /// Reads `ADDRESS/LENGTH`; an address alone is a block of one.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let address = IPAddress(first) else { return nil }
    if parts.count == 1 {
      self.init(address, length: address.family.width)
    } else {
      guard !parts[1].isEmpty, parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
        let length = Int(parts[1])
      else { return nil }
      self.init(address, length: length)
    }
  }

  public var family: IPFamily { address.family }
  public var isSingle: Bool { length == family.width }

  public func contains(_ other: IPAddress) -> Bool {
    other.family == family && IPPrefix(other, length: length)?.address == address
  }

  public func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }

  /// The last address of the block.
  public var last: IPAddress {
    switch address {
    case .v4(let four): .v4(IPv4Address(bits: length == 32 ? four.bits : four.bits | (~0 >> UInt32(length))))
    case .v6(let six): .v6(IPv6Address(bits: length == 128 ? six.bits : six.bits | (~0 >> UInt128(length))))
    }
  }

  /// The address `offset` places after the first; nil outside the block. Offset 10 of 10.43.0.0/16 is 10.43.0.10.
  public func address(at offset: UInt64) -> IPAddress? {
    let candidate: IPAddress
    switch address {
    case .v4(let four):
      let sum = UInt64(four.bits) + offset
      guard sum <= UInt64(UInt32.max) else { return nil }
      candidate = .v4(IPv4Address(bits: UInt32(sum)))
    case .v6(let six):
      let (sum, overflow) = six.bits.addingReportingOverflow(UInt128(offset))
      guard !overflow else { return nil }
      candidate = .v6(IPv6Address(bits: sum))
    }
    return contains(candidate) ? candidate : nil
  }

  public static func < (a: Self, b: Self) -> Bool { (a.address, a.length) < (b.address, b.length) }
}

extension IPPrefix: CustomStringConvertible, LosslessStringConvertible {
  public init?(_ description: String) { self.init(description[...]) }
  public var description: String { "\(address)/\(length)" }
}
