// The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): who the client is, said in front of a connection's first
// byte by whoever passes it on. A value; read from bytes that are peeked at, so that what follows stays in the socket.
//
//   1:  "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443" CR LF                            107 bytes at most
//   2:  signature (12) | version and command | family and transport | length u16 | addresses | TLVs

import Addresses

/// A version of the PROXY protocol.
public enum ProxyVersion: UInt8, Sendable, Hashable, CaseIterable {
  case v1 = 1
  case v2 = 2
}

/// Where a connection came from and where it went, as the client sees it.
public struct ProxyAddresses: Sendable, Hashable {
  public var source: SocketEndpoint
  public var destination: SocketEndpoint

  public init(source: SocketEndpoint, destination: SocketEndpoint) {
    self.source = source
    self.destination = destination
  }
}

/// Which connections to a listener say by the PROXY protocol where they come from (`use-proxy-protocol`, `proxy-real-ip-cidr`).
public struct ProxyAcceptance: Sendable, Hashable {
  /// Who is believed. Others have to send the header too, and count as the client themselves.
  public var sources: [IPPrefix]

  /// - Parameter sources: empty: everybody.
  public init(sources: [IPPrefix] = []) { self.sources = sources }

  func believes(_ peer: IPAddress) -> Bool { sources.isEmpty || sources.contains { $0.contains(peer) } }
}

/// A header that was read, or why not.
enum ProxyHeader: Equatable {
  /// More bytes have to come before it can be judged.
  case unfinished
  case malformed
  /// - addresses: nil when the sender speaks for itself, or of addresses that are none of IP.
  case header(length: Int, addresses: ProxyAddresses?)

  /// Bytes of a whole header; what says of itself that it is longer is refused.
  static let bytesMax = 4096
  private static let textBytesMax = 107
  private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]
  private static let word = Array("PROXY".utf8)

  /// Reads what a connection begins with.
  init(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else {
      self = .unfinished
      return
    }
    let opening = first == Self.signature[0] ? Self.signature : Self.word
    guard bytes.starts(with: opening.prefix(bytes.count)) else {
      self = .malformed
      return
    }
    guard bytes.count >= opening.count else {
      self = .unfinished
      return
    }
    self = first == Self.signature[0] ? Self.binary(bytes) : Self.text(bytes)
  }

  // MARK: Version 1

  private static func text(_ bytes: UnsafeRawBufferPointer) -> ProxyHeader {
    let window = bytes.prefix(textBytesMax)
    guard let end = window.firstIndex(of: 10) else {
      return bytes.count >= textBytesMax ? .malformed : .unfinished
    }
    guard end > 0, bytes[end - 1] == 13 else { return .malformed }
    let words = bytes[..<(end - 1)].split(separator: 32, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    guard words.count >= 2 else { return .malformed }
    // Whatever follows is passed over.
    if words[1] == "UNKNOWN" { return .header(length: end + 1, addresses: nil) }
    guard words.count == 6, let source = endpoint(words[2], words[4]),
      let destination = endpoint(words[3], words[5])
    else { return .malformed }
    let family: IPFamily? = words[1] == "TCP4" ? .v4 : words[1] == "TCP6" ? .v6 : nil
    guard source.address.family == family, destination.address.family == family else { return .malformed }
    return .header(
      length: end + 1, addresses: ProxyAddresses(source: source, destination: destination))
  }

  private static func endpoint(_ address: String, _ port: String) -> SocketEndpoint? {
    guard let address = IPAddress(address), !port.isEmpty, port.utf8.allSatisfy({ $0 &- 48 < 10 }),
      port == "0" || !port.hasPrefix("0"), let number = UInt16(port)
    else { return nil }
    return SocketEndpoint(address, number)
  }

  // MARK: Version 2

  private static func binary(_ bytes: UnsafeRawBufferPointer) -> ProxyHeader {
    guard bytes.count >= 16 else { return .unfinished }
    let (command, family) = (bytes[12], bytes[13])
    let length = 16 + (Int(bytes[14]) << 8 | Int(bytes[15]))
    guard command >> 4 == 2, command & 15 <= 1, length <= bytesMax else { return .malformed }
    guard family >> 4 <= 3, family & 15 <= 2 else { return .malformed }
    guard bytes.count >= length else { return .unfinished }
    // LOCAL: the sender's own, such as a check. What it says of addresses has no meaning.
    if command & 15 == 0 { return .header(length: length, addresses: nil) }
    let body = UnsafeRawBufferPointer(rebasing: bytes[16..<length])
    let sizes = [0, 12, 36, 216]
    let size = sizes[Int(family >> 4)]
    guard body.count >= size, isList(UnsafeRawBufferPointer(rebasing: body[size...])) || family >> 4 == 0
    else { return .malformed }
    // Datagrams, Unix sockets and what is not specified: no client of ours.
    guard family & 15 == 1, size == 12 || size == 36 else {
      return .header(length: length, addresses: nil)
    }
    let width = size == 12 ? 4 : 16
    guard let source = IPAddress(bytes: body[..<width]),
      let destination = IPAddress(bytes: body[width..<(2 * width)])
    else { return .malformed }
    func port(_ at: Int) -> UInt16 { UInt16(body[at]) << 8 | UInt16(body[at + 1]) }
    return .header(
      length: length,
      addresses: ProxyAddresses(
        source: SocketEndpoint(source, port(2 * width)),
        destination: SocketEndpoint(destination, port(2 * width + 2))))
  }

  /// Whether bytes are type, length and value again and again, to their end.
  private static func isList(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var at = 0
    while at < bytes.count {
      guard bytes.count - at >= 3 else { return false }
      at += 3 + (Int(bytes[at + 1]) << 8 | Int(bytes[at + 2]))
    }
    return at == bytes.count
  }

  // MARK: Writing

  /// The header to send in front of a connection.
  /// - Parameter addresses: nil for a connection of our own, such as a check: LOCAL, or UNKNOWN.
  static func bytes(_ version: ProxyVersion, _ addresses: ProxyAddresses?) -> [UInt8] {
    switch version {
    case .v1:
      guard let addresses else { return Array("PROXY UNKNOWN\r\n".utf8) }
      let isV4 = addresses.source.address.family == .v4 && addresses.destination.address.family == .v4
      func text(_ address: IPAddress) -> String { isV4 ? "\(address)" : "\(widened(address))" }
      let (source, destination) = (addresses.source, addresses.destination)
      return Array(
        "PROXY \(isV4 ? "TCP4" : "TCP6") \(text(source.address)) \(text(destination.address)) \(source.port) \(destination.port)\r\n"
          .utf8)
    case .v2:
      guard let addresses else { return signature + [0x20, 0, 0, 0] }
      let (source, destination) = (addresses.source, addresses.destination)
      let isV4 = source.address.family == .v4 && destination.address.family == .v4
      var bytes = signature + [0x21, isV4 ? 0x11 : 0x21, 0, isV4 ? 12 : 36]
      for address in [source.address, destination.address] {
        bytes += isV4 ? address.bytes : widened(address).bytes
      }
      for port in [source.port, destination.port] {
        bytes += [UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
      }
      return bytes
    }
  }

  /// Both addresses of a header are of one family: IPv4 as `::ffff:a.b.c.d`.
  private static func widened(_ address: IPAddress) -> IPv6Address {
    switch address {
    case .v6(let address): address
    case .v4(let address): IPv6Address(bits: 0xffff << 32 | UInt128(address.bits))
    }
  }
}
