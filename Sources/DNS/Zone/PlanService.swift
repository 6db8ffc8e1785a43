// The names of one Service: what the specification asks for each kind, and what CoreDNS adds when asked to.

import Addresses
import ClusterObjects
import ClusterView

/// A PTR record to be: the address and the labels of its target below the Service's name.
struct PlannedPointer {
  var address: IPAddress
  var labels: [String]
  /// 0 for a cluster IP, 1 for an endpoint; 2 and 3 for those of the cluster set, which only have a name when the cluster has
  /// none for the address.
  var rank: UInt8
}

/// Nil when the Service has no name: headless without a ready endpoint (spec 2.4.1), or without an address yet.
func planService(_ service: Service, _ slices: [EndpointSlice], _ settings: ZoneSettings) -> (
  names: ZoneGroupBuilder, pointers: [PlannedPointer]
)? {
  let labels = [service.key.name, service.key.namespace, "svc"].map { Array($0.utf8) }
  guard let name = DomainName(labels: labels + settings.zone.labels.map(Array.init)) else { return nil }
  var plan = ServicePlan(
    name: name, settings: settings, addresses: service.clusterIPs, ports: service.ports,
    takesUnready: service.publishNotReadyAddresses, isZonal: settings.isZonal,
    names: ZoneGroupBuilder(key: name, ttl: settings.ttl))
  let slices = slices.map { (slice: $0, cluster: String?.none) }
  if service.kind == .externalName {
    guard plan.addAlias(service.externalName) else { return nil }
  } else if service.isHeadless {
    guard !settings.isWithoutEndpoints, plan.addEndpoints(slices, isHeadless: true) else { return nil }
  } else {
    let isEmpty = !slices.contains { $0.slice.endpoints.contains(where: \.isReady) }
    guard !(settings.ignoresEmptyServices && isEmpty), plan.addAddresses() else { return nil }
    if settings.compatibility.contains(.endpointNamesOfClusterIPs), !settings.isWithoutEndpoints {
      _ = plan.addEndpoints(slices, isHeadless: false)
    }
  }
  return (plan.names, plan.pointers)
}

/// The names of a ServiceImport in one zone of the cluster set (KEP-1645). Nil when it has none: headless without a ready
/// endpoint, or without an address.
func planImport(_ state: ServiceImportState, _ settings: ZoneSettings, zone: DomainName) -> (
  names: ZoneGroupBuilder, pointers: [PlannedPointer]
)? {
  let service = state.service
  let labels = [service.key.name, service.key.namespace, "svc"].map { Array($0.utf8) }
  guard let name = DomainName(labels: labels + zone.labels.map(Array.init)) else { return nil }
  var plan = ServicePlan(
    name: name, settings: settings, addresses: service.addresses, ports: service.ports, takesUnready: false,
    isZonal: false, names: ZoneGroupBuilder(key: name, ttl: settings.ttl), rank: 2)
  if service.kind == .headless {
    let slices = state.slices.sorted { $0.key < $1.key }.map {
      (slice: $0.value.slice, cluster: $0.value.cluster)
    }
    guard !settings.isWithoutEndpoints, plan.addEndpoints(slices, isHeadless: true) else { return nil }
  } else {
    guard plan.addAddresses() else { return nil }
  }
  return (plan.names, plan.pointers)
}

private struct ServicePlan {
  let name: DomainName
  let settings: ZoneSettings
  let addresses: [IPAddress]
  let ports: [Service.Port]
  let takesUnready: Bool
  let isZonal: Bool
  var names: ZoneGroupBuilder
  /// Of the PTR records of its addresses; those of endpoints come after.
  var rank: UInt8 = 0
  var pointers: [PlannedPointer] = []

  /// CNAME to the external name. A name that points to itself exists and has nothing.
  mutating func addAlias(_ text: String) -> Bool {
    guard let target = DomainName(text), target != .root else { return false }
    if target != name { names.add([], .cname(target)) }
    return true
  }

