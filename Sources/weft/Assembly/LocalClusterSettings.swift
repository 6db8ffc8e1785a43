// What `weft up` was asked for, with every address worked out.

import Addresses

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

  static let bridge = "cni0"

  /// This machine is the first node: it has the first /24 (or /64) of the pods' block.
  var podBlock: IPPrefix {
    let length = max(clusterBlock.length, clusterBlock.family == .v4 ? 24 : 64)
    return IPPrefix(clusterBlock.address, length: length) ?? clusterBlock
  }
  var gateway: IPAddress { podBlock.address(at: 1) ?? podBlock.address }
  var kubernetesAddress: IPAddress { serviceBlock.address(at: 1) ?? serviceBlock.address }
  var dnsAddress: IPAddress { serviceBlock.address(at: 10) ?? serviceBlock.address }

  var kubeconfigPath: String { "\(dataFolder)/admin.kubeconfig" }
  var storePath: String { "\(dataFolder)/store" }
  var bookPath: String { "\(dataFolder)/attachments.json" }
  var cniConfigFolder: String { "\(runFolder)/cni/net.d" }
  var cniBinaryFolder: String { "\(runFolder)/cni/bin" }
  var cniStateFolder: String { "\(dataFolder)/cni" }
}
