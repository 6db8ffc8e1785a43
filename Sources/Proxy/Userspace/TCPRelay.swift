// One TCP connection of the userspace mode: bytes go from socket to socket through a pipe (splice), so none is copied here.
//
//   client --recv buffer--> [pipe] --send buffer--> endpoint        each direction for itself; a pipe is held only
//   client <--send buffer-- [pipe] <--recv buffer-- endpoint        while bytes wait in it
//
// A side that has finished sending has its end passed on when its last byte is; the other direction goes on. An error on
// either side resets both: the peer must not take a cut-off answer for a whole one.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor

/// A client's connection with the one to its endpoint. Belongs to its worker's reactor; ends itself.
final class TCPRelay: TimerHandler {
  /// Pieces moved in one go in one direction before others get their turn.
  static let piecesPerTurnMax = 16

  private enum Phase { case connecting, relaying, closed }

  private let worker: UserspaceWorker
  private let client = RelaySide()
  private var endpoint = RelaySide()
  private var toEndpoint = Flow()
  private var toClient = Flow()
  private var phase = Phase.connecting
  private let peer: SocketEndpoint
  let frontend: UserspaceFrontend
  private(set) var target: SocketEndpoint
  private var attempts = 0
  private var timer = TimerToken.none

  /// The state of one direction.
  private struct Flow: ~Copyable {
    var pipe: Pipe?
    var isFinished = false
  }

  /// Takes the connection over; nil when it cannot be begun, and then it is reset.
  init?(
    _ descriptor: consuming Descriptor, from peer: SocketEndpoint, frontend: UserspaceFrontend,
    target: SocketEndpoint, worker: UserspaceWorker
  ) {
    self.worker = worker
    self.peer = peer
    self.frontend = frontend
    self.target = target
    Sockets.keepAlive(descriptor, seconds: worker.limits.keepAliveSeconds)
    client.relay = self
    guard let channel = try? worker.reactor.register(descriptor, handler: client) else {
      client.relay = nil
      return nil
    }
    client.channel = channel
    worker.began(self)
    connect()
  }

  // MARK: Connecting

  private func connect() {
    while attempts < worker.limits.attemptsMax {
      attempts += 1
      if begin() { return }
      guard takeOther() else { break }
    }
    worker.metrics.refusedEndpoint.increment()
    reset()
  }

  private func begin() -> Bool {
    guard let descriptor = open() else { return false }
    Sockets.keepAlive(descriptor, seconds: worker.limits.keepAliveSeconds)
    let side = RelaySide()
    side.relay = self
    guard let channel = try? worker.reactor.register(descriptor, handler: side) else {
      side.relay = nil
      return false
    }
    endpoint = side
    endpoint.channel = channel
    timer = worker.reactor.setTimer(
      after: worker.limits.connectSeconds * 1_000_000_000, handler: self)
    return true
  }

  private func open() -> Descriptor? {
    if let address = worker.keptSource(of: peer, frontend, target) {
      let target = target
      let opened = worker.open(as: address) { source throws(SocketError) in
        try Sockets.connectTCP(target, from: source)
      }
      if let opened { return opened }
    }
    return try? Sockets.connectTCP(target)
  }

  /// The endpoint has not answered in time.
  func timerEnded(tag: Int) {
    guard phase == .connecting else { return }
    tryNext()
  }

  private func tryNext() {
    worker.reactor.cancelTimer(timer)
    endpoint.close()
    guard attempts < worker.limits.attemptsMax, takeOther() else {
      worker.metrics.refusedEndpoint.increment()
      return reset()
    }
    connect()
  }

  private func takeOther() -> Bool {
    guard let other = worker.choose(frontend, for: peer, besides: target) else { return false }
    worker.release(target, frontend)
    target = other
    return true
  }

  // MARK: Relaying

