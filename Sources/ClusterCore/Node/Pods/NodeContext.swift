// What every pod worker of a node shares.

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// The node's services, handed to workers. Immutable; what it holds is safe from anywhere.
struct NodeContext: Sendable {
  let settings: NodeSettings
  let cri: CRIClient
  let images: ImageStore
  let starts: Gate
  /// Keeps the CNI's GC and its ADD apart, as the specification asks of a runtime: an ADD under way has no sandbox yet that GC
  /// could know it by.
  let network: Gate
  let objects: any PodObjects
  /// Of the objects in pods' volumes.
  let watches: ObjectWatches
  /// Nil where no program knows logins.
  let credentials: CredentialProviders?
  /// Nil where no device plugin is listened to.
  let devices: DeviceManager?
  let sink: any PodStatusSink
  let record: EventRecorder
  let metrics: NodeMetrics
  let log = Logger(label: "node")
  /// The node's own amounts in thousandths: `cpu`, `memory`.
  let capacity: [String: Int64]
  /// What pods may ask for together, in thousandths.
  var allocatable: [String: Int64] = [:]

  var memoryCapacity: Int64 { (capacity["memory"] ?? 0) / 1000 }
}

/// Upstream's names, so that dashboards work unchanged.
struct NodeMetrics: Sendable {
  let podStart: Histogram
  let runningPods: Gauge
  let restarts: MetricFamily<Counter>
  let probes: MetricFamily<Counter>
  let relist: Histogram

  /// `probeMetrics` are served apart: they are many.
  init(_ metrics: Metrics, probeMetrics: Metrics) {
    podStart = metrics.histogram(
      "kubelet_pod_start_duration_seconds", "From the agent seeing a pod to all its containers running."
    ).child()
    runningPods = metrics.gauge("kubelet_running_pods", "Pods that have a worker.").child()
    restarts = metrics.counter(
      "kubelet_restarted_containers_total", "Containers started again.", labels: ["container_type"])
    probes = probeMetrics.counter(
      "prober_probe_total", "Probes by kind, result and container.",
      labels: ["probe_type", "result", "container", "pod", "namespace", "pod_uid"])
    relist = metrics.histogram("kubelet_pleg_relist_duration_seconds", "Listing of sandboxes and containers.")
      .child()
  }
}

/// Nanoseconds of a clock that nobody sets: the time of day when the agent began, and what has passed since. How long something has
/// lasted or has to wait is measured by it; a clock that is set an hour back makes nothing wait an hour.
func steadyNanoseconds() -> Int64 { SteadyTime.begin.wall + SteadyTime.passed }

private enum SteadyTime {
  static let begin = (wall: wallNanoseconds(), instant: ContinuousClock.now)
  static var passed: Int64 {
    let (seconds, attoseconds) = (ContinuousClock.now - begin.instant).components
    return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  }
}

/// The steady moment of something that another program dated by the time of day, and that is over now. What lies in the future by that
/// is taken for now.
func steadyMoment(of wall: Int64, wallNow: Int64 = wallNanoseconds(), steadyNow: Int64 = steadyNanoseconds())
  -> Int64
{
  wall <= 0 ? 0 : steadyNow - max(wallNow - wall, 0)
}

/// Nanoseconds since 1970.
func wallNanoseconds() -> Int64 {
  let (seconds, nanoseconds) = Timestamp.now()
  return seconds * 1_000_000_000 + nanoseconds
}
