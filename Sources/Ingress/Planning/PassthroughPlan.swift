// Hosts whose TLS connections go on unopened: ingress-nginx's `ssl-passthrough`, where `--enable-ssl-passthrough` is given.

import ClusterObjects
import ClusterView

struct PassthroughPlan {
  /// Nil: the annotation has no effect.
  let port: UInt16?
  private var hosts: [String: (backend: Int, ingress: ObjectKey)] = [:]

  init(port: UInt16?) { self.port = port }

  static func isAsked(_ ingress: Ingress) -> Bool { ingress.nginx("ssl-passthrough") == "true" }

  /// A path that an Ingress has got. Of a host only the path `/` counts: what is in a connection is not known.
  mutating func take(_ ingress: Ingress, host: String, path: String, backend: Int) {
    guard port != nil, path == "/", !host.isEmpty, Self.isAsked(ingress) else { return }
    hosts[host] = hosts[host] ?? (backend, ingress.key)
  }

  /// What an Ingress asks for and does not get.
  func problems(of ingress: Ingress) -> [String] {
    guard Self.isAsked(ingress) else { return [] }
    guard port != nil else {
      return ["ssl-passthrough: has no effect without --enable-ssl-passthrough (ING0003)"]
    }
    return ingress.rules.map(\.host).filter { hosts[$0]?.ingress != ingress.key }.map { host in
      "ssl-passthrough: \(host.isEmpty ? "a rule without a host" : host) has no path / of this ingress to pass connections to (ING0004)"
    }
  }

  /// Of a backend's settings only what it says of itself counts: requests are not seen.
  func table(_ backends: [RouteBackend]) -> StreamTable {
    guard let port, !hosts.isEmpty else { return StreamTable() }
    let sorted = hosts.sorted { $0.key < $1.key }
    return StreamTable(
      backends: sorted.map { entry in
        var backend = backends[entry.value.backend]
        let (proxy, traits) = (backend.policy.proxy, backend.policy.endpoints)
        backend.policy = BackendPolicy()
        (backend.policy.proxy, backend.policy.endpoints) = (proxy, traits)
        return backend
      },
      listeners: [
        StreamListener(
          port: port, kind: .tls,
          rules: sorted.enumerated().map { index, entry in
            StreamRule(name: entry.key, coversOneLabel: true, targets: [StreamTarget(backend: index)])
          })
      ])
  }
}
