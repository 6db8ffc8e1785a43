// The way of a request to an endpoint: choosing, connecting, sending, trying another.

import Diagnostics
import Glibc
import Reactor

extension Exchange {
  /// Finds an endpoint and begins to send.
  func connect(avoiding failed: UpstreamPool?) {
    let backend = snapshot.backends[match.backend]
    if backend.hasTimeouts || clientLimit > 0 { beginLimits(backend.policy.timeouts) }
    readMilliseconds = backend.readMilliseconds ?? worker.limits.readMilliseconds
    watchesOutcome = backend.watchesOutcome
    retriesStatuses = backend.retriesStatuses
    if backend.hasMirrors, tries == 0, !isCopy { sendCopies(backend.policy.mirrors) }
    if backend.hasBudget, tries == 0 { backend.budget.noteRequest() }
    guard let pool = backend.choose(for: self, now: worker.reactor.now, avoiding: failed) else {
      return fail(503)
    }
    tries += 1
    requestSent = 0
    do throws(SocketError) {
      let connection = try UpstreamConnection.take(from: pool, for: self, worker: worker)
      upstream = connection
      triedAt = worker.reactor.now
      connectedAt = 0
      answeredAt = 0
      logged?.pool = pool
      if connection.isConnected {
        connectedAt = triedAt
        wait(readMilliseconds)
        sendRequest(connection)
      } else {
        wait(backend.connectMilliseconds ?? worker.limits.connectMilliseconds)
      }
    } catch {
      if error.errno == EBUSY { return tryAgain(avoiding: pool, status: 503) }
      upstreamRefused(pool, status: 502)
    }
  }

  func upstreamReady(_ connection: UpstreamConnection, _ readiness: Readiness) {
    guard connection === upstream else { return }
    if !connection.isConnected {
      switch connection.establish(readiness) {
      case .unfinished: return
      case .failed: return upstreamFailed(status: 502)
      case .done:
        connectedAt = worker.reactor.now
        wait(readMilliseconds)
      }
      sendRequest(connection)
    } else {
      if isTunnel { return pumpTunnel() }
      if readiness.contains(.writable) { sendRequest(connection) }
    }
    // The same endpoint still: sending may have failed over to another.
    if connection === upstream, connection.isReadable { readResponse(connection) }
  }

  /// Sends what is left of the request's beginning, then of the body that waits, then asks for more.
  func sendRequest(_ connection: UpstreamConnection) {
    while requestSent < request.count {
      let left = UnsafeRawBufferPointer(rebasing: request.readable[requestSent...])
      switch connection.send(left) {
      case .bytes(let count): requestSent += count
      case .wouldBlock: return
      case .end, .failed: return sendFailed(connection)
      }
    }
    while !pendingBody.isEmpty {
      switch connection.send(pendingBody.readable) {
      case .bytes(let count):
        pendingBody.consumed(count)
        isReplayable = false
        wait(readMilliseconds)
      case .wouldBlock: return
      case .end, .failed: return sendFailed(connection)
      }
    }
    if pendingBody.isAllocated { pendingBody = PooledBuffer() }
    if !requestBody.isDone { pumpBody() }
  }

  /// The endpoint takes no more. It may have answered already (413, 401), and then that is the answer.
  func sendFailed(_ connection: UpstreamConnection) {
    connection.expectEnd()
    readResponse(connection)
  }

  // MARK: - Another try

  /// The endpoint cannot be reached, or its connection ended without a byte of answer.
  func upstreamFailed(status code: Int) {
    guard let connection = upstream else { return }
    upstream = nil
    let pool = connection.pool
    if watchesOutcome { noteOutcome(connection.pool, isFailure: true) }
    let (wasConnected, isUnprocessed) = (connection.isConnected, connection.isUnprocessed)
    connection.finish(isReusable: false)
    if !wasConnected { return upstreamRefused(pool, status: code) }
    // A request that may have been acted upon is repeated only if repeating does no harm.
    if isReplayable, requestSent == 0 || isUnprocessed || method.isIdempotent {
      return tryAgain(avoiding: pool, status: code)
    }
    fail(code)
  }

  /// One try has lasted too long.
  func tryTimedOut() {
    guard let connection = upstream else { return fail(504) }
    upstream = nil
    let pool = connection.pool
    connection.finish(isReusable: false)
    if watchesOutcome { noteOutcome(pool, isFailure: true) }
    let retry = snapshot.backends[match.backend].policy.retry
    let isWanted = retry.tries > 1 || retry.statuses.contains(504)
    if isWanted, isReplayable { return tryAgain(avoiding: pool, status: 504) }
    fail(504)
  }

  private func upstreamRefused(_ pool: UpstreamPool, status code: Int) {
    pool.failedUntil = worker.reactor.now &+ worker.limits.ejectMilliseconds * 1_000_000
    tryAgain(avoiding: pool, status: code)
  }

  private func tryAgain(avoiding pool: UpstreamPool, status code: Int) {
    guard status == 0, isReplayable, tries < snapshot.backends[match.backend].triesMax(worker.limits) else {
      return fail(code)
    }
    let backend = snapshot.backends[match.backend]
    guard backend.budget.take(now: worker.reactor.now) else {
      worker.metrics.deniedRetries.increment()
      return fail(code)
    }
    worker.metrics.retries.increment()
    guard backend.policy.retry.backoff == 0 else { return connectLater(backend.policy.retry.backoff, pool) }
    adoptRoutes()
    connect(avoiding: pool)
  }

  /// Whether an answer with this status is thrown away for another try, which is begun then.
  func isRetried(_ code: Int, _ connection: UpstreamConnection) -> Bool {
    let backend = snapshot.backends[match.backend]
    guard backend.policy.retry.statuses.contains(UInt16(clamping: code)), isReplayable, requestBody.isDone,
      tries < backend.triesMax(worker.limits)
    else { return false }
    guard backend.budget.take(now: worker.reactor.now) else {
      worker.metrics.deniedRetries.increment()
      return false
    }
    let pool = connection.pool
    if watchesOutcome { noteOutcome(pool, isFailure: true) }
    upstream = nil
    connection.finish(isReusable: false)
    worker.metrics.retries.increment()
    if backend.policy.retry.backoff > 0 {
      connectLater(backend.policy.retry.backoff, pool)
    } else {
      adoptRoutes()
      connect(avoiding: pool)
    }
    return true
  }

  /// The routes may have changed since the request began, and may know why the endpoint does not answer.
  func adoptRoutes() {
    let current = worker.snapshot
    // The backend that tells of errors is one of the table that the action came with.
    guard current !== snapshot, action?.action.errors == nil else { return }
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
