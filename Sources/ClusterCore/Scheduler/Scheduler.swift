// Binds pods to nodes.
//
//   pod without node -> queue -> plan (filter, score) -> assume -> POST pods/NAME/binding
//                         ^            | no node fits
//                         +-- backoff -+-- unschedulable <- a node or a pod's end may have made room

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// How the scheduler behaves.
public struct SchedulerSettings: Sendable {
  /// Pods that name another scheduler are left to it.
  public var schedulerName = "default-scheduler"
  public var plugins = SchedulerPlugins.standard
  /// Bindings on their way at the same time. Decisions are made one after the other.
  public var bindingsMax = 16
  /// Waits before an unschedulable pod is looked at again because something changed.
  public var retry = RetryPolicy(initial: .milliseconds(100), maximum: .seconds(10))
  /// An unschedulable pod is looked at again after this long even if nothing changed.
  public var flushPeriod: Duration = .seconds(60)
  public init() {}
}

/// Starts scheduling; returns at once.
public func startScheduler(
  api: any ClusterAPI, informers: SharedInformers, settings: SchedulerSettings = .init(),
  metrics: Metrics = .shared
) -> SchedulerHandle {
  SchedulerHandle(Scheduler(api: api, informers: informers, settings: settings, metrics: metrics), informers)
}

/// A running scheduler.
public final class SchedulerHandle: Sendable {
  private let scheduler: Scheduler
  private let task: Task<Void, Never>

  init(_ scheduler: Scheduler, _ informers: SharedInformers) {
    self.scheduler = scheduler
    task = Task.detached {
      do { try await informers.waitForSync(timeout: .seconds(3600)) } catch { return }
      await scheduler.run()
    }
  }

  /// Lets bindings on their way come to their end and stops.
  public func stop() async {
    scheduler.queue.shutDown()
    task.cancel()
    await task.value
    await scheduler.events.stop()
  }
}

final class Scheduler: Sendable {
  let queue: WorkQueue<ObjectKey>
  let events: EventRecorder
  private let api: any ClusterAPI
  private let pods: Informer
  private let settings: SchedulerSettings
  private let cache: NodeCache
  private let metrics: SchedulerMetrics
  private let logger = Logger(label: "scheduler")
  /// Pods that fitted nowhere, with the failures so far and the time of the last.
  private let unschedulable = Mutex<[ObjectKey: (failures: Int, since: ContinuousClock.Instant)]>([:])
  private let registrations = Mutex<[InformerRegistration]>([])

  init(api: any ClusterAPI, informers: SharedInformers, settings: SchedulerSettings, metrics: Metrics) {
    self.api = api
    self.settings = settings
    pods = informers.informer(.pods)
    let nodes = informers.informer(.nodes)
    cache = NodeCache(nodes: nodes, pods: pods)
    queue = WorkQueue(name: "scheduler", retry: settings.retry, metrics: metrics)
    events = EventRecorder(api: api, component: settings.schedulerName, metrics: metrics)
    self.metrics = SchedulerMetrics(metrics, profile: settings.schedulerName)
    let onNodes = nodes.onChange { [weak self] changes in self?.nodesChanged(changes) }
    let onPods = pods.onChange { [weak self] changes in self?.podsChanged(changes) }
    registrations.withLock { $0 = [onNodes, onPods] }
    metrics.onCollect { [weak self] in self?.collect() }
  }

  func run() async {
    await queue.runWorkers(
      settings.bindingsMax, logger: logger, resync: { [weak self] in self?.resync() }
    ) { [weak self] key in try await self?.schedule(key) ?? nil }
  }

  // MARK: What changed

  private func nodesChanged(_ changes: [ObjectChange]) {
    cache.touch(changes.map(\.key.name))
    // A heartbeat makes no room; a new node, a label, a taint or more capacity may.
    let mayHelp = changes.contains { change in
      guard let old = change.old, let new = change.new else { return change.new != nil }
      return old.spec != new.spec || old.labels != new.labels
        || old.at("status", "allocatable") != new.at("status", "allocatable")
    }
    if mayHelp { requeueUnschedulable() }
  }

  private func podsChanged(_ changes: [ObjectChange]) {
    var hasRoom = false
    for change in changes {
      let before = change.old?.at("spec", "nodeName")?.string ?? ""
      let after = change.new?.at("spec", "nodeName")?.string ?? ""
      cache.touch([before, after].filter { !$0.isEmpty })
      if change.isDeletion || !after.isEmpty { cache.confirm(change.key) }
      if change.isDeletion || PodPhase.isFinished(change.object) {
        unschedulable.withLock { $0[change.key] = nil }
        if !before.isEmpty { hasRoom = true }
      } else if isOurs(change.object), change.old == nil || change.old?.spec != change.new?.spec {
        queue.add(change.key)
      }
    }
    if hasRoom { requeueUnschedulable() }
  }

