// A route's servers as a thread sees them: which to ask next, which failed lately, whether queries come back to us.

import Addresses
import Diagnostics
import Reactor
import Synchronization

/// One route of one thread. `isLooping` is shared by all threads of the route.
final class ForwardTarget {
  /// A probe that comes back proves a loop, whichever thread receives it.
  final class Probe: Sendable {
    let name: [UInt8]
    let seen = Atomic<Int>(0)
    init(_ zone: DomainName) {
      var wire: [UInt8] = []
      for _ in 0..<2 {
        let label = String(UInt64.random(in: .min ... .max), radix: 36)
        wire += [UInt8(label.utf8.count)] + Array(label.utf8)
      }
      name = wire + zone.wire
    }
  }

  let route: ForwardRoute
  let probe: Probe
  /// By index of the server; nil and out of bounds for those asked in the clear.
  private let encrypted: [TLSUpstream?]
  private let labelCount: Int
  private let exceptions: [(wire: [UInt8], labels: Int)]
  private var numbers: [ForwardNumbers?]
  private var failures: [Int]
  private var failedAt: [UInt64]
  private var checks: [HealthCheck?]
  private var next = 0
  /// How long a failing server is passed over.
  static let pauseNanoseconds: UInt64 = 1_000_000_000

  init(_ route: ForwardRoute, probe: Probe, encrypted: [TLSUpstream?] = []) {
    self.route = route
    self.encrypted = encrypted
    self.probe = probe
    labelCount = route.zone.labels.count
    exceptions = route.except.map { ($0.lowercased.wire, $0.labels.count) }
    numbers = route.upstreams.map { _ in nil }
    failures = route.upstreams.map { _ in 0 }
    failedAt = route.upstreams.map { _ in 0 }
    checks = route.upstreams.map { _ in nil }
  }

  /// The way to a server over TLS; nil when it is asked in the clear.
  func encrypted(_ index: Int) -> TLSUpstream? { index < encrypted.count ? encrypted[index] : nil }

  /// What is counted of a server.
  func numbers(_ index: Int, _ metrics: DNSMetrics) -> ForwardNumbers {
    if let known = numbers[index] { return known }
    let made = ForwardNumbers(route.upstreams[index], metrics.forward)
    numbers[index] = made
    return made
  }

  var isLooping: Bool { probe.seen.load(ordering: .relaxed) > 0 }
  func noteLoop() { probe.seen.add(1, ordering: .relaxed) }

  func isOwnProbe(_ packet: RawSpan, _ head: borrowing QueryHead) -> Bool {
    guard head.type == .hinfo, head.nameLength == probe.name.count else { return false }
    let count = head.nameLength
    return probe.name.withUnsafeBytes {
      packet.foldedEquals(at: Header.byteCount, count: count, $0.baseAddress!)
    }
  }

  /// The route of the longest zone a name is in; nil when none is, or the route excepts the name.
  static func find(_ routes: [ForwardTarget], _ packet: RawSpan, _ head: borrowing QueryHead)
    -> ForwardTarget?
  {
    for route in routes where route.covers(packet, head) {
      for exception in route.exceptions where isWithin(packet, head, exception.wire, exception.labels) {
        return nil
      }
      return route
    }
    return nil
  }

  private func covers(_ packet: RawSpan, _ head: borrowing QueryHead) -> Bool {
    Self.isWithin(packet, head, route.zone.wire, labelCount)
  }

  /// The route that stands after this one in its block, of those for the name; nil when this is the last or the next excepts the name.
  func following(_ routes: [ForwardTarget], _ packet: RawSpan, _ head: borrowing QueryHead) -> ForwardTarget?
  {
    var next: ForwardTarget?
    for other in routes where other.route.order > route.order {
      guard other.covers(packet, head) else { continue }
      if next.map({ other.route.order < $0.route.order }) ?? true { next = other }
    }
    guard let next else { return nil }
    for exception in next.exceptions where Self.isWithin(packet, head, exception.wire, exception.labels) {
      return nil
    }
    return next
  }

