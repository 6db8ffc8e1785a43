// One reactor's share of the ingress: the routes in force, the connections to endpoints, what clients share.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor

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

  /// Host and path of a rule, for people.
  func route(_ match: RouteTable.Match) -> String {
    guard match.host >= 0 else { return "" }
    let host = table.hosts[match.host]
    let path = String(decoding: host.paths[match.path].path, as: UTF8.self)
    return (host.name.isEmpty ? "*" : host.name) + (path.isEmpty ? "/" : path)
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
  /// Copies of requests that are on their way.
  var copiesRunning = 0
  /// Nil without an access log.
  private(set) var log: AccessLogWriter?
  private(set) var snapshot = RouteSnapshot(RouteTable(), [])
  private var pools = PoolSet()
  /// TCP, UDP, and TLS that is not HTTP's.
  private(set) lazy var streams = StreamWorker(self, metricsOfProcess)
  private let metricsOfProcess: Metrics
  private var listeners: [Listener] = []
  /// Listeners that came later and may go, with the numbers of their doors.
  private var opened: [IngressListener: (listener: Listener, door: Int)] = [:]
  /// Doors that were made.
  private var doorCount = 0
  /// Whether a table in force tells addresses of a port apart.
  private var namesAddresses = false
  private var openedDatagrams: [IngressListener: DatagramPort] = [:]
  /// By port, made with its listener for HTTPS; by address with the first connection, where certificates differ by it.
  private var security: [ListenerPlace: TLSContext] = [:]
  /// Likewise, made with the first stream whose TLS ends here.
  private var streamSecurity: [ListenerPlace: TLSContext] = [:]
  private let ticketKeys: TicketKeys
  private var tlsTable: LoadedTLS
  /// Bytes that one sealed record is put together in.
  let sealSpace = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 << 10, alignment: 16)
  /// Where clients are sent that have to come back over https; nil when nobody listens there.
  private(set) var securePort: UInt16?
  private(set) var clientCount = 0
  /// Another data plane has taken over: connections that idle when draining begins may bring one more request.
  var isPatient = false
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
    metricsOfProcess = metrics
    requests = BufferPool(
      bufferBytes: IngressLimits.requestBufferBytes, buffersMax: limits.requestBuffersMax,
      keptMax: min(1024, limits.requestBuffersMax / 4))
    bulk = BufferPool(
      bufferBytes: limits.bulkBufferBytes, buffersMax: limits.bulkBuffersMax,
      keptMax: min(64, limits.bulkBuffersMax / 4))
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
  ///   - proxy: connections begin with a header of the PROXY protocol.
  public func listen(
    _ descriptor: consuming Descriptor, shared: Bool = false, isSecure: Bool = false,
    proxy: ProxyAcceptance? = nil
  ) throws(SocketError) {
    listeners.append(
      try makeListener(descriptor, shared: shared, isSecure ? .https : .http, proxy: proxy).listener)
  }

  /// Serves the connections of a listening socket by the table of streams.
  /// - Parameters:
  ///   - shared: other reactors hold duplicates of it.
  ///   - proxy: who is believed where a listener asks for the PROXY protocol.
  public func listenStreams(
    _ descriptor: consuming Descriptor, shared: Bool = false, proxy: ProxyAcceptance = ProxyAcceptance()
  ) throws(SocketError) {
    listeners.append(try makeListener(descriptor, shared: shared, .streams, proxy: proxy).listener)
  }

  /// Serves the datagrams of a bound socket (`Sockets.bindUDP`) by the table of streams.
  public func serveDatagrams(_ descriptor: consuming Descriptor) throws(SocketError) {
    _ = try streams.serve(datagrams: descriptor)
  }

  /// The same for a listener that can be closed.
  /// - Parameter proxy: for HTTP, whose connections begin with a header of the PROXY protocol; for streams, who is believed where
  ///   the table asks for one.
  public func open(
    _ listener: IngressListener, _ descriptor: consuming Descriptor, shared: Bool = false,
    proxy: ProxyAcceptance? = nil
  ) throws(SocketError) {
    switch (listener.transport, listener.serves) {
    case (.udp, _): openedDatagrams[listener] = try streams.serve(datagrams: descriptor)
    case (_, .http): opened[listener] = try makeListener(descriptor, shared: shared, .http, proxy: proxy)
    case (_, .https): opened[listener] = try makeListener(descriptor, shared: shared, .https, proxy: proxy)
    case (_, .streams):
      opened[listener] = try makeListener(
        descriptor, shared: shared, .streams, proxy: proxy ?? ProxyAcceptance())
    }
  }

  /// Accepts no more from it; what its clients have asked for is answered, and then they go. Streams go on until they end.
  public func close(_ listener: IngressListener) {
    if let port = openedDatagrams.removeValue(forKey: listener) { return streams.stop(port) }
    guard let (own, door) = opened.removeValue(forKey: listener) else { return }
    own.close()
    reactor.drain { ($0 as? any ListenerGuest)?.doorNumber == door }
    let port = listener.endpoint.port
    if !opened.keys.contains(where: { $0.endpoint.port == port && $0.serves != .http }) {
      security = security.filter { $0.key.port != port }
      streamSecurity = streamSecurity.filter { $0.key.port != port }
    }
  }

  private func makeListener(
    _ descriptor: consuming Descriptor, shared: Bool, _ service: ListenerDoor.Service, proxy: ProxyAcceptance?
  ) throws(SocketError) -> (listener: Listener, door: Int) {
    let place = ListenerPlace(Sockets.localEndpoint(descriptor)?.port ?? 80)
    if service == .https { _ = try secure(place) }
    doorCount += 1
    let door = ListenerDoor(number: doorCount, place: place, service: service, proxy: proxy)
    let listener = try Listener(descriptor, reactor: reactor, shared: shared) { [self] descriptor, peer in
      var door = door
      if namesAddresses { door.place.address = Sockets.localEndpoint(descriptor)?.address }
      if door.service == .streams,
        streams.snapshot.connections(to: door.place)?.listener.acceptsProxy != true
      {
        door.proxy = nil
      }
      do throws(SocketError) {
        try ConnectionGate.admit(descriptor, peer, door, self)
        if clientCount >= limits.clientsMax { forEachListener { $0.pause() } }
      } catch {
        metrics.refusedClients.increment()
      }
    }
    if clientCount >= limits.clientsMax { listener.pause() }
    return (listener, door.number)
  }

  private func forEachListener(_ body: (Listener) -> Void) {
    for listener in listeners { body(listener) }
    for (listener, _) in opened.values { body(listener) }
  }

  /// For connections of TLS that end here and are not HTTP: no protocol is agreed on.
  func secureStreams(_ place: ListenerPlace) throws(SocketError) -> TLSContext {
    let place = tlsTable.distinct(place)
    if let found = streamSecurity[place] { return found }
    let made = try makeSecurity(place, offersHTTP2: false)
    streamSecurity[place] = made
    return made
  }

  func secure(_ place: ListenerPlace) throws(SocketError) -> TLSContext {
    if securePort == nil { securePort = place.port }
    let place = tlsTable.distinct(place)
    if let found = security[place] { return found }
    let made = try makeSecurity(place, offersHTTP2: true)
    security[place] = made
    return made
  }

  private func makeSecurity(_ place: ListenerPlace, offersHTTP2: Bool) throws(SocketError) -> TLSContext {
    let made = TLSContext(
      table: tlsTable, place: place, keys: ticketKeys, offersHTTP2: offersHTTP2,
      outputBytesMax: limits.readBytesMax + (64 << 10))
    guard let made else { throw SocketError("SSL_CTX_new", ENOMEM) }
    return made
  }

  /// Tells the log of every request from now on.
  func tell(_ log: AccessLog) { self.log = AccessLogWriter(log) }

  /// Puts other certificates in force: for handshakes that begin from now on, and for those that are under way.
  func install(_ tls: LoadedTLS) {
    tlsTable = tls
    // Connections hold theirs; of an address that is named no more nobody asks again.
    security = security.filter { tls.distinct($0.key) == $0.key }
    streamSecurity = streamSecurity.filter { tls.distinct($0.key) == $0.key }
    for context in security.values { context.table = tls }
    for context in streamSecurity.values { context.table = tls }
    lookForAddresses()
    metrics.certificateSwaps.increment()
  }

  /// Puts a new table in force. Running requests end as they began; connections to endpoints that left are
  /// closed when they idle.
  public func install(_ table: RouteTable) {
    let (backends, gone) = pools.replace(table.backends, self)
    snapshot = RouteSnapshot(table, backends)
    lookForAddresses()
    for pool in gone { pool.retire() }
    metrics.routes.keep(only: table.backends)
    metrics.swaps.increment()
  }

  /// Puts other streams in force, likewise: connections that run keep their endpoint, datagrams whose endpoint left find another.
  public func install(_ table: StreamTable) {
    streams.install(table)
    lookForAddresses()
  }

  private func lookForAddresses() {
    namesAddresses =
      snapshot.table.namesAddresses || tlsTable.namesAddresses || streams.snapshot.namesAddresses
  }

  public func timerEnded(tag: Int) {
    for context in security.values { context.renewKeys(now: reactor.now) }
    for context in streamSecurity.values { context.renewKeys(now: reactor.now) }
    let keep = limits.upstreamIdleMilliseconds * 1_000_000
    pools.tick(now: reactor.now, keep: keep)
    if !reactor.isDraining { _ = reactor.setTimer(after: limits.tickMilliseconds * 1_000_000, handler: self) }
  }

  func clientOpened() {
    clientCount += 1
    metrics.clients.add(1)
  }

  func clientClosed() {
    clientCount -= 1
    metrics.clients.add(-1)
    if clientCount == limits.clientsMax - 1 { forEachListener { $0.resume() } }
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
