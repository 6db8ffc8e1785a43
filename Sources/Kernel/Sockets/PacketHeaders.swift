// Whose a packet is, from its own bytes: addresses, protocol, ports, TCP's flags. Bytes that do not fit give less, never a trap.

import Addresses

/// The headers of an IPv4 (RFC 791) or IPv6 (RFC 8200) packet. A value of fixed size: reading allocates nothing.
public struct PacketHeaders: Sendable, Hashable {
  public var source: IPAddress
  public var destination: IPAddress
  /// IANA protocol number; of IPv6 that behind its extension headers.
  public var transport: UInt8
  /// Zero where the protocol has none, and in later fragments.
  public var sourcePort: UInt16 = 0
  public var destinationPort: UInt16 = 0
  public var tcpFlags: UInt8 = 0
  /// Bytes of the packet from the IP header on, as the header says.
  public var length: UInt32
  /// Where the transport's header begins in the bytes that were read; nil in a later fragment.
  public var transportAt: Int?

  public var sourceEnd: SocketEndpoint { SocketEndpoint(source, sourcePort) }
  public var destinationEnd: SocketEndpoint { SocketEndpoint(destination, destinationPort) }

  /// Extension headers of IPv6 that are walked through before the transport.
  public static let extensionsMax = 8

  /// Reads a packet from its IP header on; nil for what is none.
  public init?(ip bytes: UnsafeRawBufferPointer) { self.init(bytes, at: 0) }

  /// Reads an Ethernet frame, with or without a VLAN tag; nil when it carries no IP.
  public init?(ethernet bytes: UnsafeRawBufferPointer) {
    guard let (kind, at) = Self.payload(ofEthernet: bytes), kind == 0x0800 || kind == 0x86dd else {
      return nil
    }
    self.init(bytes, at: at)
  }

  /// What an Ethernet frame carries (IEEE 802 numbers) and where it begins; nil for a frame that ends before.
  public static func payload(ofEthernet bytes: UnsafeRawBufferPointer) -> (kind: UInt16, at: Int)? {
    var at = 12
    // 802.1Q, and 802.1ad outside of it.
    for _ in 0..<2 {
      guard at + 2 <= bytes.count else { return nil }
      let kind = number(bytes, at)
      guard kind == 0x8100 || kind == 0x88a8 else { return (kind, at + 2) }
      at += 4
    }
    return at + 2 <= bytes.count ? (number(bytes, at), at + 2) : nil
  }

  private init?(_ bytes: UnsafeRawBufferPointer, at start: Int) {
    guard start < bytes.count else { return nil }
    switch bytes[start] >> 4 {
    case 4: self.init(four: bytes, at: start)
    case 6: self.init(six: bytes, at: start)
    default: return nil
    }
  }

  private init?(four bytes: UnsafeRawBufferPointer, at start: Int) {
    let headerLength = Int(bytes[start] & 0xf) * 4
    guard bytes.count - start >= 20, headerLength >= 20 else { return nil }
    source = .v4(IPv4Address(bits: Self.word(bytes, start + 12)))
    destination = .v4(IPv4Address(bits: Self.word(bytes, start + 16)))
    transport = bytes[start + 9]
    length = UInt32(Self.number(bytes, start + 2))
    // A later fragment has no transport header.
    if Self.number(bytes, start + 6) & 0x1fff == 0 { readTransport(bytes, at: start + headerLength) }
  }

  /// Extension headers give their length in units of eight bytes, fragments are always eight, authentication counts in fours.
  private init?(six bytes: UnsafeRawBufferPointer, at start: Int) {
    guard bytes.count - start >= 40 else { return nil }
    source = .v6(Self.address(bytes, start + 8))
    destination = .v6(Self.address(bytes, start + 24))
    length = 40 + UInt32(Self.number(bytes, start + 4))
    var (next, at) = (bytes[start + 6], start + 40)
    var isFirst = true
    for _ in 0..<Self.extensionsMax {
      guard [0, 43, 44, 51, 60].contains(next), at + 8 <= bytes.count else { break }
      if next == 44, Self.number(bytes, at + 2) & 0xfff8 != 0 { isFirst = false }
      let size = next == 44 ? 8 : next == 51 ? (Int(bytes[at + 1]) + 2) * 4 : (Int(bytes[at + 1]) + 1) * 8
      next = bytes[at]
      at += size
    }
    transport = next
    if isFirst { readTransport(bytes, at: at) }
  }

  /// TCP, UDP and SCTP begin with their ports.
  private mutating func readTransport(_ bytes: UnsafeRawBufferPointer, at start: Int) {
    guard start <= bytes.count else { return }
    transportAt = start
    guard TransportProtocol(number: transport) != nil, start + 4 <= bytes.count else { return }
    sourcePort = Self.number(bytes, start)
    destinationPort = Self.number(bytes, start + 2)
    if transport == TransportProtocol.tcp.number, start + 14 <= bytes.count { tcpFlags = bytes[start + 13] }
  }

  private static func number(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt16 {
    UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self))
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt32 {
    UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
  }

  private static func address(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> IPv6Address {
    IPv6Address(
      bits: (0..<4).reduce(0) { $0 << 32 | UInt128(word(bytes, at + 4 * $1)) })
  }
}
