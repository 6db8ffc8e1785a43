// From one Service and its endpoints to its elements. Numbers come from the allocation; nothing else is shared between
// Services here.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import Ruleset

/// Plans Services of one family, one by one.
struct ServicePlanner {
  let configuration: ProxyConfiguration
  let family: IPFamily
  let place: NodePlace

  /// What a port of a Service is planned from.
  private struct Port {
    var name: String
    var port: Service.Port
    var balancing: ServiceBalancing
  }

  /// Endpoints that count.
  private struct Chosen {
    var targets: [SocketEndpoint] = []
    /// With all that is known of them; nil where nothing depends on it.
    var details: [ServiceEndpoint]?

    init(_ details: [ServiceEndpoint]) {
      targets = details.map(\.target)
      self.details = details
    }
    init(targets: [SocketEndpoint]) { self.targets = targets }
    var isEmpty: Bool { targets.isEmpty }
    var count: Int { targets.count }
  }

  private struct Slots {
    var id: UInt32
    /// 0, which drops, when there are none.
    var classNumber: UInt32
  }

  /// Nil when the Service has nothing in this family.
  func plan(_ state: ServiceState, _ allocation: inout ProxyAllocation) -> ServicePlan? {
    // A copy of the Service would copy all that it has.
    let own = ours(state.service.clusterIPs)
    let balancers = ours(state.service.loadBalancerIPs)
    let external = ours(state.service.externalIPs)
    guard !own.isEmpty || !external.isEmpty || !balancers.isEmpty else { return nil }
    var plan = ServicePlan(creationTime: state.service.creationTime, clusterIPs: own)
    let balancing = ServiceBalancing(state.service, &plan.problems)
    for port in state.service.ports {
      let name = ProxyAllocation.PortKey.name(
        of: state.service.key, port: port.name.isEmpty ? "\(port.port)" : port.name)
      let planned = Port(name: name, port: port, balancing: balancing)
      let isFed = add(
        planned, state, own: own, balancers: balancers, external: external, &plan, &allocation)
      if !isFed {
        plan.problems.append("no service-port id, class or endpoint number is free")
        plan.isStarved = true
      }
    }
    return plan
  }

  /// Those of this family.
  private func ours(_ addresses: [IPAddress]) -> [IPAddress] {
    addresses.allSatisfy { $0.family == family } ? addresses : addresses.filter { $0.family == family }
  }

  /// False when numbers ran out: what was added until then stays.
  private func add(
    _ port: Port, _ state: ServiceState, own: [IPAddress], balancers: [IPAddress],
    external: [IPAddress], _ plan: inout ServicePlan, _ allocation: inout ProxyAllocation
  ) -> Bool {
    let (cluster, local) = endpoints(of: port, state.slices, &plan)
    plan.servicePorts += 1
    plan.endpoints += cluster.count
    let isRejected = cluster.isEmpty
    let nodePort = state.service.kind != .clusterIP && !own.isEmpty ? port.port.nodePort : 0
    let hasExternal = nodePort != 0 || !external.isEmpty || !balancers.isEmpty
    if state.service.internalTrafficPolicy == .local, !own.isEmpty {
      if local.isEmpty { plan.withoutLocal.internal += 1 }
      guard let mine = balance(port, local, isLocal: true, &plan, &allocation) else { return false }
      // Class 0 drops: nobody here serves it, and others must not.
      let mark =
        isRejected
        ? ProxyMark.make(.reject, class: 0, id: mine.id)
        : ProxyMark.make(.cluster, class: mine.classNumber, id: mine.id)
      for address in own { claim(.own, address, port, mark, port.name + " local", &plan) }
      // Slots that no frontend names could not be recovered after a restart.
      guard hasExternal else { return true }
    }
    guard let all = balance(port, cluster, isLocal: false, &plan, &allocation) else { return false }
    if state.service.internalTrafficPolicy == .cluster {
      let mark =
        isRejected
        ? ProxyMark.make(.reject, class: 0, id: all.id)
        : ProxyMark.make(.cluster, class: all.classNumber, id: all.id)
      for address in own { claim(.own, address, port, mark, port.name, &plan) }
    }
    guard hasExternal else { return true }
    return addExternal(
      port, state, all, local, isRejected: isRejected, nodePort: nodePort, balancers: balancers,
      external: external,
      &plan, &allocation)
  }

