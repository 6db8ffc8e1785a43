// What cluster DNS has answered on a node, read back from the node's rules: a command that asks the cluster alone does not know it.

import Addresses
import ClusterView
import Ruleset

extension ClusterView {
  /// Takes over the addresses that stand in the kernel's sets for names that ClusterNetworkPolicies speak of. A set of all names below
  /// one does not say which: its addresses are taken in under a name that nobody has.
  public mutating func adoptAnswers(from inForce: InForce) {
    var found: [String: Set<IPAddress>] = [:]
    for policy in clusterNetworkPolicies.values {
      for rule in policy.egress {
        guard case .peers(let peers) = rule.reach else { continue }
        for case .domains(let patterns) in peers {
          for pattern in patterns {
            let name = pattern.isWildcard ? "_observed.\(pattern.name)" : pattern.name
            for family in TableFamily.Addressed.allCases {
              let table = inForce.tables[Table.ID(family.table, PolicyNames.table)]
              let elements = table?.sets[SetContent.domain(pattern).name]?.elements ?? [:]
              found[name, default: []].formUnion(elements.keys.compactMap { IPAddress(bytes: $0.bytes) })
            }
          }
        }
      }
    }
    for (name, addresses) in found { resolve(name, to: addresses) }
  }
}