  func ready(_ side: RelaySide, _ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.readable, .peerFinished, .error, .hangUp]) { side.mayRead = true }
    if !readiness.isDisjoint(with: [.writable, .error, .hangUp]) { side.mayWrite = true }
    switch phase {
    case .closed: return
    case .connecting:
      guard side === endpoint, side.mayWrite else {
        // A client that gives up while its endpoint is being reached.
        if side === client, !readiness.isDisjoint(with: [.error, .hangUp]) { reset() }
        return
      }
      guard side.channel.socketError() == 0 else { return tryNext() }
      worker.reactor.cancelTimer(timer)
      phase = .relaying
      worker.remember(target, of: peer, frontend)
      move()
    case .relaying:
      // An error ends both at once, even when bytes still wait for the other side to read.
      if readiness.contains(.error), side.channel.socketError() != 0 { return reset() }
      move()
    }
  }

  private func move() {
    guard phase == .relaying else { return }
    guard move(from: client, to: endpoint, &toEndpoint), move(from: endpoint, to: client, &toClient) else {
      return reset()
    }
    if toEndpoint.isFinished, toClient.isFinished { close() }
  }

  /// Moves what can be moved now. False when the connection is broken.
  private func move(from source: RelaySide, to sink: RelaySide, _ flow: inout Flow) -> Bool {
    for _ in 0..<Self.piecesPerTurnMax {
      if flow.isFinished { return true }
      if flow.pipe == nil {
        guard source.mayRead else { return true }
        flow.pipe = worker.pipes.take()
      }
      guard var pipe = flow.pipe.take() else {
        // Slow readers hold all pipes: what they do must not stop others.
        switch copy(source, sink) {
        case .again: continue
        case .waits: return true
        case .finished:
          flow.isFinished = true
          return true
        case .broken: return false
        }
      }
      let outcome = pipe.count > 0 ? push(&pipe, sink) : pull(&pipe, source, sink)
      switch outcome {
      case .again:
        if pipe.count > 0 { flow.pipe = consume pipe } else { worker.pipes.giveBack(pipe) }
      case .waits:
        if pipe.count > 0 { flow.pipe = consume pipe } else { worker.pipes.giveBack(pipe) }
        return true
      case .finished:
        flow.isFinished = true
        worker.pipes.giveBack(pipe)
        return true
      case .broken:
        worker.pipes.giveBack(pipe)
        return false
      }
    }
    // Others get their turn first.
    source.channel.callAgain([])
    return true
  }

  private enum Step { case again, waits, finished, broken }

  private func pull(_ pipe: inout Pipe, _ source: RelaySide, _ sink: RelaySide) -> Step {
    switch pipe.fill(from: source.channel) {
    case .bytes: return push(&pipe, sink)
    case .wouldBlock:
      source.mayRead = false
      return .waits
    case .end:
      sink.channel.finishSending()
      return .finished
    case .failed: return .broken
    }
  }

  /// Without a pipe: no more is taken from the source than the sink took.
  private func copy(_ source: RelaySide, _ sink: RelaySide) -> Step {
    guard sink.mayWrite else { return .waits }
    worker.metrics.copied.increment()
    switch source.channel.peek(into: worker.reactor.scratch) {
    case .bytes(let count):
      switch sink.channel.send(UnsafeRawBufferPointer(rebasing: worker.reactor.scratch[..<count])) {
      case .bytes(let sent):
        guard source.channel.discard(sent) else { return .broken }
        if sent == count { return .again }
        sink.mayWrite = false
        return .waits
      case .wouldBlock:
        sink.mayWrite = false
        return .waits
      case .end, .failed: return .broken
      }
    case .wouldBlock:
      source.mayRead = false
      return .waits
    case .end:
      sink.channel.finishSending()
      return .finished
    case .failed: return .broken
    }
  }

  private func push(_ pipe: inout Pipe, _ sink: RelaySide) -> Step {
    guard sink.mayWrite else { return .waits }
    switch pipe.drain(to: sink.channel) {
    case .bytes(let count):
      worker.metrics.spliced.increment(by: UInt64(count))
      return .again
    case .wouldBlock:
      sink.mayWrite = false
      return .waits
    case .end, .failed: return .broken
    }
  }

  // MARK: The end

  /// Ends both connections with a reset.
  func reset() {
    if client.channel.isOpen { client.channel.resetOnClose() }
    if endpoint.channel.isOpen { endpoint.channel.resetOnClose() }
    close()
  }

  private func close() {
    guard phase != .closed else { return }
    phase = .closed
    worker.reactor.cancelTimer(timer)
    if let pipe = toEndpoint.pipe.take() { worker.pipes.giveBack(pipe) }
    if let pipe = toClient.pipe.take() { worker.pipes.giveBack(pipe) }
    client.close()
    endpoint.close()
    worker.ended(self)
  }
}

/// One of the two sockets of a relay. The reactor keeps it while its channel is open.
final class RelaySide: ReadinessHandler {
  var channel = Channel()
  /// Let go when the channel closes: until then they keep each other.
  var relay: TCPRelay?
  var mayRead = false
  var mayWrite = false

  func ready(_ readiness: Readiness) { relay?.ready(self, readiness) }
  func drain() {}
  func cancel() { relay?.reset() }

  func close() {
    relay = nil
    mayRead = false
    mayWrite = false
    channel.close()
  }
}
