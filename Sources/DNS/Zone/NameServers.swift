// Who a zone says serves it. As CoreDNS has it: the Services that lead to us, else the addresses that we are asked at. Without an address
// other servers refuse a transfer of the zone (RFC 1912 section 2.8).

import Addresses
import ClusterObjects
import ClusterView

/// What stands in NS records, and where that is.
struct NameServers: Sendable, Equatable {
  /// Services that lead to us, by their names in the cluster's zone; none: `ns.dns` of each zone itself.
  private(set) var services: [Server] = []
  /// What `ns.dns` has.
  private(set) var addresses: [IPAddress] = []

  struct Server: Sendable, Equatable {
    var name: DomainName
    var addresses: [IPAddress]
  }

  init(_ leading: [ObjectKey: [IPAddress]], _ settings: ZoneSettings) {
    for (key, own) in leading.sorted(by: { $0.key < $1.key }) where !own.isEmpty {
      guard let name = settings.zone.child(of: [key.name, key.namespace, "svc"]) else { continue }
      services.append(Server(name: name, addresses: own))
      addresses += own.filter { !addresses.contains($0) }
    }
    if services.isEmpty { addresses = settings.nameServerAddresses }
  }

  /// What a zone says whose own name server is `own`; only the cluster's own zones know its Services.
  func servers(_ own: DomainName, isCluster: Bool) -> [Server] {
    isCluster && !services.isEmpty ? services : [Server(name: own, addresses: addresses)]
  }
}

extension ZonePlanner {
  /// The addresses of a Service behind which we are; nil when we are not. CoreDNS goes by the address alone, and on the host's network names
  /// the API server's Service.
  func addresses(leadingHere state: ServiceState) -> [IPAddress]? {
    let own = settings.nameServerAddresses
    guard !own.isEmpty, state.service.kind != .externalName else { return nil }
    let slices = state.slices.values.lazy.filter { slice in
      slice.ports.contains {
        $0.transport == .udp && $0.port.map(settings.nameServerPorts.contains) ?? false
      }
    }
    let endpoints = slices.flatMap(\.endpoints)
    guard endpoints.contains(where: { $0.isReady && own.contains($0.address) }) else { return nil }
    guard state.service.isHeadless else { return state.service.clusterIPs }
    return Set(endpoints.filter(\.isReady).map(\.address)).sorted()
  }

  /// Notes whether a Service that has a name leads to us.
  mutating func noteNameServer(_ key: ObjectKey, _ state: ServiceState?) {
    guard !settings.nameServerAddresses.isEmpty else { return }
    leading[key] = state.flatMap { addresses(leadingHere: $0) }
  }
}
