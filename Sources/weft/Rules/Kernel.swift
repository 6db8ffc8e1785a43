// Opens the kernel's door for rulesets, with an error that says what to do when it is shut.

import DataPlane
import Diagnostics
import KernelNftables

enum Kernel {
  /// The worker that owns this node's tables. Throws `NET0010`.
  static func worker(policy: Bool) throws(WeftError) -> RulesetWorker {
    do {
      return try RulesetWorker(
        owned: NodeNetwork.tables,
        expecting: policy
          ? [NodeNetwork.proxyPlanner, NodeNetwork.policyPlanner] : [NodeNetwork.proxyPlanner])
    } catch {
      throw WeftError(
        "NET0010", object: "nftables", cause: "the kernel refuses (\(error))",
        next: "run as root, and check that the kernel has nf_tables: nft list tables", underlying: error)
    }
  }
}
