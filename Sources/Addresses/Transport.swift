// Layer 4 and layer 2 names: protocol, port, endpoint address, hardware address.

/// The transport protocols a Service can speak. The raw value is Kubernetes' spelling.
public enum TransportProtocol: String, Hashable, Sendable, CaseIterable, Comparable {
  case tcp = "TCP"
  case udp = "UDP"
  case sctp = "SCTP"

  /// The number in the IP header (IANA protocol numbers).
  public var number: UInt8 {
    switch self {
    case .tcp: 6
    case .udp: 17
    case .sctp: 132
    }
  }

  public init?(number: UInt8) {
    switch number {
    case 6: self = .tcp
    case 17: self = .udp
    case 132: self = .sctp
    default: return nil
    }
  }

  public static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

/// An address and a port: where packets of a connection go or come from.
public struct SocketEndpoint: Hashable, Sendable, Comparable, CustomStringConvertible {
  public var address: IPAddress
  public var port: UInt16

  public init(_ address: IPAddress, _ port: UInt16) {
    self.address = address
    self.port = port
  }

  /// Reads `10.0.0.1:80` and `[fd00::1]:80`.
  public init?(_ text: some StringProtocol) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
      return nil
    }
    var host = text[..<colon]
    if host.first == "[" {
      guard host.last == "]" else { return nil }
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    guard let address = IPAddress(host) else { return nil }
    self.init(address, port)
  }

  public var description: String {
    switch address {
    case .v4: "\(address):\(port)"
    case .v6: "[\(address)]:\(port)"
    }
  }

  public static func < (a: Self, b: Self) -> Bool { (a.address, a.port) < (b.address, b.port) }
}

/// A 48-bit Ethernet address.
public struct MACAddress: Hashable, Sendable, CustomStringConvertible {
  public var bytes: [6 of UInt8]

  public init(bytes: [6 of UInt8]) { self.bytes = bytes }

  /// Reads exactly six bytes.
  public init?(_ source: some Collection<UInt8>) { self.init([UInt8](source)) }

  /// The same. Not generic: the CNI plugin would spend a sixth of its instructions on working out what it is given.
  public init?(_ source: [UInt8]) {
    guard source.count == 6 else { return nil }
    bytes = [source[0], source[1], source[2], source[3], source[4], source[5]]
  }

  /// Reads `0a:58:0a:2a:00:02`.
  public init?(text: some StringProtocol) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 6, parts.allSatisfy({ $0.utf8.count == 2 }) else { return nil }
    let bytes = parts.compactMap { UInt8($0, radix: 16) }
    self.init(bytes)
  }

  /// A locally administered address derived from an IPv4 address (0a:58 and the four bytes), so that an address
  /// that is used again keeps its neighbour entries true.
  public init(derivedFrom address: IPv4Address) {
    let four = address.bytes
    bytes = [0x0a, 0x58, four[0], four[1], four[2], four[3]]
  }

  public var array: [UInt8] { [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]] }

  public var description: String {
    String(unsafeUninitializedCapacity: 17) { text in
      func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
      for index in 0..<6 {
        text[index * 3] = digit(bytes[index] >> 4)
        text[index * 3 + 1] = digit(bytes[index] & 0xf)
        if index < 5 { text[index * 3 + 2] = UInt8(ascii: ":") }
      }
      return 17
    }
  }

  public static func == (a: Self, b: Self) -> Bool { a.array == b.array }
  public func hash(into hasher: inout Hasher) { for index in 0..<6 { hasher.combine(bytes[index]) } }
}
