// Which pods' measures count: those that are ready, those that are not yet, and those of which nothing is known.

import ClusterClient
import ClusterObjects

struct PodGroups {
  static let nothing = MetricError(
    "did not receive metrics for targeted pods (pods might be unready)")

  /// Measures of the pods that count.
  private(set) var metrics: [String: PodMetric]
  private(set) var readyCount = 0
  private(set) var unready: [String] = []
  private(set) var missing: [String] = []

  init(_ calculator: ReplicaCalculator, resource: String, _ measured: [String: PodMetric]) {
    metrics = measured
    for pod in calculator.pods {
      let phase = pod.at("status", "phase")?.string
      if pod.isTerminating || phase == "Failed" {
        metrics[pod.name] = nil
      } else if phase == "Pending" {
        unready.append(pod.name)
        metrics[pod.name] = nil
      } else if let metric = measured[pod.name] {
        if resource == "cpu", calculator.isTooYoung(pod, metric) {
          unready.append(pod.name)
          metrics[pod.name] = nil
        } else {
          readyCount += 1
        }
      } else {
        missing.append(pod.name)
      }
    }
  }

  /// The number of pods, given the ratio of those that count. `fallback` is what a pod without a measure is taken to use
  /// when fewer pods would do; `again` computes the ratio with those included.
  mutating func replicas(
    current: Int, ratio: Double, _ tolerances: Tolerances, fallback: (String) -> Int64,
    again: ([String: PodMetric]) throws(MetricError) -> Double
  ) throws(MetricError) -> Int {
    let countsUnready = !unready.isEmpty && ratio > 1
    if !countsUnready, missing.isEmpty {
      return tolerances.allow(ratio) ? current : ceiling(ratio * Double(readyCount))
    }
    for name in missing where ratio != 1 {
      metrics[name] = PodMetric(value: ratio < 1 ? fallback(name) : 0)
    }
    if countsUnready { for name in unready { metrics[name] = PodMetric(value: 0) } }
    let second = try again(metrics)
    // What was assumed must not turn the direction.
    if tolerances.allow(second) || (ratio < 1 && second > 1) || (ratio > 1 && second < 1) { return current }
    let replicas = ceiling(second * Double(metrics.count))
    if (second < 1 && replicas > current) || (second > 1 && replicas < current) { return current }
    return replicas
  }
}

extension ReplicaCalculator {
  /// Whether a pod's processor use says more of its start than of its work.
  func isTooYoung(_ pod: JSON, _ metric: PodMetric) -> Bool {
    guard let ready = pod.condition("Ready"), let start = pod.time("status", "startTime") else { return true }
    let isUnready = ready["status"]?.string == "False"
    let since = ready.time("lastTransitionTime") ?? start
    if start + initializationSeconds > now {
      return isUnready || metric.time < since + metric.window
    }
    return isUnready && start + readinessDelaySeconds > since
  }
}
