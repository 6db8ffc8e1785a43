// How the chains that refuse tell of it: by NFLOG, at a bounded rate, with their own name as prefix.
//
//   limit rate 200/second burst 400 packets log prefix "KUBE-DENY-IN" group 5 snaplen 96

import Ruleset

/// Settings of the verdict log. Packets above the rate are dropped like the others and counted by the chain's counter, but not told.
public struct PolicyLogging: Sendable, Hashable {
  /// The `nflog` group; one reader a group and network namespace.
  public var group: UInt16
  /// Told packets a second of each chain, and how many of them at once.
  public var perSecond: UInt32
  public var burst: UInt32

  public static let defaultGroup: UInt16 = 5
  /// Enough for an IPv6 header with extensions, and ports behind it.
  static let snapLength: UInt32 = 96

  public init(
    group: UInt16 = PolicyLogging.defaultGroup, perSecond: UInt32 = 200, burst: UInt32 = 400
  ) {
    self.group = group
    self.perSecond = perSecond
    self.burst = burst
  }

  /// What a rule of `chain` says before its verdict; the chain's name is the prefix, at most 63 bytes of it.
  public func statements(for chain: String) -> [Statement] {
    [
      .limit(perSecond: perSecond, burst: burst),
      .log(group: group, prefix: chain, snapLength: Self.snapLength),
    ]
  }

  /// What the rules in force were planned with, as far as it can be told: the group is looked for, the rate must be the default.
  /// Nil: they tell nothing. Costs nothing while the group is the default, else at most 65,536 printed rules.
  public static func adopt(from inForce: InForce) -> PolicyLogging? {
    let known = inForce.tables.lazy.filter { $0.key.name == PolicyNames.table }
      .compactMap { $0.value.chains[PolicyNames.denyIngress]?.fingerprints }
    guard let rules = known.first else { return PolicyLogging() }
    func isIn(_ group: UInt16) -> Bool {
      rules.contains(
        Rule(PolicyLogging(group: group).statements(for: PolicyNames.denyIngress)).fingerprint)
    }
    if rules.count < 3 { return nil }
    if isIn(defaultGroup) { return PolicyLogging() }
    return (0...UInt16.max).first(where: isIn).map { PolicyLogging(group: $0) } ?? PolicyLogging()
  }
}
