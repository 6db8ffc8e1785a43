// Services and EndpointSlices to the table KUBE-PROXY: a pure function of the view, the node and the last
// allocation.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// What the proxy must know of its node.
public struct ProxyConfiguration: Sendable, Hashable {
  /// Decides which endpoints are local. Nil: none is.
  public var nodeName: String?
  public var families: [IPFamily]
  /// Pod addresses of this node: their traffic to outside the cluster is masqueraded, and they reach all
  /// endpoints of Local-policy frontends.
  public var podNetworks: [IPPrefix]
  /// Pod addresses of all nodes.
  public var clusterNetworks: [IPPrefix]
  /// Addresses of this node on which NodePorts answer.
  public var nodePortAddresses: [IPAddress]
  /// Clears connection marks of others on new connections before the look-up. Without it a foreign mark that
  /// looks like ours could redirect a direct connection.
  public var clearsForeignMarks = true

  public init(
    nodeName: String? = nil, families: [IPFamily] = [.v4, .v6], podNetworks: [IPPrefix] = [],
    clusterNetworks: [IPPrefix] = [], nodePortAddresses: [IPAddress] = []
  ) {
    self.nodeName = nodeName
    self.families = families
    self.podNetworks = podNetworks
    self.clusterNetworks = clusterNetworks
    self.nodePortAddresses = nodePortAddresses
  }
}

/// Something that was left out of a plan, and why; everything else is in it.
public struct QuarantinedObject: Hashable, Sendable {
  /// `Service demo/web`.
  public var object: String
  public var reason: String
  public init(object: String, reason: String) {
    self.object = object
    self.reason = reason
  }
}

/// The outcome of planning.
public struct ProxyPlan: Sendable {
  /// One table KUBE-PROXY for each family.
  public var tables: [Table]
  /// Hand this to the next plan.
  public var allocation: [IPFamily: ProxyAllocation]
  public var services: Int
  public var servicePorts: Int
  public var endpoints: Int
  public var quarantined: [QuarantinedObject]
  /// UDP service ports with the endpoints that may still serve them, by id: the others' flows are stale.
  public var udpEndpoints: [IPFamily: [UInt32: Set<SocketEndpoint>]]
  /// Service ports whose Local policy finds no endpoint on this node.
  public var withoutLocalEndpoints: (internal: Int, external: Int)
}

/// Names of our tables.
public enum ProxyTables {
  public static let name = "KUBE-PROXY"
  public static func id(_ family: IPFamily) -> Table.ID {
    Table.ID(TableFamily.Addressed(family).table, name)
  }
  public static let all = IPFamily.allCases.map(id)
}

/// Plans the service proxy's tables. Pure; about 50 ms for 10,000 Services in a release build.
public func planProxy(
  _ view: ClusterView, _ configuration: ProxyConfiguration, previous: [IPFamily: ProxyAllocation] = [:]
) -> ProxyPlan {
  var plan = ProxyPlan(
    tables: [], allocation: [:], services: 0, servicePorts: 0, endpoints: 0, quarantined: [],
    udpEndpoints: [:], withoutLocalEndpoints: (0, 0))
  for (key, reason) in view.quarantined
  where key.kind == "Service" || key.kind == "EndpointSlice" {
    plan.quarantined.append(.init(object: "\(key.kind) \(key.key)", reason: reason.description))
  }
  let services = view.services.values.filter { $0.isProxied }.sorted { $0.key < $1.key }
  plan.services = services.count
  for family in configuration.families {
    var planner = FamilyPlanner(view, configuration, family, previous[family] ?? ProxyAllocation())
    for service in services { planner.add(service) }
    planner.finish()
    plan.tables.append(planner.table)
    plan.allocation[family] = planner.allocation
    plan.servicePorts += planner.servicePorts
    plan.endpoints += planner.endpoints
    plan.quarantined += planner.quarantined
    plan.udpEndpoints[family] = planner.udpEndpoints
    plan.withoutLocalEndpoints.internal += planner.withoutLocalEndpoints.internal
    plan.withoutLocalEndpoints.external += planner.withoutLocalEndpoints.external
  }
  plan.quarantined = Set(plan.quarantined).sorted { ($0.object, $0.reason) < ($1.object, $1.reason) }
  return plan
}

extension Service {
  /// Whether this proxy serves it: not ExternalName, not headless, not left to another proxy by label.
  var isProxied: Bool {
    kind != .externalName && !isHeadless && labels["service.kubernetes.io/service-proxy-name"] == nil
  }
}
