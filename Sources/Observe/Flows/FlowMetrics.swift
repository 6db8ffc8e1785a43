// What dashboards want of flows: connections, refusals, bytes and durations by Service, and what each policy decided.

import ClusterObjects
import Diagnostics

/// Counts flows. Label values are Services and policies; past the families' bound they are counted together as `overflow`.
/// Not for several threads at once.
public struct FlowMetrics: Sendable {
  private struct OfService {
    var connections: Counter
    var unanswered: Counter
    var denied: Counter
    var sent: Counter
    var received: Counter
    var durations: Histogram
  }

  private struct Verdict: Hashable {
    var policy: ObjectKey
    var direction: String
    var verdict: Flow.Verdict
  }

  private let connections: MetricFamily<Counter>
  private let unanswered: MetricFamily<Counter>
  private let denied: MetricFamily<Counter>
  private let bytes: MetricFamily<Counter>
  private let durations: MetricFamily<Histogram>
  private let verdicts: MetricFamily<Counter>
  private let kept: Counter
  private let lost: MetricFamily<Counter>
  private var services: [ObjectKey: OfService] = [:]
  private var policies: [Verdict: Counter] = [:]

  /// Bound on remembered children of each kind; the families have their own.
  static let childrenMax = 2048

  public init(_ metrics: Metrics = .shared) {
    let labels = ["namespace", "service"]
    connections = metrics.counter(
      "weft_service_connections_total", "Connections that were forwarded to a Service from this node.",
      labels: labels)
    unanswered = metrics.counter(
      "weft_service_connections_unanswered_total", "Ended connections to a Service without one answer.",
      labels: labels)
    denied = metrics.counter(
      "weft_service_denied_packets_total",
      "Packets to a Service that policies refused, as far as the rate of the log rule lets them be told.",
      labels: labels)
    bytes = metrics.counter(
      "weft_service_bytes_total", "Bytes of ended connections to a Service.", labels: labels + ["direction"])
    durations = metrics.histogram(
      "weft_service_connection_duration_seconds", "How long ended connections to a Service lasted.",
      labels: labels, bounds: [0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384, 65.536, 262.144])
    verdicts = metrics.counter(
      "weft_policy_verdicts_total",
      "What policies said: of new connections when they allowed, of told packets when not.",
      labels: ["namespace", "policy", "direction", "verdict"])
    kept = metrics.counter("weft_flows_total", "Flows that this node has seen.").child()
    lost = metrics.counter(
      "weft_flow_events_lost_total",
      "Events that came faster than they could be read, and are not in any flow.",
      labels: ["kind"])
  }

  /// Totals so far of what the kernel dropped before it could be read.
  public func setLost(flows: UInt64, packets: UInt64) {
    for (kind, total) in [("connection", flows), ("packet", packets)] {
      let child = lost.child(kind)
      if total > child.current { child.increment(by: total - child.current) }
    }
  }

  public mutating func count(_ flow: Flow) {
    kept.increment()
    if let key = flow.service?.key {
      let of = counters(key)
      switch flow.event {
      case .new: of.connections.increment()
      case .packet: if flow.verdict == .denied { of.denied.increment() }
      case .end:
        if !flow.hasReply { of.unanswered.increment() }
        guard let totals = flow.totals else { break }
        of.sent.increment(by: totals.bytesSent)
        of.received.increment(by: totals.bytesReceived)
        if let milliseconds = totals.milliseconds { of.durations.observe(Double(milliseconds) / 1000) }
      }
    }
    guard flow.event != .end, let decision = flow.decision else { return }
    for policy in decision.policies {
      let verdict = Verdict(policy: policy, direction: decision.direction, verdict: flow.verdict)
      if let counter = policies[verdict] {
        counter.increment()
      } else {
        let counter = verdicts.child(
          policy.namespace, policy.name, decision.direction.lowercased(), flow.verdict.rawValue)
        counter.increment()
        if policies.count < Self.childrenMax { policies[verdict] = counter }
      }
    }
  }

  private mutating func counters(_ key: ObjectKey) -> OfService {
    if let known = services[key] { return known }
    let of = OfService(
      connections: connections.child(key.namespace, key.name),
      unanswered: unanswered.child(key.namespace, key.name),
      denied: denied.child(key.namespace, key.name), sent: bytes.child(key.namespace, key.name, "sent"),
      received: bytes.child(key.namespace, key.name, "received"),
      durations: durations.child(key.namespace, key.name))
    if services.count < Self.childrenMax { services[key] = of }
    return of
  }
}
