// A node that stops renewing its Lease is not ready: its conditions turn Unknown, it is tainted, and its pods stop being
// endpoints. What a NoExecute taint does to pods is the taint eviction controller's.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// What the controller knows beside the objects.
private struct NodeLifecycleState: Sendable {
  var heartbeats = NodeHeartbeats()
  var evictions: ZoneEvictions
  /// Nodes that the log and the events have welcomed.
  var registered: Set<String> = []
}

func nodeLifecycleController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("node_lifecycle_controller")
  let nodes = context.informers.informer(.nodes)
  let pods = context.informers.informer(.pods)
  let leases = context.informers.informer(.leases, namespace: "kube-node-lease")
  let metrics = NodeLifecycleMetrics(context.metrics)
  let state = Mutex(NodeLifecycleState(evictions: ZoneEvictions(context.settings.nodeEviction)))
  let registration = nodes.onChange { changes in
    for change in changes {
      // A heartbeat in the status is looked at in its turn.
      let isNews =
        change.old == nil || change.new == nil || change.old?.spec != change.new?.spec
        || change.old?.conditionStatuses != change.new?.conditionStatuses
      if isNews { queue.add(change.key.name) }
    }
  }
  @Sendable func forget(_ name: String) {
    let (wasKnown, zones) = state.withLock { state in
      state.heartbeats.forget(name)
      state.evictions.forget(name)
      return (state.registered.remove(name) != nil, state.evictions.zones)
    }
    metrics.observe(zones)
    guard wasKnown else { return }
    let gone: JSON = [
      "apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name), "uid": JSON(name)],
    ]
    context.events.record(
      gone, "Normal", "RemovingNode", "Node \(name) event: Removing Node \(name) from Controller",
      from: "node-controller")
  }
  return Controller(
    "node_lifecycle_controller", context, queue: queue, registrations: [registration], workers: 1,
    resync: { for key in nodes.snapshot.keys { queue.add(key.name) } }
  ) { name in
    guard let node = nodes["", name] else {
      forget(name)
      return nil
    }
    let begin = ContinuousClock.now
    let now = context.settings.clock.read()
    let lease = leases["kube-node-lease", name]
    let (sign, isNew) = state.withLock {
      ($0.heartbeats.observe(node, lease: lease, clock: now), $0.registered.insert(name).inserted)
    }
    if isNew {
      context.events.record(
        node, "Normal", "RegisteredNode", "Node \(name) event: Registered Node \(name) in Controller",
        from: "node-controller")
    }
    var current = node
    let planned = planNodeConditions(
      node, sign: sign, clock: now, grace: context.settings.nodeMonitorGracePeriod.components.seconds,
      startupGrace: context.settings.nodeStartupGracePeriod.components.seconds)
    if planned.status != node.status {
      current = try await context.api.update(.nodes, planned, subresource: "status", options: context.options)
      context.logger.warning("node stopped renewing its lease", metadata: ["node": "\(name)"])
    }
    let ready = current.condition("Ready")?["status"]?.string
    let isIll = ready == "False" || ready == "Unknown"
    let (mayEvict, isAllDisrupted, zones) = state.withLock { state in
      state.evictions.observe(current, isIll: isIll)
      let needs = isIll && !current.hasEvictionTaint
      return (
        needs && state.evictions.takeTurn(name, now: Double(now.steady)), state.evictions.isAllDisrupted,
        state.evictions.zones
      )
    }
    metrics.observe(zones)
    var tainted = planNodeTaints(current, clock: now, mayEvict: mayEvict)
    if isAllDisrupted { tainted = tainted.withoutEvictionTaints }
    if tainted.spec != current.spec {
      current = try await context.api.update(.nodes, tainted, subresource: nil, options: context.options)
      if mayEvict { metrics.evictions.child(ZoneEvictions.zone(current)).increment() }
    }
    let turned = isIll && (node.condition("Ready")?["status"]?.string == "True" || sign.readyBefore == "True")
    if turned {
      context.events.record(
        current, "Normal", "NodeNotReady", "Node \(name) status is now: NodeNotReady", from: "node-controller"
      )
    }
    // The agent of a node that answers says itself which pods are ready; of one that does not, we say it.
    if turned || ready == "Unknown" { try await context.markNotReady(pods.objects(.node, name), of: name) }
    metrics.duration.observe(ContinuousClock.now - begin)
    return context.settings.nodeMonitorPeriod
  }
}

extension ControllerContext {
  /// Pods of a node that is not ready are no endpoints.
  fileprivate func markNotReady(_ pods: [JSON], of node: String) async throws {
    for pod in pods where PodState.isReady(pod) {
      var changed = pod
      changed.setCondition("Ready", "False", reason: "NodeNotReady", message: "node \(node) does not answer")
      do {
        _ = try await api.update(.pods, changed, subresource: "status", options: options)
      } catch let error as APIStatusError where error.isNotFound {
        continue
      }
      events.record(pod, "Warning", "NodeNotReady", "Node is not ready", from: "node-controller")
    }
  }
}

extension JSON {
  private static let evictionKeys: Set<String> = [NodeTaints.notReady, NodeTaints.unreachable]

  private var isEvictionTaint: Bool {
    self["effect"]?.string == "NoExecute" && Self.evictionKeys.contains(self["key"]?.string ?? "")
  }

  fileprivate var hasEvictionTaint: Bool {
    (at("spec", "taints")?.elements ?? []).contains(where: \.isEvictionTaint)
  }

  fileprivate var withoutEvictionTaints: JSON {
    guard hasEvictionTaint else { return self }
    var copy = self
    let kept = (at("spec", "taints")?.elements ?? []).filter { !$0.isEvictionTaint }
    copy.set(kept.isEmpty ? nil : .array(kept), at: "spec", "taints")
    return copy
  }

  fileprivate var conditionStatuses: [String] {
    (at("status", "conditions")?.elements ?? []).map {
      "\($0["type"]?.string ?? "")=\($0["status"]?.string ?? "")"
    }
  }
}

/// Upstream's names; labels are the zone.
private struct NodeLifecycleMetrics: Sendable {
  let evictions: MetricFamily<Counter>
  let duration: Histogram
  private let size: MetricFamily<Gauge>
  private let health: MetricFamily<Gauge>
  private let unhealthy: MetricFamily<Gauge>

  init(_ metrics: Metrics) {
    evictions = metrics.counter(
      "node_collector_evictions_total", "Nodes given a NoExecute taint.", labels: ["zone"])
    duration = metrics.histogram(
      "node_collector_update_node_health_duration_seconds", "Time to look at one node."
    ).child()
    size = metrics.gauge("node_collector_zone_size", "Nodes of a zone.", labels: ["zone"])
    health = metrics.gauge(
      "node_collector_zone_health", "Percentage of a zone's nodes that are well.", labels: ["zone"])
    unhealthy = metrics.gauge(
      "node_collector_unhealthy_nodes_in_zone", "Nodes of a zone that are not ready.", labels: ["zone"])
  }

  func observe(_ zones: [String: ZoneEvictions.Zone]) {
    for (name, zone) in zones {
      size.child(name).set(Double(zone.size))
      unhealthy.child(name).set(Double(zone.ill))
      health.child(name).set(100 * Double(zone.size - zone.ill) / Double(max(zone.size, 1)))
    }
  }
}
