// One packet of an exact length between two network namespaces, never to be cut on its way: what tracepath does.
import Addresses
import CLinux
import KernelSockets
import Glibc
import KernelNetlink
import StoreLab

/// Sends datagrams from one address to another, both of one family.
struct Datagram {
  var from: (namespace: String, address: IPAddress)
  var to: (namespace: String, address: IPAddress)
  private static let port: UInt16 = 7777
  /// Lost ones are sent again: the first waits for neighbours to answer.
  private static let attemptsMax = 40

  /// Sends an IP packet of so many bytes with the instruction not to fragment it.
  /// - Returns: the source address that the receiver saw; nil when the sender's kernel said that it is too long.
  func send(_ bytes: Int) throws -> IPAddress? {
    let receiver = try socket(in: to.namespace)
    defer { close(receiver) }
    let sender = try socket(in: from.namespace)
    defer { close(sender) }
    guard withSocketAddress(to.address, Self.port, { bind(receiver, $0, $1) }) == 0 else {
      throw Failed(text: "bind: errno \(errno)")
    }
    guard withSocketAddress(from.address, Self.port, { bind(sender, $0, $1) }) == 0 else {
      throw Failed(text: "bind: errno \(errno)")
    }
    // IP_MTU_DISCOVER and IPV6_MTU_DISCOVER with …_PMTUDISC_DO; no fragments by our own kernel either.
    var always: Int32 = 2
    let isV4 = to.address.family == .v4
    setsockopt(
      sender, isV4 ? Int32(IPPROTO_IP) : Int32(IPPROTO_IPV6), isV4 ? 10 : 23, &always,
      socklen_t(MemoryLayout<Int32>.size))
    let payload = [UInt8](repeating: 7, count: bytes - (isV4 ? 28 : 48))
    for _ in 0..<Self.attemptsMax {
      let sent = withSocketAddress(to.address, Self.port) {
        sendto(sender, payload, payload.count, 0, $0, $1)
      }
      if sent < 0, errno == EMSGSIZE { return nil }
      var watched = pollfd(fd: receiver, events: Int16(POLLIN), revents: 0)
      guard poll(&watched, 1, 250) > 0 else { continue }
      guard let received = receiveDatagram(receiver, bytesMax: 70_000, waiting: true),
        received.bytes.count == payload.count
      else {
        throw Failed(text: "not \(payload.count) bytes arrived")
      }
      return received.from
    }
    throw Failed(text: "no packet of \(bytes) bytes from \(from.address) arrived at \(to.address)")
  }

  private func socket(in namespace: String) throws -> Int32 {
    let family = to.address.family == .v4 ? AF_INET : AF_INET6
    let made = try runInNamespace(namespace) {
      Glibc.socket(family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    }
    guard made >= 0 else { throw Failed(text: "socket: errno \(errno)") }
    return made
  }
}
