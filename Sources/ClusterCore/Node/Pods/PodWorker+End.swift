// How a pod ends: containers in their order, hooks before signals, the sandbox, then what is left on the disk and in control groups.

import ClusterObjects
import Diagnostics
import GRPCCore
import Synchronization

extension PodWorker {
  /// All containers ended for good: the sandbox goes, its containers stay for their logs.
  func settleFinished(_ observed: ObservedPod) async throws {
    for sandbox in observed.sandboxes where sandbox.state == .sandboxReady {
      for container in observed.running { try await stop(container, graceSeconds: PodSpec(pod).graceSeconds) }
      try await ignoringNotFound { try await context.cri.stopSandbox(sandbox.id) }
    }
    isReleased.store(true, ordering: .releasing)
    await context.watches.forget(uid)
  }

  func terminate() async throws {
    let spec = PodSpec(pod)
    var observed = try await observe()
    try await endAll(spec, observed, graceSeconds: isGone ? min(spec.graceSeconds, 30) : spec.graceSeconds)
    observed = try await observe()
    if !isGone {
      var plan = PodPlan()
      plan.isFinished = true
      observed.sandboxes = []
      report(spec, observed, plan)
      await reporter?.value
    }
    for container in observed.containers.values.flatMap({ $0 }) {
      try await ignoringNotFound { try await context.cri.removeContainer(container.id) }
    }
    // A start that was cut off may have left one more since.
    for sandbox in try await context.cri.listSandboxes(labels: [RuntimeLabels.podUID: uid]) {
      try await ignoringNotFound { try await context.cri.stopSandbox(sandbox.id) }
      try await ignoringNotFound { try await context.cri.removeSandbox(sandbox.id) }
    }
    removePodRemains(
      context.settings, uid: uid, logDirectory: context.settings.podLogDirectory(key.namespace, key.name, uid)
    )
    if !isGone { try await context.sink.finishDeletion(pod) }
    isDone = true
  }

  /// Containers in their order, then the sandboxes. Sidecars serve the others to their end.
  func endAll(_ spec: PodSpec, _ observed: ObservedPod, graceSeconds: Int) async throws {
    for id in Array(probeTasks.keys) { stopProbes(id) }
    let helpers = Set(spec.initContainers.map(\.name))
    for group in [
      observed.running.filter { !helpers.contains($0.metadata.name) },
      observed.running.filter { helpers.contains($0.metadata.name) },
    ] {
      try await withThrowingTaskGroup(of: Void.self) { tasks in
        for container in group {
          tasks.addTask { try await self.endContainer(container, spec, graceSeconds: graceSeconds) }
        }
        try await tasks.waitForAll()
      }
    }
    for sandbox in try await observe().sandboxes {
      try await ignoringNotFound { try await context.cri.stopSandbox(sandbox.id) }
    }
    isReleased.store(true, ordering: .releasing)
  }

  private func endContainer(_ container: CRI.ContainerStatus, _ spec: PodSpec, graceSeconds: Int) async throws
  {
    let name = container.metadata.name
    let declared = spec.container(name)
    event(false, "Killing", "Stopping container \(name)", container: name)
    var grace = graceSeconds
    if let hook = declared?.tree.at("lifecycle", "preStop") {
      let start = ContinuousClock.now
      if let failure = await runHook(hook, declared, container.id, seconds: max(grace, 1)) {
        event(true, "FailedPreStopHook", failure, container: name)
      }
      grace = max(grace - Int((ContinuousClock.now - start).components.seconds), 2)
    }
    try await stop(container, graceSeconds: grace)
  }

  func stop(_ container: CRI.ContainerStatus, graceSeconds: Int) async throws {
    stopProbes(container.id)
    try await ignoringNotFound {
      try await context.cri.stopContainer(
        container.id, signal: PodSpec(pod).container(container.metadata.name)?.stopSignal,
        graceSeconds: graceSeconds)
    }
  }
}

/// The files and control groups of a pod that ended. The runtime leaves both to its client.
func removePodRemains(_ settings: NodeSettings, uid: String, logDirectory: String?) {
  guard !uid.isEmpty, !uid.contains("/") else { return }
  Volumes(podDirectory: settings.podDirectory(uid), capacity: [:]).remove()
  if let logDirectory { Files.removeTree(logDirectory) }
  for hierarchy in cgroupHierarchies() {
    for parent in ["", "/burstable", "/besteffort"] {
      removeCgroup("\(hierarchy)\(settings.cgroupRoot)\(parent)/pod\(uid)")
    }
  }
}
