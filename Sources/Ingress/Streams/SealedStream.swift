// A connection with TLS at its client's end, its endpoint's, or both: bytes are opened, sealed and copied on the way, at most one
// buffer of them waits in each direction.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor

final class SealedStream: StreamConnection {
  /// Bytes read at once.
  private static let readBytesMax = 64 << 10
  /// Reads in one direction before others get their turn.
  private static let readsPerTurnMax = 16

  private final class Side: ReadinessHandler {
    var socket = UpstreamSocket()
    /// Let go when the socket closes: until then they keep each other.
    var owner: SealedStream?
    /// Clear bytes from the other side that this one has not taken.
    var pending = PooledBuffer()
    /// Nothing more comes from this side.
    var hasEnded = false
    /// This side was told by TLS, and then by its socket, that nothing more comes.
    var saidEnd = false
    var wasToldEnd = false

    func ready(_ readiness: Readiness) {
      socket.note(readiness)
      owner?.ready(self, readiness)
    }
    func drain() {}
    func cancel() { owner?.end("reset", resets: true) }

    func close(resets: Bool) {
      owner = nil
      if resets, socket.channel.isOpen { socket.channel.resetOnClose() }
      socket.close()
      pending = PooledBuffer()
    }
  }

  private let near = Side()
  private var far = Side()
  private var origin: ProxyAddresses?

  /// - Parameter place: where the client came to speak TLS with us; nil: it does not.
  static func open(
    _ descriptor: consuming Descriptor, _ client: StreamClient, _ backend: BackendRuntime,
    opensAt place: ListenerPlace?, _ streams: StreamWorker
  ) {
    let stream = SealedStream(client, backend, streams)
    let destination = Sockets.localEndpoint(descriptor)
    stream.origin = stream.origin { destination }
    stream.begin()
    let raw = descriptor.raw
    do throws(SocketError) {
      stream.near.socket.channel = try streams.worker.reactor.register(descriptor, handler: stream.near)
      stream.near.socket.allowsHalfClose = true
      stream.near.owner = stream
      guard let place else { return stream.reachEndpoint() }
      stream.near.socket.tls = TLSConnection(try streams.worker.secureStreams(place), descriptor: raw)
      if stream.near.socket.tls == nil { throw SocketError("SSL_new", ENOMEM) }
      stream.phase = .opening
    } catch { stream.end("reset", resets: true) }
  }

  override func connect(to pool: UpstreamPool) throws(SocketError) {
    let side = Side()
    side.socket = try pool.connectFreely(for: origin, handler: side, streams.worker)
    side.socket.allowsHalfClose = true
    side.owner = self
    far = side
  }

  override func dropEndpoint() { far.close(resets: false) }

  override func closeSockets(resets: Bool) {
    near.close(resets: resets)
    far.close(resets: resets)
  }

  private func ready(_ side: Side, _ readiness: Readiness) {
    switch phase {
    case .closed: return
    case .opening:
      guard side === near else { return }
      if !readiness.isDisjoint(with: [.error, .hangUp]) { return end("reset", resets: true) }
      switch near.socket.establish(readiness, streams.worker) {
      case .unfinished: if near.socket.isFinished { refuseHandshake() }
      case .failed: refuseHandshake()
      case .done: reachEndpoint()
      }
    case .connecting:
      if side === near {
        // A client that gives up while its endpoint is being reached.
        if !readiness.isDisjoint(with: [.error, .hangUp]) { end("reset", resets: true) }
        return
      }
      guard side === far else { return }
      switch far.socket.establish(readiness, streams.worker) {
      case .unfinished: if far.socket.isFinished { endpointFailed() }
      case .failed: endpointFailed()
      case .done:
        reached()
        pump()
      }
    case .relaying:
      if readiness.contains(.error) { return end("reset", resets: true) }
      pump()
    }
  }

  private func refuseHandshake() {
    streams.metrics.refused.child(StreamRefusal.handshake.rawValue).increment()
    // The alert, if there was one, is out: it must not be lost to a reset.
    end("handshake", resets: false)
  }

  private func pump() {
    guard pass(from: near, to: far), pass(from: far, to: near) else { return end("reset", resets: true) }
    if near.wasToldEnd, far.wasToldEnd { end("finished", resets: false) }
  }

  /// Moves what can be moved now. False when the connection is broken.
  private func pass(from source: Side, to sink: Side) -> Bool {
    let worker = streams.worker
    _ = sink.socket.flush()
    for _ in 0..<Self.readsPerTurnMax {
      while !sink.pending.isEmpty {
        switch sink.socket.send(sink.pending.readable, worker) {
        case .bytes(let count): sink.pending.consumed(count)
        case .wouldBlock: return true
        case .end, .failed: return false
        }
      }
      if sink.pending.isAllocated { sink.pending = PooledBuffer() }
      if source.hasEnded { return tellEnd(sink) }
      guard source.socket.isReadable else { return true }
      let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<Self.readBytesMax])
      switch source.socket.receive(into: space, worker) {
      case .bytes(let count):
        moved()
        guard take(UnsafeRawBufferPointer(rebasing: space[..<count]), sink) else { return false }
      case .wouldBlock: return true
      case .end: source.hasEnded = true
      case .failed: return false
      }
    }
    source.socket.channel.callAgain([])
    return true
  }

  private func take(_ bytes: UnsafeRawBufferPointer, _ sink: Side) -> Bool {
    var sent = 0
    while sent < bytes.count {
      switch sink.socket.send(UnsafeRawBufferPointer(rebasing: bytes[sent...]), streams.worker) {
      case .bytes(let count): sent += count
      case .wouldBlock:
        sink.pending = streams.worker.bulk.take()
        return sink.pending.append(UnsafeRawBufferPointer(rebasing: bytes[sent...])) == bytes.count - sent
      case .end, .failed: return false
      }
    }
    return true
  }

  private func tellEnd(_ sink: Side) -> Bool {
    guard !sink.wasToldEnd else { return true }
    if !sink.saidEnd {
      guard sink.socket.sayEnd(streams.worker) else { return false }
      sink.saidEnd = true
    }
    // What was sealed before goes first.
    guard sink.socket.flush() else { return true }
    sink.socket.channel.finishSending()
    sink.wasToldEnd = true
    return true
  }
}
