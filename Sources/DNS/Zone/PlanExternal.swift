// Names of a Service in external zones, as `k8s_external` serves them: `<service>.<namespace>.<zone>` with the addresses the
// world reaches it at.

import Addresses
import ClusterObjects
import ClusterView

extension Service {
  /// Where it is reached from outside.
  var outsideAddresses: [IPAddress] {
    var seen: Set<IPAddress> = []
    return (loadBalancerIPs + externalIPs).filter { seen.insert($0).inserted }
  }
}

/// One block of names for each external zone; none when the Service has no address there.
func planExternal(_ service: Service, _ slices: [EndpointSlice], _ settings: ZoneSettings) -> [(
  names: ZoneGroupBuilder, pointers: [PlannedPointer]
)] {
  guard let external = settings.external else { return [] }
  var addresses = service.outsideAddresses
  let isHeadless = service.isHeadless && external.isHeadlessServed
  if isHeadless {
    for slice in slices {
      for endpoint in slice.endpoints where endpoint.isReady || service.publishNotReadyAddresses {
        if !addresses.contains(endpoint.address) { addresses.append(endpoint.address) }
      }
    }
  }
  guard !addresses.isEmpty else { return [] }
  return external.zones.compactMap { zone in
    guard let name = zone.child(service.key.namespace)?.child(service.key.name) else { return nil }
    var names = ZoneGroupBuilder(key: name, ttl: external.ttl)
    let records = addresses.map(addressRecord)
    for record in records { names.add([], record) }
    let additional = records.map { (owner: name, data: $0) }
    for port in service.ports {
      let record = RecordData.srv(priority: 0, weight: 100, port: port.port, name)
      names.add([], record, additional: additional)
      guard !port.name.isEmpty else { continue }
      let labels = ["_" + port.name, "_" + port.transport.rawValue.lowercased()]
      names.add(labels, record, additional: additional)
    }
    // An endpoint's address belongs to its name in the cluster.
    let pointers = service.outsideAddresses.map { PlannedPointer(address: $0, prefix: [], rank: 0) }
    return (names, pointers)
  }
}
