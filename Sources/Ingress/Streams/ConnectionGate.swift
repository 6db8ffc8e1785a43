// A connection of which something has to be read before it is known whose it is: a header of the PROXY protocol, then the name in a
// ClientHello. The header is taken, the ClientHello is only looked at: whoever serves the connection reads it again.

import Addresses
import CLinux
import Diagnostics
import Reactor

/// What a listening socket of the worker's is for, and one connection to it.
struct ListenerDoor {
  enum Service {
    case http, https, streams
  }
  /// Never used again.
  var number: Int
  /// Of a connection: with its address, when tables tell addresses apart.
  var place: ListenerPlace
  var service: Service
  /// Nil: connections begin with the client's own bytes.
  var proxy: ProxyAcceptance?
}

final class ConnectionGate: ReadinessHandler, TimerHandler, ListenerGuest {
  private enum Stage { case proxy, hello, closed }
  /// Looks at a ClientHello that comes in pieces; sent byte by byte it would cost its square.
  static let looksMax = 64

  private let worker: IngressWorker
  private let door: ListenerDoor
  var doorNumber: Int { door.number }
  private let peer: SocketEndpoint
  private var client: StreamClient
  private var channel = Channel()
  private var stage: Stage
  private var looks = 0
  private var timer = TimerToken.none

  private init(_ worker: IngressWorker, _ door: ListenerDoor, _ peer: SocketEndpoint) {
    self.worker = worker
    self.door = door
    self.peer = peer
    client = StreamClient(source: peer)
    stage = door.proxy == nil ? .hello : .proxy
  }

  /// Takes an accepted connection to where it belongs: at once when nothing has to be read of it.
  static func admit(
    _ descriptor: consuming Descriptor, _ peer: SocketEndpoint, _ door: ListenerDoor, _ worker: IngressWorker
  ) throws(SocketError) {
    guard door.proxy != nil || asksForName(door, worker) else {
      return try deliver(descriptor, StreamClient(source: peer), door, worker)
    }
    let gate = ConnectionGate(worker, door, peer)
    gate.channel = try worker.reactor.register(descriptor, handler: gate)
    gate.timer = worker.reactor.setTimer(
      after: worker.limits.handshakeMilliseconds * 1_000_000, handler: gate)
    worker.clientOpened()
  }

  private static func asksForName(_ door: ListenerDoor, _ worker: IngressWorker) -> Bool {
    door.service != .http && worker.streams.snapshot.connections(to: door.place)?.listener.kind == .tls
  }

  // MARK: - Events

  func ready(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.error, .hangUp]) { return refuse(nil) }
    let isFinished = readiness.contains(.peerFinished)
    if stage == .proxy { readHeader(isFinished) }
    if stage == .hello { readHello(isFinished) }
  }

  func timerEnded(tag: Int) { refuse(.timeout) }
  func drain() { refuse(nil) }
  func cancel() { refuse(nil) }

  private func peek(_ most: Int) -> UnsafeMutableRawBufferPointer? {
    looks += 1
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<most])
    switch channel.peek(into: space) {
    case .bytes(let count): return UnsafeMutableRawBufferPointer(rebasing: space[..<count])
    case .wouldBlock: return nil
    case .end, .failed:
      refuse(nil)
      return nil
    }
  }

  private func readHeader(_ isFinished: Bool) {
    guard let bytes = peek(ProxyHeader.bytesMax) else { return }
    switch ProxyHeader(UnsafeRawBufferPointer(bytes)) {
    case .unfinished: if isFinished || looks >= Self.looksMax { refuse(.proxyHeader) }
    case .malformed: refuse(.proxyHeader)
    case .header(let length, let addresses):
      guard channel.discard(length) else { return refuse(.proxyHeader) }
      if let addresses, door.proxy?.believes(peer.address) == true {
        client = StreamClient(source: addresses.source, destination: addresses.destination)
      }
      looks = 0
      stage = .hello
      if !Self.asksForName(door, worker) { leave() }
    }
  }

  private func readHello(_ isFinished: Bool) {
    guard stage == .hello, let bytes = peek(ClientHello.bytesMax) else { return }
    // Streams that came since are asked for names too; if they left there is nothing to choose from.
    guard let listener = worker.streams.snapshot.connections(to: door.place) else { return leave() }
    switch ClientHello(joining: bytes) {
    case .unfinished: if isFinished || looks >= Self.looksMax { refuse(.clientHello) }
    case .malformed:
      // OpenSSL says what is wrong with it.
      door.service == .https ? leave() : refuse(.clientHello)
    case .hello(let name):
      let name = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[name])
      guard let rule = listener.rule(for: name), rule.rule.opening != .http else {
        if door.service == .https { return leave() }
        // An alert tells people more than a reset.
        _ = channel.discard(bytes.count)
        _ = ClientHello.unrecognizedName.withUnsafeBytes { channel.send($0) }
        return refuse(.noRoute)
      }
      let descriptor = end()
      worker.streams.pass(descriptor, client, rule, at: door.place)
    }
  }

  // MARK: - The end

  /// Gives up the socket; this gate is done.
  private func end() -> Descriptor {
    stage = .closed
    worker.reactor.cancelTimer(timer)
    worker.clientClosed()
    return channel.release()
  }

  private func leave() {
    do throws(SocketError) { try Self.deliver(end(), client, door, worker) } catch {
      worker.metrics.refusedClients.increment()
    }
  }

  private static func deliver(
    _ descriptor: consuming Descriptor, _ client: StreamClient, _ door: ListenerDoor, _ worker: IngressWorker
  ) throws(SocketError) {
    switch door.service {
    case .http, .https:
      try ClientConnection.open(
        descriptor, peer: client.source, destination: client.destination, door: door, worker: worker,
        security: door.service == .https ? worker.secure(door.place) : nil)
    case .streams: worker.streams.pass(descriptor, client, at: door.place)
    }
  }

  /// - Parameter reason: nil: the client, or we, are leaving.
  private func refuse(_ reason: StreamRefusal?) {
    guard stage != .closed else { return }
    let descriptor = end()
    guard let reason else { return }
    if reason == .noRoute {
      // Closed, not reset: what was said may not have arrived.
      worker.streams.metrics.refused.child(reason.rawValue).increment()
    } else {
      worker.streams.refuse(descriptor, reason)
    }
  }
}
