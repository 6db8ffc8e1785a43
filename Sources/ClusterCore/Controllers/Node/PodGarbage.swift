// Pods that nobody else removes: of nodes that are gone, of nodes that are out of service, finished ones beyond a number, and
// deleted ones that never had a node.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

/// Why a pod is removed, as the metric says it.
enum PodGarbage: String, Sendable {
  case orphaned
  case outOfService = "out-of-service"
  case terminated
  case unscheduled
}

/// The pods to remove, but for those of nodes that are gone. Pure.
/// - Parameter isOutOfService: whether a node is not ready and has the taint node.kubernetes.io/out-of-service.
func planPodGarbage(
  _ pods: [JSON], terminatedMax: Int, isOutOfService: (String) -> Bool
) -> [(pod: JSON, reason: PodGarbage)] {
  var found: [(pod: JSON, reason: PodGarbage)] = []
  var finished: [JSON] = []
  for pod in pods {
    let node = pod.at("spec", "nodeName")?.string ?? ""
    if pod.isTerminating, node.isEmpty {
      found.append((pod, .unscheduled))
    } else if pod.isTerminating, isOutOfService(node) {
      found.append((pod, .outOfService))
    } else if !pod.isTerminating, PodState.isFinished(pod) {
      finished.append(pod)
    }
  }
  if terminatedMax > 0, finished.count > terminatedMax {
    // Evicted ones first, then the oldest.
    let ranked = finished.sorted { a, b in
      let (first, second) = (a.isEvicted, b.isEvicted)
      if first != second { return first }
      return (a.creationTimestamp, a.key) < (b.creationTimestamp, b.key)
    }
    found += ranked.prefix(finished.count - terminatedMax).map { ($0, .terminated) }
  }
  return found
}

func podGarbageCollector(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("pod_garbage_collector")
  let nodes = context.informers.informer(.nodes)
  let pods = context.informers.informer(.pods)
  let delay = context.settings.podGarbageDelay
  let labels = ["namespace", "reason"]
  let deletions = context.metrics.counter(
    "pod_gc_collector_force_delete_pods_total", "Pods removed that nobody else removed.", labels: labels)
  let failures = context.metrics.counter(
    "pod_gc_collector_force_delete_pod_errors_total", "Removals that failed.", labels: labels)
  let registrations = [
    nodes.onChange { changes in
      for change in changes where change.isDeletion { queue.add(change.key.name, after: delay) }
    },
    pods.onChange { changes in
      for change in changes where change.old?.at("spec", "nodeName") != change.new?.at("spec", "nodeName") {
        guard let node = change.new?.at("spec", "nodeName")?.string, nodes["", node] == nil else { continue }
        queue.add(node, after: delay)
      }
    },
  ]
  @Sendable func remove(_ pod: JSON, _ reason: PodGarbage) async throws {
    do {
      switch reason {
      case .orphaned:
        try await context.disrupt(
          pod, reason: "DeletionByPodGC", message: "PodGC: node no longer exists", phase: "Failed")
      case .outOfService:
        try await context.disrupt(
          pod, reason: "DeletionByPodGC", message: "PodGC: node is out of service", phase: "Failed")
      case .terminated, .unscheduled: break
      }
      try await context.api.deleteIfPresent(
        .pods, pod.key, options: DeleteOptions(gracePeriodSeconds: 0, uid: pod.uid))
      deletions.child(pod.namespace, reason.rawValue).increment()
    } catch {
      failures.child(pod.namespace, reason.rawValue).increment()
      throw error
    }
  }
  // The empty name stands for everything but nodes that are gone.
  queue.add("")
  return Controller(
    "pod_garbage_collector", context, queue: queue, registrations: registrations, workers: 1,
    resync: { queue.add("") }
  ) { name in
    if name.isEmpty {
      let garbage = planPodGarbage(
        pods.snapshot.values, terminatedMax: context.settings.terminatedPodsMax,
        isOutOfService: { nodes["", $0]?.isOutOfService ?? false })
      for (pod, reason) in garbage {
        // One that cannot be removed must not keep the others.
        do { try await remove(pod, reason) } catch {
          context.logger.warning("pod not removed", metadata: ["pod": "\(pod.key)", "error": "\(error)"])
        }
      }
      return context.settings.podGarbagePeriod
    }
    guard nodes["", name] == nil else { return nil }
    // Before pods are deleted the API itself is asked.
    do {
      _ = try await context.api.get(.nodes, namespace: "", name: name)
      return nil
    } catch let error as APIStatusError where error.isNotFound {}
    for pod in pods.objects(.node, name) { try await remove(pod, .orphaned) }
    return nil
  }
}

extension JSON {
  fileprivate var isEvicted: Bool {
    at("status", "phase")?.string == "Failed" && at("status", "reason")?.string == "Evicted"
  }

  fileprivate var isOutOfService: Bool {
    !isConditionTrue("Ready")
      && (at("spec", "taints")?.elements ?? []).contains { $0["key"]?.string == NodeTaints.outOfService }
  }
}
