// Opening sockets: listeners, datagram sockets, outgoing connections. All non-blocking and closed on exec.

import Addresses
import CLinux
import Glibc

/// Functions that open sockets in the network namespace of the calling thread and hand the descriptor out.
public enum Sockets {
  /// Connections that the kernel keeps waiting for accept (capped by net.core.somaxconn).
  public static let backlogDefault: Int32 = 4096

  /// A listening TCP socket. With `reusePort` several sockets share the port and the kernel spreads
  /// connections.
  /// - Parameters:
  ///   - v6Only: an IPv6 socket takes no IPv4 connections, so that 0.0.0.0 and :: can have one each.
  ///   - freely: the address need not be a link's: IPv6 asks for that where a local route makes it ours.
  public static func listenTCP(
    _ endpoint: SocketEndpoint, reusePort: Bool = true, backlog: Int32 = backlogDefault, v6Only: Bool = false,
    freely: Bool = false
  ) throws(SocketError) -> Descriptor {
    let descriptor = try open(endpoint, SOCK_STREAM)
    if freely { try bindFreely(descriptor, endpoint) }
    if v6Only, endpoint.address.family == .v6 { try set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    try set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
    if reusePort { try set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
    try bind(descriptor, endpoint)
    guard listen(descriptor.raw, backlog) == 0 else {
      throw SocketError("listen", errno, endpoint: "\(endpoint)")
    }
    return descriptor
  }

  /// A bound UDP socket that reports each datagram's destination address (IP_PKTINFO).
  public static func bindUDP(
    _ endpoint: SocketEndpoint, reusePort: Bool = true, receiveBufferBytes: Int32 = 4 << 20,
    v6Only: Bool = false, freely: Bool = false
  ) throws(SocketError) -> Descriptor {
    let descriptor = try open(endpoint, SOCK_DGRAM)
    if freely { try bindFreely(descriptor, endpoint) }
    if v6Only, endpoint.address.family == .v6 { try set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    if reusePort { try set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
    try set(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBufferBytes)
    if endpoint.address.family == .v4 {
      try set(descriptor, Int32(IPPROTO_IP), IP_PKTINFO, 1)
    } else {
      try set(descriptor, Int32(IPPROTO_IPV6), IPV6_RECVPKTINFO, 1)
    }
    try bind(descriptor, endpoint)
    return descriptor
  }

  /// A UDP socket of a random port, connected so that only this peer's datagrams and errors arrive.
  /// - Parameter source: sends as this address, which need not be the machine's (IP_TRANSPARENT).
  public static func connectUDP(_ endpoint: SocketEndpoint, from source: SocketEndpoint? = nil)
    throws(SocketError) -> Descriptor
  {
    let descriptor = try open(endpoint, SOCK_DGRAM)
    // Alone on its port: answers of two sockets that shared it could not be told apart.
    if let source { try bindTransparently(descriptor, source) }
    let raw = descriptor.raw
    guard SocketAddress(endpoint).withSockaddr({ Glibc.connect(raw, $0, $1) }) == 0 else {
      throw SocketError("connect", errno, endpoint: "\(endpoint)")
    }
    return descriptor
  }

  /// A UDP socket connected from a random port of 16384 to 65535 without those of node ports: more of them than the kernel draws
  /// from, for questions whose answers may be forged (RFC 5452 section 9.2). From a port of the kernel's when none is free.
  /// - Parameter source: an address of the machine to send from; nil for the one that the kernel chooses.
  public static func connectUDPFromRandomPort(_ endpoint: SocketEndpoint, as source: IPAddress? = nil)
    throws(SocketError) -> Descriptor
  {
    let any =
      source ?? (endpoint.address.family == .v4 ? .v4(IPv4Address(bits: 0)) : .v6(IPv6Address(bits: 0)))
    let descriptor = try open(endpoint, SOCK_DGRAM)
    var isBound = false
    for _ in 0..<8 where !isBound {
      // 46,384 ports; 30000 to 32767 belong to Services.
      let drawn = UInt16.random(in: 0..<46_384)
      let port = drawn < 13_616 ? 16_384 + drawn : 19_152 + drawn
      let raw = descriptor.raw
      isBound = SocketAddress(SocketEndpoint(any, port)).withSockaddr { Glibc.bind(raw, $0, $1) } == 0
    }
    // An address that is not the machine's must not be passed over in silence.
    if !isBound, let source { try bind(descriptor, SocketEndpoint(source, 0)) }
    let raw = descriptor.raw
    guard SocketAddress(endpoint).withSockaddr({ Glibc.connect(raw, $0, $1) }) == 0 else {
      throw SocketError("connect", errno, endpoint: "\(endpoint)")
    }
    return descriptor
  }

  /// Begins a TCP connection. Writable readiness tells the outcome: ask `Channel.socketError()` then.
  /// - Parameter source: connects as this address, which need not be the machine's (IP_TRANSPARENT); answers to it must be
  ///   routed back here.
  /// - Parameter address: an address of the machine to connect from; nil for the one that the kernel chooses.
  public static func connectTCP(
    _ endpoint: SocketEndpoint, from source: SocketEndpoint? = nil, as address: IPAddress? = nil
  ) throws(SocketError) -> Descriptor {
    let descriptor = try open(endpoint, SOCK_STREAM)
    setNoDelay(descriptor)
    if let address { try bind(descriptor, SocketEndpoint(address, 0)) }
    if let source {
      try set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
      try bindTransparently(descriptor, source)
    }
    let raw = descriptor.raw
    let result = SocketAddress(endpoint).withSockaddr { Glibc.connect(raw, $0, $1) }
    guard result == 0 || errno == EINPROGRESS else {
      throw SocketError("connect", errno, endpoint: "\(endpoint)")
    }
    return descriptor
  }

  /// The address a socket is bound to, with the port the kernel chose for port 0.
  public static func localEndpoint(_ descriptor: borrowing Descriptor) -> SocketEndpoint? {
    let raw = descriptor.raw
    let (result, address) = SocketAddress.read { getsockname(raw, $0, $1) }
    return result == 0 ? address.endpoint : nil
  }

  /// TCP_NODELAY: our writes are whole messages, waiting for more would only delay them.
  public static func setNoDelay(_ descriptor: borrowing Descriptor) {
    var one: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    _ = setsockopt(descriptor.raw, Int32(IPPROTO_TCP), TCP_NODELAY, &one, size)
  }

  /// Makes a descriptor from outside fit for the reactor.
  public static func setNonBlocking(_ descriptor: borrowing Descriptor) throws(SocketError) {
    let flags = fcntl(descriptor.raw, F_GETFL)
    guard flags >= 0, fcntl(descriptor.raw, F_SETFL, flags | O_NONBLOCK) == 0 else {
      throw SocketError("fcntl", errno)
    }
  }

  /// Finds out that a peer is gone without a word: probes begin after `seconds` of silence, and six in vain end it.
  public static func keepAlive(_ descriptor: borrowing Descriptor, seconds: Int32) {
    try? set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    try? set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, seconds)
    try? set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 6))
    try? set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 6)
  }

