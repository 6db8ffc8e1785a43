// The way of a request to an endpoint: choosing, connecting, sending, trying another.

import Diagnostics
import Glibc
import Reactor

extension ClientConnection {
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
    if state == .tunnel { return pumpTunnel() }
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
        wait(worker.limits.readMilliseconds)
      case .wouldBlock: return
      case .end, .failed: return sendFailed(connection)
      }
    }
    if pendingBody.isAllocated { pendingBody = PooledBuffer() }
    if !requestBody.isDone { pumpBody() }
  }

  /// The endpoint takes no more. It may have answered already (413, 401), and then that is the answer.
  private func sendFailed(_ connection: UpstreamConnection) {
    connection.isReadable = true
    connection.isFinished = true
    readResponse(connection)
  }

  /// Passes body from the client to the endpoint, at most one buffer ahead of it.
  func pumpBody() {
    guard state == .exchange, let connection = upstream, connection.isConnected else { return }
    var reads = 0
    while state == .exchange, isReadable, !requestBody.isDone, requestSent == request.count,
      pendingBody.isEmpty,
      upstream === connection
    {
      reads += 1
      if reads > worker.limits.readsPerTurnMax { return channel.callAgain(.readable) }
      // Not past the body's end where that is known, and where not, not more than a head's buffer can keep.
      let most = requestBody.remaining.map { Int(min($0, UInt64(worker.limits.readBytesMax))) }
      let space = UnsafeMutableRawBufferPointer(
        rebasing: worker.reactor.scratch[..<(most ?? HeadReader.headBytesMax)])
      switch readClient(into: space) {
      case .bytes(let count):
        wait(worker.limits.readMilliseconds)
        passBody(UnsafeRawBufferPointer(rebasing: space[..<count]), to: connection)
      case .wouldBlock: break
      case .end, .failed: return abort()
      }
    }
  }

  private func passBody(_ bytes: UnsafeRawBufferPointer, to connection: UpstreamConnection) {
    do throws(HTTPRefusal) {
      let used = try requestBody.take(bytes)
      try countBody(used)
      if used < bytes.count { keep(UnsafeRawBufferPointer(rebasing: bytes[used...])) }
      guard state == .exchange else { return }
      isReplayable = false
      requestSent = 0
      request = PooledBuffer()
      let body = UnsafeRawBufferPointer(rebasing: bytes[..<used])
      var sent = 0
      switch connection.channel.send(body) {
      case .bytes(let count): sent = count
      case .wouldBlock: break
      case .end, .failed: return sendFailed(connection)
      }
      guard sent < used else { return }
      pendingBody = worker.bulk.take()
      let left = UnsafeRawBufferPointer(rebasing: body[sent...])
      if pendingBody.append(left) < left.count { fail(503) }
    } catch {
      // The endpoint has seen half a request: its connection ends, so that it cannot take it for a whole one.
      if let upstream {
        upstream.channel.resetOnClose()
        upstream.finish(isReusable: false)
        self.upstream = nil
      }
      if status == 0 { refuse(error.status) } else { abort() }
    }
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
