// What a kube-proxy left in this network namespace: nftables tables, iptables chains of both kinds, the link of its IPVS mode.
// Found at start and named; removed only when somebody asks.

import Addresses
import Diagnostics
import KernelNetlink
import KernelNftables
import Ruleset

/// Rules of a kube-proxy that are still in force. They and ours would both translate the same packets.
public struct KubeProxyLeftovers: Sendable, Hashable {
  /// `ip kube-proxy`, `ip6 kube-proxy`.
  public var tables: [Table.ID] = []
  /// Chains of iptables-nft, by table.
  public var chains: [Table.ID: Set<String>] = [:]
  /// Tables of iptables-legacy with chains of kube-proxy, by family.
  public var legacy: [IPFamily: [String: Set<String>]] = [:]
  /// The dummy link that holds the ClusterIPs of the IPVS mode.
  public var hasServiceLink = false
  /// What could not be looked at, and why.
  public var unreadable: [String] = []

  static let serviceLink = "kube-ipvs0"
  static let iptablesTables: Set<String> = ["nat", "filter", "mangle"]

  public init() {}

  public var isEmpty: Bool { tables.isEmpty && chains.isEmpty && legacy.isEmpty && !hasServiceLink }

  /// One line for people: what there is.
  public var summary: String {
    var parts = tables.sorted().map { "nftables table \($0)" }
    for (table, names) in chains.sorted(by: { $0.key < $1.key }) {
      parts.append("\(names.count) iptables chains in \(table)")
    }
    for (family, tables) in legacy.sorted(by: { $0.key < $1.key }) {
      for (table, names) in tables.sorted(by: { $0.key < $1.key }) {
        parts.append("\(names.count) legacy iptables chains in \(family == .v4 ? "ip" : "ip6") \(table)")
      }
    }
    if hasServiceLink { parts.append("link \(Self.serviceLink)") }
    return parts.joined(separator: ", ")
  }

  /// Looks, and changes nothing. In the network namespace of the calling thread.
  public static func find() -> KubeProxyLeftovers {
    var found = KubeProxyLeftovers()
    do {
      let socket = try NftablesSocket()
      for (table, names) in try socket.chainNames() where table.family == .ip || table.family == .ip6 {
        if table.name == "kube-proxy" {
          found.tables.append(table)
        } else if iptablesTables.contains(table.name), names.contains(where: KubeProxyChains.isOurs) {
          let references = try socket.references(in: table).map { ($0.chain, $0.target) }
          let removable = KubeProxyChains.removable(names, references: references)
          if !removable.isEmpty { found.chains[table] = removable }
        }
      }
      found.tables.sort()
    } catch {
      found.unreadable.append("nftables: \(error)")
    }
    for family in IPFamily.allCases where LegacyTools.hasTables(family) {
      do throws(LegacyTools.Failure) {
        for table in try LegacyTools.save(family) where !table.removable.isEmpty {
          found.legacy[family, default: [:]][table.name] = table.removable
        }
      } catch {
        found.unreadable.append("legacy iptables: \(error.text)")
      }
    }
    do {
      var session = try RouteSession()
      found.hasServiceLink = try session.link(named: serviceLink) != nil
    } catch {
      found.unreadable.append("links: \(error)")
    }
    return found
  }

  /// Takes away what `find` named. Throws `PRX0020` for the first part that cannot be; the others are removed all the same.
  /// Established connections go on as long as connection tracking knows them.
  public func remove() throws(WeftError) {
    var problems: [String] = unreadable
    do {
      let socket = try NftablesSocket()
      if !tables.isEmpty { try socket.apply(tables.map { .deleteTable($0) }) }
      for (table, names) in chains.sorted(by: { $0.key < $1.key }) {
        try socket.deleteChains(names, of: table)
      }
    } catch {
      problems.append("nftables: \(error)")
    }
    for family in legacy.keys.sorted() {
      do throws(LegacyTools.Failure) {
        let text = try LegacyTools.save(family).compactMap(\.removal).joined()
        if !text.isEmpty { try LegacyTools.restore(family, text) }
      } catch {
        problems.append("legacy iptables: \(error.text)")
      }
    }
    if hasServiceLink {
      do {
        var session = try RouteSession()
        _ = try session.deleteLink(named: Self.serviceLink)
      } catch {
        problems.append("link \(Self.serviceLink): \(error)")
      }
    }
    if let problem = problems.first {
      throw WeftError(
        "PRX0020", object: "rules of kube-proxy", cause: "some stay (\(problem))",
        next: "run as root in the node's network namespace; legacy rules need iptables-legacy")
    }
  }
}
