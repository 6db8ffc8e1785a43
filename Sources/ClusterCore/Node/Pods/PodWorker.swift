// One pod's life on this node. A single task observes, plans, applies and reports, over and over, so nothing about a pod
// ever happens twice at once.

import Addresses
import ClusterObjects
import Diagnostics
import GRPCCore
import Logging
import Synchronization

/// The worker of one pod UID.
actor PodWorker {
  nonisolated let uid: String
  nonisolated let key: ObjectKey
  let context: NodeContext
  var pod: JSON
  /// The pod left the API without waiting for us.
  private(set) var isGone = false
  private var stopping = false
  var isDone = false
  /// All containers ended for good, and the status that says so is on its way: `wanted` until it is written.
  private var hasToldEnd = false
  /// Nothing of the pod runs or will run again: its room is free, though the API may not know yet.
  nonisolated let isReleased = Atomic(false)

  private nonisolated let wakes: AsyncStream<Void>
  private nonisolated let wakeUp: AsyncStream<Void>.Continuation
  private var step: Task<Void, any Error>?
  private var timer: Task<Void, Never>?

  // What is known beyond what the runtime says.
  var waiting: [String: Waiting] = [:]
  var notBefore: [String: Int64] = [:]
  var forgiven: [String: Int] = [:]
  var unhealthy: [String: String] = [:]
  /// Seconds that the failed probe gives, when it says so.
  var unhealthyGrace: [String: Int] = [:]
  /// The node ended the pod: no container runs again.
  var ending: PodEnd?
  var probes: [String: ProbeVerdict] = [:]
  var probeTasks: [String: [Task<Void, Never>]] = [:]
  var exited: [String: CRI.ContainerStatus] = [:]
  /// When, by the steady clock: noted when it is first seen, so that no clock that is set later makes it another.
  var endedAt: [String: Int64] = [:]
  var messages: [String: String] = [:]
  var sandboxAddresses: [String: [String]] = [:]
  /// The sandbox that this worker made last.
  var ownSandbox = ""
  /// Instances whose waiting was told as an event, by container name.
  private var backedOff: [String: String] = [:]
  /// Times asked, by id; given up after `exitAsksMax`.
  var expectedExits: [String: Int] = [:]
  private static let exitAsksMax = 50
  var tokens = PodTokens()
  /// The versions of the objects that the volumes' files are made of; nil before there are files.
  var filedVersions: [String: String]?
  /// The newest versions that a watch told.
  var latestVersions: [String: String] = [:]
  var isRefreshing = false
  var isRefreshWanted = false
  /// Told once each: at most one a volume and its cause.
  var refreshFailures: Set<String> = []
  /// By the volume's name in the pod. A claim that is bound stays with its volume.
  var claimedVolumes: [String: ClaimedVolume] = [:]
  var lastObserved = ObservedPod()
  let firstSeen = ContinuousClock.now
  private var wasRunningOnce = false
  private let startTime: String

  // Reporting: the newest status wins, one write at a time.
  private var reported: JSON = .null
  private var wanted: JSON?
  var reporter: Task<Void, Never>?

  init(_ pod: JSON, _ context: NodeContext) {
    uid = pod.uid
    key = pod.key
    self.pod = pod
    self.context = context
    startTime = pod.at("status", "startTime")?.string ?? Timestamp.nowText()
    (wakes, wakeUp) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    reported = pod.status
  }

  // MARK: - From outside

  nonisolated func wake() { wakeUp.yield() }

  func update(_ pod: JSON) {
    let wasTerminating = self.pod.isTerminating
    let oldGrace = PodSpec(self.pod).graceSeconds
    let isRelabelled = pod.labels != self.pod.labels || pod.annotations != self.pod.annotations
    self.pod = pod
    if pod.isTerminating, !wasTerminating { step?.cancel() }
    // The downward API's files say so within a moment.
    if isRelabelled { requestRefresh() }
    if wasTerminating, PodSpec(pod).graceSeconds < oldGrace {
      // Less patience than at first (`kubectl delete --force`): the running stop is overtaken.
      let grace = PodSpec(pod).graceSeconds
      let running = lastObserved.running
      let cri = context.cri
      let spec = PodSpec(pod)
      Task {
        for container in running {
          try? await cri.stopContainer(
            container.id, signal: spec.container(container.metadata.name)?.stopSignal, graceSeconds: grace)
        }
      }
    }
    wake()
  }

  /// containerd said that this ended. Its runtime interface learns of it a moment later, so it is asked again until it
  /// knows.
  func expectExit(_ id: String) { expectedExits[id] = 0 }

  /// The pod is no longer in the API.
  func gone() {
    isGone = true
    step?.cancel()
    wake()
  }

  /// The node needs the pod to end, whatever the API wants. False when it is ending already.
  func end(_ end: PodEnd) -> Bool {
    guard ending == nil, !isGone, !pod.isTerminating, !PodSpec(pod).isTerminal else { return false }
    ending = end
    event(true, end.reason, end.message)
    step?.cancel()
    wake()
    return true
  }

  /// Nothing runs, and the API knows.
  var isSettled: Bool { isDone || hasToldEnd && wanted == nil }

  /// The agent stops; containers stay as they are.
  func abandon() {
    stopping = true
    step?.cancel()
    wake()
  }

  // MARK: - The loop

  func run() async {
    wake()
    var failures = 0
    for await _ in wakes {
      timer?.cancel()
      if stopping { break }
      let isEnding = pod.isTerminating || isGone
      let task = Task { try await isEnding ? self.terminate() : self.sync() }
      step = task
      do {
        try await task.value
        failures = 0
      } catch {
        if stopping { break }
        if error is CancellationError || task.isCancelled {
          wake()
          continue
        }
        failures += 1
        context.log.warning(
          "pod not in its desired state, trying again",
          metadata: ["pod": "\(key)", "error": "\(runtimeMessage(error))"])
        sleep(until: steadyNanoseconds() + Int64(min(failures * failures, 30)) * 500_000_000)
      }
      if isDone { break }
    }
    timer?.cancel()
    await context.watches.forget(uid)
    for task in probeTasks.values.joined() { task.cancel() }
    forgetProbes()
    if stopping { reporter?.cancel() }
    await reporter?.value
  }

  /// Wakes the loop at a moment of the steady clock.
  private func sleep(until moment: Int64) {
    let delay = max(moment - steadyNanoseconds(), 0)
    timer?.cancel()
    timer = Task { [weak self] in
      try? await Task.sleep(for: .nanoseconds(delay))
      if !Task.isCancelled { self?.wake() }
    }
  }

  // MARK: - Observe, plan, apply, report

  private func sync() async throws {
    // One round an action: a pod of n containers needs n + 2.
    for _ in 0..<64 {
      let spec = PodSpec(pod)
      let observed = try await observe()
      try Task.checkCancellation()
      if let ending {
        try await endAll(spec, observed, graceSeconds: ending.graceSeconds)
        var plan = PodPlan()
        plan.isFinished = true
        report(spec, try await observe(), plan)
        hasToldEnd = true
        return
      }
      if spec.isTerminal, observed.running.isEmpty {
        try await settleFinished(observed)
        hasToldEnd = true
        return
      }
      followProbes(spec, observed)
      if !observed.running.isEmpty { await adoptObjects() }
      let plan = planPod(planInputs(spec, observed))
      report(spec, observed, plan)
      if plan.isFinished {
        try await settleFinished(observed)
        report(spec, try await observe(), plan)
        hasToldEnd = true
        return
      }
      for (name, reason) in plan.waiting where reason.reason == "CrashLoopBackOff" {
        guard let latest = observed.latest(name), backedOff.updateValue(latest.id, forKey: name) != latest.id
        else { continue }
        event(
          true, "BackOff",
          "Back-off restarting failed container \(name) in pod \(key.name)_\(key.namespace)(\(uid))",
          container: name)
      }
      guard !plan.actions.isEmpty else {
        if let moment = nextWake(plan, observed) { sleep(until: moment) }
        noteRunning(spec, observed)
        return
      }
      for action in plan.actions { try await apply(action, spec, observed) }
    }
  }

  private func planInputs(_ spec: PodSpec, _ observed: ObservedPod) -> PodPlanInputs {
    var inputs = PodPlanInputs(spec: spec, observed: observed, now: steadyNanoseconds())
    inputs.endedAt = endedAt
    inputs.unhealthy = unhealthy
    inputs.forgiven = forgiven
    inputs.notBefore = notBefore
    inputs.backoff = context.settings.crashBackoffSeconds
    if let sandbox = observed.sandbox, sandbox.id != ownSandbox, !spec.isHostNetwork {
      inputs.isAddressForeign = isForeign(observed.addresses, to: context.settings.podCIDRs)
    }
    let verdicts = probes
    inputs.isStarted = { name in observed.latest(name).flatMap { verdicts[$0.id] }?.isStarted ?? true }
    return inputs
  }

  /// When to look again without being woken.
  private func nextWake(_ plan: PodPlan, _ observed: ObservedPod) -> Int64? {
    let alive = Set(
      observed.running.map(\.id) + observed.sandboxes.filter { $0.state == .sandboxReady }.map(\.id))
    for (id, asks) in expectedExits {
      expectedExits[id] = alive.contains(id) && asks < Self.exitAsksMax ? asks + 1 : nil
    }
    guard !expectedExits.isEmpty else { return plan.wakeAt }
    return min(plan.wakeAt ?? .max, steadyNanoseconds() + 10_000_000)
  }

  private func noteRunning(_ spec: PodSpec, _ observed: ObservedPod) {
    guard !wasRunningOnce,
      spec.containers.allSatisfy({ observed.latest($0.name)?.state == .containerRunning })
    else { return }
    wasRunningOnce = true
    context.metrics.podStart.observe(ContinuousClock.now - firstSeen)
  }

  // MARK: - Status

  func report(_ spec: PodSpec, _ observed: ObservedPod, _ plan: PodPlan) {
    var status = planPodStatus(
      PodStatusInputs(
        spec: spec, observed: observed, plan: plan, waiting: waiting, probes: probes, messages: messages,
        hostAddresses: context.settings.addresses.map(\.description), startTime: startTime,
        now: Timestamp.nowText()))
    if let ending { status = planEndedStatus(status, ending, now: Timestamp.nowText()) }
    guard status != wanted ?? reported else { return }
    pod["status"] = status
    wanted = status
    if reporter == nil { reporter = Task { await self.writeStatuses() } }
  }

  private func writeStatuses() async {
    var failures = 0
    while let status = wanted, !Task.isCancelled {
      do {
        try await context.sink.report(pod, status: status)
        reported = status
        if wanted == status { wanted = nil }
        failures = 0
      } catch {
        failures += 1
        context.log.debug("status not written", metadata: ["pod": "\(key)", "error": "\(error)"])
        if isGone { wanted = nil }
        try? await Task.sleep(for: .milliseconds(min(100 << min(failures, 7), 10_000)))
      }
    }
    reporter = nil
  }

  // MARK: - Words

  func event(_ isWarning: Bool, _ reason: String, _ message: String, container: String? = nil) {
    let part =
      switch container.flatMap({ PodSpec(pod).container($0) })?.role {
      case .initial, .sidecar: "initContainers"
      case .ephemeral: "ephemeralContainers"
      default: "containers"
      }
    context.record(
      PodEvent(
        involved: pod, isWarning: isWarning, reason: reason, message: message,
        fieldPath: container.map { "spec.\(part){\($0)}" } ?? ""))
  }
}

extension PodSpec {
  /// The API already knows that this pod ended: it does not run again, whatever the runtime forgot.
  var isTerminal: Bool { ["Succeeded", "Failed"].contains(pod.at("status", "phase")?.string ?? "") }
}
