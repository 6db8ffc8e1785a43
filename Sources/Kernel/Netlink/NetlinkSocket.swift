// The edge to the kernel: one owned netlink socket. Tests put a scripted twin behind the same protocol.
import Addresses
import CLinux
import Glibc

/// Sends one request datagram and receives one answer datagram at a time.
public protocol NetlinkTransport: ~Copyable {
  mutating func send(_ datagram: [UInt8]) throws(NetlinkError)
  mutating func receive() throws(NetlinkError) -> [UInt8]
  /// The index of a link of the socket's network namespace; 0 when there is none.
  mutating func index(named name: String) throws(NetlinkError) -> Int32
  /// A link of the socket's network namespace; nil when there is none.
  mutating func summary(named name: String, wantsKind: Bool, settles: Bool) throws(NetlinkError)
    -> LinkSummary?
  mutating func deleteEarly(_ name: String, request: [UInt8])
}

extension NetlinkTransport where Self: ~Copyable {
  /// Has the kernel delete a link without waiting for more than that it is gone, where that can be done; else nothing happens.
  /// - Parameter request: the message that deletes it, without acknowledgement.
  public mutating func deleteEarly(_ name: String, request: [UInt8]) {}
}

/// What the kernel makes a program wait for although nothing is left to be known: until the memory of sockets and links is free.
/// Left to processes of its own by a program of one thread that ends soon.
public enum LateClosing {
  /// Set before anything else is done; never in a program of several threads or of long life.
  nonisolated(unsafe) public static var isWanted = false
  nonisolated(unsafe) static var isNeeded = false

  /// To be called last. The runtime that waits for this process does not wait for the closing.
  public static func leave() { if isNeeded { _ = weft_leave_closing() } }
}

/// A netlink socket of the network namespace its thread was in when it was opened; it stays there wherever
/// it is used. Closed when the value ends.
public struct NetlinkSocket: NetlinkTransport, ~Copyable {
  let descriptor: Int32
  /// Where answers arrive. One for all of them: 64 KiB asked of the allocator for each would be given back to the kernel and
  /// faulted in again each time.
  private let arrival: UnsafeMutableRawBufferPointer
  /// Something was changed in nf_tables: the kernel makes whoever closes the socket wait until what was removed is freed, 10 ms.
  var isSlowToClose = false

  /// Bytes of the largest datagram read at once. The kernel fills dumps up to 32 KiB.
  static let datagramBytesMax = 65536
  /// A wait longer than this ends in `ETIMEDOUT`. Long: a large transaction elsewhere can hold the kernel's
  /// lock.
  static let answerSecondsMax = 60

  /// - Parameter family: the netlink protocol; 0 is rtnetlink, 12 netfilter.
  public init(family: Int32 = 0) throws(NetlinkError) {
    descriptor = socket(
      Int32(Wire.familyNetlink), Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), family)
    arrival = .allocate(byteCount: descriptor >= 0 ? Self.datagramBytesMax : 0, alignment: 16)
    guard descriptor >= 0 else { throw NetlinkError(errno: errno, command: "socket(AF_NETLINK)") }
    var one: Int32 = 1
    for option in [Wire.optionCapAck, Wire.optionExtendedAck, Wire.optionStrictCheck] {
      // Missing before 4.12, 4.12 and 4.20: then errors say less and dumps are filtered here only.
      _ = setsockopt(descriptor, Wire.solNetlink, option, &one, socklen_t(MemoryLayout<Int32>.size))
    }
    var limit = timeval(tv_sec: Self.answerSecondsMax, tv_usec: 0)
    _ = setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    // sockaddr_nl: family, padding, port 0 (the kernel chooses), no multicast groups.
    var address: [UInt8] = [UInt8](repeating: 0, count: 12)
    withUnsafeBytes(of: Wire.familyNetlink) { address.replaceSubrange(0..<2, with: $0) }
    let bound = address.withUnsafeBytes {
      bind(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), 12)
    }
    guard bound == 0 else { throw NetlinkError(errno: errno, command: "bind(AF_NETLINK)") }
  }

  deinit {
    arrival.deallocate()
    guard descriptor >= 0 else { return }
    if isSlowToClose, LateClosing.isWanted { LateClosing.isNeeded = true } else { close(descriptor) }
  }

  public mutating func send(_ datagram: [UInt8]) throws(NetlinkError) {
    while true {
      let sent = datagram.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0) }
      if sent == datagram.count { return }
      if sent < 0, errno == EINTR { continue }
      throw NetlinkError(errno: sent < 0 ? errno : EMSGSIZE, command: "send(AF_NETLINK)")
    }
  }

  public mutating func receive() throws(NetlinkError) -> [UInt8] {
    while true {
      let received = recv(descriptor, arrival.baseAddress, arrival.count, 0)
      let code = errno
      if received >= 0 { return [UInt8](arrival[0..<received]) }
      if code == EINTR { continue }
      throw NetlinkError(errno: code == EAGAIN ? ETIMEDOUT : code, command: "recv(AF_NETLINK)")
    }
  }

  public mutating func index(named name: String) throws(NetlinkError) -> Int32 {
    let index = weft_link_index(descriptor, name)
    guard index < 0 else { return index }
    if index == -ENODEV { return 0 }
    throw NetlinkError(errno: -index, command: "ip link show dev \(name)")
  }

  /// Only where `LateClosing.isWanted`.
  public mutating func deleteEarly(_ name: String, request: [UInt8]) {
    guard LateClosing.isWanted else { return }
    _ = request.withUnsafeBytes {
      weft_link_remove(descriptor, name, $0.baseAddress, $0.count, Int32(Self.answerSecondsMax * 1000))
    }
  }

  public mutating func summary(named name: String, wantsKind: Bool, settles: Bool) throws(NetlinkError)
    -> LinkSummary?
  {
    if settles { weft_link_settle(descriptor, name) }
    var facts = weft_link()
    let code = weft_link_facts(descriptor, name, wantsKind ? 1 : 0, &facts)
    if code == -ENODEV { return nil }
    guard code == 0 else { throw NetlinkError(errno: -code, command: "ip link show dev \(name)") }
    var summary = LinkSummary(
      name: name, index: facts.index, flags: UInt32(truncatingIfNeeded: facts.flags),
      mtu: UInt32(truncatingIfNeeded: facts.mtu), isBridge: facts.is_bridge != 0)
    if facts.has_mac != 0 { summary.mac = withUnsafeBytes(of: facts.mac) { MACAddress(Array($0)) } }
    return summary
  }
}
