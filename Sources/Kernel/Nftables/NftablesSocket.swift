// A netlink socket to nf_tables and connection tracking of one network namespace.

import CLinux
import CNetfilter
import Glibc
import Ruleset

/// The kernel's nftables, of the network namespace that the calling thread is in when the socket is opened.
///
/// Synchronous and for one thread at a time; it may move between threads and keeps its namespace. Reads and
/// transactions return when the kernel has answered.
public final class NftablesSocket {
  private let socket: OpaquePointer
  private(set) var descriptor: Int32
  private var sequence: UInt32 = 1
  private let receiveMax = 256 * 1024
  /// The kernel answers at once; an answer that it dropped for want of room never comes.
  private static let answerSeconds = 10
  private let received: UnsafeMutableRawPointer

  /// Opens the socket. Throws when the process lacks CAP_NET_ADMIN or the kernel lacks nf_tables.
  public init() throws(NftablesError) {
    guard let socket = mnl_socket_open2(NETLINK_NETFILTER, Int32(SOCK_CLOEXEC.rawValue)) else {
      throw NftablesError(operation: "open a netlink socket", errno: errno)
    }
    guard mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 else {
      let code = errno
      mnl_socket_close(socket)
      throw NftablesError(operation: "bind a netlink socket", errno: code)
    }
    self.socket = socket
    descriptor = mnl_socket_get_fd(socket)
    received = .allocate(byteCount: receiveMax, alignment: 8)
    option(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    option(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    // Many acknowledgements of one refused batch must fit.
    option(SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    var patience = timeval(tv_sec: Self.answerSeconds, tv_usec: 0)
    _ = setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit {
    mnl_socket_close(socket)
    received.deallocate()
  }

  private func option(_ level: Int32, _ name: Int32, _ value: Int32) {
    var value = value
    // Without the option messages are poorer or buffers smaller; nothing breaks.
    _ = setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  func takeSequence(_ count: UInt32 = 1) -> UInt32 {
    defer { sequence &+= count }
    return sequence
  }

  func send(_ bytes: UnsafeRawBufferPointer, _ what: String) throws(NftablesError) {
    if bytes.count > 128 * 1024 {
      option(SOL_SOCKET, SO_SNDBUFFORCE, Int32(clamping: bytes.count * 2))
    }
    while true {
      let sent = mnl_socket_sendto(socket, bytes.baseAddress, bytes.count)
      if sent == bytes.count { return }
      if errno == EINTR { continue }
      throw NftablesError(operation: "send \(what)", errno: errno)
    }
  }

  /// Takes out what earlier calls left unread after an error: it would take the room of the next answer.
  func drain() {
    while true {
      let count = recv(descriptor, received, receiveMax, Int32(MSG_DONTWAIT))
      if count < 0, errno != EINTR, errno != ENOBUFS { return }
    }
  }

  /// Messages that are there now; nil when there are none left. Waiting ends after `answerSeconds` with EAGAIN.
  func receive(waiting: Bool) throws(NftablesError) -> UnsafeRawBufferPointer? {
    while true {
      let count = recv(descriptor, received, receiveMax, waiting ? 0 : Int32(MSG_DONTWAIT))
      if count >= 0 { return UnsafeRawBufferPointer(start: received, count: count) }
      if errno == EINTR { continue }
      if errno == EAGAIN, !waiting { return nil }
      throw NftablesError(operation: "receive from netlink", errno: errno)
    }
  }

  /// The number that the kernel gives to each committed change of any table in the namespace.
  public func generation() throws(NftablesError) -> UInt32 {
    var generation: UInt32 = 0
    try request(NFT_MSG_GETGEN, family: 0, dump: false, "read the generation") { _ in
    } each: { _, attributes in
      generation = attributes.first(NFTA_GEN_ID.rawValue)?.number ?? 0
    }
    return generation
  }

  /// Sends one request and hands out its answers: type (within the subsystem), attributes.
  func request(
    _ type: nf_tables_msg_types, family: UInt8, dump: Bool, _ what: String,
    _ body: (UnsafeMutablePointer<nlmsghdr>) -> Void,
    each: (_ family: UInt8, _ attributes: Attributes) -> Void
  ) throws(NftablesError) {
    let sequence = takeSequence()
    var wasInterrupted = false
    drain()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    guard
      let header = nftnl_nlmsg_build_hdr(
        buffer.assumingMemoryBound(to: CChar.self), UInt16(type.rawValue), UInt16(family),
        UInt16(dump ? NLM_F_DUMP : NLM_F_ACK), sequence)
    else { throw NftablesError(operation: what, errno: ENOMEM) }
    body(header)
    try send(UnsafeRawBufferPointer(start: buffer, count: Int(header.pointee.nlmsg_len)), what)
    var isDone = false
    while !isDone {
      guard let bytes = try receive(waiting: true) else { break }
      for message in Messages(bytes: bytes) where message.sequence == sequence {
        if message.flags & UInt16(NLM_F_DUMP_INTR) != 0 { wasInterrupted = true }
        switch Int32(message.type) {
        case NLMSG_DONE: isDone = true
        case NLMSG_ERROR:
          let error = message.error
          if error.code != 0 { throw NftablesError(operation: what, errno: error.code, message: error.text) }
          isDone = true
        default:
          guard message.payload.count >= 4 else { continue }
          each(
            message.payload[0],
            Attributes(bytes: UnsafeRawBufferPointer(rebasing: message.payload[4...])))
        }
      }
    }
    // Another writer changed something in the middle: what was read belongs to no single moment.
    if wasInterrupted { throw NftablesError(operation: what, errno: EINTR) }
  }
}

/// Netlink messages in received bytes, checked.
struct Messages: Sequence, IteratorProtocol {
  struct Message {
    var type: UInt16
    var flags: UInt16
    var sequence: UInt32
    var payload: UnsafeRawBufferPointer

    /// Of NLMSG_ERROR: errno (0 for an acknowledgement), the kernel's words, and the offset it points at.
    var error: (code: Int32, text: String, offset: Int?) {
      guard payload.count >= 20 else { return (EPROTO, "", nil) }
      let code = -payload.loadUnaligned(as: Int32.self)
      var text = ""
      var offset: Int?
      // With NETLINK_CAP_ACK only the header of the refused message comes back, then attributes.
      if flags & 0x200 != 0 {
        for attribute in Attributes(bytes: UnsafeRawBufferPointer(rebasing: payload[20...])) {
          if attribute.type == 1 { text = attribute.text }
          if attribute.type == 2, attribute.payload.count >= 4 {
            offset = Int(attribute.payload.loadUnaligned(as: UInt32.self))
          }
        }
      }
      return (code, text, offset)
    }
  }

  var bytes: UnsafeRawBufferPointer

  mutating func next() -> Message? {
    guard bytes.count >= 16 else { return nil }
    let length = Int(bytes.loadUnaligned(as: UInt32.self))
    guard length >= 16, length <= bytes.count else { return nil }
    let message = Message(
      type: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self),
      flags: bytes.loadUnaligned(fromByteOffset: 6, as: UInt16.self),
      sequence: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self),
      payload: UnsafeRawBufferPointer(rebasing: bytes[16..<length]))
    bytes = UnsafeRawBufferPointer(rebasing: bytes[Swift.min((length + 3) & ~3, bytes.count)...])
    return message
  }
}
