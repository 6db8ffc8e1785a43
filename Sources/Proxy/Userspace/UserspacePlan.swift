// What the userspace mode listens on, and where it sends what comes: a pure function of the view, as the ruleset is. Which
// endpoints serve is decided in the same place (`ClusterView.endpoints`), policies in the same way.

import Addresses
import ClusterObjects
import ClusterView

/// One address and port that a Service answers on, as this process listens there.
public struct UserspaceFrontend: Sendable, Hashable {
  public var transport: TransportProtocol
  public var endpoint: SocketEndpoint
  public var key: ObjectKey
  /// `demo/web:http`; clients with affinity are remembered under it, whatever address they came by.
  public var service: String
  /// Where connections go, an endpoint once for each of its slots.
  public var targets: [SocketEndpoint]
  /// Where connections of this node's pods go, when that is elsewhere: a Local policy is not for them.
  public var targetsOfPods: [SocketEndpoint]
  public var affinitySeconds: UInt32?
  /// Maglev: the client's address chooses the slot.
  public var choosesByClient: Bool
  /// Least connections: endpoints with their weights, beside `targets` and `targetsOfPods`; empty otherwise.
  public var shares: [UserspaceShare] = []
  public var sharesOfPods: [UserspaceShare] = []
  /// Connections to an endpoint that leaves are reset.
  public var resetsConnections: Bool
  /// Who may connect; empty: everybody.
  public var sourceRanges: [IPPrefix]
  /// The endpoint should see the client's address.
  public var keepsSource: Bool

  var choosesByLoad: Bool { !shares.isEmpty || !sharesOfPods.isEmpty }

  func serves(_ target: SocketEndpoint) -> Bool {
    targets.contains(target) || targetsOfPods.contains(target)
  }
}

/// Names a frontend.
public struct UserspaceFrontendKey: Sendable, Hashable {
  public var transport: TransportProtocol
  public var endpoint: SocketEndpoint
}

/// Everything that the userspace mode does on one node.
public struct UserspacePlan: Sendable {
  public var frontends: [UserspaceFrontendKey: UserspaceFrontend] = [:]
  /// Addresses that are no node's and are to be taken in here.
  public var addresses: Set<IPAddress> = []
  public var quarantined: [QuarantinedObject] = []
  public var services = 0
  public var endpoints = 0
  /// Service ports whose Local policy finds no endpoint on this node.
  public var withoutLocalEndpoints = (internal: 0, external: 0)
  public var podNetworks: [IPPrefix] = []
  /// Answers to connections that go out as their client come back here.
  public var keepsSources = false
  public init() {}

  /// One line for each frontend: `TCP 10.43.0.10:80 demo/web:http -> 10.42.0.11:8080 10.42.0.12:8080`.
  public var text: String {
    frontends.sorted {
      ($0.key.endpoint, $0.key.transport.rawValue) < ($1.key.endpoint, $1.key.transport.rawValue)
    }
    .map { key, frontend in
      var seen: Set<SocketEndpoint> = []
      let targets = frontend.targets.filter { seen.insert($0).inserted }.map(\.description)
      return "\(key.transport.rawValue) \(key.endpoint) \(frontend.service) -> "
        + (targets.isEmpty ? "none" : targets.joined(separator: " "))
    }.joined(separator: "\n")
  }
}

/// Plans the userspace mode. Frontends without endpoints are left out: nobody listens, so clients are refused at once.
/// Costs all Services.
public func planUserspace(_ view: ClusterView, _ configuration: ProxyConfiguration) -> UserspacePlan {
  var planner = UserspacePlanner(view: view, configuration: configuration)
  planner.plan.podNetworks = configuration.podNetworks
  for (key, reason) in view.quarantined where key.kind == "Service" || key.kind == "EndpointSlice" {
    planner.quarantine("\(key.kind) \(key.key)", reason.description)
  }
  // Of two that claim an address and port the older has it.
  let services = view.services.values.filter { $0.isProxied }
    .sorted { ($0.creationTime, $0.key) < ($1.creationTime, $1.key) }
  planner.plan.services = services.count
  for service in services {
    for family in configuration.families { planner.add(service, family) }
  }
  planner.settleClaims()
  planner.plan.quarantined = Set(planner.plan.quarantined).sorted {
    ($0.object, $0.reason) < ($1.object, $1.reason)
  }
  return planner.plan
}

private struct UserspacePlanner {
  let view: ClusterView
  let configuration: ProxyConfiguration
  var plan = UserspacePlan()
  private var claims: [(rank: ServicePlan.Rank, frontend: UserspaceFrontend)] = []

  init(view: ClusterView, configuration: ProxyConfiguration) {
    self.view = view
    self.configuration = configuration
  }

