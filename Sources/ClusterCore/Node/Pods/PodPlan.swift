// What to do next for a pod, given what runs. Pure: the worker applies the answer and asks again.
//
//   no sandbox -> sandbox -> init containers one by one -> containers -> (restarts) -> all ended

import ClusterObjects

/// What the runtime has of one pod, newest first.
struct ObservedPod: Sendable {
  var sandboxes: [CRI.Sandbox] = []
  /// Instances by container name.
  var containers: [String: [CRI.ContainerStatus]] = [:]
  var addresses: [String] = []

  var sandbox: CRI.Sandbox? { sandboxes.first { $0.state == .sandboxReady } }
  func latest(_ name: String) -> CRI.ContainerStatus? { containers[name]?.first }
  /// The running container that an ephemeral one looks into.
  func target(of container: ContainerSpec) -> String? {
    guard let name = container.tree["targetContainerName"]?.string, !name.isEmpty,
      let status = latest(name), status.state == .containerRunning
    else { return nil }
    return status.id
  }
  var running: [CRI.ContainerStatus] {
    containers.values.flatMap { $0 }.filter { $0.state == .containerRunning || $0.state == .containerCreated }
  }
}

/// Why a container is not running, as `state.waiting` says it.
struct Waiting: Sendable, Hashable {
  var reason: String
  var message: String = ""
}

enum PodAction: Sendable, Hashable {
  case runSandbox(attempt: UInt32)
  /// A sandbox that stopped, with all that was in it.
  case removeSandbox(id: String)
  case start(container: String, attempt: UInt32)
  case stop(id: String, container: String, message: String)
}

struct PodPlan: Sendable, Hashable {
  var actions: [PodAction] = []
  var waiting: [String: Waiting] = [:]
  /// When waiting is over, by the clock of `PodPlanInputs.now`.
  var wakeAt: Int64?
  /// No container runs or will run again.
  var isFinished = false
}

/// Seconds between a container's end and its next start, by how many times it was restarted since it last ran well.
func restartDelaySeconds(restarts: Int, initial: Int = 10, max limit: Int = 300) -> Int {
  restarts <= 0 ? 0 : restarts > 20 ? limit : min(initial << (restarts - 1), limit)
}

/// A run this long wipes the memory of crashes.
let cleanRunNanoseconds: Int64 = 600 * 1_000_000_000

struct PodPlanInputs {
  var spec: PodSpec
  var observed: ObservedPod
  /// Nanoseconds of the steady clock.
  var now: Int64
  /// When containers ended, by the same clock; what is not in it is taken as the runtime dates it.
  var endedAt: [String: Int64] = [:]
  /// Containers a liveness or startup probe gave up on, with what to say.
  var unhealthy: [String: String] = [:]
  /// Sidecars without a startup probe, or with one that succeeded.
  var isStarted: (String) -> Bool = { _ in true }
  /// Restart counts at which a container last ran well.
  var forgiven: [String: Int] = [:]
  /// Earliest next try for containers that could not start, by the same clock.
  var notBefore: [String: Int64] = [:]
  var backoff: (initial: Int, max: Int) = (10, 300)
  /// The sandbox is from before this agent, and its address from a block that the node no longer has.
  var isAddressForeign = false
}