  /// Why sockets may not send as addresses that are not the machine's; nil when they may. EPERM means that the process lacks
  /// CAP_NET_ADMIN and CAP_NET_RAW.
  public static func transparencyRefusal() -> SocketError? {
    do throws(SocketError) {
      let descriptor = try open(SocketEndpoint(.v4(IPv4Address(bits: 0)), 0), SOCK_DGRAM)
      let code = weft_set_transparent(descriptor.raw, 0)
      return code == 0 ? nil : SocketError("setsockopt IP_TRANSPARENT", -code)
    } catch {
      return error
    }
  }

  private static func bindFreely(
    _ descriptor: borrowing Descriptor, _ endpoint: SocketEndpoint
  ) throws(SocketError) {
    if endpoint.address.family == .v6 {
      try set(descriptor, Int32(IPPROTO_IPV6), IPV6_FREEBIND, 1)
    } else {
      try set(descriptor, Int32(IPPROTO_IP), IP_FREEBIND, 1)
    }
  }

  private static func bindTransparently(
    _ descriptor: borrowing Descriptor, _ source: SocketEndpoint
  ) throws(SocketError) {
    let code = weft_set_transparent(descriptor.raw, source.address.family == .v6 ? 1 : 0)
    guard code == 0 else { throw SocketError("setsockopt IP_TRANSPARENT", -code, endpoint: "\(source)") }
    try bind(descriptor, source)
  }

  private static func open(
    _ endpoint: SocketEndpoint, _ type: __socket_type
  ) throws(SocketError) -> Descriptor {
    let family = endpoint.address.family == .v4 ? AF_INET : AF_INET6
    let raw = socket(family, Int32(type.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { throw SocketError("socket", errno, endpoint: "\(endpoint)") }
    return Descriptor(owning: raw)
  }

  private static func bind(
    _ descriptor: borrowing Descriptor, _ endpoint: SocketEndpoint
  ) throws(SocketError) {
    let raw = descriptor.raw
    guard SocketAddress(endpoint).withSockaddr({ Glibc.bind(raw, $0, $1) }) == 0 else {
      throw SocketError("bind", errno, endpoint: "\(endpoint)")
    }
  }

  private static func set(
    _ descriptor: borrowing Descriptor, _ level: Int32, _ option: Int32, _ value: Int32
  ) throws(SocketError) {
    var value = value
    let size = socklen_t(MemoryLayout<Int32>.size)
    guard setsockopt(descriptor.raw, level, option, &value, size) == 0 else {
      throw SocketError("setsockopt", errno)
    }
  }
}
