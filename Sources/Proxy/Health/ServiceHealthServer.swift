// Serves healthCheckNodePorts: one small HTTP server for each Service that has one, opened and closed as Services come and
// go. Answers from memory; never waits for the API.

import Addresses
import ClusterObjects
import Diagnostics
import Logging
import Reactor
import Synchronization

/// The healthCheckNodePorts of a node, served from a thread of its own. `update` may be called from any thread.
public final class ServiceHealthServer: Sendable {
  /// Ports open at once; Services past it are not served and are counted.
  public static let portsMax = 4096
  /// A port that could not be opened is tried again after this long, and then after twice that, up to the maximum: a
  /// program that is just being started holds closed ports for an instant, another's port for long.
  static let retryNanoseconds: UInt64 = 50_000_000
  static let retryNanosecondsMax: UInt64 = 5_000_000_000

  /// Called for a port that cannot be listened on, once until it can: for an event on the Service.
  public typealias Failed = @Sendable (ServiceHealth, _ reason: String) -> Void

  private let thread: ReactorThread
  private let ports: Mutex<Ports>

  /// - Parameters:
  ///   - addresses: where to listen; the unspecified address of a family for all of the node's.
  ///   - health: the proxy's own: a proxy that is late makes every answer 503.
  public init(
    addresses: [IPAddress], health: ProxyHealth, metrics: Metrics = .shared,
    failed: @escaping Failed = { _, _ in }
  ) throws(SocketError) {
    thread = try ReactorThread(name: "service-health")
    ports = Mutex(
      Ports(reactor: thread.reactor, addresses: addresses, health: health, metrics: metrics, failed: failed))
  }

  /// Opens what is new, closes what is gone, and answers with the new counts from now on.
  public func update(_ wanted: [ServiceHealth]) {
    let ports = ports.withLock { $0 }
    thread.reactor.submit { _ in ports.update(wanted) }
  }

  public func stop() { thread.stop() }

  /// Belongs to the reactor's thread once made.
  private final class Ports: TimerHandler, @unchecked Sendable {
    private final class Open {
      var health: ServiceHealth
      var servers: [HTTPStatusServer] = []
      init(_ health: ServiceHealth) { self.health = health }
      /// Connections that are being answered hold on to this until they end.
      func close() {
        for server in servers { server.close() }
        servers = []
      }
    }
    private let reactor: Reactor
    private let addresses: [IPAddress]
    private let health: ProxyHealth
    private let failed: Failed
    private let logger = Logger(label: "service-health")
    private let openGauge: Gauge
    private let refused: Counter
    private var open: [ObjectKey: Open] = [:]
    private var wanted: [ServiceHealth] = []
    private var complained: Set<ObjectKey> = []
    private var retry = TimerToken.none
    private var retryAfter = ServiceHealthServer.retryNanoseconds

    init(
      reactor: Reactor, addresses: [IPAddress], health: ProxyHealth, metrics: Metrics,
      failed: @escaping Failed
    ) {
      self.reactor = reactor
      self.addresses = addresses
      self.health = health
      self.failed = failed
      openGauge =
        metrics.gauge("weft_proxy_health_check_ports", "healthCheckNodePorts that are served.").child()
      refused =
        metrics.counter(
          "weft_proxy_health_check_port_failures_total",
          "healthCheckNodePorts that could not be opened, or were one too many."
        ).child()
    }

    func update(_ wanted: [ServiceHealth]) {
      retryAfter = ServiceHealthServer.retryNanoseconds
      synchronise(wanted)
    }

    private func synchronise(_ wanted: [ServiceHealth]) {
      self.wanted = wanted
      let byService = Dictionary(wanted.map { ($0.service, $0) }, uniquingKeysWith: { first, _ in first })
      for (service, open) in open where byService[service]?.port != open.health.port {
        open.close()
        self.open[service] = nil
      }
      complained.formIntersection(byService.keys)
      var isComplete = true
      for health in wanted {
        if let already = open[health.service] {
          already.health = health
        } else if let opened = listen(health) {
          open[health.service] = opened
          complained.remove(health.service)
        } else {
          isComplete = false
        }
      }
      openGauge.set(Double(open.count))
      reactor.cancelTimer(retry)
      // Somebody else's port may come free without any change of a Service.
      retry = isComplete ? .none : reactor.setTimer(after: retryAfter, handler: self)
      retryAfter = min(retryAfter * 2, ServiceHealthServer.retryNanosecondsMax)
    }

    func timerEnded(tag: Int) { synchronise(wanted) }

    private func listen(_ health: ServiceHealth) -> Open? {
      let open = Open(health)
      do throws(SocketError) {
        guard self.open.count < ServiceHealthServer.portsMax else {
          throw SocketError("open more than \(ServiceHealthServer.portsMax) ports", 0)
        }
        for address in addresses {
          let endpoint = SocketEndpoint(address, health.port)
          let server = try HTTPStatusServer(
            Sockets.listenTCP(endpoint, reusePort: false, backlog: 128, v6Only: true), reactor: reactor
          ) { [health = self.health] _ in Self.answer(open.health, health.isHealthy) }
          open.servers.append(server)
        }
        return open
      } catch {
        open.close()
        refused.increment()
        if complained.insert(health.service).inserted {
          logger.warning(
            "health check port not open",
            metadata: [
              "service": "\(health.service)", "port": "\(health.port)", "error": "\(error)",
            ])
          failed(health, "\(error)")
        }
        return nil
      }
    }

    private static func answer(_ health: ServiceHealth, _ isProxyHealthy: Bool) -> HTTPStatusServer.Response {
      var response = HTTPStatusServer.Response(
        status: health.status(isProxyHealthy: isProxyHealthy), contentType: "application/json",
        text: health.body(isProxyHealthy: isProxyHealthy))
      response.headers = [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Load-Balancing-Endpoint-Weight", "\(health.localEndpoints)"),
      ]
      return response
    }
  }
}
