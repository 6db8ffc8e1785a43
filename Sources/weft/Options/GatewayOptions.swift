// What Gateways may ask of this process's data plane.

import Addresses
import GatewayAPI
import Ingress

extension GatewaySettings {
  /// Gateways are served on any port that nobody else has, beside Ingresses on theirs.
  /// - Parameters:
  ///   - http: where Ingresses are served.
  ///   - own: of this process, for itself.
  ///   - addresses: where clients reach it.
  init(http: SocketEndpoint?, https: SocketEndpoint?, own: [SocketEndpoint?], addresses: [String]) {
    self.init(addresses: addresses)
    for own in own.compactMap(\.self) { taken[GatewaySocket(.tcp, own.port)] = [] }
    if let http { taken[GatewaySocket(.tcp, http.port)] = [.http] }
    if let https { taken[GatewaySocket(.tcp, https.port)] = [.https, .tls] }
  }
}

extension LocalClusterSettings {
  func gatewaySettings(_ addresses: [IPAddress]) -> GatewaySettings {
    GatewaySettings(
      http: http, https: https, own: [api, metrics, healthz], addresses: addresses.map(\.description))
  }
}
