// Which chains kube-proxy's iptables and IPVS modes make, and which of them nobody else needs.

/// Names of kube-proxy's chains in the tables nat, filter and mangle.
public enum KubeProxyChains {
  /// Chains that iptables has by itself.
  static let base: Set<String> = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]

  static let names: Set<String> = [
    "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-FORWARD", "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ", "KUBE-PROXY-FIREWALL", "KUBE-PROXY-CANARY", "KUBE-LOAD-BALANCER", "KUBE-NODE-PORT",
    "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER",
  ]
  static let prefixes = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-XLB-", "KUBE-EXT-"]
  /// Marking and masquerading belong together: kept together when somebody else marks.
  static let masquerading: Set<String> = ["KUBE-MARK-MASQ", "KUBE-POSTROUTING"]

  /// KUBE-FIREWALL, KUBE-MARK-DROP and KUBE-KUBELET-CANARY are the kubelet's and stay.
  public static func isOurs(_ chain: String) -> Bool {
    names.contains(chain) || prefixes.contains { chain.hasPrefix($0) }
  }

  /// The chains of one table that can go: kube-proxy's, without those that a chain of somebody else leads to (port mappings
  /// of a CNI plugin may use KUBE-MARK-MASQ). Rules of the base chains do not count: they are deleted with them.
  public static func removable(
    _ chains: some Sequence<String>, references: some Sequence<(chain: String, target: String)>
  ) -> Set<String> {
    let references = Array(references)
    var removable = Set(chains.filter(isOurs))
    var changed = true
    while changed {
      let needed = Set(
        references.filter { !base.contains($0.chain) && !removable.contains($0.chain) }.map(\.target)
      ).intersection(removable)
      removable.subtract(needed)
      changed = !needed.isEmpty
      if !needed.isDisjoint(with: masquerading) { removable.subtract(masquerading) }
    }
    return removable
  }
}
