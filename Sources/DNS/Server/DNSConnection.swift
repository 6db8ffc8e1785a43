// DNS over TCP (RFC 7766): two octets of length, then a message; queries may follow one another without waiting.

import Addresses
import Reactor

/// One client's connection. Bounded in every direction: a query's size, replies not yet taken, queries that wait for
/// upstream servers, time without a query.
final class DNSConnection: ReadinessHandler, TimerHandler {
  /// A longer query is no query of ours: the connection is closed.
  static let queryBytesMax = 4096
  /// Replies the client has not taken; beyond that no more queries are read.
  static let outputBytesMax = 128 << 10

  /// Octets of buffers that an idle connection keeps at most, each way.
  private static let keptBytesMax = 1024

  private var channel = Channel()
  private let worker: DNSWorker
  private let site: Site
  private let peer: SocketAddress
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var written = 0
  private var isPaused = false
  private var isFinished = false
  private var activeAt: UInt64
  /// Queries that wait for an upstream server.
  var pending = 0
  /// Makes the next message of a zone's transfer; nil when there is none or it has ended.
  private var transfer: (() -> [UInt8]?)?

  private init(_ worker: DNSWorker, _ site: Site, _ peer: SocketAddress) {
    self.worker = worker
    self.site = site
    self.peer = peer
    activeAt = worker.reactor.now
  }

  static func begin(
    _ descriptor: consuming Descriptor, _ peer: SocketEndpoint, _ worker: DNSWorker, _ site: Site
  ) {
    let connection = DNSConnection(worker, site, SocketAddress(peer))
    guard let channel = try? worker.reactor.register(descriptor, handler: connection) else { return }
    connection.channel = channel
    worker.connectionCount += 1
    worker.tally.set(.connections, UInt64(worker.connectionCount))
    connection.setTimer()
  }

  private func setTimer() {
    _ = worker.reactor.setTimer(after: UInt64(worker.settings.idleSeconds) * 1_000_000_000, handler: self)
  }

  func timerEnded(tag: Int) {
    guard channel.isOpen else { return }
    let idle = worker.reactor.now &- activeAt
    if idle >= UInt64(worker.settings.idleSeconds) * 1_000_000_000 { close() } else { setTimer() }
  }

  func close() {
    guard channel.isOpen else { return }
    worker.connectionCount -= 1
    worker.tally.set(.connections, UInt64(worker.connectionCount))
    channel.close()
  }

  func cancel() { close() }

  func ready(_ readiness: Readiness) {
    if readiness.contains(.error) { return close() }
    if readiness.contains(.writable) {
      if transfer != nil { continueTransfer() }
      flush()
      // What the client takes at once is followed by more after others had their turn; otherwise it will be writable again.
      if transfer != nil, channel.isOpen, output.isEmpty { channel.callAgain(.writable) }
    }
    guard channel.isOpen, !readiness.isDisjoint(with: [.readable, .peerFinished, .hangUp]) else { return }
    while channel.isOpen, !isPaused, !isFinished {
      let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<(16 << 10)])
      switch channel.receive(into: space) {
      case .bytes(let count):
        activeAt = worker.reactor.now
        input += space[..<count]
        serveInput()
        if count < space.count { return }
      case .wouldBlock: return
      case .end:
        // A client may finish sending and still wait for its answers.
        isFinished = true
        closeWhenDone()
      case .failed: close()
      }
    }
  }

  private func serveInput() {
    var at = 0
    while channel.isOpen, input.count - at >= 2 {
      let length = Int(input[at]) << 8 | Int(input[at + 1])
      guard length >= Header.byteCount, length <= Self.queryBytesMax else { return close() }
      guard input.count - at - 2 >= length else { break }
      if output.count - written > Self.outputBytesMax || pending >= worker.settings.pendingOfConnectionMax {
        isPaused = true
        break
      }
      if transfer != nil { break }
      let range = at + 2..<at + 2 + length
      pending += 1
      let count = input.withUnsafeBytes { bytes in
        worker.serve(
          UnsafeRawBufferPointer(rebasing: bytes[range]).bytes, worker.space, site, isTCP: true, peer: peer
        ) {
          ClientPath(socket: nil, connection: self, peer: peer)
        }
      }
      // Who sends what is no query is not worth a connection.
      if count == DNSWorker.dropped { return close() }
      if count > 0 {
        pending -= 1
        append(UnsafeRawBufferPointer(start: worker.space.baseAddress, count: count))
      }
      at += 2 + length
    }
    if at > 0 { input.removeFirst(at) }
    if input.isEmpty, input.capacity > Self.keptBytesMax { input = [] }
    flush()
  }

  func append(_ bytes: UnsafeRawBufferPointer) {
    output.append(UInt8(truncatingIfNeeded: bytes.count >> 8))
    output.append(UInt8(truncatingIfNeeded: bytes.count))
    output += bytes
  }

  /// Sends a transfer, piece by piece as the client takes it. No other query of the connection is read meanwhile.
  func send(transfer: @escaping () -> [UInt8]?) {
    guard self.transfer == nil else { return close() }
    self.transfer = transfer
    isPaused = true
    channel.callAgain(.writable)
  }

  /// Puts the next pieces into the output; after a few, others have their turn.
  private func continueTransfer() {
    var pieces = 0
    while let transfer, output.count - written < Self.outputBytesMax / 2, pieces < 4 {
      pieces += 1
      guard let message = transfer() else {
        self.transfer = nil
        break
      }
      message.withUnsafeBytes { append($0) }
    }
    if pieces > 0 { activeAt = worker.reactor.now }
  }

  /// Sends what the client takes; the rest goes when it is writable again.
  func flush() {
    while channel.isOpen, written < output.count {
      let transfer = output.withUnsafeBytes { channel.send(UnsafeRawBufferPointer(rebasing: $0[written...])) }
      switch transfer {
      case .bytes(let count): written += count
      case .wouldBlock: return
      case .end, .failed: return close()
      }
    }
    output.removeAll(keepingCapacity: output.capacity <= Self.keptBytesMax)
    written = 0
    if isPaused, transfer == nil, channel.isOpen, pending < worker.settings.pendingOfConnectionMax {
      isPaused = false
      serveInput()
      if !isPaused { channel.callAgain(.readable) }
    }
    closeWhenDone()
  }

  private func closeWhenDone() {
    if isFinished, pending == 0, transfer == nil, written == output.count { close() }
  }
}
