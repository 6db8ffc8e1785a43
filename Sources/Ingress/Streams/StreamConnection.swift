// A connection that is passed on: finding an endpoint that takes it, and its end. How bytes go is a subclass's.

import Addresses
import CLinux
import Diagnostics
import Reactor

/// Keeps itself by its sockets' registrations; ends itself.
class StreamConnection: TimerHandler {
  enum Phase {
    /// The client has still to agree on TLS.
    case opening
    case connecting
    case relaying
    case closed
  }

  final let streams: StreamWorker
  final let client: StreamClient
  final let backend: BackendRuntime
  final var phase = Phase.connecting
  private var pool: UpstreamPool?
  private var tries = 0
  private var timer = TimerToken.none
  /// Time at which the present phase has lasted too long.
  private var deadline: UInt64 = 0

  init(_ client: StreamClient, _ backend: BackendRuntime, _ streams: StreamWorker) {
    self.client = client
    self.backend = backend
    self.streams = streams
  }

  // MARK: - Subclasses

  /// Begins a connection to an endpoint.
  func connect(to pool: UpstreamPool) throws(SocketError) {}
  /// Ends a connection to an endpoint that did not come about.
  func dropEndpoint() {}
  /// Closes both sockets.
  func closeSockets(resets: Bool) {}

  // MARK: - Connecting

  final func begin() {
    streams.began()
    rest(streams.worker.limits.handshakeMilliseconds)
  }

  /// Looks for an endpoint; one that fails is passed over for a while by all.
  final func reachEndpoint() {
    phase = .connecting
    let limits = streams.worker.limits
    while tries < backend.triesMax(limits) {
      tries += 1
      let now = streams.worker.reactor.now
      guard let next = backend.choose(for: client.source.address, now: now, avoiding: pool) else { break }
      leave()
      pool = next
      next.active += 1
      do throws(SocketError) {
        try connect(to: next)
        streams.worker.metrics.upstreamConnects.increment()
        return rest(backend.connectMilliseconds ?? limits.connectMilliseconds)
      } catch { next.failedUntil = now &+ limits.ejectMilliseconds &* 1_000_000 }
    }
    streams.metrics.refused.child(StreamRefusal.unreachable.rawValue).increment()
    end("unreachable", resets: true)
  }

  final func endpointFailed() {
    guard phase == .connecting else { return end("reset", resets: true) }
    let limits = streams.worker.limits
    pool?.failedUntil = streams.worker.reactor.now &+ limits.ejectMilliseconds &* 1_000_000
    dropEndpoint()
    reachEndpoint()
  }

  final func reached() {
    phase = .relaying
    rest(idleMilliseconds)
  }

  private var idleMilliseconds: UInt64 {
    backend.readMilliseconds ?? streams.worker.limits.streamIdleMilliseconds
  }

  /// What an endpoint that asks for it is told of the client. Nil without.
  final func origin(_ descriptor: (() -> SocketEndpoint?)) -> ProxyAddresses? {
    guard backend.policy.proxy != nil, let destination = client.destination ?? descriptor() else {
      return nil
    }
    return ProxyAddresses(source: client.source, destination: destination)
  }

  private func leave() {
    pool?.active -= 1
    pool = nil
  }

  // MARK: - Time

  /// Bytes have moved: it is not idle.
  final func moved() {
    // The timer in force looks at the time again when it ends.
    deadline = streams.worker.reactor.now &+ idleMilliseconds &* 1_000_000
  }

  private func rest(_ milliseconds: UInt64) {
    streams.worker.reactor.cancelTimer(timer)
    deadline = streams.worker.reactor.now &+ milliseconds &* 1_000_000
    setTimer()
  }

  private func setTimer() {
    let now = streams.worker.reactor.now
    timer = streams.worker.reactor.setTimer(after: deadline > now ? deadline - now : 1, handler: self)
  }

  final func timerEnded(tag: Int) {
    timer = .none
    guard phase != .closed else { return }
    if streams.worker.reactor.now < deadline { return setTimer() }
    switch phase {
    case .opening:
      streams.metrics.refused.child(StreamRefusal.timeout.rawValue).increment()
      end("timeout", resets: true)
    case .connecting: endpointFailed()
    case .relaying: end("idle", resets: true)
    case .closed: break
    }
  }

  // MARK: - The end

  final func end(_ result: String, resets: Bool) {
    guard phase != .closed else { return }
    phase = .closed
    streams.worker.reactor.cancelTimer(timer)
    leave()
    closeSockets(resets: resets)
    streams.ended(result)
  }
}

/// A connection whose bytes go from socket to socket through pipes: none is looked at, none is copied here.
final class SplicedStream: StreamConnection, RelayOwner {
  private var near = RelayEnd()
  private var far = RelayEnd()
  private var inward = RelayFlow()
  private var outward = RelayFlow()
  private var movedBytes: UInt64 = 0
  private var preamble: [UInt8] = []

  /// Takes a client's connection over.
  static func open(
    _ descriptor: consuming Descriptor, _ client: StreamClient, _ backend: BackendRuntime,
    _ streams: StreamWorker
  ) {
    let stream = SplicedStream(client, backend, streams)
    stream.begin()
    if let version = backend.policy.proxy {
      let destination = Sockets.localEndpoint(descriptor)
      stream.preamble = ProxyHeader.bytes(version, stream.origin { destination })
    }
    do throws(SocketError) {
      stream.near = try RelayEnd(descriptor, of: stream, reactor: streams.worker.reactor)
    } catch { return stream.end("reset", resets: true) }
    stream.reachEndpoint()
  }

  override func connect(to pool: UpstreamPool) throws(SocketError) {
    let descriptor = try Sockets.connectTCP(pool.endpoint)
    Sockets.keepAlive(descriptor, seconds: 60)
    far = try RelayEnd(descriptor, of: self, reactor: streams.worker.reactor)
  }

  override func dropEndpoint() { far.close() }

  override func closeSockets(resets: Bool) {
    inward.giveBack(to: streams.gear.pipes)
    outward.giveBack(to: streams.gear.pipes)
    if resets {
      near.reset()
      far.reset()
    } else {
      near.close()
      far.close()
    }
  }

  func cancel() { end("reset", resets: true) }

  func ready(_ end: RelayEnd, _ readiness: Readiness) {
    switch phase {
    case .closed, .opening: return
    case .connecting:
      guard end === far, end.mayWrite else {
        // A client that gives up while its endpoint is being reached.
        if end === near, !readiness.isDisjoint(with: [.error, .hangUp]) { self.end("reset", resets: true) }
        return
      }
      guard far.channel.socketError() == 0 else { return endpointFailed() }
      if !preamble.isEmpty {
        // A new connection's buffer takes a hundred bytes.
        let said = preamble.withUnsafeBytes { far.channel.send($0) }
        guard said == .bytes(preamble.count) else { return endpointFailed() }
      }
      reached()
      move()
    case .relaying:
      // An error ends both at once, even when bytes still wait for the other side to read.
      if readiness.contains(.error), end.channel.socketError() != 0 { return self.end("reset", resets: true) }
      move()
    }
  }

  private func move() {
    guard inward.move(from: near, to: far, streams.gear), outward.move(from: far, to: near, streams.gear)
    else {
      return end("reset", resets: true)
    }
    let all = inward.moved &+ outward.moved
    if all != movedBytes {
      movedBytes = all
      moved()
    }
    if inward.isFinished, outward.isFinished { end("finished", resets: false) }
  }
}
