// The elements of one family's table: what each Service contributes.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// Collects the elements of one table, Service by Service.
struct FamilyPlanner {
  let view: ClusterView
  let configuration: ProxyConfiguration
  let family: IPFamily
  var allocation: ProxyAllocation
  var servicePorts = 0
  var endpoints = 0
  var quarantined: [QuarantinedObject] = []
  var udpEndpoints: [UInt32: Set<SocketEndpoint>] = [:]
  var withoutLocalEndpoints = (internal: 0, external: 0)
  private var usedIDs: Set<UInt32> = []

  var services: NamedSet
  var nodePorts: NamedSet
  var localOf: NamedSet
  var backends: NamedSet
  var affinityPicks: NamedSet
  var affinityEndpoints: NamedSet
  var sourceRanges: NamedSet
  var clusterIPs: NamedSet
  var hairpin: NamedSet

  init(
    _ view: ClusterView, _ configuration: ProxyConfiguration, _ family: IPFamily,
    _ allocation: ProxyAllocation
  ) {
    self.view = view
    self.configuration = configuration
    self.family = family
    self.allocation = allocation
    let address = DataType.address(family)
    services = NamedSet("svc-id", key: [address, .transport, .port], data: .values([.mark]))
    nodePorts = NamedSet("np-id", key: [.transport, .port], data: .values([.mark]))
    localOf = NamedSet("local-of", key: [.mark], data: .values([.mark]))
    backends = NamedSet("backends", key: [.mark, .slot], data: .values([address, .port]))
    affinityPicks = NamedSet("aff-pick", key: [.mark, .slot], data: .values([.mark]))
    affinityEndpoints = NamedSet("aff-ep", key: [.mark], data: .values([address, .port]))
    sourceRanges = NamedSet("lb-src", key: [.networkMark, address], isInterval: true)
    clusterIPs = NamedSet("cluster-ips", key: [address])
    hairpin = NamedSet("hairpin", key: [address, address])
    // Growing dictionaries of 10,000 elements by doubling costs an eighth of the plan.
    services.elements.reserveCapacity(view.services.count)
    clusterIPs.elements.reserveCapacity(view.services.count)
    backends.elements.reserveCapacity(allocation.slotCount)
    usedIDs.reserveCapacity(allocation.ids.count)
  }

  mutating func add(_ service: Service) {
    let own = service.clusterIPs.filter { $0.family == family }
    for address in own { clusterIPs.insert(.address(address)) }
    let external = (service.externalIPs).filter { $0.family == family }
    let balancers = service.loadBalancerIPs.filter { $0.family == family }
    let hasNodePort = service.kind != .clusterIP && !own.isEmpty
    guard !own.isEmpty || !external.isEmpty || !balancers.isEmpty else { return }
    for port in service.ports {
      add(port, of: service, own: own, external: external, balancers: balancers, nodePort: hasNodePort)
    }
  }

  private mutating func add(
    _ port: Service.Port, of service: Service, own: [IPAddress], external: [IPAddress],
    balancers: [IPAddress], nodePort hasNodePort: Bool
  ) {
    let name = port.name.isEmpty ? "\(service.key):\(port.port)" : "\(service.key):\(port.name)"
    let (cluster, local) = view.endpoints(
      of: service.key, port: port, family: family, on: configuration.nodeName)
    let affinity = service.affinitySeconds.map { UInt32(clamping: max(1, $0)) }
    servicePorts += 1
    endpoints += cluster.count
    for endpoint in cluster where endpoint.isLocal || configuration.nodeName == nil { addHairpin(endpoint) }

    let isRejected = cluster.isEmpty
    let comment = name
    let hasExternal = hasNodePort && port.nodePort != 0 || !external.isEmpty || !balancers.isEmpty
    if service.internalTrafficPolicy == .local, !own.isEmpty {
      if local.isEmpty { withoutLocalEndpoints.internal += 1 }
      guard let mine = balance(name, port.transport, local, affinity, isLocal: true) else {
        return quarantine(service, "no service-port id or class is free")
      }
      for address in own {
        // Class 0 drops: nobody here serves it, and others must not.
        let mark =
          isRejected
          ? ProxyMark.make(.reject, class: 0, id: mine.id)
          : ProxyMark.make(.cluster, class: mine.classNumber, id: mine.id)
        addFrontend(address, port, mark, comment + " local", service)
      }
      // Slots that no frontend names could not be recovered after a restart.
      guard hasExternal else { return }
    }
    guard let all = balance(name, port.transport, cluster, affinity, isLocal: false) else {
      return quarantine(service, "no service-port id or class is free")
    }
    if service.internalTrafficPolicy == .cluster {
      let mark =
        isRejected
        ? ProxyMark.make(.reject, class: 0, id: all.id)
        : ProxyMark.make(.cluster, class: all.classNumber, id: all.id)
      for address in own { addFrontend(address, port, mark, comment, service) }
    }
    guard hasExternal else { return }

    let isLocal = service.externalTrafficPolicy == .local
    let kind: ProxyMark.Kind = isRejected ? .reject : isLocal ? .externalLocal : .external
    let mark = ProxyMark.make(kind, class: isRejected ? 0 : all.classNumber, id: all.id)
    if isLocal, !isRejected {
      if local.isEmpty { withoutLocalEndpoints.external += 1 }
      addLocal(name, port, mark, local, affinity, service)
    }
    for address in external { addFrontend(address, port, mark, comment, service) }
    let ranges = service.loadBalancerSourceRanges.filter { $0.family == family }
    if service.loadBalancerSourceRanges.isEmpty || isRejected {
      for address in balancers { addFrontend(address, port, mark, comment, service) }
    } else if !balancers.isEmpty {
      let ranged = ProxyMark.make(
        isLocal ? .sourceRangesLocal : .sourceRanges, class: all.classNumber, id: all.id)
      if isLocal { addLocal(name, port, ranged, local, affinity, service) }
      for range in IPPrefix.disjoint(ranges) {
        sourceRanges.insert(
          Datum(.networkNumber(all.id), .address(range.address)),
          through: Datum(.networkNumber(all.id), .address(range.last)), comment: name)
      }
      for address in balancers { addFrontend(address, port, ranged, comment, service) }
    }
    if hasNodePort, port.nodePort != 0 {
      let key = Datum(.transport(port.transport), .port(port.nodePort))
      if nodePorts.elements[key] == nil {
        nodePorts.insert(key, .number(mark), comment: comment)
      } else {
        quarantine(
          service, "node port \(port.nodePort)/\(port.transport.rawValue) belongs to another Service")
      }
    }
  }

