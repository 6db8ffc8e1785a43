// What passes streams on, on one reactor: the table in force, the connections and sessions that run.
//
//   accept -> [ConnectionGate: PROXY header, ClientHello] -> SplicedStream (bytes by splice) | SealedStream (TLS at one end or both)
//   datagram -> DatagramPort -> session -> endpoint

import Addresses
import Diagnostics
import Glibc
import Reactor

/// Belongs to its worker, and to its reactor's thread.
final class StreamWorker {
  unowned let worker: IngressWorker
  let gear: RelayGear
  let sessions: UDPFlowTable
  let metrics: StreamMetrics
  private(set) var snapshot = StreamSnapshot()
  private var pools = PoolSet()
  private var datagramPorts: [DatagramPort] = []
  /// Never used again.
  private var nextNumber = 0
  /// Connections that are passed on, or about to be.
  private(set) var count = 0

  init(_ worker: IngressWorker, _ metrics: Metrics) {
    self.worker = worker
    let limits = worker.limits
    self.metrics = StreamMetrics(metrics)
    gear = RelayGear(
      reactor: worker.reactor, pipes: PipePool(pipesMax: limits.pipesMax), spliced: self.metrics.spliced,
      copied: self.metrics.copied)
    sessions = UDPFlowTable(
      reactor: worker.reactor,
      limits: UDPFlowLimits(
        flowsMax: limits.sessionsMax, silentSeconds: limits.silentSessionSeconds,
        answeredSeconds: limits.answeredSessionSeconds),
      metrics: UDPFlowMetrics(
        flows: self.metrics.sessions, evicted: self.metrics.evicted, dropped: self.metrics.dropped))
  }

  func install(_ table: StreamTable) {
    let (backends, gone) = pools.replace(table.backends, worker)
    snapshot = StreamSnapshot(table, backends)
    for pool in gone { pool.retire() }
    // Datagrams to an endpoint that is gone would vanish; a client of TCP finds out by itself.
    sessions.removeAll { session in
      guard let port = session.frontend as? DatagramPort else { return true }
      return snapshot.datagrams(to: port.place(session.local))?.only?.serves(session.target) != true
    }
    metrics.swaps.increment()
  }

  /// Serves the datagrams of a bound socket.
  func serve(datagrams descriptor: consuming Descriptor) throws(SocketError) -> DatagramPort {
    nextNumber += 1
    let port = try DatagramPort(descriptor, number: nextNumber, streams: self)
    datagramPorts.append(port)
    return port
  }

  /// Ends a port and its sessions.
  func stop(_ port: DatagramPort) {
    datagramPorts.removeAll { $0 === port }
    sessions.removeAll { $0.frontend === port }
    port.close()
  }

  /// Passes a connection to a port without names on.
  func pass(_ descriptor: consuming Descriptor, _ client: StreamClient, at place: ListenerPlace) {
    guard let rule = snapshot.connections(to: place)?.only else { return refuse(descriptor, .noRoute) }
    pass(descriptor, client, rule, at: place)
  }

  func pass(
    _ descriptor: consuming Descriptor, _ client: StreamClient, _ rule: StreamRuleRuntime,
    at place: ListenerPlace
  ) {
    guard count < worker.limits.streamsMax else { return refuse(descriptor, .full) }
    guard let backend = rule.next(), !backend.pools.isEmpty else { return refuse(descriptor, .noEndpoint) }
    Sockets.keepAlive(descriptor, seconds: Int32(clamping: worker.limits.streamIdleMilliseconds / 2000 + 1))
    if rule.rule.opening == .terminate || backend.policy.tls != nil {
      SealedStream.open(
        descriptor, client, backend, opensAt: rule.rule.opening == .terminate ? place : nil, self)
    } else {
      SplicedStream.open(descriptor, client, backend, self)
    }
  }

  /// Closes with a reset: the client knows at once, and nothing stays behind here.
  func refuse(_ descriptor: consuming Descriptor, _ reason: StreamRefusal) {
    metrics.refused.child(reason.rawValue).increment()
    var option = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(descriptor.raw, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  func began() {
    count += 1
    metrics.connections.add(1)
  }

  func ended(_ result: String) {
    count -= 1
    metrics.connections.add(-1)
    metrics.ended.child(result).increment()
  }
}