  private static func isWithin(_ packet: RawSpan, _ head: borrowing QueryHead, _ zone: [UInt8], _ labels: Int)
    -> Bool
  {
    guard head.labelCount >= labels else { return false }
    let start = head.suffixStart(head.labelCount - labels)
    guard head.nameLength - start == zone.count else { return false }
    return zone.withUnsafeBytes {
      packet.foldedEquals(at: Header.byteCount + start, count: zone.count, $0.baseAddress!)
    }
  }

  /// The server to ask first. Failing ones are passed over for a second; when all fail, one is asked all the same.
  func first(now: UInt64) -> (index: Int, isHealthy: Bool)? {
    let count = route.upstreams.count
    guard count > 0 else { return nil }
    let start: Int
    switch route.policy {
    case .sequential: start = 0
    case .random: start = Int.random(in: 0..<count)
    case .roundRobin:
      start = next % count
      next &+= 1
    }
    for offset in 0..<count {
      let index = (start + offset) % count
      let isUnchecked = route.healthCheckMilliseconds == 0 || encrypted(index) != nil
      let mayBeBack = isUnchecked && now &- failedAt[index] > Self.pauseNanoseconds
      if failures[index] < route.failuresMax || mayBeBack { return (index, true) }
    }
    return (start, false)
  }

  func note(_ index: Int, failed: Bool, now: UInt64, reactor: Reactor, _ metrics: DNSMetrics) {
    failures[index] = failed ? failures[index] + 1 : 0
    guard failed else { return }
    failedAt[index] = now
    guard route.healthCheckMilliseconds > 0, checks[index] == nil, encrypted(index) == nil,
      !reactor.isDraining
    else { return }
    let unanswered = numbers(index, metrics).unanswered
    checks[index] = HealthCheck(route, index, reactor, unanswered) { [weak self] in
      self?.failures[index] = 0
      self?.checks[index] = nil
    }
  }
}

/// Asks a failing server again and again whether it is back. Any reply says yes.
final class HealthCheck: ReadinessHandler, TimerHandler {
  private let route: ForwardRoute
  private let index: Int
  private let reactor: Reactor
  private let unanswered: (old: Counter, new: Counter)
  private let isBack: () -> Void
  private var channel = Channel()
  private var timer = TimerToken.none

  init(
    _ route: ForwardRoute, _ index: Int, _ reactor: Reactor, _ unanswered: (old: Counter, new: Counter),
    isBack: @escaping () -> Void
  ) {
    self.unanswered = unanswered
    self.route = route
    self.index = index
    self.reactor = reactor
    self.isBack = isBack
    setTimer()
  }

  private func setTimer() {
    timer = reactor.setTimer(after: UInt64(route.healthCheckMilliseconds) * 1_000_000, handler: self)
  }

  func timerEnded(tag: Int) {
    guard !reactor.isDraining else { return }
    if channel.isOpen {
      unanswered.old.increment()
      unanswered.new.increment()
    }
    channel.close()
    let id = UInt16.random(in: 0...UInt16.max)
    var message = Message(query: route.healthCheckName, .ns, id: id)
    if !route.isHealthCheckRecursive { message.flags &= ~Header.recursionDesired }
    let query = message.encoded
    let opened = try? reactor.register(
      Sockets.connectUDPFromRandomPort(route.upstreams[index], as: route.source), handler: self,
      readsOnly: true)
    if let opened {
      channel = opened
      _ = query.withUnsafeBytes { channel.send($0) }
    }
    setTimer()
  }

  func ready(_ readiness: Readiness) {
    let space = UnsafeMutableRawBufferPointer(rebasing: reactor.scratch[..<DNSLimits.messageBytesMax])
    guard channel.isOpen, readiness.contains(.readable),
      case .bytes(let count) = channel.receive(into: space),
      count >= Header.byteCount
    else { return }
    channel.close()
    reactor.cancelTimer(timer)
    isBack()
  }

  func cancel() {
    channel.close()
    reactor.cancelTimer(timer)
  }
}
