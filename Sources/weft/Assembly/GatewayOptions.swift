// What Gateways may ask of this process's data plane.

import Addresses
import GatewayAPI
import Ingress

extension LocalClusterSettings {
  /// Gateways are served on any port that nobody else has, beside Ingresses on theirs.
  func gatewaySettings(_ addresses: [IPAddress]) -> GatewaySettings {
    var gateways = GatewaySettings(addresses: addresses.map(\.description))
    gateways.asksClients = false
    for own in [api, metrics, healthz].compactMap(\.self) {
      gateways.taken[GatewaySocket(.tcp, own.port)] = []
    }
    if let http { gateways.taken[GatewaySocket(.tcp, http.port)] = [.http] }
    if let https { gateways.taken[GatewaySocket(.tcp, https.port)] = [.https, .tls] }
    return gateways
  }
}
