// What Gateways may ask of this process's data plane.

import Addresses
import GatewayAPI

extension LocalClusterSettings {
  /// Gateways are served on the ports that the ingress listens on.
  func gatewaySettings(_ addresses: [IPAddress]) -> GatewaySettings {
    var gateways = GatewaySettings(addresses: addresses.map(\.description))
    gateways.protocols = [.http, .https]
    var ports: [UInt16: Set<GatewayPlan.ListenerProtocol>] = [:]
    if let http { ports[http.port, default: []].insert(.http) }
    if let https { ports[https.port, default: []].insert(.https) }
    gateways.ports = ports
    gateways.isServing = false
    return gateways
  }
}