  mutating func addAddresses() -> Bool {
    guard !addresses.isEmpty else { return false }
    let records = addresses.map(addressRecord)
    for record in records { names.add([], record) }
    pointers += addresses.map { PlannedPointer(address: $0, labels: [], rank: rank) }
    let additional = records.map { (owner: name, data: $0) }
    for port in ports {
      let record = RecordData.srv(priority: 0, weight: 100, port: port.port, name)
      if !port.name.isEmpty || settings.compatibility.contains(.namesOfUnnamedPorts) {
        names.add(labels(port.name, port.transport), record, additional: additional)
        if settings.compatibility.contains(.addressesAtPortNames) {
          for address in records { names.add(labels(port.name, port.transport), address) }
        }
      }
      if settings.compatibility.contains(.serviceRecordsAtServiceName) {
        names.add([], record, additional: additional)
      }
    }
    return true
  }

  /// One name an endpoint, one SRV a named port and endpoint. False when nothing is ready. Endpoints of a cluster of the set
  /// have its id behind their own label.
  mutating func addEndpoints(_ slices: [(slice: EndpointSlice, cluster: String?)], isHeadless: Bool) -> Bool {
    var seen: Set<String> = []
    var ready: [(label: [String], address: IPAddress, slice: Int)] = []
    for (index, (slice, cluster)) in slices.enumerated() {
      for endpoint in slice.endpoints where endpoint.isReady || takesUnready {
        ready.append(([label(of: endpoint)] + (cluster.map { [$0] } ?? []), endpoint.address, index))
        if let zone = endpoint.zone, isZonal, isHeadless { addZonal(zone, endpoint.address) }
      }
    }
    guard !ready.isEmpty else { return false }
    var addressesOf: [[String]: [RecordData]] = [:]
    for (label, address, _) in ready where seen.insert("\(label) \(address)").inserted {
      let record = addressRecord(address)
      if isHeadless { names.add([], record) }
      names.add(label, record)
      addressesOf[label, default: []].append(record)
      pointers.append(PlannedPointer(address: address, labels: label, rank: rank + 1))
    }
    guard isHeadless else { return true }
    let weight = UInt16(max(1, 100 / addressesOf.count))
    var placed: Set<String> = []
    for (label, _, index) in ready {
      let named = label.reversed().reduce(Optional(name)) { $0?.child($1.lowercased()) }
      guard let target = named else { continue }
      for port in slices[index].slice.ports {
        guard let number = port.port else { continue }
        // Several addresses under one hostname are one target: the copies would be the same record.
        guard placed.insert("\(label) \(port.name) \(port.transport) \(number)").inserted else { continue }
        let record = RecordData.srv(priority: 0, weight: weight, port: number, target)
        let additional = (addressesOf[label] ?? []).map { (owner: target, data: $0) }
        if !port.name.isEmpty || settings.compatibility.contains(.namesOfUnnamedPorts) {
          names.add(labels(port.name, port.transport), record, additional: additional)
          if settings.compatibility.contains(.addressesAtPortNames) {
            for address in addressesOf[label] ?? [] { names.add(labels(port.name, port.transport), address) }
          }
        }
        if settings.compatibility.contains(.serviceRecordsAtServiceName) {
          names.add([], record, additional: additional)
        }
      }
    }
    return true
  }

  /// CoreDNS's `zonal`: only this zone's endpoints, or this zone's rather than others.
  private mutating func addZonal(_ zone: String, _ address: IPAddress) {
    names.add([zone, "pin", "_zone"], addressRecord(address))
    names.add([zone, "prefer", "_zone"], addressRecord(address))
  }

  private func labels(_ port: String, _ transport: TransportProtocol) -> [String] {
    ["_" + port, "_" + transport.rawValue.lowercased()]
  }

  /// The endpoint's hostname; without one, its pod's name when asked for, or its address with dashes.
  private func label(of endpoint: EndpointSlice.Endpoint) -> String {
    if let hostname = endpoint.hostname, !hostname.isEmpty { return hostname }
    if settings.endpointPodNames, let pod = endpoint.pod, pod.name.utf8.count <= DNSLimits.labelBytesMax {
      return pod.name
    }
    let separators: Set<Character> = [".", ":"]
    return String("\(endpoint.address)".map { separators.contains($0) ? "-" : $0 })
  }
}
