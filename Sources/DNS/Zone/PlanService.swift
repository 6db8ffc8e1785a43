// The names of one Service: what the specification asks for each kind, and what CoreDNS adds when asked to.

import Addresses
import ClusterObjects
import ClusterView

/// A PTR record to be: the address and what stands in front of the Service's name in its target, as `namePrefix` makes it.
struct PlannedPointer {
  var address: IPAddress
  var prefix: [UInt8]
  /// 0 for a cluster IP, 1 for an endpoint; 2 and 3 for those of the cluster set, which only have a name when the cluster has
  /// none for the address.
  var rank: UInt8
}

/// Nil when the Service has no name: headless without a ready endpoint (spec 2.4.1), or without an address yet.
func planService(_ service: Service, _ slices: [EndpointSlice], _ settings: ZoneSettings) -> (
  names: ZoneGroupBuilder, pointers: [PlannedPointer]
)? {
  guard let name = settings.zone.child(of: [service.key.name, service.key.namespace, "svc"]) else {
    return nil
  }
  var plan = ServicePlan(
    name: name, compatibility: settings.compatibility, endpointPodNames: settings.endpointPodNames,
    addresses: service.clusterIPs, ports: service.ports,
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
  guard let name = zone.child(of: [service.key.name, service.key.namespace, "svc"]) else { return nil }
  var plan = ServicePlan(
    name: name, compatibility: settings.compatibility, endpointPodNames: settings.endpointPodNames,
    addresses: service.addresses, ports: service.ports, takesUnready: false,
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
  let compatibility: ZoneSettings.Compatibility
  let endpointPodNames: Bool
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
    for record in records { names.add(prefix: [], record) }
    pointers += addresses.map { PlannedPointer(address: $0, prefix: [], rank: rank) }
    let additional = records.map { (owner: name, data: $0) }
    for port in ports {
      let record = RecordData.srv(priority: 0, weight: 100, port: port.port, name)
      add(record, at: port.name, port.transport, additional: additional, records)
    }
    return true
  }

  /// An SRV record of a port and what CoreDNS has besides: the addresses at its name, the record at the Service's.
  private mutating func add(
    _ record: RecordData, at port: String, _ transport: TransportProtocol,
    additional: [(owner: DomainName, data: RecordData)], _ addresses: [RecordData]
  ) {
    if !port.isEmpty || compatibility.contains(.namesOfUnnamedPorts),
      let prefix = namePrefix(["_" + port, "_" + transport.rawValue.lowercased()])
    {
      names.add(prefix: prefix, record, additional: additional)
      if compatibility.contains(.addressesAtPortNames) {
        for address in addresses { names.add(prefix: prefix, address) }
      }
    }
    if compatibility.contains(.serviceRecordsAtServiceName) {
      names.add(prefix: [], record, additional: additional)
    }
  }

  /// The name of one or more endpoints, and its addresses.
  private struct Target {
    let prefix: [UInt8]
    var records: [RecordData] = []
  }
  private struct Placed: Hashable {
    var target: Int
    var name: String
    var transport: TransportProtocol
    var port: UInt16
  }
  private struct Said: Hashable {
    var prefix: [UInt8]
    var address: IPAddress
  }

  /// One name an endpoint, one SRV a named port and endpoint. False when nothing is ready. Endpoints of a cluster of the set
  /// have its id behind their own label.
  mutating func addEndpoints(_ slices: [(slice: EndpointSlice, cluster: String?)], isHeadless: Bool) -> Bool {
    var isAnyReady = false
    var seen = SmallSet<Said>()
    var targets: [Target] = []
    var targetOf: [[UInt8]: Int] = [:]
    // Which names stand in which slice: its ports are theirs.
    var placesIn: [(slice: Int, target: Int)] = []
    for (index, (slice, cluster)) in slices.enumerated() {
      for endpoint in slice.endpoints where endpoint.isReady || takesUnready {
        isAnyReady = true
        if let zone = endpoint.zone, isZonal, isHeadless { addZonal(zone, endpoint.address) }
        let record = addressRecord(endpoint.address)
        guard let prefix = prefix(of: endpoint, cluster) else {
          // Nobody can ask for such a hostname.
          if isHeadless { names.add(prefix: [], record) }
          continue
        }
        let isNew = seen.insert(Said(prefix: prefix, address: endpoint.address))
        if isNew {
          if isHeadless { names.add(prefix: [], record) }
          names.add(prefix: prefix, record)
          pointers.append(PlannedPointer(address: endpoint.address, prefix: prefix, rank: rank + 1))
        }
        guard isHeadless else { continue }
        let target = targetOf[prefix] ?? targets.count
        if target == targets.count {
          targets.append(Target(prefix: prefix))
          targetOf[prefix] = target
        }
        if isNew { targets[target].records.append(record) }
        placesIn.append((index, target))
      }
    }
    guard isAnyReady else { return false }
    guard isHeadless else { return true }
    let weight = UInt16(max(1, 100 / max(1, targets.count)))
    var placed = SmallSet<Placed>()
    for (index, target) in placesIn {
      let wire = targets[target].prefix + name.wire
      guard wire.count <= DNSLimits.nameBytesMax else { continue }
      let owner = DomainName(uncheckedWire: wire)
      for port in slices[index].slice.ports {
        guard let number = port.port else { continue }
        // Several addresses under one hostname are one target: the copies would be the same record.
        let place = Placed(target: target, name: port.name, transport: port.transport, port: number)
        guard placed.insert(place) else { continue }
        let addresses = targets[target].records
        add(
          .srv(priority: 0, weight: weight, port: number, owner), at: port.name, port.transport,
          additional: addresses.map { (owner: owner, data: $0) }, addresses)
      }
    }
    return true
  }

  /// CoreDNS's `zonal`: only this zone's endpoints, or this zone's rather than others.
  private mutating func addZonal(_ zone: String, _ address: IPAddress) {
    names.add([zone, "pin", "_zone"], addressRecord(address))
    names.add([zone, "prefer", "_zone"], addressRecord(address))
  }

  /// The endpoint's hostname; without one, its pod's name when asked for, or its address with dashes. Nil when that is no label.
  private func prefix(of endpoint: EndpointSlice.Endpoint, _ cluster: String?) -> [UInt8]? {
    var labels = cluster.map { [$0] } ?? []
    if let hostname = endpoint.hostname, !hostname.isEmpty {
      labels.insert(hostname, at: 0)
      return namePrefix(labels)
    }
    if endpointPodNames, let pod = endpoint.pod, pod.name.utf8.count <= DNSLimits.labelBytesMax {
      labels.insert(pod.name, at: 0)
      return namePrefix(labels)
    }
    let text = endpoint.address.description
    var prefix = [UInt8(truncatingIfNeeded: text.utf8.count)]
    for byte in text.utf8 {
      prefix.append(byte == UInt8(ascii: ".") || byte == UInt8(ascii: ":") ? UInt8(ascii: "-") : byte)
    }
    if labels.isEmpty { return prefix }
    return namePrefix(labels).map { prefix + $0 }
  }
}
