// Metrics and health of a node over plain HTTP, on the ports that kube-proxy uses.

import Addresses
import Diagnostics
import Reactor

/// Serves `/metrics` and `/healthz` from a thread of its own.
final class StatusPages: Sendable {
  private let thread: ReactorThread

  /// Opens both ports, or none. `none` for an address serves nothing there.
  convenience init(metrics: String, healthz: String) throws(WeftError) {
    try self.init(metrics: Self.endpoint(metrics, "--metrics"), healthz: Self.endpoint(healthz, "--healthz"))
  }

  init(metrics: SocketEndpoint?, healthz: SocketEndpoint?) throws(WeftError) {
    let metricsSocket = try metrics.map { endpoint throws(WeftError) in try Self.listen(endpoint, "--metrics") }
    let healthSocket: Int32?
    do throws(WeftError) {
      healthSocket = try healthz.map { endpoint throws(WeftError) in try Self.listen(endpoint, "--healthz") }
    } catch {
      if let metricsSocket { _ = Descriptor(owning: metricsSocket) }
      throw error
    }
    do {
      thread = try ReactorThread(name: "status") { reactor in
        if let metricsSocket {
          _ = try? HTTPStatusServer(Descriptor(owning: metricsSocket), reactor: reactor) { path in
            switch path {
            case "/metrics": .metrics(Metrics.shared.text())
            case "/healthz", "/livez", "/readyz": .init(text: "ok")
            case "/proxyMode": .init(text: "nftables")
            default: nil
            }
          }
        }
        if let healthSocket {
          _ = try? HTTPStatusServer(Descriptor(owning: healthSocket), reactor: reactor) { path in
            path == "/healthz" || path == "/livez" ? .init(text: "ok") : nil
          }
        }
      }
    } catch {
      throw WeftError(
        "NET0011", object: "status thread", cause: "cannot be started (\(error))", next: "look at: ulimit -n; ulimit -u",
        underlying: error)
    }
  }

  func stop() { thread.stop() }

  private static func endpoint(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint? {
    if text == "none" { return nil }
    guard let endpoint = SocketEndpoint(text) else {
      throw WeftError("CLI0004", object: "\(flag) \(text)", cause: "is no address and port", next: "write it as 127.0.0.1:10249")
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
        next: "see who has it: ss -ltnp 'sport = :\(endpoint.port)'; or choose another with \(flag)", underlying: error)
    }
  }
}
