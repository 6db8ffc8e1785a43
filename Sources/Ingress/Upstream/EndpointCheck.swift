// Active checks: every endpoint is asked at intervals by a request of our own, on a connection of its own.

import Diagnostics
import Glibc
import Reactor

/// The check of one endpoint by one worker. Runs until `stop`.
final class EndpointCheck: ReadinessHandler, TimerHandler {
  let check: HealthPolicy.Check
  /// It has answered badly often enough, and not well often enough since.
  private(set) var isUnhealthy = false
  private unowned let pool: UpstreamPool
  private let worker: IngressWorker
  private let request: [UInt8]
  private var socket = UpstreamSocket()
  private var isEstablished = false
  private var sent = 0
  private var timer = TimerToken.none
  private var deadline = TimerToken.none
  private var streak = 0

  private static let beginTag = 0
  private static let deadlineTag = 1

  init(_ check: HealthPolicy.Check, _ pool: UpstreamPool, _ worker: IngressWorker) {
    self.check = check
    self.pool = pool
    self.worker = worker
    let host = check.host.isEmpty ? "\(pool.endpoint)" : check.host
    request = Array(
      "GET \(check.path) HTTP/1.1\r\nHost: \(host)\r\nUser-Agent: weft-health\r\nConnection: close\r\n\r\n"
        .utf8)
    begin()
  }

  func stop() {
    worker.reactor.cancelTimer(timer)
    worker.reactor.cancelTimer(deadline)
    socket.close()
  }

  func timerEnded(tag: Int) { tag == Self.beginTag ? begin() : end(isGood: false) }

  private func begin() {
    guard !worker.reactor.isDraining else { return }
    isEstablished = false
    sent = 0
    deadline = worker.reactor.setTimer(
      after: UInt64(max(1, check.timeout)) * 1_000_000, tag: Self.deadlineTag, handler: self)
    do throws(SocketError) { socket = try pool.connectFreely(handler: self, worker) } catch {
      end(isGood: false)
    }
  }

  func ready(_ readiness: Readiness) {
    socket.note(readiness)
    if !isEstablished {
      switch socket.establish(readiness, worker) {
      case .unfinished: return
      case .failed: return end(isGood: false)
      case .done: isEstablished = true
      }
      // A server of HTTP/2 would not understand the request: that it takes connections has to do.
      if pool.settings.speech == .http2 { return end(isGood: true) }
    }
    while sent < request.count {
      let transfer = request.withUnsafeBytes {
        socket.send(UnsafeRawBufferPointer(rebasing: $0[sent...]), worker)
      }
      guard case .bytes(let count) = transfer else { break }
      sent += count
    }
    guard socket.isReadable else { return }
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<1024])
    switch socket.receive(into: space, worker) {
    case .bytes(let count): end(isGood: isGood(UnsafeRawBufferPointer(rebasing: space[..<count])))
    case .wouldBlock: return
    case .end, .failed: end(isGood: false)
    }
  }

  /// `HTTP/1.x NNN`: comes in one piece or is not well.
  private func isGood(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count >= 12, HeadReader.equals(bytes, 0..<7, "http/1.") else { return false }
    var status: UInt16 = 0
    for digit in bytes[9..<12] {
      guard digit &- 48 < 10 else { return false }
      status = status * 10 + UInt16(digit - 48)
    }
    return check.statuses.contains(status)
  }

  private func end(isGood: Bool) {
    socket.close()
    worker.reactor.cancelTimer(deadline)
    worker.metrics.checks.child(isGood ? "good" : "bad").increment()
    streak = isGood == isUnhealthy ? streak + 1 : 0
    if streak >= Int(max(1, isUnhealthy ? check.healthy : check.unhealthy)) {
      isUnhealthy.toggle()
      streak = 0
      if isUnhealthy { worker.metrics.ejections.child("check").increment() }
    }
    timer = worker.reactor.setTimer(
      after: UInt64(max(10, check.interval)) * 1_000_000, tag: Self.beginTag, handler: self)
  }

  func cancel() { stop() }
}
