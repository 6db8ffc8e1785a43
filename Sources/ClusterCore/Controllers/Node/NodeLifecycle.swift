// A node that stops renewing its Lease is not ready: its conditions turn Unknown, it is tainted, and its
// pods stop being endpoints. Pods of a node that no longer exists are deleted.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

private let unreachable = "node.kubernetes.io/unreachable"
private let notReady = "node.kubernetes.io/not-ready"

/// The node with the conditions and taints that its heartbeat deserves; equal to the input when they are
/// right.
func planNodeHealth(_ node: JSON, lease: JSON?, now: Int64, grace: Int64) -> JSON {
  var node = node
  let renewed =
    lease?.at("spec", "renewTime")?.string.flatMap { Timestamp.parse($0)?.seconds }
    ?? node.condition("Ready")?["lastHeartbeatTime"]?.string.flatMap { Timestamp.parse($0)?.seconds }
    ?? Timestamp.parse(node.creationTimestamp)?.seconds ?? now
  let isStale = now - renewed > grace
  if isStale {
    for type in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
    where type == "Ready" || node.condition(type) != nil {
      node.setCondition(
        type, "Unknown", reason: "NodeStatusUnknown", message: "Kubelet stopped posting node status.",
        now: Timestamp.text(seconds: now))
    }
  }
  let ready = node.condition("Ready")?["status"]?.string
  let taint = isStale || ready == "Unknown" ? unreachable : ready == "False" ? notReady : nil
  var taints = (node.at("spec", "taints")?.elements ?? []).filter {
    let key = $0["key"]?.string
    return key == taint || (key != unreachable && key != notReady)
  }
  if let taint {
    for effect in ["NoSchedule", "NoExecute"]
    where !taints.contains(where: { $0["key"]?.string == taint && $0["effect"]?.string == effect }) {
      taints.append([
        "key": JSON(taint), "effect": JSON(effect), "timeAdded": JSON(Timestamp.text(seconds: now)),
      ])
    }
  }
  if taints != node.at("spec", "taints")?.elements ?? [] {
    node.set(taints.isEmpty ? nil : .array(taints), at: "spec", "taints")
  }
  return node
}

func nodeLifecycleController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("node_lifecycle_controller")
  let nodes = context.informers.informer(.nodes)
  let pods = context.informers.informer(.pods)
  let leases = context.informers.informer(.leases, namespace: "kube-node-lease")
  let registration = nodes.onChange { changes in
    for change in changes where !change.isDeletion { queue.add(change.key.name) }
  }
  return Controller(
    "node_lifecycle_controller", context, queue: queue, registrations: [registration], workers: 1,
    resync: { for key in nodes.snapshot.keys { queue.add(key.name) } }
  ) { name in
    guard let node = nodes["", name] else { return nil }
    let planned = planNodeHealth(
      node, lease: leases["kube-node-lease", name], now: Timestamp.now().seconds,
      grace: context.settings.nodeMonitorGracePeriod.components.seconds)
    var current = node
    if planned.status != node.status {
      var changed = current
      changed["status"] = planned.status
      current = try await context.api.update(.nodes, changed, subresource: "status", options: context.options)
      context.events.record(
        node, "Normal", "NodeNotReady", "Node \(name) status is now: NodeNotReady", from: "node-controller")
      context.logger.warning("node stopped renewing its lease", metadata: ["node": "\(name)"])
    }
    if planned.spec != node.spec {
      var changed = current
      changed["spec"] = planned.spec
      _ = try await context.api.update(.nodes, changed, subresource: nil, options: context.options)
    }
    if planned.condition("Ready")?["status"]?.string == "Unknown" {
      for pod in pods.objects(.node, name) where PodState.isReady(pod) {
        var changed = pod
        changed.setCondition(
          "Ready", "False", reason: "NodeNotReady", message: "node \(name) does not answer")
        _ = try await context.api.update(.pods, changed, subresource: "status", options: context.options)
      }
    }
    return context.settings.nodeMonitorPeriod
  }
}

func podGarbageCollector(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("pod_garbage_collector")
  let nodes = context.informers.informer(.nodes)
  let pods = context.informers.informer(.pods)
  let delay = context.settings.podGarbageDelay
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
  return Controller(
    "pod_garbage_collector", context, queue: queue, registrations: registrations, workers: 1
  ) { name in
    guard nodes["", name] == nil, !name.isEmpty else { return nil }
    // Before pods are deleted the API itself is asked.
    do {
      _ = try await context.api.get(.nodes, namespace: "", name: name)
      return nil
    } catch let error as APIStatusError where error.isNotFound {}
    for pod in pods.objects(.node, name) {
      try await context.api.deleteIfPresent(
        .pods, pod.key, options: DeleteOptions(gracePeriodSeconds: 0, uid: pod.uid))
    }
    return nil
  }
}
