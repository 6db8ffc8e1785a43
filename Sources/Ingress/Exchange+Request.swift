// The way of a request to an endpoint: choosing, connecting, sending, trying another.

import Diagnostics
import Glibc
import Reactor

extension Exchange {
  /// Finds an endpoint and begins to send.
  func connect(avoiding failed: UpstreamPool?) {
    guard let pool = snapshot.backends[match.backend].choose(now: worker.reactor.now, avoiding: failed) else {
      return fail(503)
    }
    tries += 1
    requestSent = 0
    do throws(SocketError) {
      let connection = try UpstreamConnection.take(from: pool, for: self, worker: worker)
      upstream = connection
      if connection.isConnected {
        wait(worker.limits.readMilliseconds)
        sendRequest(connection)
      } else {
        wait(worker.limits.connectMilliseconds)
      }
    } catch {
      upstreamRefused(pool, status: 502)
    }
  }

  func upstreamReady(_ connection: UpstreamConnection, _ readiness: Readiness) {
    guard connection === upstream else { return }
    if !connection.isConnected {
      guard !readiness.isDisjoint(with: [.writable, .error, .hangUp]) else { return }
      if connection.channel.socketError() != 0 { return upstreamFailed(status: 502) }
      connection.isConnected = true
      wait(worker.limits.readMilliseconds)
    }
    if !readiness.isDisjoint(with: [.readable, .peerFinished, .hangUp, .error]) {
      connection.isReadable = true
    }
    if isTunnel { return pumpTunnel() }
    if readiness.contains(.writable) { sendRequest(connection) }
    // The same endpoint still: sending may have failed over to another.
    if connection === upstream, connection.isReadable { readResponse(connection) }
  }

  /// Sends what is left of the request's beginning, then of the body that waits, then asks for more.
  func sendRequest(_ connection: UpstreamConnection) {
    while requestSent < request.count {
      let left = UnsafeRawBufferPointer(rebasing: request.readable[requestSent...])
      switch connection.channel.send(left) {
      case .bytes(let count): requestSent += count
      case .wouldBlock: return
      case .end, .failed: return sendFailed(connection)
      }
    }
    while !pendingBody.isEmpty {
      switch connection.channel.send(pendingBody.readable) {
      case .bytes(let count):
        pendingBody.consumed(count)
        isReplayable = false
        wait(worker.limits.readMilliseconds)
      case .wouldBlock: return
      case .end, .failed: return sendFailed(connection)
      }
    }
    if pendingBody.isAllocated { pendingBody = PooledBuffer() }
    if !requestBody.isDone { pumpBody() }
  }

  /// The endpoint takes no more. It may have answered already (413, 401), and then that is the answer.
  func sendFailed(_ connection: UpstreamConnection) {
    connection.isReadable = true
    connection.isFinished = true
    readResponse(connection)
  }

  // MARK: - Another try

  /// The endpoint cannot be reached, or its connection ended without a byte of answer.
  func upstreamFailed(status code: Int) {
    guard let connection = upstream else { return }
    upstream = nil
    let pool = connection.pool
    let wasConnected = connection.isConnected
    connection.finish(isReusable: false)
    if !wasConnected { return upstreamRefused(pool, status: code) }
    // A request that may have been acted upon is repeated only if repeating does no harm.
    if isReplayable, requestSent == 0 || method.isIdempotent { return tryAgain(avoiding: pool, status: code) }
    fail(code)
  }

  private func upstreamRefused(_ pool: UpstreamPool, status code: Int) {
    pool.failedUntil = worker.reactor.now &+ worker.limits.ejectMilliseconds * 1_000_000
    tryAgain(avoiding: pool, status: code)
  }

  private func tryAgain(avoiding pool: UpstreamPool, status code: Int) {
    guard status == 0, isReplayable, tries < worker.limits.triesMax else { return fail(code) }
    adoptRoutes()
    worker.metrics.retries.increment()
    connect(avoiding: pool)
  }

  /// The routes may have changed since the request began, and may know why the endpoint does not answer.
  private func adoptRoutes() {
    let current = worker.snapshot
    guard current !== snapshot else { return }
    let old = snapshot.table.backends[match.backend]
    let found = current.table.backends.firstIndex {
      $0.namespace == old.namespace && $0.ingress == old.ingress && $0.service == old.service
        && $0.servicePort == old.servicePort
    }
    // A backend that is gone from the routes keeps the endpoints it had.
    guard let found, !current.table.backends[found].endpoints.isEmpty else { return }
    snapshot = current
    let isSameRule =
      match.host >= 0 && match.host < current.table.hosts.count
      && match.path < current.table.hosts[match.host].paths.count
    match = RouteTable.Match(
      backend: found, host: isSameRule ? match.host : -1, path: isSameRule ? match.path : -1)
  }
}
