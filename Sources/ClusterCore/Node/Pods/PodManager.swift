// All pods of a node: a worker each, woken by the API, by the runtime's events and by a slow list that misses nothing.

import ClusterObjects
import Diagnostics
import GRPCCore
import Logging
import Synchronization

/// The pods this node runs. Bounded by `podsMax`; what comes above is refused visibly, as `OutOfpods`.
actor PodManager {
  let context: NodeContext
  private let cri: CRIClient
  private var workers: [String: PodWorker] = [:]
  /// The pods of the workers, as last wanted.
  private var wanted: [String: JSON] = [:]
  /// The Node object, as old as the last look at it.
  private var node: JSON = [:]
  private var nodeLook: ContinuousClock.Instant?
  /// How long a taint may be there unseen: whoever set it evicts what came meanwhile.
  private static let nodeAgeMax: Duration = .seconds(10)
  private var tasks: [Task<Void, Never>] = []
  private var running: [String: Task<Void, Never>] = [:]
  /// Pod UIDs by container and sandbox id, refreshed by each list.
  private var owners: [String: String] = [:]
  /// What the last list said of each pod; a difference wakes its worker.
  private var fingerprints: [String: [String]] = [:]
  private var isSynced = false
  /// The server of manifests said what it has, or there is none.
  private var isServerHeard: Bool
  /// Pods that want to begin before all are known.
  private var postponed: [JSON] = []
  /// The machine goes down: nothing new is taken.
  private var isShuttingDown = false
  /// Every pod of the API, ended ones too: their containers stay for their logs.
  private var known: Set<String> = []
  private var suspects: Set<String> = []
  private var isListing = false
  private var isListWanted = false
  /// As the groups of the classes of service were last limited.
  private var classLimits: [String: GroupLimits] = [:]
  private let events: AsyncStream<RuntimeEvent>
  private let eventInput: AsyncStream<RuntimeEvent>.Continuation

  init(_ context: NodeContext) {
    self.context = context
    cri = context.cri
    isServerHeard = context.settings.staticPodURL == nil
    // Past this many, the slow list catches up.
    (events, eventInput) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(4096))
  }

  /// Adopts what runs, then follows `source` until `stop`.
  func start(_ source: any PodSource) {
    limitClasses()
    let changes = source.podChanges()
    tasks.append(Task { for await change in changes { await self.apply(change) } })
    tasks.append(Task { for await event in self.events { await self.react(event) } })
    tasks.append(Task { await self.followRuntime() })
    tasks.append(Task { await self.relistForever() })
    tasks.append(Task { await self.refreshVolumesForever() })
  }

  /// Leaves all containers as they are.
  func stop() async {
    for task in tasks { task.cancel() }
    eventInput.finish()
    for worker in workers.values { await worker.abandon() }
    for task in running.values { await task.value }
    await context.watches.stop()
  }

  var count: Int { workers.count }

  // MARK: - The API

  func apply(_ change: PodChange) async {
    switch change {
    case .desired(let pod):
      known.insert(pod.uid)
      if let worker = workers[pod.uid] {
        wanted[pod.uid] = pod
        await worker.update(pod)
      } else {
        await admit(pod)
      }
    case .gone(let uid):
      known.remove(uid)
      postponed.removeAll { $0.uid == uid }
      await workers[uid]?.gone()
    case .synced:
      isSynced = true
      let waiting = postponed
      postponed = []
      for pod in waiting { await admit(pod) }
      await relist()
    case .heard:
      isServerHeard = true
      await relist()
    }
  }

  private func admit(_ pod: JSON) async {
    let spec = PodSpec(pod)
    if spec.isTerminal, !pod.isTerminating { return }
    if !pod.isTerminating, let refusal = await refusal(spec) {
      await refuse(pod, refusal)
      return
    }
    // Until all pods are known, devices may seem to be those of pods that are gone.
    if !isSynced, context.devices != nil, !spec.hasRun {
      postponed.append(pod)
      return
    }
    // Waiting for plugins takes time: until then the pod counts for nobody.
    if !pod.isTerminating, let refusal = await deviceRefusal(spec) {
      await refuse(pod, refusal)
      return
    }
    wanted[pod.uid] = pod
    let worker = PodWorker(pod, context)
    workers[pod.uid] = worker
    context.metrics.runningPods.set(Double(workers.count))
    limitClasses()
    running[pod.uid] = Task {
      await worker.run()
      await self.finished(worker)
    }
  }

  private func refusal(_ spec: PodSpec) async -> PodEnd? {
    // What ran here before this agent is not judged again.
    if spec.hasRun { return nil }
    if isShuttingDown {
      return PodEnd(
        reason: "NodeShutdown", message: "Pod was rejected as the node is shutting down.", graceSeconds: 0)
    }
    if nodeLook.map({ .now - $0 > Self.nodeAgeMax }) ?? true { await lookAtNode() }
    guard let refusal = planAdmission(spec, room) else { return nil }
    guard ["NodeAffinity", "TaintToleration"].contains(refusal.reason) else { return refusal }
    // Labels and taints may have changed a moment ago.
    guard await lookAtNode() else { return nil }
    return planAdmission(spec, room)
  }

  private var room: NodeRoom {
    NodeRoom(
      allocatable: context.allocatable, pods: roommates, podsMax: context.settings.podsMax,
      nodeName: context.settings.nodeName, labels: node.labels,
      taints: node.at("spec", "taints")?.elements ?? [],
      allowedSysctls: context.settings.allowedUnsafeSysctls)
  }

  /// False when the API does not say.
  @discardableResult private func lookAtNode() async -> Bool {
    nodeLook = .now
    guard let fresh = try? await context.objects.node() else { return false }
    node = fresh
    return true
  }

  /// Gives the pod its devices; why it cannot have them, or nil.
  private func deviceRefusal(_ spec: PodSpec) async -> PodEnd? {
    guard let devices = context.devices, !spec.hasRun else { return nil }
    do throws(DevicesUnavailable) {
      try await devices.admit(spec, active: isSynced ? Set(roommates.map(\.pod.uid)) : nil)
      return nil
    } catch {
      return PodEnd(
        reason: "UnexpectedAdmissionError",
        message: "Pod was rejected: Allocate failed due to \(error.message), which is unexpected",
        graceSeconds: 0)
    }
  }

  /// Pods that take room: not those whose last container ended, which the scheduler may know before this node's watch says so.
  private var roommates: [PodSpec] {
    workers.values.filter { !$0.isReleased.load(ordering: .acquiring) }
      .compactMap { wanted[$0.uid].map { PodSpec($0) } }.filter { !$0.isTerminal }
  }

  /// The classes of service share the processor by what their pods ask for. Costs a write where that changed.
  private func limitClasses() {
    let wanted = planClassLimits(
      roommates, allocatable: context.allocatable, reserved: context.settings.reserved,
      memory: context.memoryCapacity)
    for (group, limits) in wanted.sorted(by: { $0.key < $1.key }) where classLimits[group] != limits {
      ControlGroups().limit(context.settings.cgroupRoot + group, limits)
    }
    classLimits = wanted
  }

  private func refuse(_ pod: JSON, _ end: PodEnd) async {
    context.record(
      PodEvent(
        involved: pod, isWarning: true, reason: end.reason,
        message: end.message.replacing("Pod was rejected: ", with: ""), fieldPath: ""))
    let status = planEndedStatus(pod.status, end, now: Timestamp.nowText())
    for delay in [100, 1000, 5000] {
      if (try? await context.sink.report(pod, status: status)) != nil { return }
      try? await Task.sleep(for: .milliseconds(delay))
    }
  }

  /// The pods that have a worker, as last wanted, with the statuses the workers gave them.
  func specs() -> [JSON] { Array(wanted.values) }

  /// Ends a pod for the node's sake. False when there is none or it ends already.
  func end(_ uid: String, _ end: PodEnd) async -> Bool {
    guard let worker = workers[uid] else { return false }
    return await worker.end(end)
  }

  /// Ends all pods for the machine's sake, group after group; those that take longer than their group has are left to the
  /// next. Returns how many still ran at the end.
  func shutDown(_ settings: ShutdownSettings) async -> Int {
    isShuttingDown = true
    let pods = roommates
    for stage in planShutdown(pods, settings) {
      for pod in stage.pods {
        _ = await workers[pod.uid]?.end(PodEnd.shutdown(graceSeconds: pod.graceSeconds))
      }
      let deadline = ContinuousClock.now + .seconds(stage.seconds)
      while await !areSettled(stage.pods.map(\.uid)), ContinuousClock.now < deadline {
        try? await Task.sleep(for: .milliseconds(50))
      }
    }
    var left = 0
    for pod in pods { left += await areSettled([pod.pod.uid]) ? 0 : 1 }
    return left
  }

  private func areSettled(_ uids: [String]) async -> Bool {
    for uid in uids { if let worker = workers[uid], await !worker.isSettled { return false } }
    return true
  }

  private func finished(_ worker: PodWorker) async {
    guard await worker.isDone else { return }
    workers[worker.uid] = nil
    wanted[worker.uid] = nil
    running[worker.uid] = nil
    fingerprints[worker.uid] = nil
    context.metrics.runningPods.set(Double(workers.count))
    limitClasses()
  }

  // MARK: - The runtime

  private func followRuntime() async {
    let input = eventInput
    while !Task.isCancelled {
      Task { await self.relist() }
      try? await cri.followEvents { input.yield($0) }
      // containerd went away; it comes back, and what happened in between is listed.
      try? await Task.sleep(for: .milliseconds(200))
    }
  }

  private func react(_ event: RuntimeEvent) async {
    if owners[event.containerID] == nil { await relist() }
    guard let uid = owners[event.containerID], let worker = workers[uid] else { return }
    if event.kind == .exit { await worker.expectExit(event.containerID) }
    worker.wake()
  }

  private func relistForever() async {
    while !Task.isCancelled {
      await relist()
      try? await Task.sleep(for: context.settings.relistInterval)
    }
  }

  /// Wakes whose containers changed; ends what belongs to nobody. One at a time: a wish during a list means one more.
  private func relist() async {
    isListWanted = true
    if isListing { return }
    isListing = true
    defer { isListing = false }
    while isListWanted, !Task.isCancelled {
      isListWanted = false
      await list()
    }
  }

  /// Two calls for all pods (about 0.4 ms).
  private func list() async {
    let start = ContinuousClock.now
    guard let sandboxes = try? await cri.listSandboxes(), let containers = try? await cri.listContainers()
    else { return }
    context.metrics.relist.observe(ContinuousClock.now - start)
    var found: [String: [String]] = [:]
    var owners: [String: String] = [:]
    for sandbox in sandboxes {
      owners[sandbox.id] = sandbox.metadata.uid
      found[sandbox.metadata.uid, default: []].append("\(sandbox.id)\(sandbox.state)")
    }
    for container in containers {
      let uid = container.labels[RuntimeLabels.podUID] ?? ""
      owners[container.id] = uid
      found[uid, default: []].append("\(container.id)\(container.state)")
    }
    self.owners = owners
    for (uid, worker) in workers {
      let now = (found[uid] ?? []).sorted()
      if fingerprints.updateValue(now, forKey: uid) != now { worker.wake() }
    }
    guard isSynced else { return }
    var unknown = Set(found.keys).filter { workers[$0] == nil && !known.contains($0) && !$0.isEmpty }
    if !isServerHeard {
      for sandbox in sandboxes where sandbox.annotations[StaticPodAnnotations.source] == "http" {
        unknown.remove(sandbox.metadata.uid)
      }
    }
    // Seen twice in a row: a pod just ended may still be listed once.
    for uid in unknown.intersection(suspects) {
      let own = sandboxes.filter { $0.metadata.uid == uid }
      await removeOrphan(uid, own)
    }
    suspects = unknown
  }

  private func removeOrphan(_ uid: String, _ sandboxes: [CRI.Sandbox]) async {
    context.log.info("removing a pod that is no longer wanted", metadata: ["uid": "\(uid)"])
    for sandbox in sandboxes {
      try? await ignoringNotFound { try await cri.stopSandbox(sandbox.id) }
      try? await ignoringNotFound { try await cri.removeSandbox(sandbox.id) }
    }
    let metadata = sandboxes.first?.metadata
    removePodRemains(
      context.settings, uid: uid,
      logDirectory: metadata.map { context.settings.podLogDirectory($0.namespace, $0.name, uid) })
  }

  private func refreshVolumesForever() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: .seconds(30))
      for worker in workers.values { await worker.refreshIfDue() }
    }
  }

  // MARK: - Everything ends

  /// Stops and removes every sandbox of this runtime, eight at a time, whatever the API wants.
  func removeAll() async {
    guard let sandboxes = try? await cri.listSandboxes() else { return }
    let settings = context.settings
    let cri = cri
    await withTaskGroup(of: Void.self) { group in
      for (index, sandbox) in sandboxes.enumerated() {
        if index >= 8 { await group.next() }
        group.addTask {
          try? await ignoringNotFound { try await cri.stopSandbox(sandbox.id) }
          try? await ignoringNotFound { try await cri.removeSandbox(sandbox.id) }
          removePodRemains(settings, uid: sandbox.metadata.uid, logDirectory: nil)
        }
      }
    }
    removeEmptyCgroups(settings)
  }
}
