// Metrics and health of a node over plain HTTP, on the ports that kube-proxy uses.

import Addresses
import ClusterObjects
import Diagnostics
import Logging
import Proxy
import Reactor
import Synchronization

/// Serves `/metrics` and `/healthz` from a thread of its own.
final class StatusPages: Sendable {
  /// What the pages say of a service proxy.
  struct ProxyFacts: Sendable {
    var health: ProxyHealth
    var mode: KubeProxySettings.Mode
    /// What `/configz` shows.
    var configuration: JSON
  }

  /// A port that is taken is tried again after this long, when that was asked for.
  static let retry: Duration = .seconds(5)

  private let thread: ReactorThread
  private let retries = Mutex<[Task<Void, Never>]>([])

  /// Opens both ports, or none. `none` for an address serves nothing there.
  convenience init(metrics: String, healthz: String, proxy: ProxyFacts? = nil) throws(WeftError) {
    try self.init(
      metrics: Self.endpoint(metrics, "--metrics"), healthz: Self.endpoint(healthz, "--healthz"), proxy: proxy
    )
  }

  /// - Parameter waitsForPorts: a port that is taken is warned of and tried again, as kube-proxy does.
  init(
    metrics: SocketEndpoint?, healthz: SocketEndpoint?, proxy: ProxyFacts? = nil, waitsForPorts: Bool = false
  ) throws(WeftError) {
    var open: [(Int32, Bool)] = []
    var late: [(SocketEndpoint, String, Bool)] = []
    for (endpoint, flag, isMetrics) in [(metrics, "--metrics", true), (healthz, "--healthz", false)] {
      guard let endpoint else { continue }
      do throws(WeftError) {
        open.append((try Self.listen(endpoint, flag), isMetrics))
      } catch {
        guard waitsForPorts else {
          for (descriptor, _) in open { _ = Descriptor(owning: descriptor) }
          throw error
        }
        Logger(label: "status").warning("\(error)")
        late.append((endpoint, flag, isMetrics))
      }
    }
    do {
      thread = try ReactorThread(name: "status")
    } catch {
      for (descriptor, _) in open { _ = Descriptor(owning: descriptor) }
      throw WeftError(
        "NET0011", object: "status thread", cause: "cannot be started (\(error))",
        next: "look at: ulimit -n; ulimit -u",
        underlying: error)
    }
    for (descriptor, isMetrics) in open { serve(descriptor, isMetrics, proxy) }
    for (endpoint, flag, isMetrics) in late {
      let task = Task { [weak self] in
        while !Task.isCancelled {
          try? await Task.sleep(for: Self.retry)
          guard let self, let descriptor = try? Self.listen(endpoint, flag) else { continue }
          return serve(descriptor, isMetrics, proxy)
        }
      }
      retries.withLock { $0.append(task) }
    }
  }

  private func serve(_ descriptor: Int32, _ isMetrics: Bool, _ proxy: ProxyFacts?) {
    let isAccepted = thread.reactor.submit { reactor in
      _ = try? HTTPStatusServer(Descriptor(owning: descriptor), reactor: reactor) { path in
        isMetrics ? Self.metricsPage(path, proxy) : Self.healthPage(path, proxy)
      }
    }
    if !isAccepted { _ = Descriptor(owning: descriptor) }
  }

  private static func metricsPage(_ path: String, _ proxy: ProxyFacts?) -> HTTPStatusServer.Response? {
    switch path {
    case "/metrics": .metrics(Metrics.shared.wholeText())
    case "/healthz", "/livez", "/readyz": .init(text: "ok")
    case "/proxyMode": .init(text: (proxy?.mode ?? .nftables).rawValue)
    case "/configz":
      proxy.map {
        .init(
          contentType: "application/json",
          text: JSON.object(["kubeproxy.config.k8s.io": $0.configuration]).text)
      }
    default: nil
    }
  }

  private static func healthPage(_ path: String, _ proxy: ProxyFacts?) -> HTTPStatusServer.Response? {
    guard let proxy else {
      return ["/healthz", "/livez", "/health", "/ready"].contains(path) ? .init(text: "ok") : nil
    }
    let answer: ProxyHealth.Answer
    switch path {
    case "/healthz": answer = proxy.health.healthzAnswer()
    case "/livez": answer = proxy.health.livezAnswer()
    default: return nil
    }
    var response = HTTPStatusServer.Response(
      status: answer.status, contentType: "application/json", text: answer.body)
    response.headers = [("X-Content-Type-Options", "nosniff")]
    return response
  }

  func stop() {
    for task in retries.withLock({ $0 }) { task.cancel() }
    thread.stop()
  }

  private static func endpoint(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint? {
    if text == "none" { return nil }
    guard let endpoint = SocketEndpoint(text) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no address and port",
        next: "write it as 127.0.0.1:10249")
    }
    return endpoint
  }

  /// A listening socket, or the error that names the flag to change.
  static func listen(_ endpoint: SocketEndpoint, _ flag: String) throws(WeftError) -> Int32 {
    do {
      return try Sockets.listenTCP(endpoint).release()
    } catch {
      throw WeftError(
        "NET0012", object: "port \(endpoint)", cause: "cannot be listened on (\(error))",
        next: "see who has it: ss -ltnp 'sport = :\(endpoint.port)'; or choose another with \(flag)",
        underlying: error)
    }
  }
}
