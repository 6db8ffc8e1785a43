// The cluster's DNS server: threads, sockets, and the zone they serve.

import Addresses
import Diagnostics
import Logging
import NIOCore
import NIOPosix
import Reactor
import Synchronization

/// A DNS server on reactor threads. `start` once, `swapZone` as often as the cluster changes, `stop` once; all from any
/// thread.
///
///     let server = DNSServer(settings: settings, zone: .unready(zoneSettings))
///     try server.start(listen: [SocketEndpoint("10.43.0.10:53")!])
///     server.swapZone(planZone(view: view, settings: zoneSettings))
public final class DNSServer: Sendable {
  private let settings: DNSServerSettings
  private let holder: ZoneHolder
  private let metrics: Metrics
  private let namespaceOf: (@Sendable (IPAddress) -> String?)?
  private let secret = CookieSecret()
  private let logger: Logger
  private let queryLogger: QueryLogger
  private struct State {
    var threads: [ReactorThread] = []
    var numbers: DNSMetrics?
    var probes: [ForwardTarget.Probe] = []
    var endpoints: [SocketEndpoint] = []
    var encrypted: [EncryptedListener] = []
    var group: MultiThreadedEventLoopGroup?
    var taps: [DnstapSender] = []
  }
  private let state = Mutex(State())

  /// - Parameter namespaceOf: the namespace of the pod with an address, for `autopath @kubernetes`; called on the server's
  ///   threads, for each query such a block takes.
  public convenience init(
    settings: DNSServerSettings, zone: Zone, metrics: Metrics = .shared,
    namespaceOf: (@Sendable (IPAddress) -> String?)? = nil
  ) {
    self.init(
      settings: settings, zone: zone, metrics: metrics, namespaceOf: namespaceOf, queryLogger: QueryLogger())
  }

  init(
    settings: DNSServerSettings, zone: Zone, metrics: Metrics,
    namespaceOf: (@Sendable (IPAddress) -> String?)? = nil, queryLogger: QueryLogger
  ) {
    self.queryLogger = queryLogger
    self.settings = settings
    self.namespaceOf = namespaceOf
    holder = ZoneHolder(zone)
    self.metrics = metrics
    logger = Logger(label: "dns")
  }

  /// Opens UDP and TCP on each address, in the network namespace of the calling thread, and serves. Port 0 takes a
  /// free port, the same for both.
  /// - Parameter encrypted: ports served over TLS or HTTPS.
  /// - Throws: `DNS0001` or `DNS0020` when an address cannot be had, `DNS0021` when a certificate cannot be used; nothing is
  ///   left open then.
  public func start(
    listen endpoints: [SocketEndpoint], encrypted: [EncryptedPort] = []
  ) throws(WeftError) {
    var datagrams: [Int32] = []
    var listeners: [Int32] = []
    do throws(SocketError) {
      for endpoint in endpoints {
        var actual = endpoint
        for _ in 0..<max(1, settings.threads) {
          // TCP first: a free port of TCP is nearly always free for UDP.
          let listener = try Sockets.listenTCP(actual)
          if let bound = Sockets.localEndpoint(listener) { actual = bound }
          listeners.append(listener.release())
          datagrams.append(try Sockets.bindUDP(actual).release())
        }
      }
    } catch {
      for raw in datagrams + listeners { _ = Descriptor(owning: raw) }
      throw WeftError(
        "DNS0001", object: error.endpoint ?? "dns", cause: "\(error)",
        next: "stop what listens there (ss -lunp), or choose another address with --listen", underlying: error
      )
    }
    try start(datagrams: datagrams, listeners: listeners, encrypted: encrypted)
  }

