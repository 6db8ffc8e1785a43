// One reactor of the userspace mode: its listeners, which change as Services do, and the choice of an endpoint.

import Addresses
import Diagnostics
import Glibc
import Reactor

/// Belongs to its reactor's thread once made.
final class UserspaceWorker: @unchecked Sendable {
  let reactor: Reactor
  let limits: UserspaceLimits
  let metrics: UserspaceMetrics
  let gear: RelayGear
  let flows: UDPFlowTable
  /// Local policies ask for the client's address at the endpoint, and it is allowed here.
  private var keepsSources = false
  private let affinity: AffinityTable
  private let connections: RelayedConnections
  private var tcp: [UserspaceFrontendKey: TCPFrontend] = [:]
  private var udp: [UserspaceFrontendKey: UDPFrontend] = [:]
  private var podNetworks: [IPPrefix] = []
  private var relays: [ObjectIdentifier: TCPRelay] = [:]
  private var nextNumber = 0
  private var random: UInt64

  init(
    reactor: Reactor, limits: UserspaceLimits, metrics: UserspaceMetrics, affinity: AffinityTable,
    connections: RelayedConnections
  ) {
    self.reactor = reactor
    self.limits = limits
    self.metrics = metrics
    self.affinity = affinity
    self.connections = connections
    gear = RelayGear(
      reactor: reactor, pipes: PipePool(pipesMax: limits.pipesMax), spliced: metrics.spliced,
      copied: metrics.copied)
    flows = UDPFlowTable(
      reactor: reactor,
      limits: UDPFlowLimits(
        flowsMax: limits.flowsMax, silentSeconds: limits.silentFlowSeconds,
        answeredSeconds: limits.answeredFlowSeconds),
      metrics: UDPFlowMetrics(
        flows: metrics.flows, evicted: metrics.flowsEvicted, dropped: metrics.datagramsDropped))
    random = UInt64.random(in: 1...UInt64.max)
  }

  // MARK: Listeners

  /// Opens what is new, closes what is gone; connections that run go on. Returns what could not be opened.
  func update(_ plan: UserspacePlan) -> [UserspaceProxy.Unopened] {
    podNetworks = plan.podNetworks
    keepsSources = plan.keepsSources
    for (key, listener) in tcp where plan.frontends[key] == nil {
      listener.close()
      tcp[key] = nil
    }
    for (key, frontend) in udp where plan.frontends[key] == nil {
      frontend.close()
      udp[key] = nil
    }
    var failed: [UserspaceProxy.Unopened] = []
    for (key, frontend) in plan.frontends {
      if let open = tcp[key] {
        open.frontend = frontend
      } else if let open = udp[key] {
        open.frontend = frontend
      } else if let reason = open(key, frontend) {
        failed.append(
          .init(
            service: frontend.key, transport: key.transport, endpoint: key.endpoint, reason: reason.text,
            isForbidden: reason.isForbidden))
      }
    }
    // Datagrams to an endpoint that is gone would vanish; a TCP client finds out by itself.
    flows.removeAll { flow in
      guard let frontend = flow.frontend as? UDPFrontend else { return true }
      let now = frontend.frontend
      return udp[.init(transport: .udp, endpoint: now.endpoint)] !== frontend || !now.serves(flow.target)
    }
    resetOrphans()
    return failed
  }

  /// Connections of Services that ask for it end with their endpoint.
  private func resetOrphans() {
    var orphans: [TCPRelay] = []
    for relay in relays.values where relay.frontend.resetsConnections {
      let key = UserspaceFrontendKey(transport: .tcp, endpoint: relay.frontend.endpoint)
      if tcp[key]?.frontend.serves(relay.target) != true { orphans.append(relay) }
    }
    for relay in orphans {
      metrics.resetOrphans.increment()
      relay.reset()
    }
  }

  private func open(_ key: UserspaceFrontendKey, _ frontend: UserspaceFrontend) -> (
    text: String, isForbidden: Bool
  )? {
    guard tcp.count + udp.count < limits.frontendsMax else {
      metrics.frontendFailures.increment()
      return ("more than \(limits.frontendsMax) addresses and ports", false)
    }
    do throws(SocketError) {
      switch key.transport {
      case .udp:
        nextNumber += 1
        udp[key] = try UDPFrontend(frontend, number: nextNumber, worker: self)
      default: tcp[key] = try TCPFrontend(frontend, worker: self)
      }
      return nil
    } catch {
      metrics.frontendFailures.increment()
      return ("\(error)", error.errno == EACCES || error.errno == EPERM)
    }
  }

  var frontendCount: Int { tcp.count + udp.count }

  // MARK: Connections

  func accepted(_ descriptor: consuming Descriptor, _ peer: SocketEndpoint, _ frontend: UserspaceFrontend) {
    metrics.accepted.increment()
    guard relays.count < limits.connectionsMax else {
      metrics.refusedFull.increment()
      return Self.reset(descriptor)
    }
    guard mayEnter(frontend, peer.address) else {
      metrics.refusedSource.increment()
      return Self.reset(descriptor)
    }
    guard let target = choose(frontend, for: peer) else {
      metrics.refusedEndpoint.increment()
      return Self.reset(descriptor)
    }
    // The relay keeps itself until its sockets close.
    if TCPRelay(descriptor, from: peer, frontend: frontend, target: target, worker: self) == nil {
      release(target, frontend)
    }
  }

