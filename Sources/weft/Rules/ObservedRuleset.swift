// What is in force in this node's kernel, as a ruleset that can be evaluated. Rules are recognised by their fingerprints:
// a planned chain whose fingerprints are in force is in force; elements are taken from the kernel.

import Addresses
import ClusterView
import DataPlane
import KernelNftables
import Policy
import Proxy
import Ruleset

enum ObservedRuleset {
  /// Nil when the kernel cannot be read, or holds none of our tables.
  static func read(view: ClusterView, nodeName: String) -> Ruleset? {
    guard let socket = try? NftablesSocket(), let inForce = try? socket.observe(NodeNetwork.tables),
      inForce.tables.values.contains(where: { !$0.chains.isEmpty })
    else { return nil }
    return rebuild(inForce, view: view, nodeName: nodeName)
  }

  /// The planned tables with the kernel's elements; chains that are not in force as planned are left out.
  static func rebuild(_ inForce: InForce, view: ClusterView, nodeName: String) -> Ruleset {
    var allocation: [IPFamily: ProxyAllocation] = [:]
    for family in IPFamily.allCases {
      if let table = inForce.tables[ProxyTables.id(family)] {
        allocation[family] = ProxyAllocation(recovering: table, family: family)
      }
    }
    var configuration = ProxyConfiguration(nodeName: nodeName)
    configuration.adopt(from: inForce)
    let proxy = planProxy(view, configuration, previous: allocation)
    let policy = planPolicy(
      view: view, attachments: [],
      settings: PolicySettings(nodeName: nodeName, logging: .adopt(from: inForce)))
    return Ruleset(
      (proxy.tables + policy).compactMap { planned in
        inForce.tables[planned.id].map { table(planned, as: $0) }
      })
  }

  private static func table(_ planned: Table, as found: InForce.TableInForce) -> Table {
    var table = planned
    table.chains = planned.chains.filter { chain in
      found.chains[chain.name]?.fingerprints == chain.rules.map(\.fingerprint)
    }
    for index in table.sets.indices where !table.sets[index].isDynamic {
      table.sets[index].elements = found.sets[table.sets[index].name]?.elements ?? [:]
    }
    return table
  }
}
