// A request's way to an endpoint. This class is a connection of HTTP/1.1: it carries one request at a time and waits in its pool
// between two. `UpstreamStream` is a stream of HTTP/2, to be written and read in the same form.

import Diagnostics
import Glibc
import Reactor

class UpstreamConnection: ReadinessHandler {
  final var socket = UpstreamSocket()
  final let pool: UpstreamPool
  final let worker: IngressWorker
  /// Whose request it carries; nil while idle.
  final var client: Exchange?
  final var isConnected = false
  /// It has carried a request before: its end may only mean that the endpoint tired of waiting.
  final var isReused = false
  /// A response head that has not arrived whole.
  final var input = PooledBuffer()
  final var idleSince: UInt64 = 0

  init(pool: UpstreamPool, worker: IngressWorker) {
    self.pool = pool
    self.worker = worker
  }

  /// A connection for `client`'s request: an idle one, else a new one that is being made.
  /// - Throws: `SocketError`, EBUSY when the endpoint has as many as its bounds admit.
  final class func take(
    from pool: UpstreamPool, for client: Exchange, worker: IngressWorker
  ) throws(SocketError) -> UpstreamConnection {
    if pool.settings.speech == .http2 { return try UpstreamStream.open(pool, for: client, worker: worker) }
    while let connection = pool.idle.popLast() {
      // A request that cannot be repeated asks first whether the endpoint is still there (a microsecond well
      // spent).
      if !client.method.isIdempotent, connection.socket.channel.hasPeerSpoken() {
        connection.close()
        continue
      }
      connection.isReused = true
      connection.begin(client)
      worker.metrics.upstreamReuses.increment()
      return connection
    }
    let connection = UpstreamConnection(pool: pool, worker: worker)
    connection.socket = try pool.connect(
      for: pool.settings.proxy == nil ? nil : client.addresses, handler: connection, worker)
    pool.connections += 1
    pool.connecting += 1
    connection.begin(client)
    return connection
  }

  final func begin(_ client: Exchange) {
    self.client = client
    pool.active += 1
  }

  // MARK: - What an exchange does with it

  var isReadable: Bool { socket.isReadable }
  var isFinished: Bool { socket.isFinished }
  /// The endpoint has said that it did not act upon the request, whatever was sent.
  var isUnprocessed: Bool { false }
  /// The answer's Content-Length is of our making.
  var hidesLength: Bool { false }

  /// Goes on with connecting.
  func establish(_ readiness: Readiness) -> TLSConnection.Step {
    let step = socket.establish(readiness, worker)
    if step == .done { connected() }
    return step
  }

  final func connected() {
    isConnected = true
    pool.connecting -= 1
  }

  func send(_ bytes: UnsafeRawBufferPointer) -> Transfer { socket.send(bytes, worker) }
  func receive(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    socket.receive(into: space, worker)
  }
  /// The next read may give the answer or the end, whatever readiness was told.
  func expectEnd() {
    socket.isReadable = true
    socket.isFinished = true
  }
  func callAgain() { socket.channel.callAgain(.readable) }
  func finishSending() { socket.channel.finishSending() }
  /// The endpoint must not take what it has for a whole request.
  func resetOnClose() { socket.channel.resetOnClose() }

  /// Ends its request. Kept for the next one if `isReusable` and there is room.
  func finish(isReusable: Bool) {
    client = nil
    pool.active -= 1
    // What it said of its client in its header is not true of another.
    guard isReusable, pool.settings.proxy == nil, !isFinished, !pool.isRetired, !worker.reactor.isDraining,
      socket.channel.isOpen,
      pool.idle.count < worker.limits.idlePerEndpointMax
    else { return close() }
    idleSince = worker.reactor.now
    pool.idle.append(self)
  }

  // MARK: - Events

  final func ready(_ readiness: Readiness) {
    socket.note(readiness)
    if let client {
      if readiness.contains(.writable), isConnected { _ = socket.flush() }
      return client.upstreamReady(self, readiness)
    }
    // Nobody asked: the endpoint closes, or speaks out of turn.
    if !readiness.isDisjoint(with: [.readable, .peerFinished, .hangUp, .error]) {
      if let index = pool.idle.firstIndex(where: { $0 === self }) { pool.idle.remove(at: index) }
      close()
    }
  }

  func close() {
    if socket.channel.isOpen {
      pool.connections -= 1
      if !isConnected { pool.connecting -= 1 }
    }
    socket.close()
    input = PooledBuffer()
  }

  /// A connection at work ends with its client; an idle one has nothing to wait for.
  final func drain() { if client == nil { cancel() } }

  final func cancel() {
    if let index = pool.idle.firstIndex(where: { $0 === self }) { pool.idle.remove(at: index) }
    if client != nil { pool.active -= 1 }
    client = nil
    close()
  }
}
