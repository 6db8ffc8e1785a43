// Keeps the DNS zone as the cluster is: each change is planned by itself, as soon as the informer has it, and waits for
// nothing else a node does.

import ClusterClient
import ClusterObjects
import ClusterView
import DNS
import DataPlane
import Diagnostics

/// Plans zones from one follower's changes and puts them in force. Start it after the follower has its first lists, so that
/// no name is denied that merely has not been read.
actor ZoneKeeper {
  private var dns: DNSServer
  private let follower: ViewFollower
  private let informers: SharedInformers
  private let subscription: ViewFollower.Subscription
  /// For a server of `weft dns`, which hears of pods from the API alone.
  private let namespaces: PodNamespaces?
  private var planner: ZonePlanner
  private static let swapSeconds = Metrics.shared.histogram(
    "weft_dns_zone_swap_duration_seconds",
    "Seconds from waking up for a change to the zone that has it in force.",
    bounds: (0..<12).map { 0.0001 * Double(1 << $0) }
  ).child()
  private static let services = Metrics.shared.counter(
    "weft_dns_zone_planned_services_total", "Services whose names were planned anew."
  ).child()

  init(
    _ dns: DNSServer, settings: ZoneSettings, follower: ViewFollower, informers: SharedInformers,
    namespaces: PodNamespaces? = nil
  ) {
    self.dns = dns
    self.namespaces = namespaces
    self.follower = follower
    self.informers = informers
    // With pods whatever the settings: a reloaded configuration may ask for them.
    subscription = follower.subscribe(withPods: true)
    planner = ZonePlanner(
      settings: settings, firstSerial: UInt32(truncatingIfNeeded: Timestamp.now().seconds))
    if !settings.multiclusterZones.isEmpty { follower.followImports(informers) }
    let followed = [GroupVersionResource.services, .endpointSlices, .namespaces].map {
      informers.informer($0)
    }
    let isCurrent = Metrics.shared.gauge(
      "weft_dns_cluster_current",
      "1 while the zone follows the API server; 0 while it answers from what was known last."
    ).child()
    Metrics.shared.onCollect { isCurrent.set(followed.allSatisfy { $0.lastFailure == nil } ? 1 : 0) }
  }

  /// The first zone at once, then one for each change, until the follower stops or the task is cancelled.
  func run() async {
    for await _ in subscription.changes { swap() }
  }

  /// Plans what changed and puts it in force.
  func swap() {
    let clock = ContinuousClock()
    let start = clock.now
    let changes = subscription.take()
    namespaces?.take(changes.pods, isWhole: changes.isWhole)
    let zone = planner.plan(changes)
    guard zone !== dns.zone else { return }
    dns.swapZone(zone, programmingSeconds: programmingSeconds())
    Self.swapSeconds.observe(clock.now - start)
    Self.services.increment(by: UInt64(planner.work.services))
  }

  /// Serves by another configuration: the new server listens beside the old one before the old one ends.
  func replace(_ plan: DNSPlan) throws(WeftError) {
    var next = planner
    if !plan.zone.multiclusterZones.isEmpty { follower.followImports(informers) }
    if plan.zone != planner.settings {
      next = ZonePlanner(settings: plan.zone, firstSerial: planner.serial &+ 1)
      _ = next.plan(follower.view)
    }
    let changes = subscription.take()
    namespaces?.take(changes.pods, isWhole: changes.isWhole)
    let server = DNSServer(
      settings: plan.server, zone: next.plan(changes), namespaceOf: namespaces.map { $0.namespace(of:) })
    try server.start(listen: plan.listen, encrypted: plan.encrypted)
    let old = dns
    dns = server
    planner = next
    old.stop(draining: .seconds(2))
  }

  /// Stops the server in force.
  func stop() { dns.stop() }

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
