// How many pods a metric asks for. Pure: pods, measures and a target in, a number out. The rules are those of
// kube-controller-manager's replica calculator, on which people have tuned their clusters:
//
//   ratio = measured / wanted;  within the tolerance nothing changes;  otherwise ceil(ratio x pods that count)
//
// Pods without a measure are taken as using all of their request when that makes fewer, and nothing when that makes
// more; pods that are not ready are taken as using nothing when that makes more, and are not counted otherwise.

import ClusterClient
import ClusterObjects

/// Why no number could be computed, in upstream's words.
struct MetricError: Error, Sendable, Hashable, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// One pod's measure, in thousandths.
struct PodMetric: Sendable, Hashable {
  var value: Int64
  /// Seconds since 1970: the end of what was measured.
  var time: Int64 = 0
  /// Its length in seconds.
  var window: Int64 = 0
}

/// How far off a measure may be before anything is done.
struct Tolerances: Sendable, Hashable {
  static let standard = 0.1
  var down = Tolerances.standard
  var up = Tolerances.standard
  func allow(_ ratio: Double) -> Bool { 1 - down <= ratio && ratio <= 1 + up }
}

/// What one metric asks for, and what was measured.
struct ReplicaProposal: Sendable, Hashable {
  var replicas: Int
  /// Percent of what is requested; resources alone have it.
  var utilization: Int?
  /// In thousandths: of one pod on average, or of the object.
  var usage: Int64
}

struct ReplicaCalculator: Sendable {
  /// Those that the scale's selector selects.
  var pods: [JSON]
  /// Seconds since 1970.
  var now: Int64
  var tolerances = Tolerances()
  /// A pod's processor use counts only after this, while it has not been ready throughout.
  var initializationSeconds: Int64 = 300
  /// A pod that became unready this soon after its start has never been ready.
  var readinessDelaySeconds: Int64 = 30

  // MARK: Resources

  /// For a target in percent of what the pods request. `container` nil means all of a pod's.
  func utilization(
    current: Int, target: Int, resource: String, container: String?, metrics: [String: PodMetric]
  ) throws(MetricError) -> ReplicaProposal {
    if pods.isEmpty {
      throw MetricError("No pods returned by selector while calculating replica count")
    }
    var groups = PodGroups(self, resource: resource, metrics)
    guard !groups.metrics.isEmpty else { throw PodGroups.nothing }
    let requests = try requests(resource, container)
    func measure(_ metrics: [String: PodMetric]) throws(MetricError) -> (Double, Int, Int64) {
      var (used, asked, count): (Int64, Int64, Int64) = (0, 0, 0)
      for (name, metric) in metrics {
        guard let request = requests[name] else { continue }
        used = used.addingSaturated(metric.value)
        asked = asked.addingSaturated(request)
        count += 1
      }
      guard asked > 0 else { throw MetricError("no metrics returned matched known pods") }
      let percent = Int(clamping: used.multipliedSaturated(100) / asked)
      return (Double(percent) / Double(max(target, 1)), percent, used / max(count, 1))
    }
    let (ratio, percent, average) = try measure(groups.metrics)
    let fallback = Int64(max(100, target))
    let replicas = try groups.replicas(current: current, ratio: ratio, tolerances) {
      (name) in
      (requests[name] ?? 0).multipliedSaturated(fallback) / 100
    } again: { metrics throws(MetricError) in
      try measure(metrics).0
    }
    return ReplicaProposal(replicas: replicas, utilization: percent, usage: average)
  }

  /// For a target that each pod should have on average, in thousandths. `resource` is empty for metrics of pods that
  /// are no resource.
  func averageUsage(
    current: Int, target: Int64, resource: String, metrics: [String: PodMetric]
  ) throws(MetricError) -> ReplicaProposal {
    if pods.isEmpty {
      throw MetricError("no pods returned by selector while calculating replica count")
    }
    var groups = PodGroups(self, resource: resource, metrics)
    func measure(_ metrics: [String: PodMetric]) throws(MetricError) -> (Double, Int64) {
      let total = metrics.values.reduce(Int64(0)) { $0.addingSaturated($1.value) }
      let average = total / Int64(max(metrics.count, 1))
      return (Double(average) / Double(max(target, 1)), average)
    }
    guard !groups.metrics.isEmpty else { throw PodGroups.nothing }
    let (ratio, average) = try measure(groups.metrics)
    let replicas = try groups.replicas(current: current, ratio: ratio, tolerances) { _ in
      target
    } again: { metrics throws(MetricError) in
      try measure(metrics).0
    }
    return ReplicaProposal(replicas: replicas, usage: average)
  }

  /// What each pod requests, in thousandths.
  private func requests(_ resource: String, _ container: String?) throws(MetricError) -> [String: Int64] {
    var requests: [String: Int64] = [:]
    for pod in pods {
      if container == nil, let whole = Quantity(pod.at("spec", "resources", "requests", resource)) {
        requests[pod.name] = whole.milliValue
        continue
      }
      // Init containers that go on running are counted as others are.
      let lasting =
        pod.spec["initContainers"]?.elements.filter { $0["restartPolicy"]?.string == "Always" } ?? []
      var sum: Int64 = 0
      for entry in (pod.spec["containers"]?.elements ?? []) + lasting {
        let name = entry["name"]?.string ?? ""
        if let container, name != container { continue }
        guard let asked = Quantity(entry.at("resources", "requests", resource)) else {
          throw MetricError("missing request for \(resource) in container \(name) of Pod \(pod.name)")
        }
        sum = sum.addingSaturated(asked.milliValue)
      }
      requests[pod.name] = sum
    }
    return requests
  }

  // MARK: Numbers that pods do not have

  /// For one number of an object or from outside: as many times more pods as it is too large.
  func value(current: Int, usage: Int64, target: Int64) throws(MetricError) -> ReplicaProposal {
    let ratio = Double(usage) / Double(max(target, 1))
    if current == 0 { return ReplicaProposal(replicas: ceiling(ratio), usage: usage) }
    if tolerances.allow(ratio) { return ReplicaProposal(replicas: current, usage: usage) }
    if pods.isEmpty {
      throw MetricError("no pods returned by selector while calculating replica count")
    }
    let ready = pods.count { $0.at("status", "phase")?.string == "Running" && $0.isConditionTrue("Ready") }
    return ReplicaProposal(replicas: ceiling(ratio * Double(ready)), usage: usage)
  }

  /// For a number that is shared by all pods: as many as make each one's share the target.
  func share(status: Int, usage: Int64, target: Int64) -> ReplicaProposal {
    let ratio = Double(usage) / (Double(max(target, 1)) * Double(status))
    let replicas = tolerances.allow(ratio) ? status : ceiling(Double(usage) / Double(max(target, 1)))
    let each = status <= 0 ? 0 : usage / Int64(status) + (usage % Int64(status) > 0 ? 1 : 0)
    return ReplicaProposal(replicas: replicas, usage: each)
  }
}

/// Rounded up; what no cluster has is capped.
func ceiling(_ number: Double) -> Int {
  number.isNaN ? 0 : Int(min(max(number.rounded(.up), 0), Double(Int32.max)))
}

extension Int64 {
  fileprivate func addingSaturated(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? (other < 0 ? .min : .max) : sum
  }
  fileprivate func multipliedSaturated(_ other: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
