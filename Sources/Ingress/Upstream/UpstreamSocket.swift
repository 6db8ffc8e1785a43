// The socket towards an endpoint, plain or with TLS: connected, written to, read from. What a connection of HTTP/1.1 and a
// session of HTTP/2 have in common.

import CLinux
import Glibc
import Reactor

struct UpstreamSocket: ~Copyable {
  var channel = Channel()
  /// Nil without TLS.
  var tls: TLSConnection?
  /// The kernel may have bytes, or OpenSSL has some (edge-triggered: remembered until a read would block).
  var isReadable = false
  /// The endpoint has finished sending.
  var isFinished = false
  /// The peer's end says nothing of what it still takes: it may have finished sending alone.
  var allowsHalfClose = false
  private var isBroken = false
  private var isEstablished = false
  /// Sent before anything else, even before TLS. Short: a new connection takes it at once.
  var preamble: [UInt8] = []
  /// Sealed bytes that the kernel has not taken. Empty without TLS.
  private var sealed = PooledBuffer()
  /// Clear bytes that are sealed at once.
  private static let pieceBytesMax = 64 << 10

  /// What happened on the channel.
  mutating func note(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.peerFinished, .hangUp, .error]) { isFinished = true }
    if readiness.contains(.error) { isBroken = true }
    if !readiness.isDisjoint(with: [.readable, .peerFinished, .hangUp, .error]) {
      isReadable = true
      tls?.setReadable(isFinished: isFinished)
    }
  }

  /// Goes on with connecting: the kernel's handshake, then TLS's.
  mutating func establish(_ readiness: Readiness, _ worker: IngressWorker) -> TLSConnection.Step {
    if !isEstablished {
      guard !readiness.isDisjoint(with: [.writable, .error, .hangUp]) else { return .unfinished }
      if channel.socketError() != 0 { return .failed }
      if !preamble.isEmpty {
        let said = preamble.withUnsafeBytes { channel.send($0) }
        guard said == .bytes(preamble.count) else { return .failed }
        preamble = []
      }
      isEstablished = true
    }
    guard let tls else { return .done }
    let step = tls.handshake()
    if !tls.output.isEmpty, !take(tls.output, worker) { return .failed }
    isReadable = step == .done && tls.hasMore
    return step
  }

  /// Says with TLS that nothing more will be sent; the socket itself is left open. False when it is broken.
  mutating func sayEnd(_ worker: IngressWorker) -> Bool {
    guard let tls else { return true }
    return take(tls.close(), worker)
  }

  /// Everything that was sent is with the kernel. False when it is not, or the socket is broken.
  mutating func flush() -> Bool {
    while !sealed.isEmpty {
      guard case .bytes(let count) = channel.send(sealed.readable) else { return false }
      sealed.consumed(count)
    }
    if sealed.isAllocated { sealed = PooledBuffer() }
    return true
  }

  /// Keeps what the kernel does not take. False when there is no room for it, or the socket is broken.
  private mutating func take(_ bytes: UnsafeRawBufferPointer, _ worker: IngressWorker) -> Bool {
    var sent = 0
    if sealed.isEmpty {
      switch channel.send(bytes) {
      case .bytes(let count): sent = count
      case .wouldBlock: break
      case .end, .failed: return false
      }
    }
    guard sent < bytes.count else { return true }
    if !sealed.isAllocated { sealed = worker.bulk.take() }
    return sealed.append(UnsafeRawBufferPointer(rebasing: bytes[sent...])) == bytes.count - sent
  }

  mutating func send(_ bytes: UnsafeRawBufferPointer, _ worker: IngressWorker) -> Transfer {
    guard let tls else { return channel.send(bytes) }
    guard flush() else { return (allowsHalfClose ? isBroken : isFinished) ? .failed(EPIPE) : .wouldBlock }
    let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.pieceBytesMax))
    let empty = UnsafeRawBufferPointer(start: nil, count: 0)
    guard let out = tls.seal(piece, empty, scratch: worker.sealSpace), take(out, worker) else {
      return .failed(EPIPE)
    }
    return .bytes(piece.count)
  }

  /// One read. Keeps account of whether another may give something.
  mutating func receive(into space: UnsafeMutableRawBufferPointer, _ worker: IngressWorker) -> Transfer {
    let transfer = channel.receive(
      into: space, through: tls, isReadable: &isReadable, isFinished: isFinished)
    // What the protocol itself answers, such as a change of keys.
    if let tls, !tls.output.isEmpty, !take(tls.output, worker) { return .failed(EPIPE) }
    return transfer
  }

  mutating func close() {
    tls = nil
    channel.close()
    sealed = PooledBuffer()
  }
}
