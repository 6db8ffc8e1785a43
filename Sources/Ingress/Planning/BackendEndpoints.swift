// Where a Service's port leads, and what its owner says of how it wants to be reached.

import Addresses
import ClusterObjects
import ClusterView

extension ClusterView {
  /// The ready endpoints of a Service's port, or those that still serve when none is. Both families lead to the same pods: one is
  /// enough.
  public func targets(of service: ObjectKey, port: Service.Port) -> [SocketEndpoint] {
    for family in IPFamily.allCases {
      let usable = endpoints(of: service, port: port, family: family, on: nil).cluster
      if !usable.isEmpty { return usable.map(\.target) }
    }
    return []
  }

  /// The same with what is particular about each: those that are not meant for a node's zone (`trafficDistribution`) are distant. No
  /// traits where all are alike.
  /// - Parameter place: where the data plane stands; nil: anywhere.
  public func reach(
    _ service: ObjectKey, port: Service.Port, near place: NodePlace?
  ) -> (targets: [SocketEndpoint], traits: [EndpointTraits]) {
    let all = targets(of: service, port: port)
    guard let place, let family = all.first?.address.family else { return (all, []) }
    let near = Set(
      (endpointSlices[service] ?? [:]).choice(of: port, family: family, at: place).cluster.map(\.target))
    var traits: [EndpointTraits] = []
    var isMixed = false
    for target in all {
      let isDistant = !near.contains(target)
      isMixed = isMixed || isDistant
      traits.append(EndpointTraits(isDistant: isDistant))
    }
    return near.isEmpty || !isMixed ? (all, []) : (all, traits)
  }

  /// The version of the PROXY protocol that a Service's endpoints ask for.
  public func proxyVersion(of service: ObjectKey) -> ProxyVersion? {
    switch services[service]?.annotations[ProxyVersion.annotation] {
    case "v1": .v1
    case "v2": .v2
    default: nil
    }
  }
}

extension ProxyVersion {
  /// On a Service, `v1` or `v2`: connections to its endpoints begin with that header.
  public static let annotation = "weft.dev/send-proxy-protocol"
}
