// What the autoscaler's own metrics say, under upstream's names.

import ClusterObjects
import Diagnostics

/// How one look at an autoscaler ended.
struct AutoscalerOutcome: Sendable {
  /// `scale_up`, `scale_down` or `none`.
  var action = "none"
  /// `none`, `spec` when the autoscaler or its target says something impossible, `internal` otherwise.
  var error = "none"
  var desired: Int?
}

struct AutoscalerMetrics: Sendable {
  private static let prefix = "horizontal_pod_autoscaler_controller_"
  private let reconciliations: MetricFamily<Counter>
  private let durations: MetricFamily<Histogram>
  private let computations: MetricFamily<Counter>
  private let computationDurations: MetricFamily<Histogram>
  private let desired: MetricFamily<Gauge>

  init(_ metrics: Metrics) {
    reconciliations = metrics.counter(
      Self.prefix + "reconciliations_total", "Looks at autoscalers.", labels: ["action", "error"])
    durations = metrics.histogram(
      Self.prefix + "reconciliation_duration_seconds", "Time of one look at an autoscaler.",
      labels: ["action", "error"])
    computations = metrics.counter(
      Self.prefix + "metric_computation_total", "Computations of one metric of an autoscaler.",
      labels: ["action", "error", "metric_type"])
    computationDurations = metrics.histogram(
      Self.prefix + "metric_computation_duration_seconds", "Time to read and compute one metric.",
      labels: ["action", "error", "metric_type"])
    desired = metrics.gauge(
      Self.prefix + "desired_replicas", "Pods that an autoscaler asks for.",
      labels: ["namespace", "hpa_name"])
  }

  func reconciled(_ outcome: AutoscalerOutcome, in time: Duration) {
    reconciliations.child(outcome.action, outcome.error).increment()
    durations.child(outcome.action, outcome.error).observe(time)
  }

  func computed(_ type: String, _ result: Result<MetricProposal, MetricFailure>?, in time: Duration) {
    var error = "none"
    if case .failure = result { error = "internal" }
    computations.child("none", error, type).increment()
    computationDurations.child("none", error, type).observe(time)
  }

  func desired(_ key: ObjectKey, _ replicas: Int?) {
    if let replicas { desired.child(key.namespace, key.name).set(Double(replicas)) }
  }
}
