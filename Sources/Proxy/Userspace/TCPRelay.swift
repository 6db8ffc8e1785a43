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
final class TCPRelay: RelayOwner, TimerHandler {
  private enum Phase { case connecting, relaying, closed }

  private let worker: UserspaceWorker
  private var client = RelayEnd()
  private var endpoint = RelayEnd()
  private var toEndpoint = RelayFlow()
  private var toClient = RelayFlow()
  private var phase = Phase.connecting
  private let peer: SocketEndpoint
  let frontend: UserspaceFrontend
  private(set) var target: SocketEndpoint
  private var attempts = 0
  private var timer = TimerToken.none

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
    guard let client = try? RelayEnd(descriptor, of: self, reactor: worker.reactor) else { return nil }
    self.client = client
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
    guard let end = try? RelayEnd(descriptor, of: self, reactor: worker.reactor) else { return false }
    endpoint = end
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

  func ready(_ side: RelayEnd, _ readiness: Readiness) {
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
    guard toEndpoint.move(from: client, to: endpoint, worker.gear),
      toClient.move(from: endpoint, to: client, worker.gear)
    else { return reset() }
    if toEndpoint.isFinished, toClient.isFinished { close() }
  }

  // MARK: The end

  /// Ends both connections with a reset.
  func reset() {
    client.reset()
    endpoint.reset()
    close()
  }

  func cancel() { reset() }

  private func close() {
    guard phase != .closed else { return }
    phase = .closed
    worker.reactor.cancelTimer(timer)
    toEndpoint.giveBack(to: worker.gear.pipes)
    toClient.giveBack(to: worker.gear.pipes)
    client.close()
    endpoint.close()
    worker.ended(self)
  }
}
