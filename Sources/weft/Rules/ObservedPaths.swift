// The ways from this node to others: as its note says that they are planned, and as the kernel has them.

import ClusterView
import DataPlane
import Diagnostics
import Observe

/// One comparison. Reads, never changes.
struct ObservedPaths {
  var plan: NodePaths
  var inForce: PathsInForce

  /// Nil when no node process of ours runs in this network namespace, when it is another node's, or the machine has no uplink.
  init?(_ view: ClusterView, nodeName: String) throws(WeftError) {
    guard let note = NodeNote.read(), note.nodeName == nodeName, let node = view.nodes[nodeName],
      let uplink = try Uplink.observe(node.internalIPs)
    else { return nil }
    plan = planPaths(
      nodes: Array(view.nodes.values), uplink: uplink,
      settings: NodePathSettings(
        nodeName: nodeName, mode: note.network, podBlocks: node.podCIDRs, clusterBlocks: note.clusterBlocks))
    inForce = try .observe()
  }

  /// What differs, looked at again while it does: a node may just have come.
  static func settled(_ view: ClusterView, nodeName: String) async throws -> [String] {
    var look = 1
    while true {
      guard let now = try ObservedPaths(view, nodeName: nodeName) else { return [] }
      let found = now.differences
      if found.isEmpty || look >= NodeRules.Source.looksMax { return found }
      look += 1
      try await Task.sleep(for: NodeRules.Source.lookPause)
    }
  }

  private var differences: [String] { plan.differences(from: inForce) }
}