  private mutating func addFrontend(
    _ address: IPAddress, _ port: Service.Port, _ mark: UInt32, _ comment: String, _ service: Service
  ) {
    let key = Datum(.address(address), .transport(port.transport), .port(port.port))
    if services.elements[key] == nil {
      services.insert(key, .number(mark), comment: comment)
    } else {
      quarantine(
        service, "\(SocketEndpoint(address, port.port))/\(port.transport.rawValue) belongs to another Service"
      )
    }
  }

  private mutating func addLocal(
    _ name: String, _ port: Service.Port, _ mark: UInt32, _ local: [ServiceEndpoint], _ affinity: UInt32?,
    _ service: Service
  ) {
    guard !local.isEmpty else { return }
    guard let mine = balance(name, port.transport, local, affinity, isLocal: true) else {
      return quarantine(service, "no service-port id or class is free")
    }
    localOf.insert(
      .number(mark), .number(ProxyMark.make(.localSlots, class: mine.classNumber, id: mine.id)),
      comment: "\(name) \(port.transport.rawValue)")
  }

  /// Gives endpoints their slots. The class is 0, which drops, when there are none. Asking twice for the same
  /// is harmless.
  private mutating func balance(
    _ name: String, _ transport: TransportProtocol, _ list: [ServiceEndpoint], _ affinity: UInt32?,
    isLocal: Bool
  ) -> (id: UInt32, classNumber: UInt32)? {
    guard let id = allocation.id(of: .init(name, transport, isLocal: isLocal)) else { return nil }
    usedIDs.insert(id)
    let targets = list.map(\.target)
    if transport == .udp { udpEndpoints[id] = Set(targets) }
    let arranged = allocation.arrange(targets, id: id)
    guard !arranged.isEmpty else { return (id, 0) }
    let balancing = BalancingClass(transport, slots: arranged.count, affinitySeconds: affinity)
    guard let number = allocation.number(of: balancing) else { return nil }
    if affinity == nil {
      for (slot, target) in arranged.enumerated() {
        backends.insert(Datum(.number(id), .number(UInt32(slot))), Self.datum(target))
      }
    } else {
      allocation.keepAffinityNumbers(of: arranged, id: id)
      for (slot, target) in arranged.enumerated() {
        guard let endpoint = allocation.affinityNumber(of: target, id: id) else { return nil }
        let flow = ProxyMark.make(.affinityFlow, class: endpoint, id: id)
        affinityPicks.insert(Datum(.number(id), .number(UInt32(slot))), .number(flow))
        affinityEndpoints.insert(.number(flow), Self.datum(target))
      }
    }
    return (id, number)
  }

  private mutating func addHairpin(_ endpoint: ServiceEndpoint) {
    let address = Datum.address(endpoint.target.address)
    hairpin.insert(Datum(address, address))
  }

  private mutating func quarantine(_ service: Service, _ reason: String) {
    quarantined.append(.init(object: "Service \(service.key)", reason: reason))
  }

  mutating func finish() {
    allocation.keepOnly(usedIDs)
  }

  static func datum(_ endpoint: SocketEndpoint) -> Datum {
    Datum(.address(endpoint.address), .port(endpoint.port))
  }
}

extension IPPrefix {
  /// The blocks that are not inside another one: interval sets refuse overlaps, and blocks overlap only by
  /// containment.
  static func disjoint(_ blocks: [IPPrefix]) -> [IPPrefix] {
    let unique = Set(blocks)
    return unique.filter { block in !unique.contains { $0 != block && $0.contains(block) } }.sorted()
  }
}
