// One reactor's share of the ingress: the routes in force, the connections to endpoints, what clients share.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor

/// A backend at work: its pools and the metrics of its routes.
final class BackendRuntime {
  let backend: RouteBackend
  let pools: [UpstreamPool]
  let policy: BackendPolicy
  // Known when a table is put in force, so that a request without settings asks once.
  let hasTimeouts: Bool
  let readMilliseconds: UInt64?
  let connectMilliseconds: UInt64?
  private var next = 0
  private var lastKey = UInt64.max
  private var last: (requests: Counter, duration: Histogram)?
  private var children: [UInt64: (requests: Counter, duration: Histogram)] = [:]

  init(_ backend: RouteBackend, pools: [UpstreamPool]) {
    self.backend = backend
    self.pools = pools
    policy = backend.policy
    let timeouts = policy.timeouts
    hasTimeouts = timeouts.request > 0 || timeouts.backendRequest > 0
    readMilliseconds = timeouts.idle > 0 ? UInt64(timeouts.idle) : nil
    connectMilliseconds = timeouts.connect > 0 ? UInt64(timeouts.connect) : nil
  }

  func triesMax(_ limits: IngressLimits) -> Int {
    policy.retry.tries > 0 ? Int(policy.retry.tries) : limits.triesMax
  }

  /// Endpoints looked at for one choice: enough to find the least busy, constant for any number of them.
  static let candidatesMax = 8

  /// The endpoint with the fewest requests among the next few in turn; one that failed lately only if all
  /// did.
  func choose(now: UInt64, avoiding failed: UpstreamPool?) -> UpstreamPool? {
    let count = pools.count
    guard count > 0 else { return nil }
    next = next + 1 < count ? next + 1 : 0
    var best: UpstreamPool?
    var bestCost = Int.max
    for offset in 0..<min(count, Self.candidatesMax) {
      let pool = pools[next + offset < count ? next + offset : next + offset - count]
      var cost = pool.active
      if pool.failedUntil > now { cost += 1 << 32 }
      if pool === failed { cost += 1 << 40 }
      if cost < bestCost {
        best = pool
        bestCost = cost
      }
    }
    return best
  }

  /// Counters of one route, method and status. The look-up is a comparison while they repeat.
  func count(
    _ match: RouteTable.Match, _ hosts: [RouteHost], _ method: HTTPMethod, _ status: Int,
    nanoseconds: UInt64, _ metrics: IngressMetrics
  ) {
    let key =
      UInt64(UInt16(truncatingIfNeeded: status)) << 48 | UInt64(method.rawValue) << 44
      | UInt64(truncatingIfNeeded: match.host & 0x3f_ffff) << 22
      | UInt64(truncatingIfNeeded: match.path & 0x3f_ffff)
    if key != lastKey {
      if children[key] == nil {
        let host = match.host >= 0 ? hosts[match.host] : nil
        let path = host.map { String(decoding: $0.paths[match.path].path, as: UTF8.self) } ?? ""
        children[key] = metrics.children(
          backend, host?.name ?? "_", path.isEmpty ? "/" : path, method, status)
      }
      last = children[key]
      lastKey = key
    }
    last?.requests.increment()
    last?.duration.observe(Double(nanoseconds) * 1e-9)
  }
}

/// A route table at work on one worker. Replaced as a whole; requests that run keep the one they began with.
final class RouteSnapshot {
  let table: RouteTable
  let backends: [BackendRuntime]
  /// In the order of the table's.
  let actions: [ActionRuntime]
  private let strictTransportSecurity: [UInt8]

  init(_ table: RouteTable, _ backends: [BackendRuntime]) {
    self.table = table
    self.backends = backends
    actions = table.actions.map { ActionRuntime($0, of: table.actions) }
    let value = table.strictTransportSecurity
    strictTransportSecurity =
      value.isEmpty ? [] : Array("Strict-Transport-Security: ".utf8) + value + [13, 10]
  }

  /// The line for answers over TLS; empty for none.
  func strictTransportSecurity(_ match: RouteTable.Match) -> [UInt8] {
    match.host >= 0 && table.hosts[match.host].isSecured ? strictTransportSecurity : []
  }
}

