// What one Service puts into one family's table: the unit that an incremental plan replaces.

import Addresses
import ClusterObjects
import Ruleset

/// The sets and maps whose elements Services contribute.
enum ProxySet: UInt8, Sendable, CaseIterable {
  case services, nodePorts, localOf, classes, backends, affinityPicks, affinityEndpoints, sourceRanges,
    clusterIPs, hairpin, resets

  var name: String {
    switch self {
    case .services: "svc-id"
    case .nodePorts: "np-id"
    case .localOf: "local-of"
    case .classes: "class"
    case .backends: "backends"
    case .affinityPicks: "aff-pick"
    case .affinityEndpoints: "aff-ep"
    case .sourceRanges: "lb-src"
    case .clusterIPs: "cluster-ips"
    case .hairpin: "hairpin"
    case .resets: "reset-id"
    }
  }

  func declaration(_ family: IPFamily) -> NamedSet {
    let address = DataType.address(family)
    return switch self {
    case .services: NamedSet(name, key: [address, .transport, .port], data: .values([.mark]))
    case .nodePorts: NamedSet(name, key: [.transport, .port], data: .values([.mark]))
    case .localOf: NamedSet(name, key: [.mark], data: .values([.mark]))
    case .classes: NamedSet(name, key: [.mark], data: .verdict)
    case .backends: NamedSet(name, key: [.mark, .slot], data: .values([address, .port]))
    case .affinityPicks: NamedSet(name, key: [.mark, .slot], data: .values([.mark]))
    case .affinityEndpoints: NamedSet(name, key: [.mark], data: .values([address, .port]))
    case .sourceRanges: NamedSet(name, key: [.networkMark, address], isInterval: true)
    case .clusterIPs: NamedSet(name, key: [address])
    case .hairpin: NamedSet(name, key: [address, address])
    case .resets: NamedSet(name, key: [.mark])
    }
  }
}

/// One element of one of the sets.
struct PlannedElement: Sendable, Hashable {
  var set: ProxySet
  var key: Datum
  var element: Element
}

/// The contribution of one Service to one family's table.
struct ServicePlan: Sendable {
  /// Who wins when several Services claim one address and port: ClusterIPs before load balancers before external
  /// addresses, then the older Service.
  enum Rank: UInt8, Sendable, Comparable {
    case own, balancer, external
    static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  struct Claim: Sendable {
    var rank: Rank
    var entry: PlannedElement
  }

  /// Endpoints behind a service-port id whose flows have to be cleared when one leaves.
  struct Flows: Sendable, Hashable {
    var transport: TransportProtocol
    var targets: Set<SocketEndpoint>
  }

  var creationTime = ""
  /// Elements under ids of its own: nobody else can have them.
  var elements: [PlannedElement] = []
  /// Addresses and ports.
  var claims: [Claim] = []
  /// Addresses that other Services may have as well: counted.
  var clusterIPs: [IPAddress] = []
  var hairpins: [IPAddress] = []
  /// Numbers of its ports, each once.
  var ids: [(key: ProxyAllocation.PortKey, id: UInt32)] = []
  var classes: [BalancingClass] = []
  var flows: [UInt32: Flows] = [:]
  var servicePorts = 0
  var endpoints = 0
  var withoutLocal = (internal: 0, external: 0)
  /// What of it is left out, and why.
  var problems: [String] = []
  /// An id or a class was missing: try again when one is free.
  var isStarved = false

  var isEmpty: Bool {
    elements.isEmpty && claims.isEmpty && clusterIPs.isEmpty && ids.isEmpty && problems.isEmpty
  }

  mutating func add(_ set: ProxySet, _ key: Datum, _ value: Element.Value, comment: String? = nil) {
    elements.append(PlannedElement(set: set, key: key, element: Element(value, comment: comment)))
  }

  mutating func noteHairpin(_ address: IPAddress) {
    if !hairpins.contains(address) { hairpins.append(address) }
  }

  /// The first claim of a Service to an address and port counts.
  mutating func claim(_ rank: Rank, _ set: ProxySet, _ key: Datum, _ mark: UInt32, comment: String) {
    guard !claims.contains(where: { $0.entry.set == set && $0.entry.key == key }) else { return }
    claims.append(
      Claim(
        rank: rank,
        entry: PlannedElement(set: set, key: key, element: Element(.data(.number(mark)), comment: comment))))
  }
}

/// A plan that is kept: handed on by reference, for a copy would copy all its lists.
final class KeptPlan: Sendable {
  let plan: ServicePlan
  init(_ plan: ServicePlan) { self.plan = plan }
}
