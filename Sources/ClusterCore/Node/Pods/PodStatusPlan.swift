// The status of a pod, computed from what runs. Pure.

import ClusterObjects
import Diagnostics

/// What probes know of a container instance.
struct ProbeVerdict: Sendable, Hashable {
  var isStarted = true
  var isReady = true
}

struct PodStatusInputs {
  var spec: PodSpec
  var observed: ObservedPod
  var plan: PodPlan
  /// Why containers that never ran do not: pulls, configuration.
  var waiting: [String: Waiting] = [:]
  /// By container id.
  var probes: [String: ProbeVerdict] = [:]
  /// What a container left at its termination message path, by container id.
  var messages: [String: String] = [:]
  var hostAddresses: [String]
  var startTime: String
  var now: String
}

func planPodStatus(_ inputs: PodStatusInputs) -> JSON {
  let spec = inputs.spec
  let initStatuses = spec.initContainers.map { containerStatus($0, inputs) }
  let statuses = spec.containers.map { containerStatus($0, inputs) }
  let phase = podPhase(inputs, statuses)
  var status: JSON = ["phase": JSON(phase)]
  if spec.pod.generation > 0 { status["observedGeneration"] = JSON(spec.pod.generation) }
  status["conditions"] = .array(conditions(inputs, initStatuses, statuses, phase: phase))
  if let first = inputs.hostAddresses.first {
    status["hostIP"] = JSON(first)
    status["hostIPs"] = .array(inputs.hostAddresses.map { ["ip": JSON($0)] })
  }
  if let first = inputs.observed.addresses.first {
    status["podIP"] = JSON(first)
    status["podIPs"] = .array(inputs.observed.addresses.map { ["ip": JSON($0)] })
  }
  status["startTime"] = JSON(inputs.startTime)
  if !initStatuses.isEmpty { status["initContainerStatuses"] = .array(initStatuses) }
  status["containerStatuses"] = .array(statuses)
  if !spec.ephemeralContainers.isEmpty {
    status["ephemeralContainerStatuses"] = .array(
      spec.ephemeralContainers.map { containerStatus($0, inputs) })
  }
  status["qosClass"] = JSON(spec.qosClass)
  return status
}

private func podPhase(_ inputs: PodStatusInputs, _ statuses: [JSON]) -> String {
  let spec = inputs.spec
  let observed = inputs.observed
  let areMainsBegun = spec.containers.contains { observed.latest($0.name) != nil }
  if !areMainsBegun {
    let hasFailed = spec.initContainers.contains {
      let latest = observed.latest($0.name)
      return $0.role == .initial && latest?.state == .containerExited && latest?.exitCode != 0
    }
    return hasFailed && spec.restartPolicy == "Never" ? "Failed" : "Pending"
  }
  if inputs.plan.isFinished, !statuses.contains(where: { $0.at("state", "running") != nil }) {
    return spec.containers.contains { observed.latest($0.name)?.exitCode != 0 } ? "Failed" : "Succeeded"
  }
  let isWaiting = statuses.contains {
    $0.at("state", "waiting") != nil && $0.at("lastState", "terminated") == nil
  }
  return isWaiting ? "Pending" : "Running"
}

// MARK: - Containers

private func containerStatus(_ container: ContainerSpec, _ inputs: PodStatusInputs) -> JSON {
  let instances = inputs.observed.containers[container.name] ?? []
  let latest = instances.first
  var previous = instances.dropFirst().first
  let probe = latest.flatMap { inputs.probes[$0.id] } ?? ProbeVerdict()
  var state: JSON
  var isReady = false
  var isStarted = false
  switch latest?.state {
  case .containerRunning?:
    state = ["running": ["startedAt": JSON(time(latest?.startedAt ?? 0))]]
    isStarted = probe.isStarted
    isReady = probe.isStarted && probe.isReady
    if container.role == .initial || container.role == .ephemeral { isReady = false }
  case .containerExited?:
    let terminated = terminatedState(latest, inputs.messages)
    let waiting = inputs.plan.waiting[container.name] ?? inputs.waiting[container.name]
    if let waiting {
      state = waitingState(waiting)
      previous = latest
    } else {
      state = ["terminated": terminated]
      isReady = container.role == .initial && latest?.exitCode == 0
    }
  default:
    let isInitializing = container.role == .main && !inputs.spec.initContainers.isEmpty && !initDone(inputs)
    state = waitingState(
      inputs.waiting[container.name]
        ?? Waiting(reason: isInitializing ? "PodInitializing" : "ContainerCreating"))
  }
  var lastState: JSON = [:]
  if let previous, previous.state == .containerExited {
    lastState = ["terminated": terminatedState(previous, inputs.messages)]
  }
  var status: JSON = [
    "name": JSON(container.name), "state": state, "lastState": lastState, "ready": JSON(isReady),
    "restartCount": JSON(latest?.metadata.attempt ?? 0), "image": JSON(container.image),
    "imageID": JSON(latest?.imageRef ?? ""), "started": JSON(isStarted),
  ]
  if let signal = container.stopSignal { status["stopSignal"] = JSON(signal.name) }
  if let latest { status["containerID"] = JSON("containerd://\(latest.id)") }
  return status
}

