// What policies decided, in words that explain and test share.

import ClusterObjects
import ClusterView
import Policy

extension PolicyDecision.ClusterRule {
  /// `ClusterNetworkPolicy deny-all (Admin), ingress rule 0 "from the guests"`.
  var words: String {
    "ClusterNetworkPolicy \(policy) (\(tier.rawValue)), \(direction.rawValue.lowercased()) rule \(rule)"
      + (name.isEmpty ? "" : " \"\(name)\"")
  }
}

extension PolicyDecision.Reason {
  /// Of a denial that was only noted.
  var auditWords: String {
    switch self {
    case .denied(let policies, let direction):
      "in audit mode: no \(direction.rawValue.lowercased()) rule of NetworkPolicy "
        + "\(policies.map(\.description).joined(separator: ", ")) would let it through"
    case .ruled(let rule): "in audit mode: \(rule.words) would deny it"
    case .notIsolated, .allowed, .ownNode, .itself: ""
    }
  }
}