  mutating func add(_ service: Service, _ family: IPFamily) {
    let own = service.clusterIPs.filter { $0.family == family }
    let external = service.externalIPs.filter { $0.family == family }
    let balancers = service.loadBalancerIPs.filter { $0.family == family }
    guard !own.isEmpty || !external.isEmpty || !balancers.isEmpty else { return }
    plan.addresses.formUnion(own + external + balancers)
    var problems: [String] = []
    let balancing = ServiceBalancing(service, &problems)
    for problem in problems { quarantine("Service \(service.key)", problem) }
    for port in service.ports {
      guard port.transport != .sctp else {
        quarantine(
          "Service \(service.key)", "port \(port.port)/SCTP: the userspace mode relays TCP and UDP")
        continue
      }
      let (cluster, local) = endpoints(of: service, port, family)
      plan.endpoints += cluster.count
      let nodePort = service.kind != .clusterIP && !own.isEmpty ? port.nodePort : 0
      let isLocal = service.externalTrafficPolicy == .local
      let hasExternal = nodePort != 0 || !external.isEmpty || !balancers.isEmpty
      if local.isEmpty, service.internalTrafficPolicy == .local, !own.isEmpty {
        plan.withoutLocalEndpoints.internal += 1
      }
      if local.isEmpty, isLocal, hasExternal, !cluster.isEmpty { plan.withoutLocalEndpoints.external += 1 }
      let allSlots = balancing.slots(of: cluster)
      let localSlots = balancing.slots(of: local)
      let allShares = shares(balancing, cluster)
      let localShares = shares(balancing, local)
      var frontend = UserspaceFrontend(
        transport: port.transport, endpoint: SocketEndpoint(.v4(IPv4Address(bits: 0)), port.port),
        key: service.key,
        service: port.name.isEmpty ? "\(service.key):\(port.port)" : "\(service.key):\(port.name)",
        targets: service.internalTrafficPolicy == .local ? localSlots : allSlots, targetsOfPods: [],
        affinitySeconds: nil, choosesByClient: balancing.method == .maglev,
        resetsConnections: balancing.resetsConnections, sourceRanges: [], keepsSource: false)
      frontend.shares = service.internalTrafficPolicy == .local ? localShares : allShares
      if case .affinity(let seconds) = balancing.method { frontend.affinitySeconds = seconds }
      for address in own { claim(.own, frontend, SocketEndpoint(address, port.port)) }

      frontend.targets = isLocal ? localSlots : allSlots
      frontend.targetsOfPods = isLocal ? allSlots : []
      frontend.shares = isLocal ? localShares : allShares
      frontend.sharesOfPods = isLocal ? allShares : []
      frontend.keepsSource = isLocal
      if nodePort != 0 {
        for address in configuration.nodePortAddresses where address.family == family {
          claim(.own, frontend, SocketEndpoint(address, nodePort))
        }
      }
      for address in external { claim(.external, frontend, SocketEndpoint(address, port.port)) }
      frontend.sourceRanges = service.loadBalancerSourceRanges
      for address in balancers { claim(.balancer, frontend, SocketEndpoint(address, port.port)) }
    }
  }

  private func shares(_ balancing: ServiceBalancing, _ list: [ServiceEndpoint]) -> [UserspaceShare] {
    guard balancing.method == .leastConnections else { return [] }
    return balancing.shares(of: list).map { UserspaceShare(target: $0.target, weight: $0.weight) }
  }

  private mutating func endpoints(of service: Service, _ port: Service.Port, _ family: IPFamily)
    -> (cluster: [ServiceEndpoint], local: [ServiceEndpoint])
  {
    let (cluster, local) = view.endpoints(
      of: service.key, port: port, family: family, on: configuration.nodeName)
    for endpoint in cluster + local where !endpoint.target.address.mayBeEndpoint {
      quarantine(
        "Service \(service.key)",
        "endpoint \(endpoint.target.address) is no address that packets may be sent to")
    }
    return (
      cluster.filter { $0.target.address.mayBeEndpoint }, local.filter { $0.target.address.mayBeEndpoint }
    )
  }

  private mutating func claim(
    _ rank: ServicePlan.Rank, _ frontend: UserspaceFrontend, _ endpoint: SocketEndpoint
  ) {
    var frontend = frontend
    frontend.endpoint = endpoint
    claims.append((rank, frontend))
  }

  /// ClusterIPs before load balancers before external addresses, then the older Service.
  mutating func settleClaims() {
    var owners: [UserspaceFrontendKey: String] = [:]
    for rank in [ServicePlan.Rank.own, .balancer, .external] {
      for (claimed, frontend) in claims where claimed == rank {
        let key = UserspaceFrontendKey(transport: frontend.transport, endpoint: frontend.endpoint)
        if let owner = owners[key] {
          // An address may be given twice, as external and as a load balancer's: the first counts.
          if owner != frontend.service {
            quarantine(
              "Service \(frontend.key)",
              "\(frontend.endpoint)/\(frontend.transport.rawValue) belongs to \(owner)")
          }
          continue
        }
        owners[key] = frontend.service
        guard !frontend.targets.isEmpty || !frontend.targetsOfPods.isEmpty else { continue }
        plan.frontends[key] = frontend
      }
    }
  }

  mutating func quarantine(_ object: String, _ reason: String) {
    plan.quarantined.append(.init(object: object, reason: reason))
  }
}
