// The body of a request, read from the client as the endpoint takes it.

import Reactor

extension ClientConnection {
  /// Passes body from the client to the endpoint, at most one buffer ahead of it.
  func readBody() {
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
        wait(readMilliseconds)
        passBody(UnsafeRawBufferPointer(rebasing: space[..<count]), to: connection)
      case .wouldBlock: break
      case .end, .failed: return abort()
      }
    }
    // The client is the slow one now: its own time counts and not the endpoint's, which may be hours.
    let isAwaited = !requestBody.isDone && requestSent == request.count && pendingBody.isEmpty
    if isAwaited, state == .exchange, status == 0, upstream === connection {
      wait(worker.limits.clientMilliseconds)
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
      switch connection.send(body) {
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
        upstream.resetOnClose()
        upstream.finish(isReusable: false)
        self.upstream = nil
      }
      if status == 0 { refuse(error.status) } else { abort() }
    }
  }
}
