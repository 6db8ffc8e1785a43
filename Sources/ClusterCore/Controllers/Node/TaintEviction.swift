// Pods leave a node with a NoExecute taint that they do not tolerate: at once, or when `tolerationSeconds` are over.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// Since when each taint is on its node, by the steady clock. Bounded by the taints of the nodes there are.
struct TaintTimes: Sendable {
  private var since: [String: [JSON: Int64]] = [:]

  /// Takes a node's NoExecute taints in; those that were there keep their time.
  mutating func observe(_ node: String, _ taints: [JSON], clock: ControllerClock.Reading) {
    let before = since[node] ?? [:]
    var now: [JSON: Int64] = [:]
    for taint in taints {
      let added = taint["timeAdded"]?.string.flatMap { Timestamp.parse($0)?.seconds }
      // A time in the future is no time that has passed.
      let age = added.map { max(clock.wall - $0, 0) } ?? 0
      now[taint] = before[taint] ?? clock.steady - age
    }
    since[node] = now.isEmpty ? nil : now
  }

  mutating func forget(_ node: String) { since[node] = nil }

  func time(_ node: String, _ taint: JSON) -> Int64? { since[node]?[taint] }
}

/// When a pod must go because of these taints, by the clock that `since` speaks of; nil: it may stay. Pure.
/// - Parameters:
///   - since: since when the taint is there.
///   - bound: since when the pod is.
func planTaintEviction(_ pod: JSON, taints: [JSON], bound: Int64, since: (JSON) -> Int64) -> Int64? {
  var due: Int64?
  for taint in taints {
    let begin = max(since(taint), bound)
    guard let toleration = Tolerations.first(pod, for: taint) else { return min(begin, due ?? begin) }
    guard let seconds = toleration["tolerationSeconds"]?.int else { continue }
    let end = begin + Int64(max(seconds, 0))
    due = min(due ?? end, end)
  }
  return due
}

func taintEvictionController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("noexec_taint_pod")
  let nodes = context.informers.informer(.nodes)
  let pods = context.informers.informer(.pods)
  let clock = context.settings.clock
  let times = Mutex(TaintTimes())
  /// Pods that are to go later.
  let scheduled = Mutex(Set<ObjectKey>())
  let waiting = context.metrics.gauge(
    "weft_taint_eviction_waiting_pods", "Pods that go when their tolerationSeconds are over."
  ).child()
  /// Returns whether the pod was to go later.
  @Sendable func schedule(_ key: ObjectKey, _ isLater: Bool) -> Bool {
    scheduled.withLock { scheduled in
      let before = isLater ? !scheduled.insert(key).inserted : scheduled.remove(key) != nil
      waiting.set(Double(scheduled.count))
      return before
    }
  }
  let deletions = context.metrics.counter(
    "taint_eviction_controller_pod_deletions_total", "Pods deleted for a taint."
  ).child()
  let duration = context.metrics.histogram(
    "taint_eviction_controller_pod_deletion_duration_seconds",
    "Seconds from when a pod was to go to its deletion.",
    bounds: [0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 30, 60, 120, 180, 240]
  ).child()
  let registrations = [
    nodes.onChange { changes in
      for change in changes {
        let name = change.key.name
        guard let node = change.new else {
          times.withLock { $0.forget(name) }
          continue
        }
        let taints = node.noExecuteTaints
        times.withLock { $0.observe(name, taints, clock: clock.read()) }
        if taints != change.old?.noExecuteTaints ?? [] {
          for pod in pods.objects(.node, name) { queue.add(pod.key) }
        }
      }
    },
    pods.onChange { changes in
      for change in changes {
        guard let pod = change.new else {
          _ = schedule(change.key, false)
          continue
        }
        let isNews =
          change.old?.at("spec", "nodeName") != pod.at("spec", "nodeName")
          || change.old?.at("spec", "tolerations") != pod.at("spec", "tolerations")
          || change.old?.uid != pod.uid
        if isNews { queue.add(change.key) }
      }
    },
  ]
  return Controller("taint_eviction_controller", context, queue: queue, registrations: registrations) { key in
    guard let pod = pods[key], let name = pod.at("spec", "nodeName")?.string, !name.isEmpty,
      let node = nodes["", name], !pod.isTerminating
    else { return nil }
    let now = clock.read()
    let taints = node.noExecuteTaints
    let bound = pod.boundAt.map { now.steady - max(now.wall - $0, 0) } ?? .min
    let due = times.withLock { times in
      times.observe(name, taints, clock: now)
      return planTaintEviction(pod, taints: taints, bound: bound) { times.time(name, $0) ?? now.steady }
    }
    guard let due else {
      if schedule(key, false) {
        context.events.record(
          pod, "Normal", "TaintManagerEviction", "Cancelling deletion of Pod \(key)",
          from: "taint-eviction-controller")
      }
      return nil
    }
    if due > now.steady {
      _ = schedule(key, true)
      return .seconds(due - now.steady)
    }
    context.events.record(
      pod, "Normal", "TaintManagerEviction", "Marking for deletion Pod \(key)",
      from: "taint-eviction-controller")
    try await context.disrupt(
      pod, reason: "DeletionByTaintManager", message: "Taint manager: deleting due to NoExecute taint")
    try await context.api.deleteIfPresent(.pods, key, options: DeleteOptions(uid: pod.uid))
    _ = schedule(key, false)
    deletions.increment()
    duration.observe(Double(now.steady - due))
    return nil
  }
}

extension ControllerContext {
  /// Writes into a pod's status why it goes. A pod that is gone already is no error.
  /// - Parameter phase: the phase that it ends in, unless it has ended.
  func disrupt(_ pod: JSON, reason: String, message: String, phase: String? = nil) async throws {
    var changed = pod
    changed.setCondition("DisruptionTarget", "True", reason: reason, message: message)
    var status: JSON = ["conditions": changed.at("status", "conditions") ?? []]
    if let phase, !PodState.isFinished(pod) { status["phase"] = JSON(phase) }
    if changed.status == pod.status, status["phase"] == nil { return }
    // The whole list of conditions is written: only over the one it was made from.
    let patch: JSON = [
      "metadata": ["uid": JSON(pod.uid), "resourceVersion": JSON(pod.resourceVersion)], "status": status,
    ]
    do {
      _ = try await api.patch(
        .pods, namespace: pod.namespace, name: pod.name, patch: .merge(patch), subresource: "status",
        options: options)
    } catch let error as APIStatusError where error.isNotFound {
      return
    }
  }
}

extension JSON {
  var noExecuteTaints: [JSON] {
    (at("spec", "taints")?.elements ?? []).filter { $0["effect"]?.string == "NoExecute" }
  }

  /// When a pod was given its node, in seconds since 1970.
  var boundAt: Int64? {
    let time = condition("PodScheduled")?["lastTransitionTime"]?.string ?? creationTimestamp
    return Timestamp.parse(time)?.seconds
  }
}
