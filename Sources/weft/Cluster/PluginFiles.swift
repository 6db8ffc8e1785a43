// Puts the CNI plugin and its configuration where the local containerd looks for them.

import Addresses
import CNI
import Diagnostics

enum PluginFiles {
  /// The plugin reports each pod to the node agent and waits: a pod may not start while nobody enforces its policies.
  static func install(_ settings: LocalClusterSettings, addresses: [IPAddress]) throws(WeftError) {
    let mtu = try LocalNetwork.podMTU(settings, addresses) ?? 0
    do {
      try CNI.install(binary: Programs.plugin, into: settings.cniBinaryFolder)
      let network = NetworkSettings(
        podBlocks: settings.podBlocks, bridge: LocalClusterSettings.bridge, mtu: mtu,
        dataDirectory: settings.cniStateFolder,
        nodeSocket: "\(settings.runFolder)/node.sock", requiresNode: true)
      try installConflist(renderConflist(network), at: "\(settings.cniConfigFolder)/10-weft.conflist")
    } catch {
      throw WeftError(
        "CNI0002", object: settings.cniBinaryFolder, cause: "the CNI plugin cannot be installed (\(error))",
        next: "choose another folder with --run-dir", underlying: error)
    }
  }
}
