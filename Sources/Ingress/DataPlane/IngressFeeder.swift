// The parent's end of a data plane's socket pair.

import CLinux
import Glibc
import Reactor
import Synchronization

/// The parent's side: writes whole route tables, each time the newest.
public final class IngressFeeder: Sendable {
  let state: Mutex<State>
  struct State: ~Copyable {
    var descriptor: Descriptor
    var last: RouteTable?
    var lastTLS: TLSTable?
    var lastStreams: StreamTable?
    /// Certificates that the child has, by the names they were given.
    var sent: [TLSCertificate: UInt32] = [:]
    var nextID: UInt32 = 0

    /// Frames that were sent, and how many of them the child has said to work by.
    private(set) var framesSent: UInt32 = 0
    private(set) var framesConfirmed: UInt32 = 0

    /// - Parameter beside: a descriptor that the child gets a copy of; -1 for none.
    /// - Throws: `SocketError`, EPIPE when the child has gone.
    mutating func write(_ body: [UInt8], beside: Int32 = -1) throws(SocketError) {
      guard body.count <= RouteTable.encodedBytesMax else { throw SocketError("send", EMSGSIZE) }
      readConfirmations()
      var frame = withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) }
      frame += body
      var done = 0
      let raw = descriptor.raw
      while done < frame.count {
        let count = frame.withUnsafeBytes {
          weft_send_beside(raw, $0.baseAddress.map { $0 + done }, $0.count - done, done == 0 ? beside : -1)
        }
        if count < 0 { throw SocketError("send", Int32(-count)) }
        done += count
      }
      framesSent &+= 1
    }

    /// Takes in what the child has said since.
    mutating func readConfirmations() {
      var number: UInt32 = 0
      while recv(descriptor.raw, &number, 4, Int32(MSG_DONTWAIT)) == 4 {
        framesConfirmed = UInt32(littleEndian: number)
      }
    }
  }

  /// Takes the parent's end of the socket pair. A child that does not read for ten seconds counts as gone.
  public init(_ descriptor: consuming Descriptor) {
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor.raw, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    state = Mutex(State(descriptor: descriptor))
  }

  /// A connected pair: for the feeder, and for `IngressDataPlaneConfiguration.snapshots`. Both closed on
  /// exec.
  public static func pair() throws(SocketError) -> (feeder: IngressFeeder, child: Int32) {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw SocketError("socketpair", errno)
    }
    return (IngressFeeder(Descriptor(owning: ends[0])), ends[1])
  }

  /// Puts a table in force in the child. Does nothing when it is the one in force. Blocks while the child
  /// reads.
  /// - Returns: whether anything was sent.
  /// - Throws: `SocketError`, EPIPE when the child has gone: start a new one, with a new feeder.
  @discardableResult
  public func send(_ table: RouteTable) throws(SocketError) -> Bool {
    try state.withLock { (state) throws(SocketError) -> Bool in
      if state.last == table { return false }
      try state.write(table.encoded())
      state.last = table
      return true
    }
  }

  /// Puts other streams in force in the child. Otherwise like routes.
  @discardableResult
  public func send(_ table: StreamTable) throws(SocketError) -> Bool {
    try state.withLock { (state) throws(SocketError) -> Bool in
      if state.lastStreams ?? StreamTable() == table { return false }
      try state.write(table.encoded())
      state.lastStreams = table
      return true
    }
  }

  /// Puts other certificates in force in the child: those that it does not have, then the names. Otherwise like routes.
  /// To be called before routes that redirect to them.
  @discardableResult
  public func send(_ table: TLSTable) throws(SocketError) -> Bool {
    try state.withLock { (state) throws(SocketError) -> Bool in
      if state.lastTLS == table { return false }
      var ids: [UInt32] = []
      var kept: [TLSCertificate: UInt32] = [:]
      for certificate in table.certificates {
        if let id = kept[certificate] ?? state.sent[certificate] {
          kept[certificate] = id
          ids.append(id)
          continue
        }
        let id = state.nextID
        state.nextID += 1
        try state.write(TLSTable.frame(id: id, certificate))
        kept[certificate] = id
        ids.append(id)
      }
      try state.write(table.frame(ids: ids))
      state.sent = kept
      state.lastTLS = table
      return true
    }
  }

  /// Tells the child to drain and end.
  public func close() { state.withLock { $0.descriptor.close() } }
}
