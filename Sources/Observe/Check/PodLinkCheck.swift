// Faults of a pod's own link that no rule shows: it takes shorter packets than the pod sends, or does not send back to a pod what the
// pod sends to itself by a Service.

import ClusterObjects
import ClusterView

/// Both ends of a pod's link as the kernel has them.
public struct PodLink: Sendable, Hashable {
  public var pod: ObjectKey
  /// The node's end.
  public var name: String
  /// What the pod sends at most, and what the node's end takes; bytes of IP packets.
  public var podMTU: UInt32
  public var nodeMTU: UInt32
  /// Whether the bridge sends frames back by it; nil when it is no port of a bridge.
  public var isHairpin: Bool?

  public init(pod: ObjectKey, name: String, podMTU: UInt32, nodeMTU: UInt32, isHairpin: Bool?) {
    self.pod = pod
    self.name = name
    self.podMTU = podMTU
    self.nodeMTU = nodeMTU
    self.isHairpin = isHairpin
  }
}

/// A line for each fault, one for all that is well.
/// - Parameter links: of this node's pods.
public func checkPodLinks(_ links: [PodLink], view: ClusterView) -> CheckReport.Category {
  let called = Set(
    view.endpointSlices.values.flatMap(\.values).flatMap(\.endpoints).compactMap(\.pod))
  var items: [CheckReport.Item] = []
  for link in links.sorted(by: { $0.pod < $1.pod }) {
    let name = "pod \(link.pod)"
    let anew = "or have the pod made anew: kubectl delete pod -n \(link.pod.namespace) \(link.pod.name)"
    if link.podMTU > link.nodeMTU {
      items.append(
        .failed(
          name, "CLI0143",
          "sends packets of up to \(link.podMTU) bytes, and its link \(link.name) takes \(link.nodeMTU): "
            + "longer ones are lost without a word",
          next: "ip link set dev \(link.name) mtu \(link.podMTU), \(anew)"))
    }
    if link.isHairpin == false, called.contains(link.pod) {
      items.append(
        .failed(
          name, "CLI0144",
          "cannot reach itself by its Services: the bridge does not send back by \(link.name) what came from there",
          next: "ip link set dev \(link.name) type bridge_slave hairpin on, \(anew)"))
    }
  }
  if items.isEmpty, !links.isEmpty {
    items = [.ok("\(links.count) pods", "their links take what they send, and send back what is for them")]
  }
  return CheckReport.Category("pod links", items)
}
