// Counters of one block's plugins on one thread: each child is looked up once, so that counting allocates nothing.

import Diagnostics

/// For one thread. What a block does not have has no counters.
final class BlockCounters {
  private struct Match: Hashable {
    var rule: Int
    var zone: DomainName
    var type: RecordType
  }

  /// Kinds of questions that template rules of any type count apart; further ones are counted together.
  static let matchesMax = 256

  let allowed: Counter?
  let autopath: Counter?
  let translated: Counter?
  /// By rule of `acl`, its zones in order.
  private let denied: [[Counter]]
  private let accessRules: [AccessRule]
  private var matches: [Match: Counter] = [:]
  private let numbers: DNSMetrics
  private let view: String

  init(_ block: ServerBlock, _ numbers: DNSMetrics) {
    self.numbers = numbers
    view = block.view?.name ?? ""
    let server = numbers.server
    let metrics = numbers.plugins
    accessRules = block.accessRules
    allowed = block.accessRules.isEmpty ? nil : metrics.allowed.child(server, view)
    autopath = block.autopath == nil ? nil : metrics.autopath.child(server)
    translated = block.dns64 == nil ? nil : metrics.translated.child(server)
    let view = view
    denied = block.accessRules.map { rule in
      guard let family = metrics.denied[rule.action] else { return [] }
      return rule.zones.map { family.child(server, "\($0)", view) }
    }
  }

  /// A question that a rule of `acl` did not allow.
  func noteDenied(_ rule: Int, _ name: DomainName) {
    var longest: Int?
    for (index, zone) in accessRules[rule].zones.enumerated() where name.isWithin(zone) {
      if longest.map({ accessRules[rule].zones[$0].wire.count < zone.wire.count }) ?? true { longest = index }
    }
    if let longest, longest < denied[rule].count { denied[rule][longest].increment() }
  }

  /// A pattern of a template knew the name.
  func noteMatch(_ rule: Int, _ zone: DomainName, _ type: RecordType) {
    let match = Match(rule: rule, zone: zone, type: type)
    if let counter = matches[match] { return counter.increment() }
    let isRoom = matches.count < Self.matchesMax
    let counter = numbers.plugins.matches.child(
      numbers.server, "\(zone)", view, "IN", isRoom ? "\(type)" : "other")
    if isRoom { matches[match] = counter }
    counter.increment()
  }

  /// A template came to nothing: a mistake of the configuration, and rare.
  func noteFailure(
    _ zone: DomainName, _ type: RecordType, _ section: String, _ template: String, isRecord: Bool
  ) {
    let family = isRecord ? numbers.plugins.recordFailures : numbers.plugins.templateFailures
    family.child(numbers.server, "\(zone)", view, "IN", "\(type)", section, template).increment()
  }
}

/// Families of plugins' counters.
struct PluginMetrics: Sendable {
  let allowed: MetricFamily<Counter>
  let denied: [AccessRule.Action: MetricFamily<Counter>]
  let autopath: MetricFamily<Counter>
  let translated: MetricFamily<Counter>
  let matches: MetricFamily<Counter>
  let templateFailures: MetricFamily<Counter>
  let recordFailures: MetricFamily<Counter>

  init(_ metrics: Metrics) {
    allowed = metrics.counter(
      "coredns_acl_allowed_requests_total", "Queries that acl allows.", labels: ["server", "view"])
    let zoned = ["server", "zone", "view"]
    denied = [
      .block: metrics.counter(
        "coredns_acl_blocked_requests_total", "Queries that acl refuses.", labels: zoned),
      .filter: metrics.counter(
        "coredns_acl_filtered_requests_total", "Queries that acl answers with nothing.", labels: zoned),
      .drop: metrics.counter(
        "coredns_acl_dropped_requests_total", "Queries that acl does not answer.", labels: zoned),
    ]
    autopath = metrics.counter(
      "coredns_autopath_success_total", "Queries answered from further on in a search path.",
      labels: ["server"])
    translated = metrics.counter(
      "coredns_dns64_requests_translated_total", "Queries answered with addresses made from IPv4 ones.",
      labels: ["server"])
    matches = metrics.counter(
      "coredns_template_matches_total", "Queries that a template's pattern knew.",
      labels: zoned + ["class", "type"])
    let failed = zoned + ["class", "type", "section", "template"]
    templateFailures = metrics.counter(
      "coredns_template_template_failures_total", "Templates that could not be filled.", labels: failed)
    recordFailures = metrics.counter(
      "coredns_template_rr_failures_total", "Filled templates that are no record.", labels: failed)
  }
}