func planPod(_ inputs: PodPlanInputs) -> PodPlan {
  var plan = PodPlan()
  let spec = inputs.spec
  let observed = inputs.observed
  guard let sandbox = observed.sandbox else {
    // Dead sandboxes go first: their names and addresses are taken otherwise.
    plan.actions = observed.sandboxes.map { .removeSandbox(id: $0.id) }
    let mayRun =
      spec.restartPolicy == "Always" || observed.sandboxes.isEmpty && observed.containers.isEmpty
      || spec.containers.contains { needsRun(observed.latest($0.name), spec.restartPolicy) }
    if !mayRun {
      plan.isFinished = true
      return plan
    }
    let attempt = observed.sandboxes.map { $0.metadata.attempt + 1 }.max() ?? 0
    plan.actions.append(.runSandbox(attempt: attempt))
    return plan
  }
  // Nobody's routes lead to it any more. Its volumes stay for the next sandbox.
  if inputs.isAddressForeign {
    plan.actions = observed.running.sorted { $0.metadata.name < $1.metadata.name }.map {
      .stop(id: $0.id, container: $0.metadata.name, message: "Stopping container \($0.metadata.name)")
    }
    plan.actions += observed.sandboxes.map { .removeSandbox(id: $0.id) }
    return plan
  }
  // A second sandbox is the remainder of a start that was cut off.
  for extra in observed.sandboxes where extra.id != sandbox.id {
    plan.actions.append(.removeSandbox(id: extra.id))
  }

  // Whoever debugs an init container that hangs cannot wait for its end.
  for container in spec.ephemeralContainers where observed.latest(container.name) == nil {
    if let moment = inputs.notBefore[container.name], moment > inputs.now {
      plan.wakeAt = min(plan.wakeAt ?? .max, moment)
    } else {
      plan.actions.append(.start(container: container.name, attempt: 0))
    }
  }

  func consider(_ container: ContainerSpec, policy: String) {
    let latest = observed.latest(container.name)
    if let latest, latest.state == .containerRunning {
      if let message = inputs.unhealthy[latest.id] {
        plan.actions.append(.stop(id: latest.id, container: container.name, message: message))
      } else if let hash = latest.annotations[RuntimeLabels.hash], hash != container.hash {
        plan.actions.append(
          .stop(
            id: latest.id, container: container.name,
            message: "Container \(container.name) definition changed, will be restarted"))
      }
      return
    }
    // Liveness ended it, so it restarts whatever its exit code says, unless the policy is Never.
    guard needsRun(latest, policy) else { return }
    if let moment = inputs.notBefore[container.name], moment > inputs.now {
      plan.wakeAt = min(plan.wakeAt ?? .max, moment)
      return
    }
    guard let latest else {
      plan.actions.append(.start(container: container.name, attempt: 0))
      return
    }
    let attempt = Int(latest.metadata.attempt)
    if latest.state == .containerExited {
      let isClean = latest.startedAt > 0 && latest.finishedAt - latest.startedAt > cleanRunNanoseconds
      let restarts = isClean ? 0 : attempt - (inputs.forgiven[container.name] ?? 0)
      let seconds = restartDelaySeconds(
        restarts: restarts, initial: inputs.backoff.initial, max: inputs.backoff.max)
      let moment = (inputs.endedAt[latest.id] ?? latest.finishedAt) + Int64(seconds) * 1_000_000_000
      if moment > inputs.now {
        plan.waiting[container.name] = Waiting(
          reason: "CrashLoopBackOff",
          message:
            "back-off \(seconds)s restarting failed container=\(container.name) pod=\(spec.pod.name)_\(spec.pod.namespace)(\(spec.pod.uid))"
        )
        plan.wakeAt = min(plan.wakeAt ?? .max, moment)
        return
      }
    }
    plan.actions.append(.start(container: container.name, attempt: UInt32(attempt + 1)))
  }

  // Once a main container was made, init containers are history, but sidecars still restart.
  let areMainsBegun = spec.containers.contains { observed.latest($0.name) != nil }
  for container in spec.initContainers {
    if container.role == .sidecar {
      if !areAllEnded(spec, observed) || !areMainsBegun { consider(container, policy: "Always") }
      let isUp =
        observed.latest(container.name)?.state == .containerRunning && inputs.isStarted(container.name)
      if !isUp, !areMainsBegun { return plan }
      continue
    }
    if areMainsBegun { continue }
    let latest = observed.latest(container.name)
    if let latest, latest.state == .containerExited, latest.exitCode == 0 { continue }
    if let latest, latest.state == .containerExited, spec.restartPolicy == "Never" {
      plan.isFinished = true
      return plan
    }
    consider(container, policy: spec.restartPolicy == "Never" ? "Never" : "OnFailure")
    return plan
  }
  for container in spec.containers { consider(container, policy: spec.restartPolicy) }
  if plan.actions.isEmpty, plan.wakeAt == nil, areAllEnded(spec, observed) { plan.isFinished = true }
  return plan
}

private func areAllEnded(_ spec: PodSpec, _ observed: ObservedPod) -> Bool {
  spec.containers.allSatisfy { !needsRun(observed.latest($0.name), spec.restartPolicy) }
    && !spec.containers.contains { observed.latest($0.name)?.state == .containerRunning }
}

/// Whether a container that does not run should.
private func needsRun(_ latest: CRI.ContainerStatus?, _ policy: String) -> Bool {
  guard let latest else { return true }
  switch latest.state {
  case .containerRunning: return false
  case .containerCreated, .containerUnknown: return true
  default: return policy == "Always" || policy == "OnFailure" && latest.exitCode != 0
  }
}
