// A runtime that only pretends: it does at once what the plan of a pod asks for. Pure.

import ClusterObjects

/// What would run of a pod, had it a machine.
struct HollowPod: Sendable {
  private var observed = ObservedPod()
  private var lastID = 0

  /// Follows the agent's plan until it asks for nothing more; the status to report then.
  mutating func settle(_ pod: JSON, address: String, hostAddress: String, seconds: Int64) -> JSON {
    let spec = PodSpec(pod)
    let nanoseconds = seconds * 1_000_000_000
    var plan = planPod(PodPlanInputs(spec: spec, observed: observed, now: nanoseconds))
    // Every action brings the plan nearer to its end; the bound is for a plan that would not end.
    var stepsLeft = 4 * (spec.all.count + 2)
    while !plan.actions.isEmpty, stepsLeft > 0 {
      stepsLeft -= 1
      for action in plan.actions { apply(action, spec, address, nanoseconds) }
      plan = planPod(PodPlanInputs(spec: spec, observed: observed, now: nanoseconds))
    }
    return planPodStatus(
      PodStatusInputs(
        spec: spec, observed: observed, plan: plan, hostAddresses: [hostAddress],
        startTime: pod.at("status", "startTime")?.string ?? time(nanoseconds), now: time(nanoseconds)))
  }

  private mutating func apply(_ action: PodAction, _ spec: PodSpec, _ address: String, _ now: Int64) {
    lastID += 1
    switch action {
    case .runSandbox(let attempt):
      var sandbox = CRI.Sandbox()
      sandbox.id = "hollow-\(spec.pod.uid)-\(lastID)"
      sandbox.metadata.attempt = attempt
      sandbox.state = .sandboxReady
      sandbox.createdAt = now
      observed.sandboxes.insert(sandbox, at: 0)
      observed.addresses = [address]
    case .removeSandbox(let id): observed.sandboxes.removeAll { $0.id == id }
    case .start(let name, let attempt):
      var container = CRI.ContainerStatus()
      container.id = "hollow-\(spec.pod.uid)-\(lastID)"
      container.metadata.name = name
      container.metadata.attempt = attempt
      container.createdAt = now
      container.startedAt = now
      let isInitial = spec.all.first { $0.name == name }?.role == .initial
      container.state = isInitial ? .containerExited : .containerRunning
      if isInitial { container.finishedAt = now }
      observed.containers[name, default: []].insert(container, at: 0)
    case .stop(let id, let name, _):
      for index in observed.containers[name, default: []].indices
      where observed.containers[name]?[index].id == id {
        observed.containers[name]?[index].state = .containerExited
        observed.containers[name]?[index].finishedAt = now
      }
    }
  }
}
