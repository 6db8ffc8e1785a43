// The names of one Service: what the specification asks for each kind, and what CoreDNS adds when asked to.

import Addresses
import ClusterObjects
import ClusterView

/// A PTR record to be: the address and the labels of its target below the Service's name.
struct PlannedPointer {
  var address: IPAddress
  var labels: [String]
  /// 0 for a cluster IP, 1 for an endpoint.
  var rank: UInt8
}

/// Nil when the Service has no name: headless without a ready endpoint (spec 2.4.1), or without an address yet.
func planService(_ service: Service, _ slices: [EndpointSlice], _ settings: ZoneSettings) -> (
  names: ZoneGroupBuilder, pointers: [PlannedPointer]
)? {
  let labels = [service.key.name, service.key.namespace, "svc"].map { Array($0.utf8) }
  guard let name = DomainName(labels: labels + settings.zone.labels.map(Array.init)) else { return nil }
  var plan = ServicePlan(
    service: service, name: name, settings: settings, names: ZoneGroupBuilder(key: name, ttl: settings.ttl))
  if service.kind == .externalName {
    guard plan.addAlias() else { return nil }
  } else if service.isHeadless {
    guard !settings.isWithoutEndpoints, plan.addEndpoints(slices, isHeadless: true) else { return nil }
  } else {
    let isEmpty = !slices.contains { $0.endpoints.contains(where: \.isReady) }
    guard !(settings.ignoresEmptyServices && isEmpty), plan.addClusterIPs() else { return nil }
    if settings.compatibility.contains(.endpointNamesOfClusterIPs), !settings.isWithoutEndpoints {
      _ = plan.addEndpoints(slices, isHeadless: false)
    }
  }
  return (plan.names, plan.pointers)
}

private struct ServicePlan {
  let service: Service
  let name: DomainName
  let settings: ZoneSettings
  var names: ZoneGroupBuilder
  var pointers: [PlannedPointer] = []

  /// CNAME to the external name. A name that points to itself exists and has nothing.
  mutating func addAlias() -> Bool {
    guard let target = DomainName(service.externalName), target != .root else { return false }
    if target != name { names.add([], .cname(target)) }
    return true
  }

  mutating func addClusterIPs() -> Bool {
    guard !service.clusterIPs.isEmpty else { return false }
    let addresses = service.clusterIPs.map(addressRecord)
    for address in addresses { names.add([], address) }
    pointers += service.clusterIPs.map { PlannedPointer(address: $0, labels: [], rank: 0) }
    let additional = addresses.map { (owner: name, data: $0) }
    for port in service.ports {
      let record = RecordData.srv(priority: 0, weight: 100, port: port.port, name)
      if !port.name.isEmpty || settings.compatibility.contains(.namesOfUnnamedPorts) {
        names.add(labels(port.name, port.transport), record, additional: additional)
        if settings.compatibility.contains(.addressesAtPortNames) {
          for address in addresses { names.add(labels(port.name, port.transport), address) }
        }
      }
      if settings.compatibility.contains(.serviceRecordsAtServiceName) {
        names.add([], record, additional: additional)
      }
    }
    return true
  }

  /// One name an endpoint, one SRV a named port and endpoint. False when nothing is ready.
  mutating func addEndpoints(_ slices: [EndpointSlice], isHeadless: Bool) -> Bool {
    var seen: Set<String> = []
    var ready: [(label: String, address: IPAddress, slice: Int)] = []
    for (index, slice) in slices.enumerated() {
      for endpoint in slice.endpoints where endpoint.isReady || service.publishNotReadyAddresses {
        ready.append((label(of: endpoint), endpoint.address, index))
        if let zone = endpoint.zone, settings.isZonal, isHeadless { addZonal(zone, endpoint.address) }
      }
    }
    guard !ready.isEmpty else { return false }
    var addressesOf: [String: [RecordData]] = [:]
    for (label, address, _) in ready where seen.insert("\(label) \(address)").inserted {
      let record = addressRecord(address)
      if isHeadless { names.add([], record) }
      names.add([label], record)
      addressesOf[label, default: []].append(record)
      pointers.append(PlannedPointer(address: address, labels: [label], rank: 1))
    }
    guard isHeadless else { return true }
    let weight = UInt16(max(1, 100 / addressesOf.count))
    var placed: Set<String> = []
    for (label, _, index) in ready {
      guard let target = name.child(label.lowercased()) else { continue }
      for port in slices[index].ports {
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