  /// Node ports, load balancer addresses and external addresses.
  private func addExternal(
    _ port: Port, _ state: ServiceState, _ all: Slots, _ local: Chosen, isRejected: Bool,
    nodePort: UInt16,
    balancers: [IPAddress], external: [IPAddress], _ plan: inout ServicePlan,
    _ allocation: inout ProxyAllocation
  ) -> Bool {
    let isLocal = state.service.externalTrafficPolicy == .local
    func mark(_ kind: ProxyMark.Kind) -> UInt32 {
      isRejected
        ? ProxyMark.make(.reject, class: 0, id: all.id)
        : ProxyMark.make(kind, class: all.classNumber, id: all.id)
    }
    let plain = mark(isLocal ? .externalLocal : .external)
    let isRanged = !state.service.loadBalancerSourceRanges.isEmpty && !balancers.isEmpty && !isRejected
    let ranged = isRanged ? mark(isLocal ? .sourceRangesLocal : .sourceRanges) : plain
    if isLocal, !isRejected {
      if local.isEmpty { plan.withoutLocal.external += 1 }
      if !local.isEmpty {
        guard let mine = balance(port, local, isLocal: true, &plan, &allocation) else { return false }
        let slots = ProxyMark.make(.localSlots, class: mine.classNumber, id: mine.id)
        for mark in Set([plain, ranged]) {
          plan.add(
            .localOf, .number(mark), .data(.number(slots)),
            comment: "\(port.name) \(port.port.transport.rawValue)")
        }
      }
    }
    // A load balancer's address that is an external one too stays guarded by its source ranges.
    for address in balancers { claim(.balancer, address, port, ranged, port.name, &plan) }
    for address in external { claim(.external, address, port, plain, port.name, &plan) }
    if isRanged { addSourceRanges(state.service, all.id, balancers, &plan) }
    if nodePort != 0 {
      plan.claim(
        .own, .nodePorts, Datum(.transport(port.port.transport), .port(nodePort)), plain, comment: port.name)
    }
    return true
  }

  private func addSourceRanges(
    _ service: Service, _ id: UInt32, _ balancers: [IPAddress], _ plan: inout ServicePlan
  ) {
    var ranges = service.loadBalancerSourceRanges.filter { $0.family == family }
    // A node that may call its load balancer may find the address on itself, and then comes from that address.
    if ranges.contains(where: { range in configuration.nodePortAddresses.contains { range.contains($0) } }) {
      ranges += balancers.compactMap { IPPrefix($0, length: family.width) }
    }
    for range in IPPrefix.disjoint(ranges) {
      plan.add(
        .sourceRanges, Datum(.networkNumber(id), .address(range.address)),
        .through(Datum(.networkNumber(id), .address(range.last))))
    }
  }

  /// The endpoints that count, without those that no packet may be sent to. Notes which of them may be reached from themselves.
  private func endpoints(
    of port: Port, _ slices: [ObjectKey: EndpointSlice], _ plan: inout ServicePlan
  ) -> (cluster: Chosen, local: Chosen) {
    if port.balancing.isPlain, let plain = slices.plainChoice(of: port.port, family: family, at: place),
      plain.allSatisfy({ $0.target.address.mayBeEndpoint })
    {
      for endpoint in plain where !endpoint.isElsewhere { plan.noteHairpin(endpoint.target.address) }
      let local = plain.filter(\.isLocal)
      return (Chosen(targets: plain.map(\.target)), Chosen(targets: local.map(\.target)))
    }
    let (cluster, local) = checked(port, slices, &plan)
    for list in [cluster, local] {
      for endpoint in list where endpoint.isLocal || endpoint.nodeName == nil || place.name == nil {
        plan.noteHairpin(endpoint.target.address)
      }
    }
    return (Chosen(cluster), Chosen(local))
  }

  private func checked(
    _ port: Port, _ slices: [ObjectKey: EndpointSlice], _ plan: inout ServicePlan
  ) -> (cluster: [ServiceEndpoint], local: [ServiceEndpoint]) {
    var choice = slices.choice(of: port.port, family: family, at: place)
    // Local ones need not be among those that hints leave.
    if choice.cluster.allSatisfy({ $0.target.address.mayBeEndpoint }),
      choice.local.allSatisfy({ $0.target.address.mayBeEndpoint })
    {
      return (choice.cluster, choice.local)
    }
    let bad = (choice.cluster + choice.local).filter { !$0.target.address.mayBeEndpoint }
    for address in Set(bad.map(\.target.address)).sorted() {
      let problem = "endpoint \(address) is no address that packets may be sent to"
      if !plan.problems.contains(problem) { plan.problems.append(problem) }
    }
    choice.cluster.removeAll { !$0.target.address.mayBeEndpoint }
    choice.local.removeAll { !$0.target.address.mayBeEndpoint }
    return (choice.cluster, choice.local)
  }