/// The ingress on one reactor. Everything runs on the reactor's thread.
public final class IngressWorker: TimerHandler {
  public let reactor: Reactor
  public let limits: IngressLimits
  let metrics: IngressMetrics
  let reader = HeadReader()
  let requests: BufferPool
  let bulk: BufferPool
  let headSpace = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 16)
  let http2 = HTTP2Worker()
  let matchSpace = MatchSpace()
  let credentials = CredentialChecker()
  /// Shared by the workers of a process.
  let meter: ClientMeter
  private(set) var snapshot = RouteSnapshot(RouteTable(), [])
  private var pools: [UpstreamKey: UpstreamPool] = [:]
  /// TLS towards endpoints, by its settings.
  private var upstreamSecurity: [UpstreamTLS: TLSContext] = [:]
  private var listeners: [Listener] = []
  /// Made with the first listener for HTTPS.
  private var security: TLSContext?
  private let ticketKeys: TicketKeys
  private var tlsTable: LoadedTLS
  /// Bytes that one sealed record is put together in.
  let sealSpace = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 << 10, alignment: 16)
  /// Where clients are sent that have to come back over https; nil when nobody listens there.
  private(set) var securePort: UInt16?
  private(set) var clientCount = 0
  private var random: (UInt64, UInt64)

  public convenience init(
    reactor: Reactor, limits: IngressLimits = IngressLimits(), metrics: Metrics = .shared
  ) {
    self.init(
      reactor: reactor, limits: limits, metrics: metrics, ticketKeys: TicketKeys(),
      tls: LoadedTLS(certificates: [], names: [], fallback: nil), meter: ClientMeter())
  }

  init(
    reactor: Reactor, limits: IngressLimits, metrics: Metrics, ticketKeys: TicketKeys, tls: LoadedTLS,
    meter: ClientMeter
  ) {
    self.meter = meter
    self.ticketKeys = ticketKeys
    tlsTable = tls
    self.reactor = reactor
    self.limits = limits
    self.metrics = IngressMetrics(metrics)
    // A rewritten head is at most a head and the fields we add.
    requests = BufferPool(bufferBytes: HeadReader.headBytesMax + (4 << 10), buffersMax: 65_536, keptMax: 1024)
    bulk = BufferPool(
      bufferBytes: limits.readBytesMax + (32 << 10), buffersMax: limits.bulkBuffersMax, keptMax: 64)
    var generator = SystemRandomNumberGenerator()
    random = (generator.next() | 1, generator.next())
    _ = reactor.setTimer(after: limits.tickMilliseconds * 1_000_000, handler: self)
  }

  deinit {
    headSpace.deallocate()
    sealSpace.deallocate()
  }

  /// Serves the connections of a listening socket.
  /// - Parameters:
  ///   - shared: other reactors hold duplicates of it.
  ///   - isSecure: clients begin with TLS.
  public func listen(
    _ descriptor: consuming Descriptor, shared: Bool = false, isSecure: Bool = false
  ) throws(SocketError) {
    let port = Sockets.localEndpoint(descriptor)?.port ?? 80
    let security = isSecure ? try secure(port) : nil
    let listener = try Listener(descriptor, reactor: reactor, shared: shared) { [self] descriptor, peer in
      do throws(SocketError) {
        try ClientConnection.open(
          descriptor, peer: peer, port: port, worker: self, security: security)
        if clientCount >= limits.clientsMax { for listener in listeners { listener.pause() } }
      } catch {
        metrics.refusedClients.increment()
      }
    }
    listeners.append(listener)
  }

  private func secure(_ port: UInt16) throws(SocketError) -> TLSContext {
    if securePort == nil { securePort = port }
    if let security { return security }
    let made = TLSContext(
      table: tlsTable, keys: ticketKeys, offersHTTP2: true,
      outputBytesMax: limits.readBytesMax + (64 << 10))
    guard let made else { throw SocketError("SSL_CTX_new", ENOMEM) }
    security = made
    return made
  }

  /// Puts other certificates in force: for handshakes that begin from now on, and for those that are under way.
  func install(_ tls: LoadedTLS) {
    tlsTable = tls
    security?.table = tls
    metrics.certificateSwaps.increment()
  }

  /// Puts a new table in force. Running requests end as they began; connections to endpoints that left are
  /// closed when they idle.
  public func install(_ table: RouteTable) {
    var kept: [UpstreamKey: UpstreamPool] = [:]
    var security: [UpstreamTLS: TLSContext] = [:]
    let backends = table.backends.map { backend in
      let settings = UpstreamSettings(backend.policy)
      if let tls = settings.tls, security[tls] == nil {
        security[tls] = upstreamSecurity[tls] ?? makeUpstreamSecurity(tls)
      }
      return BackendRuntime(
        backend,
        pools: backend.endpoints.map { endpoint in
          let key = UpstreamKey(endpoint: endpoint, settings: settings)
          let pool =
            kept[key] ?? pools[key]
            ?? UpstreamPool(endpoint, settings, security: settings.tls.flatMap { security[$0] })
          kept[key] = pool
          return pool
        })
    }
    upstreamSecurity = security
    let gone = pools.filter { kept[$0.key] == nil }
    pools = kept
    snapshot = RouteSnapshot(table, backends)
    for pool in gone.values { pool.retire() }
    metrics.swaps.increment()
  }

  /// Nil when OpenSSL takes something of it as unreadable: its endpoints cannot be reached then (502).
  private func makeUpstreamSecurity(_ tls: UpstreamTLS) -> TLSContext? {
    let made = TLSContext(client: tls, outputBytesMax: limits.readBytesMax + (64 << 10))
    if made == nil { metrics.unusableTLS.increment() }
    return made
  }

  public func timerEnded(tag: Int) {
    security?.renewKeys(now: reactor.now)
    let keep = limits.upstreamIdleMilliseconds * 1_000_000
    for pool in pools.values where !pool.idle.isEmpty || !pool.sessions.isEmpty {
      pool.tick(now: reactor.now, keep: keep)
    }
    if !reactor.isDraining { _ = reactor.setTimer(after: limits.tickMilliseconds * 1_000_000, handler: self) }
  }

  func clientOpened() {
    clientCount += 1
    metrics.clients.add(1)
  }

  func clientClosed() {
    clientCount -= 1
    metrics.clients.add(-1)
    if clientCount == limits.clientsMax - 1 { for listener in listeners { listener.resume() } }
  }

  /// xorshift128+: unique, not secret.
  func nextRequestID() -> (UInt64, UInt64) {
    func next() -> UInt64 {
      var a = random.0
      let b = random.1
      random.0 = b
      a ^= a << 23
      random.1 = a ^ b ^ (a >> 17) ^ (b >> 26)
      return random.1 &+ b
    }
    return (next(), next())
  }
}

