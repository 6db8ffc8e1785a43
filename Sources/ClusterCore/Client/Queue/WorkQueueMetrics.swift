// What is measured of a work queue, under upstream's names, so that existing dashboards show our queues.

import Diagnostics

/// One queue's metrics, labelled `name`.
struct WorkQueueMetrics: Sendable {
  let depth: Gauge
  let adds: Counter
  let retries: Counter
  let refused: Counter
  let queueDuration: Histogram
  let workDuration: Histogram
  /// Seconds that keys now worked on have taken so far, all together: grows while a worker hangs.
  let unfinished: Gauge
  let longestRunning: Gauge

  /// Upstream's buckets: ten nanoseconds to a thousand seconds.
  static let bounds: [Double] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000]

  init(name: String, metrics: Metrics) {
    func gauge(_ metric: String, _ help: String) -> Gauge {
      metrics.gauge(metric, help, labels: ["name"]).child(name)
    }
    func counter(_ metric: String, _ help: String) -> Counter {
      metrics.counter(metric, help, labels: ["name"]).child(name)
    }
    func histogram(_ metric: String, _ help: String) -> Histogram {
      metrics.histogram(metric, help, labels: ["name"], bounds: Self.bounds).child(name)
    }
    depth = gauge("workqueue_depth", "Keys that wait.")
    adds = counter("workqueue_adds_total", "Keys added.")
    retries = counter("workqueue_retries_total", "Keys tried again.")
    refused = counter("weft_workqueue_refused_total", "Keys refused because the queue was full.")
    queueDuration = histogram("workqueue_queue_duration_seconds", "Time a key waits.")
    workDuration = histogram("workqueue_work_duration_seconds", "Time a key is worked on.")
    unfinished = gauge(
      "workqueue_unfinished_work_seconds",
      "Time that keys now worked on have taken so far; growing means that workers hang.")
    longestRunning = gauge(
      "workqueue_longest_running_processor_seconds", "Time that the key worked on for longest has taken.")
  }

  /// Sets the gauges from when each key's work began.
  func observe(_ began: some Collection<ContinuousClock.Instant>, now: ContinuousClock.Instant) {
    let seconds = began.map { max(0, (now - $0) / .seconds(1)) }
    unfinished.set(seconds.reduce(0, +))
    longestRunning.set(seconds.max() ?? 0)
  }
}
