// Keeps the DNS zone as the cluster is: each change is planned by itself, as soon as the informer has it, and waits for
// nothing else a node does.

import ClusterView
import DNS
import Diagnostics
import Synchronization

/// Plans zones from one source's changes and puts them in force. Start it when the source has its first lists, so that no name is
/// denied that merely has not been read.
actor ZoneKeeper {
  /// The server in force.
  private let server: Mutex<DNSServer>
  private var source: any ZoneSource
  /// Which of the sources this is, one after another.
  private var sourceNumber = 0
  /// Says in metrics whether the source is current.
  private let watched: Mutex<any ZoneSource>
  private let namespaces: PodNamespaces
  /// A server of `weft dns` hears of pods from the API alone.
  private let followsPods: Bool
  private var planner: ZonePlanner
  private var hasZone = false
  private static let swapSeconds = Metrics.shared.histogram(
    "weft_dns_zone_swap_duration_seconds",
    "Seconds from waking up for a change to the zone that has it in force.",
    bounds: (0..<12).map { 0.0001 * Double(1 << $0) }
  ).child()
  private static let services = Metrics.shared.counter(
    "weft_dns_zone_planned_services_total", "Services whose names were planned anew."
  ).child()

  init(
    _ dns: DNSServer, settings: ZoneSettings, source: any ZoneSource, namespaces: PodNamespaces,
    followsPods: Bool
  ) {
    server = Mutex(dns)
    self.namespaces = namespaces
    self.followsPods = followsPods
    self.source = source
    watched = Mutex(source)
    planner = ZonePlanner(
      settings: settings, firstSerial: UInt32(truncatingIfNeeded: Timestamp.now().seconds))
    if !settings.multiclusterZones.isEmpty { source.followImports() }
    Metrics.shared.gauge(
      "coredns_build_info", "1 with the version of this program.",
      labels: ["version", "revision", "goversion"]
    ).child(Weft.version, "", "").set(1)
    let isCurrent = Metrics.shared.gauge(
      "weft_dns_cluster_current",
      "1 while the zone follows the API server; 0 while it answers from what was known last."
    ).child()
    Metrics.shared.onCollect { [weak self] in
      guard let source = self?.watched.withLock({ $0 }) else { return }
      isCurrent.set(source.lastFailure == nil ? 1 : 0)
    }
  }

  /// The zone in force. Any thread.
  nonisolated var zone: Zone { dns.zone }

  private nonisolated var dns: DNSServer { server.withLock { $0 } }

  /// Who is told of pods that changed.
  private var told: PodNamespaces? { followsPods ? namespaces : nil }

  /// The first zone at once, then one for each change, until the source stops or the task is cancelled.
  func run() async {
    var number = -1
    // A source that ends because another took its place is followed by that one.
    while number != sourceNumber, !Task.isCancelled {
      number = sourceNumber
      for await _ in source.changes { swap() }
    }
  }

  /// Serves what was known at another time, until the first `swap`. Which pod has an address is not taken from it: an address
  /// may be another's by now.
  func serve(_ snapshot: NameSnapshot) {
    var past = ZonePlanner(
      settings: planner.settings, firstSerial: UInt32(truncatingIfNeeded: snapshot.written))
    snapshot.book.everything { past.stage($0) }
    dns.swapZone(past.plan(ViewChanges()))
  }

  /// Plans what changed and puts it in force.
  func swap() {
    let clock = ContinuousClock()
    let start = clock.now
    guard let zone = Self.plan(&planner, isNeeded: !hasZone, told, from: source.take) else { return }
    hasZone = true
    guard zone !== dns.zone else { return }
    dns.swapZone(zone, programmingSeconds: programmingSeconds())
    Self.swapSeconds.observe(clock.now - start)
    Self.services.increment(by: UInt64(planner.work.services))
  }

  /// Plans what `pieces` hands out, piece by piece. Nil when it hands out nothing and no zone is needed.
  private static func plan(
    _ planner: inout ZonePlanner, isNeeded: Bool, _ namespaces: PodNamespaces?,
    from pieces: ((ViewChanges) -> Void) -> Void
  ) -> Zone? {
    var last: ViewChanges?
    pieces { changes in
      namespaces?.take(changes.pods, isWhole: changes.isWhole)
      if let last { planner.stage(last) }
      last = changes
    }
    guard last != nil || isNeeded else { return nil }
    return planner.plan(last ?? ViewChanges())
  }

  /// Serves by another configuration: the new server listens beside the old one before the old one ends.
  /// - Parameter other: where objects come from now, when not from where they came: it has its first lists.
  func replace(_ plan: DNSPlan, source other: (any ZoneSource)? = nil) async throws(WeftError) {
    var next = planner
    let from = other ?? source
    if !plan.zone.multiclusterZones.isEmpty { from.followImports() }
    if other != nil || plan.zone != planner.settings {
      next = ZonePlanner(settings: plan.zone, firstSerial: planner.serial &+ 1)
      if other == nil { from.everything { next.stage($0) } }
    }
    let zone = Self.plan(&next, isNeeded: true, told, from: from.take)
    let new = DNSServer(
      settings: plan.server, zone: zone ?? .unready(plan.zone), namespaceOf: namespaces.namespace(of:))
    try new.start(listen: plan.listen, encrypted: plan.encrypted)
    let old = dns
    server.withLock { $0 = new }
    planner = next
    hasZone = true
    if let other {
      let last = source
      source = other
      sourceNumber += 1
      watched.withLock { $0 = other }
      await last.stop()
    }
    old.stop(draining: .seconds(2))
  }

  /// What is followed, where it is a book of names.
  var feed: NameFeed? { source as? NameFeed }

  /// Stops following and then the server in force.
  func stop() async {
    await source.stop()
    dns.stop()
  }

  /// Seconds since each change of endpoints that the last plan brought.
  private func programmingSeconds() -> [(serviceKind: String, seconds: Double)] {
    guard !planner.triggers.isEmpty else { return [] }
    let now = Timestamp.now()
    return planner.triggers.compactMap { kind, time in
      guard let began = Timestamp.parse(time) else { return nil }
      let seconds = Double(now.seconds - began.seconds) + Double(now.nanoseconds - began.nanoseconds) * 1e-9
      return (kind, max(0, seconds))
    }
  }
}