private func waitingState(_ waiting: Waiting) -> JSON {
  var body: JSON = ["reason": JSON(waiting.reason)]
  if !waiting.message.isEmpty { body["message"] = JSON(waiting.message) }
  return ["waiting": body]
}

private func terminatedState(_ status: CRI.ContainerStatus?, _ messages: [String: String]) -> JSON {
  guard let status else { return [:] }
  var body: JSON = [
    "exitCode": JSON(status.exitCode),
    "reason": JSON(status.reason.isEmpty ? (status.exitCode == 0 ? "Completed" : "Error") : status.reason),
    "startedAt": JSON(time(status.startedAt)), "finishedAt": JSON(time(status.finishedAt)),
    "containerID": JSON("containerd://\(status.id)"),
  ]
  let message = messages[status.id] ?? status.message
  if !message.isEmpty { body["message"] = JSON(message) }
  if status.exitCode > 128, status.exitCode < 192 { body["signal"] = JSON(status.exitCode - 128) }
  return body
}

/// RFC 3339 of the runtime's nanoseconds; the epoch when there are none, as upstream prints it.
func time(_ nanoseconds: Int64) -> String {
  Timestamp.text(seconds: max(nanoseconds, 0) / 1_000_000_000)
}

private func initDone(_ inputs: PodStatusInputs) -> Bool {
  if inputs.spec.containers.contains(where: { inputs.observed.latest($0.name) != nil }) { return true }
  return inputs.spec.initContainers.allSatisfy { container in
    let latest = inputs.observed.latest(container.name)
    return container.role == .sidecar
      ? latest?.state == .containerRunning && (latest.flatMap { inputs.probes[$0.id] }?.isStarted ?? true)
      : latest?.state == .containerExited && latest?.exitCode == 0
  }
}

// MARK: - Conditions

private func conditions(_ inputs: PodStatusInputs, _ initStatuses: [JSON], _ statuses: [JSON], phase: String)
  -> [JSON]
{
  let old = inputs.spec.pod.at("status", "conditions")?.elements ?? []
  let isSucceeded = phase == "Succeeded"
  let isInitialized = initDone(inputs)
  let unready = statuses.filter { $0["ready"]?.bool != true }.compactMap { $0["name"]?.string }
  let notInitialized = initStatuses.filter { $0["ready"]?.bool != true }.compactMap { $0["name"]?.string }
  let areReady = unready.isEmpty && !statuses.isEmpty
  var out: [JSON] = []
  func add(_ type: String, _ value: Bool, _ reason: String = "", _ message: String = "") {
    let before = old.first { $0["type"]?.string == type }
    var condition: JSON = ["type": JSON(type), "status": JSON(value ? "True" : "False")]
    if inputs.spec.pod.generation > 0 { condition["observedGeneration"] = JSON(inputs.spec.pod.generation) }
    condition["lastProbeTime"] = .null
    let isSame = before?["status"] == condition["status"]
    condition["lastTransitionTime"] =
      isSame ? before?["lastTransitionTime"] ?? JSON(inputs.now) : JSON(inputs.now)
    if !reason.isEmpty { condition["reason"] = JSON(reason) }
    if !message.isEmpty { condition["message"] = JSON(message) }
    out.append(condition)
  }
  add("PodReadyToStartContainers", inputs.observed.sandbox != nil)
  if isInitialized {
    add("Initialized", true, isSucceeded ? "PodCompleted" : "")
  } else {
    add(
      "Initialized", false, "ContainersNotInitialized",
      "containers with incomplete status: [\(notInitialized.joined(separator: " "))]")
  }
  let reason = isSucceeded ? "PodCompleted" : phase == "Failed" ? "PodFailed" : "ContainersNotReady"
  let message =
    reason == "ContainersNotReady"
    ? "containers with unready status: [\(unready.joined(separator: " "))]" : ""
  let isUp = areReady && phase == "Running"
  add("ContainersReady", isUp, isUp ? "" : reason, isUp ? "" : message)
  let gates =
    inputs.spec.pod.at("spec", "readinessGates")?.elements.compactMap { $0["conditionType"]?.string } ?? []
  let closed = gates.filter { gate in
    old.first { $0["type"]?.string == gate }?["status"]?.string != "True"
  }
  if isUp, !closed.isEmpty {
    add(
      "Ready", false, "ReadinessGatesNotReady",
      "the status of pod readiness gate \"\(closed[0])\" is not \"True\"")
  } else {
    add("Ready", isUp, isUp ? "" : reason, isUp ? "" : message)
  }
  // Others' conditions stay: the scheduler's PodScheduled, readiness gates, disruption.
  let ours: Set<String> = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"]
  return out + old.filter { !ours.contains($0["type"]?.string ?? "") }
}
