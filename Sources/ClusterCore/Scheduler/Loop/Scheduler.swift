// Binds pods to nodes.
//
//   informers -> cache, queue            one loop: pop -> filter -> score -> assume -> reserve -> permit?
//                  ^     ^                             |                          |
//                  |     +---- failed, preemption <----+      many at once: preBind -> bind -> event
//                  +---------- forget <-------------------------------------------+ failed

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// How the scheduler behaves.
public struct SchedulerSettings: Sendable {
  public var configuration = SchedulerConfiguration()
  /// Built-in plugins and those of whoever runs the scheduler.
  public var registry = PluginRegistry.standard
  /// Bindings on their way at the same time. Decisions are made one after the other.
  public var bindingsMax = 100
  public init() {}

  /// Throws what `startScheduler` would: SCH0001 and SCH0003 for arguments and points, SCH0002 for names.
  public func validate() throws(WeftError) {
    for profile in configuration.profiles {
      _ = try registry.build(profile, configuration, PluginContext())
    }
  }
}

/// Starts scheduling; returns at once. Throws SCH0002 when the configuration names plugins that do not exist.
public func startScheduler(
  api: any ClusterAPI, informers: SharedInformers, settings: SchedulerSettings = .init(),
  metrics: Metrics = .shared
) throws(WeftError) -> SchedulerHandle {
  let scheduler = try Scheduler(api: api, informers: informers, settings: settings, metrics: metrics)
  return SchedulerHandle(scheduler, informers)
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
    task.cancel()
    await task.value
    await scheduler.events.stop()
  }
}

final class Scheduler: Sendable {
  static let flushInterval: Duration = .seconds(30)

  let api: any ClusterAPI
  let events: EventRecorder
  let settings: SchedulerSettings
  let objects: ObjectInformers
  let cache = SchedulerCache()
  let queue: Mutex<SchedulingQueue>
  let profiles: [String: Profile]
  let extenders: [any Extender]
  let metrics: SchedulerMetrics
  let slots: BindingSlots
  let logger = Logger(label: "scheduler")
  /// By profile and plugin: who is asked about events.
  private let plugins: [String: [String: any Plugin]]
  private let registrations = Mutex<[InformerRegistration]>([])
  private let wake: AsyncStream<Void>.Continuation
  private let signals: AsyncStream<Void>
  private let start = Mutex(0)

