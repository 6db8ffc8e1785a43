// Which load balancer addresses this node answers for: a pure function of the view. Every node comes to the same result, so
// that exactly one answers, as long as they know the same.

import Addresses
import ClusterView

/// The label that keeps a node out of load balancing (kube-controller-manager's).
private let excluded = "node.kubernetes.io/exclude-from-external-load-balancers"

/// Addresses of Services of type LoadBalancer that `nodeName` shall announce: of those whose status says that they come from the
/// cluster's own pool. What a cloud gave is the cloud's to announce.
///
/// One ready node is chosen for each address by rendezvous hashing: a node that comes or goes moves its own addresses only. With
/// externalTrafficPolicy Local the choice is among nodes that have a ready endpoint. Costs Services times nodes.
public func planAnnouncements(_ view: ClusterView, nodeName: String) -> Set<IPAddress> {
  let ready = Set(view.nodes.values.filter { $0.isReady && $0.labels[excluded] == nil }.map(\.name))
  guard ready.contains(nodeName) else { return [] }
  var mine: Set<IPAddress> = []
  for service in view.services.values
  where service.kind == .loadBalancer && service.isAnnouncedByNodes && service.isProxied {
    let addresses = service.loadBalancerIPs
    guard !addresses.isEmpty else { continue }
    var candidates = ready
    if service.externalTrafficPolicy == .local {
      candidates.formIntersection(
        view.slices(of: service.key).flatMap(\.endpoints).filter(\.isReady).compactMap(\.nodeName))
    }
    guard candidates.contains(nodeName) else { continue }
    for address in addresses where holder(of: address, among: candidates) == nodeName { mine.insert(address) }
  }
  return mine
}

/// Rendezvous hashing: the node with the highest score for the address.
private func holder(of address: IPAddress, among nodes: Set<String>) -> String? {
  nodes.max { (score($0, address), $0) < (score($1, address), $1) }
}

private func score(_ node: String, _ address: IPAddress) -> UInt64 {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for byte in Array(node.utf8) + address.bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
  // FNV's last bytes reach the high bits too little: mixed as MurmurHash3 ends.
  hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
  hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
  return hash ^ (hash >> 33)
}
