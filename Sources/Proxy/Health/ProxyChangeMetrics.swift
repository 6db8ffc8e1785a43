// What kube-proxy counts of changes on their way from the API to rules, under its names.

import Diagnostics

/// Counts changes that have come and are not in force yet. Thread-safe.
public struct ProxyChangeMetrics: Sendable {
  private let lastQueued: Gauge
  private let servicesPending: Gauge
  private let servicesTotal: Counter
  private let endpointsPending: Gauge
  private let endpointsTotal: Counter

  public init(_ metrics: Metrics = .shared) {
    let prefix = "kubeproxy_sync_proxy_rules_"
    lastQueued =
      metrics.gauge(prefix + "last_queued_timestamp_seconds", "When a change last came.").child()
    servicesPending =
      metrics.gauge(prefix + "service_changes_pending", "Changes of Services not in force yet.").child()
    servicesTotal =
      metrics.counter(prefix + "service_changes_total", "Changes of Services that have come.").child()
    endpointsPending =
      metrics.gauge(prefix + "endpoint_changes_pending", "Changes of endpoints not in force yet.").child()
    endpointsTotal =
      metrics.counter(prefix + "endpoint_changes_total", "Changes of endpoints that have come.").child()
  }

  public func services(_ count: Int) { queue(count, servicesPending, servicesTotal) }
  public func endpoints(_ count: Int) { queue(count, endpointsPending, endpointsTotal) }

  private func queue(_ count: Int, _ pending: Gauge, _ total: Counter) {
    pending.add(Double(count))
    total.increment(by: UInt64(count))
    let (seconds, nanoseconds) = Timestamp.now()
    lastQueued.set(Double(seconds) + Double(nanoseconds) * 1e-9)
  }

  /// Rules show all that had come.
  public func inForce() {
    servicesPending.set(0)
    endpointsPending.set(0)
  }
}
