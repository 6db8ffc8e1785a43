// What a node tells of itself in events, in kubelet's words: that it starts, that a condition turned, that its machine was booted anew,
// that it is short of something. Pure.

import ClusterObjects

/// The node as events name it: kubelet takes its name for its uid.
func nodeReference(_ name: String) -> JSON {
  ["kind": "Node", "metadata": ["name": JSON(name), "uid": JSON(name)]]
}

/// Said once by each start of the agent.
func nodeStartEvent(_ name: String) -> PodEvent {
  nodeEvent(name, isWarning: false, "Starting", "Starting kubelet.")
}

/// Said as long as a threshold is crossed.
func thresholdEvent(_ name: String, _ crossed: CrossedThreshold) -> PodEvent {
  nodeEvent(
    name, isWarning: true, "EvictionThresholdMet",
    "Attempting to reclaim \(crossed.threshold.signal.resource)")
}

/// What turned between the status that the API had and the one that was written. Of what it is short and not the node tells at each start
/// anew, as kubelet does; of being ready only when it turns.
func planNodeEvents(_ name: String, old: JSON, new: JSON, isFirst: Bool) -> [PodEvent] {
  var events: [PodEvent] = []
  let boot = new.at("nodeInfo", "bootID")?.string ?? ""
  if let before = old.at("nodeInfo", "bootID")?.string, !before.isEmpty, !boot.isEmpty, before != boot {
    events.append(
      nodeEvent(name, isWarning: true, "Rebooted", "Node \(name) has been rebooted, boot id: \(boot)"))
  }
  for (type, whenTrue, whenFalse) in conditionReasons {
    guard let now = status(type, new) else { continue }
    let before = status(type, old)
    let isTold = type == "Ready" ? before != nil && before != now : isFirst || before != now
    guard isTold else { continue }
    let reason = now == "True" ? whenTrue : whenFalse
    events.append(nodeEvent(name, isWarning: false, reason, "Node \(name) status is now: \(reason)"))
  }
  return events
}

private let conditionReasons = [
  ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
  ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
  ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"), ("Ready", "NodeReady", "NodeNotReady"),
]

private func status(_ type: String, _ node: JSON) -> String? {
  node["conditions"]?.elements.first { $0["type"]?.string == type }?["status"]?.string
}

private func nodeEvent(_ name: String, isWarning: Bool, _ reason: String, _ message: String) -> PodEvent {
  PodEvent(
    involved: nodeReference(name), isWarning: isWarning, reason: reason, message: message, fieldPath: "")
}