  /// Closes with a reset: the client knows at once, and nothing stays behind here.
  private static func reset(_ descriptor: consuming Descriptor) {
    var option = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(descriptor.raw, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  func began(_ relay: TCPRelay) {
    relays[ObjectIdentifier(relay)] = relay
    metrics.connections.add(1)
  }

  func ended(_ relay: TCPRelay) {
    guard relays.removeValue(forKey: ObjectIdentifier(relay)) != nil else { return }
    metrics.connections.add(-1)
    release(relay.target, relay.frontend)
  }

  // MARK: Choosing

  func mayEnter(_ frontend: UserspaceFrontend, _ client: IPAddress) -> Bool {
    frontend.sourceRanges.isEmpty || frontend.sourceRanges.contains { $0.contains(client) }
  }

  /// An endpoint for a client: the one it had, with affinity, else any. To be released when what it was chosen for has ended.
  /// - Parameter failed: one that was tried in vain.
  func choose(
    _ frontend: UserspaceFrontend, for client: SocketEndpoint, besides failed: SocketEndpoint? = nil
  )
    -> SocketEndpoint?
  {
    let isPod =
      !frontend.targetsOfPods.isEmpty && podNetworks.contains { $0.contains(client.address) }
    let slots = isPod ? frontend.targetsOfPods : frontend.targets
    guard !slots.isEmpty else { return nil }
    if frontend.choosesByLoad {
      let shares = isPod ? frontend.sharesOfPods : frontend.shares
      return connections.take(
        shares, frontend.transport, besides: failed, first: Int(draw(UInt32(shares.count))))
    }
    if failed == nil, let seconds = frontend.affinitySeconds,
      let known = affinity.target(
        of: client.address, service: frontend.service, seconds: seconds, among: slots, now: reactor.now)
    {
      return known
    }
    let first =
      frontend.choosesByClient
      ? Int(Self.hash(client.address) % UInt64(slots.count)) : Int(draw(UInt32(slots.count)))
    guard let failed, slots[first] == failed else { return slots[first] }
    // The next other one; with one endpoint there is nobody else to ask, but it may be back.
    for step in 1..<max(2, slots.count) {
      let other = slots[(first + step) % slots.count]
      if other != failed { return other }
    }
    return failed
  }

  // MARK: Sources

  /// The client's address, when the endpoint is to see it and its answers come back here: those of local endpoints do.
  func keptSource(of client: SocketEndpoint, _ frontend: UserspaceFrontend, _ target: SocketEndpoint)
    -> IPAddress?
  {
    guard keepsSources, frontend.keepsSource, frontend.targets.contains(target),
      client.address.family == target.address.family,
      !podNetworks.contains(where: { $0.contains(client.address) })
    else { return nil }
    return client.address
  }

  /// Opens a socket as a client's address, from one of the ports whose answers are routed here. Nil when none of
  /// `portAttemptsMax` is free, or it is not allowed: counted.
  func open(
    as address: IPAddress, _ body: (SocketEndpoint) throws(SocketError) -> Descriptor
  ) -> Descriptor? {
    let ports = TransparentRoutes.ports
    let first = draw(UInt32(ports.count))
    for step in 0..<UInt32(limits.portAttemptsMax) {
      let port = ports.lowerBound + UInt16((first + step) % UInt32(ports.count))
      do throws(SocketError) {
        return try body(SocketEndpoint(address, port))
      } catch {
        guard error.errno == EADDRINUSE || error.errno == EADDRNOTAVAIL else { break }
      }
    }
    metrics.transparencyRefused.increment()
    return nil
  }

  /// A connection to an endpoint that was chosen has ended, or did not come about.
  func release(_ target: SocketEndpoint, _ frontend: UserspaceFrontend) {
    if frontend.choosesByLoad { connections.release(target, frontend.transport) }
  }

  /// A UDP flow that was counted has ended.
  func releaseFlow(_ target: SocketEndpoint) { connections.release(target, .udp) }

  /// FNV-1a: the same on every node, whatever the process.
  static func hash(_ address: IPAddress) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in address.bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash ^ (hash >> 32)
  }

  func remember(_ target: SocketEndpoint, of client: SocketEndpoint, _ frontend: UserspaceFrontend) {
    guard let seconds = frontend.affinitySeconds else { return }
    affinity.remember(
      target, of: client.address, service: frontend.service, seconds: seconds, now: reactor.now)
  }

  /// xorshift64: evenly spread, and no secret.
  private func draw(_ bound: UInt32) -> UInt32 {
    random ^= random << 13
    random ^= random >> 7
    random ^= random << 17
    return UInt32(((random >> 32) * UInt64(bound)) >> 32)
  }
}

/// A TCP address of a Service.
private final class TCPFrontend {
  var frontend: UserspaceFrontend
  private var listener: Listener?

  init(_ frontend: UserspaceFrontend, worker: UserspaceWorker) throws(SocketError) {
    self.frontend = frontend
    let descriptor = try Sockets.listenTCP(frontend.endpoint, v6Only: true, freely: true)
    listener = try Listener(descriptor, reactor: worker.reactor) {
      [unowned worker, weak self] descriptor, peer in
      guard let self else { return }
      worker.accepted(descriptor, peer, self.frontend)
    }
  }

  func close() {
    listener?.close()
    listener = nil
  }
}