  private func claim(
    _ rank: ServicePlan.Rank, _ address: IPAddress, _ port: Port, _ mark: UInt32, _ comment: String,
    _ plan: inout ServicePlan
  ) {
    let key = Datum(.address(address), .transport(port.port.transport), .port(port.port.port))
    plan.claim(rank, .services, key, mark, comment: comment)
  }

  /// Gives endpoints their slots. Nil when numbers have run out. Asking twice for the same is harmless.
  private func balance(
    _ port: Port, _ list: Chosen, isLocal: Bool, _ plan: inout ServicePlan,
    _ allocation: inout ProxyAllocation
  ) -> Slots? {
    let transport = port.port.transport
    let key = ProxyAllocation.PortKey(port.name, transport, isLocal: isLocal)
    guard let id = allocation.id(of: key) else { return nil }
    if plan.ids.contains(where: { $0.id == id }) { return known(id, list, port, allocation) }
    plan.ids.append((key, id))
    if transport != .tcp || port.balancing.resetsConnections {
      plan.flows[id] = .init(transport: transport, targets: Set(list.targets))
    }
    if port.balancing.resetsConnections, transport == .tcp { plan.add(.resets, .number(id), .present) }
    guard !list.isEmpty else { return Slots(id: id, classNumber: 0) }
    var wanted = list.targets
    if let details = list.details {
      wanted =
        port.balancing.method == .leastConnections
        ? leastConnections(port, details, allocation, id: id) : port.balancing.slots(of: details)
    }
    let arranged =
      port.balancing.method == .maglev ? wanted : allocation.arrange(wanted, id: id)
    let balancing = BalancingClass(transport, slots: arranged.count, port.balancing.method)
    guard let number = allocation.number(of: balancing) else { return nil }
    plan.classes.append(balancing)
    if case .affinity = balancing.method {
      allocation.keepAffinityNumbers(of: arranged, id: id)
      for (slot, target) in arranged.enumerated() {
        guard let endpoint = allocation.affinityNumber(of: target, id: id) else { return nil }
        let flow = ProxyMark.make(.affinityFlow, class: endpoint, id: id)
        plan.add(.affinityPicks, Datum(.number(id), .number(UInt32(slot))), .data(.number(flow)))
      }
      for target in Set(arranged).sorted() {
        guard let endpoint = allocation.affinityNumber(of: target, id: id) else { return nil }
        plan.add(
          .affinityEndpoints, .number(ProxyMark.make(.affinityFlow, class: endpoint, id: id)),
          .data(Self.datum(target)))
      }
    } else {
      plan.elements.reserveCapacity(plan.elements.count + arranged.count)
      for (slot, target) in arranged.enumerated() {
        plan.add(.backends, Datum(.number(id), .number(UInt32(slot))), .data(Self.datum(target)))
      }
    }
    return Slots(id: id, classNumber: number)
  }

  private func leastConnections(
    _ port: Port, _ list: [ServiceEndpoint], _ allocation: ProxyAllocation, id: UInt32
  ) -> [SocketEndpoint] {
    let shares = port.balancing.shares(of: list)
    let open = allocation.openConnections.map { open in
      shares.map { open[port.port.transport, $0.target] }
    }
    return LeastConnections.slots(
      shares, open: open,
      inForce: allocation.slots[id] ?? [])
  }

  /// The slots of an id that this plan has filled already: internal and external policy Local share them.
  private func known(
    _ id: UInt32, _ list: Chosen, _ port: Port, _ allocation: ProxyAllocation
  ) -> Slots? {
    guard !list.isEmpty else { return Slots(id: id, classNumber: 0) }
    let count = list.details.map { port.balancing.slotCount(of: $0) } ?? list.count
    let balancing = BalancingClass(port.port.transport, slots: count, port.balancing.method)
    return allocation.classes[balancing].map { Slots(id: id, classNumber: $0) }
  }

  static func datum(_ endpoint: SocketEndpoint) -> Datum {
    Datum(.address(endpoint.address), .port(endpoint.port))
  }
}

extension IPAddress {
  /// False for loopback, link-local, multicast and unspecified addresses: whoever may write EndpointSlices must not turn a
  /// Service into a way to the node's own sockets (CVE-2021-25737).
  var mayBeEndpoint: Bool {
    if isLoopback { return false }
    switch self {
    case .v4(let four): return four.bits != 0 && four.bits >> 16 != 0xa9fe && four.bits >> 24 < 224
    case .v6(let six):
      let isMapped = six.bits >> 32 == 0xffff
      return six.bits != 0 && six.bits >> 118 != 0x3fa && six.bits >> 120 != 0xff && !isMapped
    }
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
