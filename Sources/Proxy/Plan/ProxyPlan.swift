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
  /// Which sources belong to the cluster: those of others are masqueraded on their way to a ClusterIP, and stay theirs
  /// where policy Local applies.
  public var localDetection: LocalDetection? = .clusterCIDR
  /// Masquerades what pods of this node send to outside the cluster. For who is the cluster's network too: a proxy beside
  /// somebody else's network leaves that to it.
  public var masqueradesPods = true
  /// Masquerades whatever goes to a ClusterIP.
  public var masqueradesAll = false
  /// The bit of the packet mark that asks for masquerading, 0 to 31.
  public var masqueradeBit: UInt8 = 14
  /// Blocks that ClusterIPs are taken from: what goes to an address in them that no Service has is dropped.
  public var serviceNetworks: [IPPrefix] = []
  /// How often the whole plan is made and compared with the kept one. Nothing should ever differ.
  public var comparisonPeriod: Duration = .seconds(60)

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

/// kube-proxy's `detectLocalMode`.
public enum LocalDetection: Sendable, Hashable {
  /// Sources in `clusterNetworks`. Nothing is detected while there are none.
  case clusterCIDR
  /// Sources in `podNetworks`.
  case nodeCIDR
  /// What arrives by this bridge.
  case bridgeInterface(String)
  /// What arrives by an interface whose name begins so.
  case interfaceNamePrefix(String)
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

/// Plans the service proxy's tables from nothing but the numbers of an earlier plan. Pure; about 50 ms for 10,000 Services in
/// a release build. Whoever plans again and again keeps a `ProxyPlanner`.
public func planProxy(
  _ view: ClusterView, _ configuration: ProxyConfiguration, previous: [IPFamily: ProxyAllocation] = [:]
) -> ProxyPlan {
  var planner = ProxyPlanner(configuration, previous: previous)
  _ = planner.apply(view.allChanges)
  return planner.plan
}

extension Service {
  /// Whether this proxy serves it: not ExternalName, not headless, not left to another proxy by label.
  var isProxied: Bool {
    kind != .externalName && !isHeadless && labels["service.kubernetes.io/service-proxy-name"] == nil
      && labels["service.kubernetes.io/headless"] == nil
  }
}
