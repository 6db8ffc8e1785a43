// How a plan's backend is reached: its endpoints, and what is agreed on with them.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

extension ClusterView {
  /// The endpoints of a Service's port by its number.
  func reach(
    _ service: ObjectKey, number: UInt16, _ transport: TransportProtocol, near place: NodePlace?
  ) -> (targets: [SocketEndpoint], traits: [EndpointTraits]) {
    services[service]?.ports.first { $0.port == number && $0.transport == transport }
      .map { reach(service, port: $0, near: place) } ?? ([], [])
  }
}

extension GatewayPlan.Backend {
  /// Nil: it cannot be spoken to as its policy says, and must not be spoken to otherwise.
  func policy(_ kind: GatewayRoute.Kind, view: ClusterView, input: GatewayInput) -> BackendPolicy? {
    var policy = BackendPolicy()
    if kind == .grpc || appProtocol == "kubernetes.io/h2c" { policy.speech = .http2 }
    if case .service(let key, _) = target, let service = view.services[key] {
      policy.proxy = view.proxyVersion(of: key)
      _ = policy.take(service)
    }
    guard let tls else { return policy }
    let authorities = tls.authorities.compactMap { input.authorities[$0]?.certificates }
    guard authorities.count == tls.authorities.count else { return nil }
    let shown = tls.certificate.flatMap { input.secrets[$0]?.certificate }
    policy.tls = UpstreamTLS(
      serverName: tls.hostname, authorities: Array(authorities.joined(separator: Array("\n".utf8))),
      certificate: shown?.chain ?? [], key: shown?.key ?? [], trustsSystem: tls.authorities.isEmpty,
      names: tls.names.prefix(UpstreamTLS.namesMax).map { name in
        switch name {
        case .hostname(let text): .dns(text)
        case .uri(let text): .uri(text)
        }
      })
    return policy
  }
}
