// The rules of a listener's hosts in the order in which they are tried, and a route's rules put into them or taken out of them
// without a look at what the others are.

import ClusterObjects
import ClusterView

/// What a rule's place is decided by, the first that differs; larger goes first. Sixteen bits each: longer paths than that are
/// none, more fields neither.
struct RuleRank: Comparable, Sendable {
  private var upper: UInt64
  private var lower: UInt64
  /// - Parameter form: of the path or the call; `length` and `further` of what it says.
  init(form: Int, length: Int, further: Int, _ match: GatewayRoute.Match) {
    upper = Self.joined(form, length, further, match.method == nil ? 0 : 1)
    lower = Self.joined(match.headers.count, match.query.count, 0, 0)
  }
  private static func joined(_ a: Int, _ b: Int, _ c: Int, _ d: Int) -> UInt64 {
    func part(_ value: Int) -> UInt64 { UInt64(UInt16(clamping: value)) }
    return part(a) << 48 | part(b) << 32 | part(c) << 16 | part(d)
  }
  static func < (a: RuleRank, b: RuleRank) -> Bool { (a.upper, a.lower) < (b.upper, b.lower) }
}

/// A rule that has not found its place yet.
struct RankedRule: Sendable {
  var rank: RuleRank
  var rule: GatewayPlan.Rule
}

/// The rules for a name.
struct RuledHost: Sendable {
  let name: String
  /// Routes that have the name, those without rules too.
  private(set) var routes = 0
  /// Of the rule in the same place.
  private var ranks: [RuleRank] = []
  private(set) var rules: [GatewayPlan.Rule] = []

  init(_ name: String) { self.name = name }

  /// A route's rules behind all others; `sort` puts them in their places.
  mutating func append(_ new: [RankedRule]) {
    routes += 1
    for rule in new {
      ranks.append(rule.rank)
      rules.append(rule.rule)
    }
  }

  /// Larger ranks first; of equal ones that of the route that came first, then the one written first.
  mutating func sort() {
    // Numbers are sorted: rules are large.
    let order = ranks.indices.map { (rank: ranks[$0], index: $0) }.sorted {
      ($1.rank, $0.index) < ($0.rank, $1.index)
    }
    ranks = order.map(\.rank)
    rules = order.map { rules[$0.index] }
  }

  /// Takes a route's rules out, and puts these in their places among the others. Cost: one pass over the rules of the host.
  /// - Parameters:
  ///   - new: in the order in which they are written; nil: the route has the name no more.
  ///   - wasThere: the route had the name before.
  ///   - isOlder: whether another route was there before this one.
  mutating func replace(
    _ route: GatewayRoute.Name, with new: [RankedRule]?, wasThere: Bool,
    isOlder: (GatewayRoute.Name) -> Bool
  ) {
    routes += (new == nil ? 0 : 1) - (wasThere ? 1 : 0)
    let added = new ?? []
    let order = added.indices.sorted { (added[$1].rank, $0) < (added[$0].rank, $1) }
    var (mergedRanks, mergedRules): ([RuleRank], [GatewayPlan.Rule]) = ([], [])
    mergedRanks.reserveCapacity(ranks.count + added.count)
    mergedRules.reserveCapacity(ranks.count + added.count)
    var from = 0
    func keep(upTo end: Int) {
      for index in from..<end where rules[index].route != route {
        mergedRanks.append(ranks[index])
        mergedRules.append(rules[index])
      }
      from = end
    }
    for index in order {
      keep(upTo: max(from, place(of: added[index].rank, route, isOlder)))
      mergedRanks.append(added[index].rank)
      mergedRules.append(added[index].rule)
    }
    keep(upTo: rules.count)
    (ranks, rules) = (mergedRanks, mergedRules)
  }

  /// Behind larger ranks, and equal ones of older routes.
  private func place(
    of rank: RuleRank, _ route: GatewayRoute.Name, _ isOlder: (GatewayRoute.Name) -> Bool
  ) -> Int {
    var (low, high) = (0, rules.count)
    while low < high {
      let middle = (low + high) / 2
      let isBefore =
        ranks[middle] == rank
        ? rules[middle].route == route || isOlder(rules[middle].route) : ranks[middle] > rank
      if isBefore { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Exact names before wildcards, of wildcards the longer, every name last.
  static func isMoreSpecific(_ a: String, _ b: String) -> Bool {
    func form(_ name: String) -> Int { name.isEmpty ? 2 : name.hasPrefix("*.") ? 1 : 0 }
    return (form(a), -a.utf8.count, a) < (form(b), -b.utf8.count, b)
  }
}

/// The hosts of a listener, the most specific first.
struct RuledListener: Sendable {
  private(set) var hosts: [RuledHost]

  init(hosts: [RuledHost]) { self.hosts = hosts }

  private func place(of name: String) -> Int {
    var (low, high) = (0, hosts.count)
    while low < high {
      let middle = (low + high) / 2
      if RuledHost.isMoreSpecific(hosts[middle].name, name) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// A route's rules in place of those that it had.
  /// - Parameters:
  ///   - old: names that it had here; `new`: names that it has now.
  ///   - isOlder: whether another route was there before this one.
  mutating func replace(
    _ route: GatewayRoute.Name, old: [String], new: [String], with rules: [RankedRule],
    isOlder: (GatewayRoute.Name) -> Bool
  ) {
    for name in Set(old).union(new) {
      let place = place(of: name)
      if place == hosts.count || hosts[place].name != name { hosts.insert(RuledHost(name), at: place) }
      hosts[place].replace(
        route, with: new.contains(name) ? rules : nil, wasThere: old.contains(name), isOlder: isOlder)
      if hosts[place].routes == 0 { hosts.remove(at: place) }
    }
  }
}
