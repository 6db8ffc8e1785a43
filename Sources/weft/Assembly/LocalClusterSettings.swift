// What `weft up` was asked for, with every address worked out.

import Addresses
import DataPlane

struct LocalClusterSettings: Sendable {
  var dataFolder: String
  var runFolder: String
  var nodeName: String
  var api: SocketEndpoint
  var http: SocketEndpoint?
  var metrics: SocketEndpoint?
  var healthz: SocketEndpoint?
  var clusterBlock: IPPrefix
  var serviceBlock: IPPrefix
  var withDemo: Bool
  var loadBalancerPool = AddressPool()
  /// This node's block of pod addresses, when it is not the first of `clusterBlock`.
  var ownBlock: IPPrefix?
  /// How pods reach those of other nodes.
  var network = NetworkMode.auto

  static let bridge = "cni0"

  /// The machine of a `weft up` is the first node: it has the first /24 (or /64) of the pods' block.
  var podBlock: IPPrefix {
    if let ownBlock { return ownBlock }
    let length = max(clusterBlock.length, clusterBlock.family == .v4 ? 24 : 64)
    return IPPrefix(clusterBlock.address, length: length) ?? clusterBlock
  }
  var gateway: IPAddress { podBlock.address(at: 1) ?? podBlock.address }
  var kubernetesAddress: IPAddress { serviceBlock.address(at: 1) ?? serviceBlock.address }
  var dnsAddress: IPAddress { serviceBlock.address(at: 10) ?? serviceBlock.address }

  var kubeconfigPath: String { "\(dataFolder)/admin.kubeconfig" }
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
      clusterBlock: block!,
      serviceBlock: services!, withDemo: false)
  }
}
