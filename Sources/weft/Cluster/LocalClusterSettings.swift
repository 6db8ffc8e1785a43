// What `weft up` or `weft node` was asked for, with every address worked out.

import Addresses
import ClusterControllers
import ClusterNode
import ClusterScheduler
import DataPlane
import Diagnostics
import Observe

struct LocalClusterSettings: Sendable {
  var dataFolder: String
  var runFolder: String
  var nodeName: String
  var api: SocketEndpoint
  var http: SocketEndpoint?
  var https: SocketEndpoint?
  var ingress = IngressSettings()
  var metrics: SocketEndpoint?
  var healthz: SocketEndpoint?
  /// Addresses of all pods: one block, or one of each family.
  var clusterBlocks: [IPPrefix]
  /// Addresses of all Services: one block, or one of each family.
  var serviceBlocks: [IPPrefix]
  var withDemo: Bool
  var loadBalancerPool = AddressPool()
  /// This node's blocks of pod addresses, as its Node object says them; empty until the control plane has given them.
  var podBlocks: [IPPrefix] = []
  /// How the control plane of a `weft up` gives nodes their blocks.
  var nodeIPAM: NodeIPAMSettings?
  /// A CoreDNS configuration for this node's cluster DNS.
  var corefile: String?
  /// Profiles, plugins and extenders of the scheduler of a `weft up`.
  var scheduling = SchedulerSettings()
  /// How this node's policies tell and cut, and whether flows are kept.
  var flows = FlowSettings()
  /// How pods reach those of other nodes.
  var network = NetworkMode.auto

  static let bridge = "cni0"

  /// The bridge's address in each block. Before there are blocks: in the first of the cluster's, which a first node gets.
  var gateways: [IPAddress] {
    (podBlocks.isEmpty ? clusterBlocks : podBlocks).map { $0.address(at: 1) ?? $0.address }
  }
  var dnsAddress: IPAddress { serviceBlocks[0].address(at: 10) ?? serviceBlocks[0].address }

  var kubeconfigPath: String { "\(dataFolder)/admin.kubeconfig" }
  var flowSocketPath: String { "\(runFolder)/\(FlowSettings.socketName)" }
  var captureSocketPath: String { "\(runFolder)/\(CaptureServer.socketName)" }
  var bookPath: String { "\(dataFolder)/attachments.json" }
  var cniConfigFolder: String { "\(runFolder)/cni/net.d" }
  var cniBinaryFolder: String { "\(runFolder)/cni/bin" }
  var cniStateFolder: String { "\(dataFolder)/cni" }

  /// For taking down: the addresses do not matter then.
  static func leftBehind(dataFolder: String, runFolder: String) -> LocalClusterSettings {
    let nothing = SocketEndpoint(.v4(IPv4Address(bits: 0)), 0)
    let block = IPPrefix(.v4(IPv4Address(10, 42, 0, 0)), length: 16)
    let services = IPPrefix(.v4(IPv4Address(10, 43, 0, 0)), length: 16)
    return LocalClusterSettings(
      dataFolder: dataFolder, runFolder: runFolder, nodeName: NodeAddress.hostName, api: nothing,
      clusterBlocks: [block!],
      serviceBlocks: [services!], withDemo: false)
  }
}

extension LocalClusterSettings {
  /// What the node agent is told.
  func nodeSettings(_ addresses: [IPAddress]) -> NodeSettings {
    var node = NodeSettings(
      nodeName: nodeName, addresses: addresses, dataDirectory: dataFolder, runDirectory: runFolder)
    node.podCIDRs = podBlocks
    node.logDirectory = "\(dataFolder)/log"
    node.dnsAddresses = ["\(dnsAddress)"]
    node.containerd.cniConfDirectory = cniConfigFolder
    node.containerd.cniBinDirectory = cniBinaryFolder
    return node
  }

  /// The blocks that the control plane gave must be of the cluster as this node knows it: no way would lead to its pods.
  mutating func take(podBlocks blocks: [IPPrefix]) throws(WeftError) {
    for block in blocks where !clusterBlocks.contains(where: { $0.contains(block) }) {
      throw WeftError(
        "NOD0015", object: "node \(nodeName)",
        cause: "has the pod CIDR \(block), which is not within --cluster-cidr \(clusterText)",
        next: "start with the cluster's --cluster-cidr, or first: kubectl delete node \(nodeName)")
    }
    podBlocks = blocks
  }

  var clusterText: String { clusterBlocks.map(\.description).joined(separator: ",") }
}
