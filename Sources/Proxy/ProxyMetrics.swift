// kube-proxy's metric names, so that its dashboards work unchanged.

import Diagnostics
import KernelNftables

struct ProxyMetrics: Sendable {
  let duration: Histogram
  let lastSync: Gauge
  let programming: Histogram
  let failures: Counter
  let deletedFlows: Counter
  let differences: Counter
  let countFailures: Counter
  private let countSeconds: Histogram
  private let counted: Gauge
  private let shareOperations: Counter
  private let services: Gauge
  private let endpoints: Gauge
  private let withoutLocalInternal: Gauge
  private let withoutLocalExternal: Gauge
  private let operations: Counter
  private let bytes: Counter
  private let quarantined: Gauge

  init(_ metrics: Metrics) {
    duration =
      metrics.histogram(
        "kubeproxy_sync_proxy_rules_duration_seconds", "Time from a change's plan to its commit."
      )
      .child()
    programming =
      metrics.histogram(
        "kubeproxy_network_programming_duration_seconds",
        "Time from the change of a Service or pod to rules in force.",
        bounds: [0.25, 0.5] + (1...59).map(Double.init) + stride(from: 60.0, through: 115, by: 5)
          + stride(from: 120.0, through: 300, by: 30)
      ).child()
    lastSync =
      metrics.gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When rules were last in force.")
      .child()
    failures =
      metrics.counter(
        "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "Transactions that the kernel refused."
      ).child()
    deletedFlows =
      metrics.counter(
        "kubeproxy_conntrack_reconciler_deleted_entries_total", "Deletions of stale UDP flows, by endpoint."
      ).child()
    differences =
      metrics.counter(
        "weft_proxy_plan_differences_total",
        "Elements and chains in which the kept plan differed from one made anew. Should stay 0."
      ).child()
    countSeconds =
      metrics.histogram(
        "weft_proxy_least_connections_count_duration_seconds", "Counts of open connections."
      ).child()
    counted =
      metrics.gauge(
        "weft_proxy_least_connections_flows", "Flows of Services with least connections at the last count."
      ).child()
    shareOperations =
      metrics.counter(
        "weft_proxy_least_connections_operations_total", "Elements changed to follow open connections."
      ).child()
    countFailures =
      metrics.counter(
        "weft_proxy_least_connections_failures_total", "Counts or changes of shares that failed."
      ).child()
    services = metrics.gauge("weft_proxy_services", "Services that the proxy serves.").child()
    endpoints = metrics.gauge("weft_proxy_endpoints", "Endpoints in slots.").child()
    let noLocal = metrics.gauge(
      "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
      "Service ports whose Local policy finds no endpoint on this node.", labels: ["traffic_policy"])
    withoutLocalInternal = noLocal.child("internal")
    withoutLocalExternal = noLocal.child("external")
    operations =
      metrics.counter("weft_proxy_ruleset_operations_total", "Elements, rules and chains changed.").child()
    bytes = metrics.counter("weft_proxy_netlink_bytes_total", "Bytes of transactions.").child()
    quarantined = metrics.gauge("weft_proxy_quarantined_objects", "Objects left out of the rules.").child()
  }

  func record(_ report: ProxyReport, _ plan: ProxyPlanner, duration elapsed: Duration) {
    duration.observe(elapsed)
    let now = Timestamp.now()
    lastSync.set(Double(now.seconds) + Double(now.nanoseconds) * 1e-9)
    services.set(Double(plan.services))
    endpoints.set(Double(plan.endpoints))
    let withoutLocal = plan.withoutLocalEndpoints
    withoutLocalInternal.set(Double(withoutLocal.internal))
    withoutLocalExternal.set(Double(withoutLocal.external))
    operations.increment(by: UInt64(report.operations))
    bytes.increment(by: UInt64(report.netlinkBytes))
    quarantined.set(Double(report.quarantined.count))
  }

  func counted(_ open: OpenConnections, in duration: Duration) {
    countSeconds.observe(duration)
    counted.set(Double(open.flows))
  }

  func shared(_ report: ProxyReport) {
    shareOperations.increment(by: UInt64(report.operations))
    operations.increment(by: UInt64(report.operations))
    bytes.increment(by: UInt64(report.netlinkBytes))
  }

  /// The same of the userspace mode.
  func record(_ plan: UserspacePlan, leftOut: Int, duration elapsed: Duration) {
    duration.observe(elapsed)
    let now = Timestamp.now()
    lastSync.set(Double(now.seconds) + Double(now.nanoseconds) * 1e-9)
    services.set(Double(plan.services))
    endpoints.set(Double(plan.endpoints))
    withoutLocalInternal.set(Double(plan.withoutLocalEndpoints.internal))
    withoutLocalExternal.set(Double(plan.withoutLocalEndpoints.external))
    quarantined.set(Double(leftOut))
  }
}