/// ingress-nginx's names where it has them, so that its dashboards work.
struct IngressMetrics: Sendable {
  let requests: MetricFamily<Counter>
  let duration: MetricFamily<Histogram>
  let clients: Gauge
  let refusedClients: Counter
  let refusedRequests: MetricFamily<Counter>
  let retries: Counter
  let upstreamConnects: Counter
  let upstreamReuses: Counter
  let overflows: Counter
  let unusableTLS: Counter
  let swaps: Counter
  let certificateSwaps: Counter
  /// HTTP/2 connections that we ended, by reason.
  let http2Ends: MetricFamily<Counter>
  /// By how they ended.
  let handshakes: (full: Counter, resumed: Counter, failed: Counter)

  static let labels = ["ingress", "namespace", "service", "host", "path", "method", "status"]

  init(_ metrics: Metrics) {
    requests = metrics.counter(
      "nginx_ingress_controller_requests", "Requests answered.", labels: Self.labels)
    duration = metrics.histogram(
      "nginx_ingress_controller_request_duration_seconds", "Time from a request's head to its answer's end.",
      labels: Self.labels,
      bounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
    clients = metrics.gauge("weft_ingress_client_connections", "Open connections of clients.").child()
    refusedClients = metrics.counter(
      "weft_ingress_refused_connections_total", "Connections closed for want of room."
    ).child()
    refusedRequests = metrics.counter(
      "weft_ingress_refused_requests_total", "Requests that no backend saw, by the status they got.",
      labels: ["status"])
    retries = metrics.counter(
      "weft_ingress_retries_total", "Requests sent again to another endpoint."
    ).child()
    upstreamConnects = metrics.counter(
      "weft_ingress_upstream_connects_total", "Connections opened to endpoints."
    ).child()
    upstreamReuses = metrics.counter(
      "weft_ingress_upstream_reuses_total", "Requests sent over a connection that stood already."
    ).child()
    overflows = metrics.counter(
      "weft_ingress_upstream_overflows_total", "Requests that an endpoint's bounds did not admit."
    ).child()
    unusableTLS = metrics.counter(
      "weft_ingress_upstream_tls_unusable_total",
      "Settings of TLS towards endpoints that could not be read: such endpoints are not reached."
    ).child()
    swaps = metrics.counter("weft_ingress_route_swaps_total", "Route tables put in force.").child()
    certificateSwaps = metrics.counter(
      "weft_ingress_certificate_swaps_total", "Tables of certificates put in force."
    ).child()
    http2Ends = metrics.counter(
      "weft_ingress_http2_connections_ended_total", "HTTP/2 connections ended for what the client did.",
      labels: ["reason"])
    let family = metrics.counter(
      "weft_ingress_tls_handshakes_total", "TLS handshakes, by how they ended.", labels: ["result"])
    handshakes = (family.child("full"), family.child("resumed"), family.child("failed"))
  }

  func children(
    _ backend: RouteBackend, _ host: String, _ path: String, _ method: HTTPMethod, _ status: Int
  ) -> (requests: Counter, duration: Histogram) {
    let values = [
      backend.ingress, backend.namespace, backend.service, host, path, method.name, String(status),
    ]
    return (requests.child(values), duration.child(values))
  }
}