  /// Serves sockets that were opened elsewhere, for example inside another network namespace. Takes them over: UDP
  /// sockets bound with SO_REUSEPORT, one for each thread at best, and listening TCP sockets.
  public func start(
    datagrams: [Int32], listeners: [Int32], encrypted: [EncryptedPort] = []
  ) throws(WeftError) {
    let isEncrypted =
      !encrypted.isEmpty
      || settings.allBlocks.contains { $0.routes.contains { !$0.encryptedUpstreams.isEmpty } }
    let group = isEncrypted ? MultiThreadedEventLoopGroup(numberOfThreads: 1) : nil
    do throws(WeftError) {
      try begin(datagrams, listeners, encrypted, group)
    } catch {
      let taps = state.withLock { state in
        defer { state.taps = [] }
        return state.taps
      }
      for tap in taps { tap.stop() }
      try? group?.syncShutdownGracefully()
      throw error
    }
  }

  private func begin(
    _ datagrams: [Int32], _ listeners: [Int32], _ encrypted: [EncryptedPort],
    _ group: MultiThreadedEventLoopGroup?
  ) throws(WeftError) {
    let count = max(1, settings.threads)
    let tallies = (0..<count).map { _ in Tally() }
    var local: [SocketEndpoint] = []
    for raw in datagrams + listeners {
      let borrowed = Descriptor(owning: raw)
      if let endpoint = Sockets.localEndpoint(borrowed) { local.append(endpoint) }
      _ = borrowed.release()
    }
    let name = local.first.map { "dns://:\($0.port)" } ?? "dns://"
    let numbers = DNSMetrics(metrics, tallies: tallies, server: name, zone: holder.current.settings.zone)
    var plans: [SitePlan] = []
    do throws(WeftError) {
      for block in settings.allBlocks {
        let tap = block.dnstap.flatMap { DnstapSender($0, metrics) }
        if let tap { state.withLock { $0.taps.append(tap) } }
        for zone in Set(block.keys.map(\.zone)) {
          numbers.note(block, zone)
          plans.append(
            try SitePlan(
              block: block, zone: zone, ports: block.keys, loop: group?.next(), dnstap: tap,
              namespaceOf: namespaceOf, numbers: numbers))
        }
      }
    } catch {
      for raw in datagrams + listeners { _ = Descriptor(owning: raw) }
      throw error
    }
    let probes = plans.flatMap(\.probes)
    for plan in plans {
      for route in plan.routes where route.upstreams.contains(where: { local.contains($0) }) {
        for raw in datagrams + listeners { _ = Descriptor(owning: raw) }
        throw WeftError(
          "DNS0002", object: "forward \(route.zone)", cause: "an upstream server is this server itself",
          next: "name another server; a resolv.conf that points to 127.0.0.53 often has its origin elsewhere")
      }
    }
    let planned = plans
    let secret = secret
    let queryLogger = queryLogger
    var threads: [ReactorThread] = []
    let seats = (0..<count).map { _ in WorkerSeat() }
    for index in 0..<count {
      let mine = datagrams.indices.filter { $0 % count == index }.map { datagrams[$0] }
      let listening = listeners.indices.filter { $0 % count == index }.map { listeners[$0] }
      let settings = settings
      let holder = holder
      let logger = logger
      let tally = tallies[index]
      let seat = seats[index]
      do throws(SocketError) {
        let thread = try ReactorThread(name: "dns-\(index)") { reactor in
          let worker = DNSWorker(
            reactor: reactor, settings: settings, tally: tally, metrics: numbers, holder: holder,
            secret: secret,
            logger: queryLogger)
          let blocks = planned.map { $0.block(threads: count) }
          worker.blocks = blocks
          seat.worker = worker
          seat.sites = encrypted.map {
            Site(worker, SitePlan.choose(planned, blocks, $0.endpoint, $0.transport), local: $0.endpoint)
          }
          func site(_ descriptor: borrowing Descriptor) -> Site {
            let endpoint = Sockets.localEndpoint(descriptor)
            return Site(worker, SitePlan.choose(planned, blocks, endpoint), local: endpoint)
          }
          do throws(SocketError) {
            for raw in mine {
              let descriptor = Descriptor(owning: raw)
              let site = site(descriptor)
              try worker.open(datagrams: descriptor, site)
            }
            for raw in listening {
              let descriptor = Descriptor(owning: raw)
              let site = site(descriptor)
              try worker.open(listener: descriptor, site)
            }
          } catch {
            logger.error("socket not served", metadata: ["cause": "\(error)"])
          }
          if index == 0 {
            for block in blocks {
              for target in block.routes { ForwardExchange.probe(worker, block, target) }
            }
          }
        }
        threads.append(thread)
      } catch {
        for thread in threads { thread.stop() }
        throw WeftError(
          "DNS0003", object: "dns thread \(index)", cause: "\(error)",
          next: "raise the limit of open files (ulimit -n)",
          underlying: error)
      }
    }
    do throws(WeftError) {
      if let group { try open(encrypted, zip(threads, seats).map { ($0.reactor, $1) }, group) }
    } catch {
      for thread in threads { thread.stop() }
      throw error
    }
    state.withLock { state in
      state.threads += threads
      state.group = group
      state.numbers = numbers
      state.probes = probes
      state.endpoints = local
    }
    logger.info(
      "serving", metadata: ["addresses": "\(Set(local).sorted())", "zone": "\(holder.current.settings.zone)"])
  }

