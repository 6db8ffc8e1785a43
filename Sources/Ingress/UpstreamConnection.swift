// A connection to an endpoint: carries one request at a time, waits in its pool between two.

import Diagnostics
import Glibc
import Reactor

final class UpstreamConnection: ReadinessHandler {
  var channel = Channel()
  let pool: UpstreamPool
  private let worker: IngressWorker
  /// Whose request it carries; nil while idle.
  var client: Exchange?
  var isConnected = false
  /// It has carried a request before: its end may only mean that the endpoint tired of waiting.
  var isReused = false
  /// The kernel may have bytes (edge-triggered: remembered until a read would block).
  var isReadable = false
  var isFinished = false
  /// A response head that has not arrived whole.
  var input = PooledBuffer()
  var idleSince: UInt64 = 0

  private init(pool: UpstreamPool, worker: IngressWorker) {
    self.pool = pool
    self.worker = worker
  }

  /// A connection for `client`'s request: an idle one, else a new one that is being made.
  static func take(
    from pool: UpstreamPool, for client: Exchange, worker: IngressWorker
  ) throws(SocketError) -> UpstreamConnection {
    while let connection = pool.idle.popLast() {
      // A request that cannot be repeated asks first whether the endpoint is still there (a microsecond well
      // spent).
      if !client.method.isIdempotent, connection.channel.hasPeerSpoken() {
        connection.close()
        continue
      }
      connection.isReused = true
      connection.client = client
      pool.active += 1
      worker.metrics.upstreamReuses.increment()
      return connection
    }
    let connection = UpstreamConnection(pool: pool, worker: worker)
    connection.channel = try worker.reactor.register(Sockets.connectTCP(pool.endpoint), handler: connection)
    connection.client = client
    pool.active += 1
    worker.metrics.upstreamConnects.increment()
    return connection
  }

  /// Ends its request. Kept for the next one if `isReusable` and there is room.
  func finish(isReusable: Bool) {
    client = nil
    pool.active -= 1
    guard isReusable, !isFinished, !pool.isRetired, !worker.reactor.isDraining, channel.isOpen,
      pool.idle.count < worker.limits.idlePerEndpointMax
    else { return close() }
    idleSince = worker.reactor.now
    pool.idle.append(self)
  }

  func ready(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.peerFinished, .hangUp, .error]) { isFinished = true }
    if let client { return client.upstreamReady(self, readiness) }
    // Nobody asked: the endpoint closes, or speaks out of turn.
    if !readiness.isDisjoint(with: [.readable, .peerFinished, .hangUp, .error]) {
      if let index = pool.idle.firstIndex(where: { $0 === self }) { pool.idle.remove(at: index) }
      close()
    }
  }

  func close() {
    channel.close()
    input = PooledBuffer()
  }

  /// A connection at work ends with its client; an idle one has nothing to wait for.
  func drain() { if client == nil { cancel() } }

  func cancel() {
    if let index = pool.idle.firstIndex(where: { $0 === self }) { pool.idle.remove(at: index) }
    if client != nil { pool.active -= 1 }
    client = nil
    close()
  }
}
