// Copies of requests for backends whose answers nobody reads. A copy is made when the request is sent for the first time, if all of it
// is there: one with a body that is still to come is not copied. The client never waits for a copy.

import Diagnostics
import Reactor

extension Exchange {
  /// Sends what the backend's mirrors get of this request.
  func sendCopies(_ mirrors: [BackendMirror]) {
    for mirror in mirrors where snapshot.backends.indices.contains(mirror.backend) {
      guard mirror.denominator > 0,
        worker.nextRequestID().0 % UInt64(mirror.denominator) < UInt64(mirror.numerator)
      else { continue }
      CopyExchange.begin(self, backend: mirror.backend)
    }
  }
}

/// One copy on its way.
final class CopyExchange: Exchange {
  /// Copies of one worker at a time; further ones are not made.
  static let runningMax = 1024
  /// Time for all of one copy, nanoseconds.
  private static let limit: UInt64 = 30_000_000_000

  private var isOver = false

  static func begin(_ original: Exchange, backend: Int) {
    let worker = original.worker
    let copy = CopyExchange(worker: worker)
    copy.request = worker.requests.take()
    guard worker.copiesRunning < runningMax, original.requestBody.isDone, !original.wantsUpgrade,
      copy.request.append(original.request.readable) == original.request.count
    else { return worker.metrics.copies.child("dropped").increment() }
    worker.copiesRunning += 1
    copy.snapshot = original.snapshot
    copy.match = RouteTable.Match(backend: backend, host: -1, path: -1)
    copy.method = original.method
    copy.startedAt = worker.reactor.now
    copy.clientLimit = limit
    copy.connect(avoiding: nil)
  }

  override var isCopy: Bool { true }
  override var isRunning: Bool { !isOver }
  override var responseRoom: Int { worker.limits.readBytesMax }

  override func fail(_ code: Int) { end("failed", isReusable: false) }

  override func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    noteHead(worker.reader)
    try passBody(rest, connection)
  }

  override func passBody(
    _ bytes: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    let used = try responseBody.take(UnsafeRawBufferPointer(bytes))
    connection.input = PooledBuffer()
    if responseBody.isDone { end("sent", isReusable: upstreamKeepsAlive && used == bytes.count) }
  }

  override func becomeTunnel(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeRawBufferPointer, _ connection: UpstreamConnection
  ) { end("failed", isReusable: false) }

  override func responseIsOver(isReusable: Bool) { end("sent", isReusable: isReusable) }

  private func end(_ result: String, isReusable: Bool) {
    guard !isOver else { return }
    isOver = true
    endLimits()
    worker.copiesRunning -= 1
    worker.metrics.copies.child(result).increment()
    upstream?.finish(isReusable: isReusable && requestSent == request.count)
    upstream = nil
    request = PooledBuffer()
  }
}