  private func open(
    _ ports: [EncryptedPort], _ threads: [(reactor: Reactor, seat: WorkerSeat)],
    _ group: MultiThreadedEventLoopGroup
  ) throws(WeftError) {
    let limits = EncryptedLimits(
      connectionsMax: settings.connectionsMax, idleSeconds: settings.idleSeconds,
      pendingMax: settings.pendingOfConnectionMax)
    var listeners: [EncryptedListener] = []
    for (index, port) in ports.enumerated() {
      listeners.append(
        try EncryptedListener.open(
          port.endpoint, port.transport, port.credentials, limits, group, metrics: metrics,
          door: QueryDoor(threads, port: index)))
    }
    state.withLock { state in
      state.encrypted = listeners
    }
  }

  /// Where it listens for queries over TLS and HTTPS, in the order of the ports given to `start`.
  public var encryptedEndpoints: [SocketEndpoint] { state.withLock { $0.encrypted.map(\.endpoint) } }

  /// Where it listens, with the ports the kernel chose.
  public var endpoints: [SocketEndpoint] { state.withLock { Array(Set($0.endpoints)).sorted() } }

  /// The zone in force.
  public var zone: Zone { holder.current }

  /// Whether our names are answered: false until the first zone that was planned from a cluster.
  public var isReady: Bool { holder.current.isReady }

  /// True when a query sent upstream came back to us: such routes answer SERVFAIL.
  public var isForwardingLooped: Bool {
    state.withLock { $0.probes.contains { $0.seen.load(ordering: .relaxed) > 0 } }
  }

  /// Puts a zone in force; queries that begin after the return see it.
  /// - Parameter programmingSeconds: seconds since the change of the cluster, for
  ///   `coredns_kubernetes_dns_programming_duration_seconds`; by kind of Service.
  public func swapZone(_ zone: Zone, programmingSeconds: [(serviceKind: String, seconds: Double)] = []) {
    holder.swap(zone)
    let numbers = state.withLock { $0.numbers }
    for (kind, seconds) in programmingSeconds { numbers?.programming.child(kind).observe(seconds) }
  }

  /// Stops serving and waits for the threads; queries that wait for upstream servers get `draining` to end.
  public func stop(draining: Duration = .zero) {
    let (threads, encrypted, group, taps) = state.withLock { state in
      defer {
        state.threads = []
        state.encrypted = []
        state.group = nil
        state.taps = []
      }
      return (state.threads, state.encrypted, state.group, state.taps)
    }
    for listener in encrypted { listener.close() }
    for thread in threads { thread.stop(draining: draining) }
    for tap in taps { tap.stop() }
    queryLogger.flush()
    // After the threads: they hand their last answers to its loop.
    try? group?.syncShutdownGracefully()
  }
}