  init(
    api: any ClusterAPI, informers: SharedInformers, settings: SchedulerSettings, metrics: Metrics
  ) throws(WeftError) {
    self.api = api
    self.settings = settings
    let objects = ObjectInformers(informers)
    self.objects = objects
    let configuration = settings.configuration
    let cache = cache
    let context = PluginContext(objects: { objects.view }, node: { cache.node($0) })
    var profiles: [String: Profile] = [:]
    for profile in configuration.profiles {
      profiles[profile.schedulerName] = try settings.registry.build(profile, configuration, context)
    }
    self.profiles = profiles
    plugins = profiles.mapValues { $0.plugins() }
    extenders = configuration.extenders.map { HTTPExtender($0) }
    var queueSettings = SchedulingQueue.Settings()
    queueSettings.initialBackoff = .seconds(configuration.podInitialBackoffSeconds)
    queueSettings.maximumBackoff = .seconds(configuration.podMaxBackoffSeconds)
    queue = Mutex(SchedulingQueue(queueSettings))
    events = EventRecorder(
      api: api, component: configuration.profiles.first?.schedulerName ?? "default-scheduler",
      metrics: metrics)
    self.metrics = SchedulerMetrics(metrics)
    slots = BindingSlots(settings.bindingsMax)
    (signals, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    follow()
    metrics.onCollect { [weak self] in self?.collect() }
  }

  // MARK: The loop

  func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { [self] in
        while !Task.isCancelled {
          try? await Task.sleep(for: Self.flushInterval)
          queue.withLock { $0.flush(now: .now) }
          wake.yield()
        }
      }
      var signal = signals.makeAsyncIterator()
      while !Task.isCancelled {
        let (next, deadline) = queue.withLock { queue in
          let next = queue.pop(now: .now)
          return (next, next == nil ? queue.nextDeadline : nil)
        }
        if let next {
          await attempt(next, &group)
          await Task.yield()
          continue
        }
        let timer = deadline.map { deadline in
          Task { [wake] in
            try? await Task.sleep(until: deadline, clock: .continuous)
            wake.yield()
          }
        }
        _ = await signal.next()
        timer?.cancel()
      }
      group.cancelAll()
    }
  }

  private func attempt(_ entry: QueuedPod, _ group: inout DiscardingTaskGroup) async {
    let pod = entry.pod
    // Bound, ended or gone while it waited.
    guard let profile = profiles[pod.schedulerName], !pod.isTerminating, !cache.isAssumed(pod.key) else {
      queue.withLock { $0.remove(pod.key) }
      return
    }
    let began = ContinuousClock.now
    let decision = await decide(pod, profile)
    metrics.algorithmDuration.observe(ContinuousClock.now - began)
    switch decision {
    case .node(let node):
      cache.assume(pod, on: node)
      if let rejection = reserve(pod, node, profile) {
        giveBack(pod, node, profile)
        fail(entry, rejection.reasons.joined(separator: ", "), plugins: [rejection.plugin], profile, began)
        return
      }
      await slots.take()
      group.addTask { [self] in
        await bind(entry, node, profile, began)
        slots.give()
      }
    case .none(let search, let preemption):
      let plan = preemption.plan
      let message = search.message(preemption: preemption.message)
      fail(entry, message, plugins: search.plugins, profile, began, nomination: plan?.node)
      group.addTask { [self] in
        await Task.detached { [self] in
          await report(pod, message, nomination: plan?.node)
          if let plan { await preempt(plan, for: pod) }
        }.value
      }
    case .error(let error):
      fail(entry, "\(error)", plugins: [], profile, began, isError: true)
    }
  }

  // MARK: Deciding

  enum Decision {
    case node(String)
    case none(Search, preemption: (plan: PreemptionPlan?, message: String))
    case error(any Error)
  }

  func decide(_ pod: PodInfo, _ profile: Profile) async -> Decision {
    var cluster = cache.cluster
    cluster.objects = objects.view
    let nominated = cache.nominated
    let from = start.withLock { $0 }
    let name = profile.schedulerName
    let beganFilter = ContinuousClock.now
    var search = planFeasible(pod, cluster, profile, nominated: nominated, start: from)
    metrics.observe("Filter", ContinuousClock.now - beganFilter, !search.feasible.isEmpty, name)
    if !cluster.nodes.isEmpty { start.withLock { $0 = (from + search.looked) % cluster.nodes.count } }
    do {
      try await extenders.filter(pod, &search)
      if search.feasible.isEmpty {
        let began = ContinuousClock.now
        let preemption = try await makeRoom(pod, search, cluster, nominated, profile)
        metrics.observe("PostFilter", ContinuousClock.now - began, preemption.plan != nil, name)
        return .none(search, preemption: preemption)
      }
      if search.feasible.count == 1 { return .node(search.feasible[0].name) }
      let began = ContinuousClock.now
      var scores = planScores(pod, search.feasible, cluster, profile)
      metrics.observe("Score", ContinuousClock.now - began, true, name)
      try await extenders.prioritize(pod, search.feasible, &scores)
      guard let best = planBest(search.feasible, scores) else { return .node(search.feasible[0].name) }
      return .node(best.name)
    } catch { return .error(error) }
  }

  private func makeRoom(
    _ pod: PodInfo, _ search: Search, _ cluster: ClusterState, _ nominated: [String: [PodInfo]],
    _ profile: Profile
  ) async throws -> (plan: PreemptionPlan?, message: String) {
    var messages: [String] = []
    if cluster.nodes.isEmpty { return (nil, "") }
    for plugin in profile.postFilters {
      switch plugin.postFilter(pod, search, cluster, nominated) {
      case .rejected(let message): messages.append(message)
      case .nominate(let plans):
        metrics.preemptionAttempts.increment()
        let left = try await extenders.preempt(pod, plans)
        if let plan = PreemptionPlan.best(of: left) { return (plan, "") }
      }
    }
    return (nil, messages.joined(separator: ", "))
  }

  private func reserve(_ pod: PodInfo, _ node: String, _ profile: Profile) -> Rejection? {
    for plugin in profile.reserves {
      if var rejection = plugin.reserve(pod, on: node) {
        rejection.plugin = plugin.name
        return rejection
      }
    }
    return nil
  }

  func giveBack(_ pod: PodInfo, _ node: String, _ profile: Profile) {
    for plugin in profile.reserves.reversed() { plugin.unreserve(pod, from: node) }
    if let event = cache.forget(pod.key) { happened(event) }
  }

  /// Back into the queue.
  func fail(
    _ entry: QueuedPod, _ message: String, plugins: Set<String>, _ profile: Profile,
    _ began: ContinuousClock.Instant, isError: Bool = false, nomination: String? = nil
  ) {
    if let nomination { cache.nominate(entry.pod, nomination) }
    queue.withLock { queue in
      queue.failed(entry, plugins: plugins, isError: isError, now: .now) { helps($0, $1, $2) }
    }
    metrics.attempt(isError ? .error : .unschedulable, ContinuousClock.now - began, profile.schedulerName)
    logger.debug("pod not placed", metadata: ["pod": "\(entry.pod.key)", "reason": "\(message)"])
    wake.yield()
  }

  // MARK: Events

  func helps(_ event: ClusterEvent, _ plugin: String, _ pod: PodInfo) -> Bool {
    // A pod that gives its own place back makes no room for itself.
    if case .podRemoved(let gone) = event, gone.key == pod.key { return false }
    return plugins[pod.schedulerName]?[plugin]?.mayHelp(event, pod) ?? true
  }

  func happened(_ event: ClusterEvent) {
    let moved = queue.withLock { $0.happened(event, now: .now) { helps($0, $1, $2) } }
    if moved > 0 {
      metrics.incoming.child("active", event.label).increment(by: UInt64(moved))
      wake.yield()
    }
  }

  func wakeLoop() { wake.yield() }
  func keep(_ registration: InformerRegistration) { registrations.withLock { $0.append(registration) } }

  private func collect() {
    let counts = queue.withLock { $0.counts }
    metrics.pending.child("active").set(Double(counts[.active] ?? 0))
    metrics.pending.child("backoff").set(Double(counts[.backoff] ?? 0))
    metrics.pending.child("unschedulable").set(Double(counts[.unschedulable] ?? 0))
    metrics.pending.child("gated").set(Double(counts[.gated] ?? 0))
    let sizes = cache.sizes
    metrics.cacheSize.child("nodes").set(Double(sizes.nodes))
    metrics.cacheSize.child("pods").set(Double(sizes.pods))
    metrics.cacheSize.child("assumed_pods").set(Double(sizes.assumed))
  }
}