  private func isOurs(_ pod: JSON) -> Bool {
    let name = pod.at("spec", "schedulerName")?.string ?? ""
    return (pod.at("spec", "nodeName")?.string ?? "").isEmpty && !pod.isTerminating
      && (name.isEmpty || name == settings.schedulerName)
      && (pod.at("spec", "schedulingGates")?.elements ?? []).isEmpty && !PodPhase.isFinished(pod)
  }

  private func requeueUnschedulable() {
    let now = ContinuousClock.now
    for (key, entry) in unschedulable.withLock({ $0 }) {
      queue.add(key, after: entry.since + settings.retry.delay(after: entry.failures - 1) - now)
    }
  }

  private func resync() { for pod in pods.snapshot.values where isOurs(pod) { queue.add(pod.key) } }

  private func collect() {
    metrics.active.set(Double(queue.count))
    metrics.unschedulable.set(Double(unschedulable.withLock { $0.count }))
  }

  // MARK: One pod

  private func schedule(_ key: ObjectKey) async throws -> Duration? {
    guard let pod = pods[key], isOurs(pod), !cache.isAssumed(key) else { return nil }
    let began = ContinuousClock.now
    var decision = Decision.none("")
    let chosen = cache.place(pod) { nodes in
      decision = planScheduling(pod, nodes: nodes, plugins: settings.plugins)
      if case .node(let name) = decision { return name }
      return nil
    }
    guard let chosen else {
      guard case .none(let message) = decision else { return nil }
      metrics.unschedulableAttempts.increment()
      unschedulable.withLock { $0[key] = (($0[key]?.failures ?? 0) + 1, .now) }
      try await report(pod, message)
      return settings.flushPeriod
    }
    do {
      _ = try await api.createSubresource(
        .pods, namespace: key.namespace, name: key.name, subresource: "binding", binding(pod, to: chosen))
    } catch {
      cache.confirm(key)
      metrics.errorAttempts.increment()
      if let refusal = error as? APIStatusError, refusal.isNotFound || refusal.isConflict { return nil }
      throw error
    }
    unschedulable.withLock { $0[key] = nil }
    metrics.scheduledAttempts.increment()
    metrics.attemptDuration.observe(ContinuousClock.now - began)
    events.record(pod, "Normal", "Scheduled", "Successfully assigned \(key) to \(chosen)")
    logger.debug("pod bound", metadata: ["pod": "\(key)", "node": "\(chosen)"])
    // Should the informer never show the binding (it failed silently), the pod is looked at again.
    return nil
  }

  private func binding(_ pod: JSON, to node: String) -> JSON {
    [
      "apiVersion": "v1", "kind": "Binding",
      "metadata": ["namespace": JSON(pod.namespace), "name": JSON(pod.name), "uid": JSON(pod.uid)],
      "target": ["apiVersion": "v1", "kind": "Node", "name": JSON(node)],
    ]
  }

  private func report(_ pod: JSON, _ message: String) async throws {
    events.record(pod, "Warning", "FailedScheduling", message)
    var changed = pod
    guard changed.setCondition("PodScheduled", "False", reason: "Unschedulable", message: message) else {
      return
    }
    do {
      _ = try await api.update(
        .pods, changed, subresource: "status", options: WriteOptions(fieldManager: settings.schedulerName))
    } catch let error as APIStatusError where error.isNotFound || error.isConflict {
      // Whoever changed the pod made it come back here.
    }
  }
}

enum PodPhase {
  static func isFinished(_ pod: JSON) -> Bool {
    ["Succeeded", "Failed"].contains(pod.at("status", "phase")?.string ?? "")
  }
}

/// Upstream's names.
struct SchedulerMetrics: Sendable {
  let scheduledAttempts: Counter
  let unschedulableAttempts: Counter
  let errorAttempts: Counter
  let attemptDuration: Histogram
  let active: Gauge
  let unschedulable: Gauge

  init(_ metrics: Metrics, profile: String) {
    let attempts = metrics.counter(
      "scheduler_schedule_attempts_total", "Attempts to schedule pods.", labels: ["result", "profile"])
    scheduledAttempts = attempts.child("scheduled", profile)
    unschedulableAttempts = attempts.child("unschedulable", profile)
    errorAttempts = attempts.child("error", profile)
    attemptDuration = metrics.histogram(
      "scheduler_scheduling_attempt_duration_seconds", "Time from decision to binding.",
      labels: ["result", "profile"]
    ).child("scheduled", profile)
    let pending = metrics.gauge("scheduler_pending_pods", "Pods that wait for a node.", labels: ["queue"])
    active = pending.child("active")
    unschedulable = pending.child("unschedulable")
  }
}
