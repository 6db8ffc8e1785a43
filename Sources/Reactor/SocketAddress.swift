// Addresses as the kernel takes them. The data path keeps these and turns them into text or values only for
// people.

import Addresses
import Glibc

/// An IPv4 or IPv6 socket address in the kernel's form: 28 bytes, no allocation.
public struct SocketAddress: Sendable {
  public var storage: sockaddr_in6
  public var length: UInt32

  /// No address.
  public init() {
    storage = sockaddr_in6()
    length = 0
  }

  public init(storage: sockaddr_in6, length: UInt32) {
    self.storage = storage
    self.length = length
  }

  public init(_ endpoint: SocketEndpoint) {
    storage = sockaddr_in6()
    storage.sin6_port = endpoint.port.bigEndian
    switch endpoint.address {
    case .v4(let address):
      length = UInt32(MemoryLayout<sockaddr_in>.size)
      storage.sin6_family = sa_family_t(AF_INET)
      // sin_addr lies where sin6_flowinfo does.
      storage.sin6_flowinfo = address.bits.bigEndian
    case .v6(let address):
      length = UInt32(MemoryLayout<sockaddr_in6>.size)
      storage.sin6_family = sa_family_t(AF_INET6)
      withUnsafeMutableBytes(of: &storage.sin6_addr) {
        $0.storeBytes(of: address.bits.bigEndian, as: UInt128.self)
      }
    }
  }

  public var port: UInt16 { UInt16(bigEndian: storage.sin6_port) }

  /// The address as a value; nil for a family other than IPv4 and IPv6. `::ffff:a.b.c.d` reads as IPv4.
  public var endpoint: SocketEndpoint? {
    switch Int32(storage.sin6_family) {
    case AF_INET:
      return SocketEndpoint(.v4(IPv4Address(bits: UInt32(bigEndian: storage.sin6_flowinfo))), port)
    case AF_INET6:
      let bits = withUnsafeBytes(of: storage.sin6_addr) {
        UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self))
      }
      if bits >> 32 == 0xffff {
        return SocketEndpoint(.v4(IPv4Address(bits: UInt32(truncatingIfNeeded: bits))), port)
      }
      return SocketEndpoint(.v6(IPv6Address(bits: bits)), port)
    default: return nil
    }
  }

  /// Runs `body` with the pointer and length that socket calls take.
  public func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
    }
  }

  /// The result of a call such as getsockname(2) and the address it wrote.
  static func read(
    _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> (result: Int32, address: SocketAddress) {
    var storage = sockaddr_in6()
    var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let result = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
    }
    return (result, SocketAddress(storage: storage, length: length))
  }
}
