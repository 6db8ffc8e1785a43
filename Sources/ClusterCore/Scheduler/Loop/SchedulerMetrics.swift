// The scheduler's metrics, by upstream's names.

import Diagnostics

/// Families once; children by profile are few.
struct SchedulerMetrics: Sendable {
  enum Outcome: String { case scheduled, unschedulable, error }
  private static let fine: [Double] = (0..<16).map { 0.00001 * Double(1 << $0) }

  let attempts: MetricFamily<Counter>
  let attemptDuration: MetricFamily<Histogram>
  let algorithmDuration: Histogram
  let pointDuration: MetricFamily<Histogram>
  let sliDuration: MetricFamily<Histogram>
  let podAttempts: Histogram
  let pending: MetricFamily<Gauge>
  let incoming: MetricFamily<Counter>
  let preemptionAttempts: Counter
  let preemptionVictims: Histogram
  let unschedulable: MetricFamily<Gauge>
  let cacheSize: MetricFamily<Gauge>

  init(_ metrics: Metrics) {
    attempts = metrics.counter(
      "scheduler_schedule_attempts_total", "Attempts to schedule pods.", labels: ["result", "profile"])
    attemptDuration = metrics.histogram(
      "scheduler_scheduling_attempt_duration_seconds", "Time of an attempt, from decision to binding.",
      labels: ["result", "profile"])
    algorithmDuration = metrics.histogram(
      "scheduler_scheduling_algorithm_duration_seconds", "Time to choose a node.", bounds: Self.fine
    ).child()
    pointDuration = metrics.histogram(
      "scheduler_framework_extension_point_duration_seconds", "Time of all plugins of a point together.",
      labels: ["extension_point", "status", "profile"], bounds: Self.fine)
    sliDuration = metrics.histogram(
      "scheduler_pod_scheduling_sli_duration_seconds",
      "Time from a pod's first sight to its binding, over all attempts.", labels: ["attempts"],
      bounds: (0..<20).map { 0.01 * Double(1 << $0) })
    podAttempts = metrics.histogram(
      "scheduler_pod_scheduling_attempts", "Attempts that a bound pod took.", bounds: [1, 2, 4, 8, 16]
    ).child()
    pending = metrics.gauge("scheduler_pending_pods", "Pods that wait for a node.", labels: ["queue"])
    incoming = metrics.counter(
      "scheduler_queue_incoming_pods_total", "Pods added to a queue, by what moved them.",
      labels: ["queue", "event"])
    preemptionAttempts = metrics.counter(
      "scheduler_preemption_attempts_total", "Attempts to make room by preemption."
    ).child()
    preemptionVictims = metrics.histogram(
      "scheduler_preemption_victims", "Victims of one preemption.", bounds: [1, 2, 4, 8, 16, 32, 64]
    ).child()
    unschedulable = metrics.gauge(
      "scheduler_unschedulable_pods", "Pods that a plugin rejected at their last attempt.",
      labels: ["plugin", "profile"])
    cacheSize = metrics.gauge("scheduler_scheduler_cache_size", "What the scheduler knows.", labels: ["type"])
  }

  func observe(_ point: String, _ duration: Duration, _ isFine: Bool, _ profile: String) {
    pointDuration.child(point, isFine ? "Success" : "Unschedulable", profile).observe(duration)
  }

  func attempt(_ outcome: Outcome, _ duration: Duration, _ profile: String) {
    attempts.child(outcome.rawValue, profile).increment()
    attemptDuration.child(outcome.rawValue, profile).observe(duration)
  }
}
