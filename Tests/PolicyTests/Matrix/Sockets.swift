// Sockets of the matrix: plain calls, since the test is both ends of every connection.
import Addresses
import CLinux
import KernelSockets
import Glibc
import KernelNetlink

struct SocketFailure: Error {
  var call: String
  var number = errno
}

/// A descriptor and what it does in the matrix; closed by its owner.
enum MatrixSocket {
  static func make(_ family: IPFamily, _ kind: __socket_type, _ transport: Int32 = 0) throws -> Int32 {
    let made = socket(
      family == .v4 ? AF_INET : AF_INET6,
      Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), transport)
    guard made >= 0 else { throw SocketFailure(call: "socket") }
    return made
  }

  /// A socket that takes what comes for an address and a port.
  static func bound(_ address: IPAddress, _ port: UInt16, _ kind: __socket_type) throws -> Int32 {
    let made = try make(address.family, kind)
    var yes: Int32 = 1
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
    guard withSocketAddress(address, port, { bind(made, $0, $1) }) == 0 else {
      throw SocketFailure(call: "bind \(address)")
    }
    if kind == SOCK_STREAM, listen(made, 512) != 0 { throw SocketFailure(call: "listen") }
    return made
  }

  /// Ends with a reset, so that nothing of it stays.
  static func cut(_ descriptor: Int32) {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close(descriptor)
  }
}

/// The first packet of an SCTP association (RFC 9260, INIT), for kernels without SCTP sockets: conntrack wants its checksum.
enum SCTPInit {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
  }

  static func packet(from source: UInt16, to destination: UInt16, tag: UInt32) -> [UInt8] {
    func wide(_ number: UInt32) -> [UInt8] {
      (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }
    }
    func narrow(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(truncatingIfNeeded: number)] }
    let head = narrow(source) + narrow(destination) + wide(0)
    // INIT of twenty bytes: tag, window, streams out and in, first number.
    let chunk = [1, 0] + narrow(20) + wide(tag) + wide(65536) + narrow(1) + narrow(1) + wide(7)
    var crc: UInt32 = 0xffff_ffff
    for byte in head + [0, 0, 0, 0] + chunk { crc = crc >> 8 ^ table[Int((crc ^ UInt32(byte)) & 255)] }
    crc ^= 0xffff_ffff
    // Its least byte goes first.
    return head + (0..<4).map { UInt8(truncatingIfNeeded: crc >> (8 * $0)) } + chunk
  }

  /// Source and destination port, and the tag, of a received packet; nil when it is no INIT.
  static func read(_ bytes: [UInt8], _ family: IPFamily) -> (
    source: UInt16, destination: UInt16, tag: UInt32
  )? {
    let start = family == .v4 ? Int((bytes.first ?? 0) & 15) * 4 : 0
    guard bytes.count >= start + 20, bytes[start + 12] == 1 else { return nil }
    func number(_ at: Int) -> UInt16 { UInt16(bytes[start + at]) << 8 | UInt16(bytes[start + at + 1]) }
    return (number(0), number(2), UInt32(number(16)) << 16 | UInt32(number(18)))
  }
}
