// The plan behind pods that reach pods of other nodes: routes, and for tunnels the neighbours and machines behind them.
//
//   direct    10.42.1.0/24 via 192.0.2.2 dev eth0                      the other node is on our link
//   tunnel    10.42.1.0/24 via 10.42.1.0 dev weft-vxlan onlink
//             10.42.1.0 is at 0a:58:0a:2a:01:00, which is behind 192.0.2.2
//
// A tunnel end's hardware address follows from its node's block, so that nodes need to tell each other nothing but what their
// Node objects say.

import Addresses
import ClusterView
import KernelNetlink

/// What leads from this node to the others. A value: computed from Node objects, printed, compared, applied.
public struct NodePaths: Sendable, Hashable {
  /// A packet for `block` of the node goes this way.
  public struct Path: Sendable, Hashable {
    public enum Way: Sendable, Hashable { case direct, tunnel }
    public var node: String
    public var block: IPPrefix
    public var way: Way
    /// The node's own address for `direct`, its tunnel end's for `tunnel`.
    public var gateway: IPAddress
    public var preferredSource: IPAddress?
  }

  /// Another node's end of the tunnel.
  public struct Peer: Sendable, Hashable {
    public var machine: IPAddress
    /// The node's blocks; each one's first address is the tunnel end's.
    public var blocks: [IPPrefix]
    public var mac: MACAddress { tunnelMAC(blocks[0]) }
  }

  /// Our own end.
  public struct Tunnel: Sendable, Hashable {
    public var block: IPPrefix
    public var mtu: UInt32
    public var mac: MACAddress { tunnelMAC(block) }
  }

  public var uplink: Uplink
  public var tunnel: Tunnel?
  public var paths: [Path] = []
  public var peers: [Peer] = []
  /// Nodes that cannot be reached, with the reason.
  public var unreachable: [String: String] = [:]

  public static let link = "weft-vxlan"
  /// The VXLAN network and port of all nodes. Port 8472 is Linux's own default for the protocol.
  public static let networkID: UInt32 = 4242
  public static let port: UInt16 = 8472
  /// `rtm_protocol` of our routes: what carries it and is not in the plan is removed.
  public static let origin: UInt8 = 87
}

/// What planning needs besides the nodes.
public struct NodePathSettings: Sendable, Hashable {
  public var nodeName: String
  public var mode: NetworkMode
  /// This node's blocks of pod addresses.
  public var podBlocks: [IPPrefix]
  /// All pods' addresses: a node that claims anything else is not believed.
  public var clusterBlocks: [IPPrefix]

  public init(nodeName: String, mode: NetworkMode, podBlocks: [IPPrefix], clusterBlocks: [IPPrefix]) {
    self.nodeName = nodeName
    self.mode = mode
    self.podBlocks = podBlocks
    self.clusterBlocks = clusterBlocks
  }
}

/// Plans the way to each other node. Pure; linear in nodes but for the check that no two blocks overlap.
public func planPaths(nodes: [Node], uplink: Uplink, settings: NodePathSettings) -> NodePaths {
  var plan = NodePaths(uplink: uplink)
  var tunneled = settings.mode == .vxlan
  var taken = BlockOwners(settings.podBlocks, of: settings.nodeName)
  for node in nodes.sorted(by: { $0.name < $1.name }) where node.name != settings.nodeName {
    if node.podCIDRs.isEmpty || node.internalIPs.isEmpty {
      plan.unreachable[node.name] = node.podCIDRs.isEmpty ? "has no pod CIDR yet" : "has no InternalIP yet"
      continue
    }
    if let problem = taken.problem(node, within: settings.clusterBlocks) {
      plan.unreachable[node.name] = problem
      continue
    }
    guard let machine = node.internalIPs.first(where: { $0.family == uplink.address.family }),
      machine != uplink.address
    else {
      plan.unreachable[node.name] = "has no \(uplink.address.family) address other than ours"
      continue
    }
    // Its address in the block's family, on our link: then no tunnel is needed.
    let near = node.podCIDRs.map { block in
      node.internalIPs.first { address in
        address.family == block.family && uplink.subnets.contains { $0.contains(address) }
      }
    }
    if settings.mode != .vxlan, !near.contains(nil) {
      for (block, gateway) in zip(node.podCIDRs, near) {
        guard let gateway else { continue }
        plan.paths.append(NodePaths.Path(node: node.name, block: block, way: .direct, gateway: gateway))
      }
    } else if settings.mode == .hostGateway {
      plan.unreachable[node.name] =
        "\(machine) is not on the link \(uplink.name): --network auto or vxlan reaches it"
    } else {
      tunneled = true
      plan.peers.append(NodePaths.Peer(machine: machine, blocks: node.podCIDRs))
      for block in node.podCIDRs {
        // Answered to our bridge's address, which the other node reaches by the same tunnel.
        let source = settings.podBlocks.first { $0.family == block.family }?.address(at: 1)
        plan.paths.append(
          NodePaths.Path(
            node: node.name, block: block, way: .tunnel, gateway: block.address, preferredSource: source))
      }
    }
  }
  // Not before it is needed: a kernel without VXLAN still has direct routes.
  if tunneled, let own = settings.podBlocks.first {
    plan.tunnel = NodePaths.Tunnel(
      block: own, mtu: uplink.mtu - min(NetworkMode.overhead(uplink.address.family), uplink.mtu))
  }
  return plan
}

/// The hardware address of a node's tunnel end: of its first block's first address. For IPv6 of the low 32 bits of the network
/// part, which differ between blocks of one cluster.
func tunnelMAC(_ block: IPPrefix) -> MACAddress {
  switch block.address {
  case .v4(let four): MACAddress(derivedFrom: four)
  case .v6(let six):
    MACAddress(
      derivedFrom: IPv4Address(
        bits: UInt32(truncatingIfNeeded: block.length == 0 ? 0 : six.bits >> UInt128(128 - block.length))))
  }
}

/// Which node has which block, so that no second one gets a route to it.
private struct BlockOwners {
  private var owners: [(block: IPPrefix, node: String)]

  init(_ blocks: [IPPrefix], of node: String) { owners = blocks.map { ($0, node) } }

  /// Why the node's blocks cannot be believed; nil when they can, and then they are its own.
  mutating func problem(_ node: Node, within cluster: [IPPrefix]) -> String? {
    for block in node.podCIDRs {
      guard cluster.contains(where: { $0.contains(block) }) else {
        return "its pod CIDR \(block) is not one of the cluster"
      }
      if let other = owners.first(where: { $0.block.contains(block) || block.contains($0.block) }) {
        return "its pod CIDR \(block) overlaps \(other.block) of node \(other.node)"
      }
    }
    owners += node.podCIDRs.map { ($0, node.name) }
    return nil
  }
}
