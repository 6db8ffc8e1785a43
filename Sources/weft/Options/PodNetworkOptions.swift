// Which addresses pods have, and how the control plane cuts them into a block for each node.

import Addresses
import ArgumentParser
import ClusterControllers
import Diagnostics

/// kube-controller-manager's flags of these names, with its meaning.
struct PodNetworkOptions: ParsableArguments {
  @Option(help: "Addresses of all pods; for both families 10.42.0.0/16,fd00:42::/56.") var clusterCidr =
    "10.42.0.0/16"
  @Option(help: "The length of each node's block, for pods of one family. Default: 24, for IPv6 64.")
  var nodeCidrMaskSize: Int?
  @Option(help: "The length of each node's IPv4 block. Default: 24.") var nodeCidrMaskSizeIpv4: Int?
  @Option(help: "The length of each node's IPv6 block. Default: 64.") var nodeCidrMaskSizeIpv6: Int?

  /// Nil when a part is no block.
  var blocks: [IPPrefix]? { Self.blocks(clusterCidr) }

  /// Blocks with commas between; nil when one is none.
  static func blocks(_ text: String) -> [IPPrefix]? {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false)
    let blocks = parts.compactMap { IPPrefix($0) }
    return blocks.count == parts.count ? blocks : nil
  }

  /// - Parameter services: addresses that no node may get.
  func nodeIPAM(services: [IPPrefix]) throws(WeftError) -> NodeIPAMSettings {
    guard let blocks else {
      throw WeftError(
        "CLI0047", object: "--cluster-cidr \(clusterCidr)", cause: "is no list of address blocks",
        next: "write it as 10.42.0.0/16, or 10.42.0.0/16,fd00:42::/56 for both families")
    }
    guard
      nodeCidrMaskSize == nil
        || (blocks.count == 1 && nodeCidrMaskSizeIpv4 == nil && nodeCidrMaskSizeIpv6 == nil)
    else {
      throw WeftError(
        "CLI0048", object: "--node-cidr-mask-size \(nodeCidrMaskSize ?? 0)",
        cause: "is for pods of one family and goes with no other mask size",
        next: "use --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6")
    }
    var settings = NodeIPAMSettings(clusterBlocks: blocks)
    settings.maskSizeV4 = nodeCidrMaskSize ?? nodeCidrMaskSizeIpv4 ?? 24
    settings.maskSizeV6 = nodeCidrMaskSize ?? nodeCidrMaskSizeIpv6 ?? 64
    settings.serviceBlocks = services
    if let problem = settings.problem {
      throw WeftError(
        "CLI0049", object: "--cluster-cidr \(clusterCidr)", cause: problem,
        next: "choose a cluster block at most 16 bits shorter than a node's, such as 10.42.0.0/16 for /24")
    }
    return settings
  }
}
