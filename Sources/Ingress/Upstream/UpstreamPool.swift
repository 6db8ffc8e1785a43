// Connections to one endpoint, of one worker, all of one kind.

import Addresses
import Diagnostics
import Glibc
import Reactor

/// What connections have to have in common to be used for one another's requests.
struct UpstreamSettings: Hashable {
  var speech = UpstreamProtocol.http1
  var tls: UpstreamTLS?
  var circuit = CircuitPolicy()
  var proxy: ProxyVersion?

  init(_ policy: BackendPolicy) {
    speech = policy.speech
    tls = policy.tls
    circuit = policy.circuit
    proxy = policy.proxy
  }
}

struct UpstreamKey: Hashable {
  var endpoint: SocketEndpoint
  var settings: UpstreamSettings
}

final class UpstreamPool {
  let endpoint: SocketEndpoint
  let settings: UpstreamSettings
  private let security: TLSContext?
  var idle: [UpstreamConnection] = []
  /// Of HTTP/2.
  var sessions = SessionSet()
  /// Requests that are at the endpoint now.
  var active = 0
  /// Open connections, and those of them that do not stand yet.
  var connections = 0
  var connecting = 0
  /// Passed over until then.
  var failedUntil: UInt64 = 0
  var outlier = OutlierState()
  /// Asked by an active check; nil without one.
  var check: EndpointCheck?
  /// When it came among the routes; 0: with the first of them.
  let bornAt: UInt64
  /// No route leads here any more: connections close when their request ends.
  var isRetired = false

  /// - Parameter security: of the settings' TLS.
  init(_ endpoint: SocketEndpoint, _ settings: UpstreamSettings, security: TLSContext?, bornAt: UInt64 = 0) {
    self.bornAt = bornAt
    self.endpoint = endpoint
    self.settings = settings
    self.security = security
  }

  /// A socket that is being connected.
  /// - Parameter origin: whose connection it is, for endpoints that ask by the PROXY protocol.
  /// - Throws: EBUSY when the endpoint has as many as its bounds admit.
  func connect(
    for origin: ProxyAddresses? = nil, handler: any ReadinessHandler, _ worker: IngressWorker
  ) throws(SocketError) -> UpstreamSocket {
    let circuit = settings.circuit
    if circuit.connections > 0 && connections >= circuit.connections
      || circuit.pending > 0 && connecting >= circuit.pending
    {
      worker.metrics.overflows.increment()
      throw SocketError("connect", EBUSY)
    }
    worker.metrics.upstreamConnects.increment()
    return try connectFreely(for: origin, handler: handler, worker)
  }

  /// The same without bounds: for checks of our own.
  func connectFreely(
    for origin: ProxyAddresses? = nil, handler: any ReadinessHandler, _ worker: IngressWorker
  ) throws(SocketError) -> UpstreamSocket {
    var socket = UpstreamSocket()
    if let version = settings.proxy { socket.preamble = ProxyHeader.bytes(version, origin) }
    let descriptor = try Sockets.connectTCP(endpoint)
    let raw = descriptor.raw
    socket.channel = try worker.reactor.register(descriptor, handler: handler)
    if let tls = settings.tls {
      guard
        let made = security.flatMap({
          TLSConnection(
            client: $0, descriptor: raw, name: tls.serverName, offersHTTP2: settings.speech == .http2)
        })
      else {
        socket.close()
        throw SocketError("SSL_new", EPROTO)
      }
      socket.tls = made
    }
    return socket
  }

  /// A session of HTTP/2 that takes another request of this origin, else a new one.
  /// - Parameter origin: who alone may use it, for endpoints that ask by the PROXY protocol.
  /// - Throws: EBUSY when there are as many as may be.
  func session(for origin: ProxyAddresses?, _ worker: IngressWorker) throws(SocketError) -> UpstreamSession {
    if let found = sessions.of(origin).first(where: \.hasRoom) {
      worker.metrics.upstreamReuses.increment()
      return found
    }
    if origin != nil {
      // Where there is no place for another client's, one that nobody uses makes way.
      let isFull = settings.circuit.connections > 0 && connections >= settings.circuit.connections
      if isFull || sessions.ownedCount >= worker.limits.clientsMax { sessions.longestIdle?.finish() }
    }
    guard sessions.of(origin).count < SessionSet.perOriginMax,
      origin == nil || sessions.ownedCount < worker.limits.clientsMax
    else {
      worker.metrics.overflows.increment()
      throw SocketError("connect", EBUSY)
    }
    return try UpstreamSession.open(self, for: origin, worker)
  }

  /// A session's last request has ended. Of those that only one client may use as many are kept as of connections.
  func noteIdle(_ session: UpstreamSession, _ worker: IngressWorker) {
    sessions.noteIdle(session)
    if sessions.idleCount > worker.limits.idlePerEndpointMax { sessions.longestIdle?.finish() }
  }

  func isOut(now: UInt64) -> Bool {
    failedUntil > now || outlier.isOut(now: now) || check?.isUnhealthy == true
  }

  func retire() {
    isRetired = true
    check?.stop()
    check = nil
    let closing = idle
    idle = []
    for connection in closing { connection.close() }
    for session in sessions.all { session.finish() }
  }

  /// Closes what nobody has used since `keep` nanoseconds before now.
  func tick(now: UInt64, keep: UInt64) {
    // The longest unused stand first.
    let closing = idle.prefix { now > $0.idleSince &+ keep }
    idle.removeFirst(closing.count)
    for connection in closing { connection.close() }
    guard !sessions.isEmpty else { return }
    for session in sessions.all { session.tick(now: now, keep: keep) }
  }
}
