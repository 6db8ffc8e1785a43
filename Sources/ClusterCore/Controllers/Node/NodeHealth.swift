// What a node's heartbeats say of it: conditions and taints, as pure functions of what was seen and of the clock.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Keys of taints that the control plane sets by itself.
enum NodeTaints {
  static let notReady = "node.kubernetes.io/not-ready"
  static let unreachable = "node.kubernetes.io/unreachable"
  static let outOfService = "node.kubernetes.io/out-of-service"

  /// Conditions that keep new pods away while they are true, and `spec.unschedulable`.
  static let pressures = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"), ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
  ]
  static let unschedulable = "node.kubernetes.io/unschedulable"
  static let ofConditions = Set(pressures.map(\.1) + [notReady, unreachable, unschedulable])
}

/// When each node last gave a sign of life, by the controller's clock alone: a node whose clock is wrong is as healthy as another.
struct NodeHeartbeats: Sendable {
  private struct Seen: Sendable {
    var uid: String
    var renewed: String
    var heartbeat: String
    var at: Int64
    var ready: String
  }
  struct Sign: Sendable, Equatable {
    /// Seconds of the controller's steady clock.
    var at: Int64
    /// The node has spoken at least once.
    var isKnown: Bool
    /// Its Ready condition when it was looked at before.
    var readyBefore: String?
  }
  private var seen: [String: Seen] = [:]

  /// Takes in what the Node and its Lease say now.
  mutating func observe(_ node: JSON, lease: JSON?, clock: ControllerClock.Reading) -> Sign {
    let now = clock.steady
    let renewed = lease?.at("spec", "renewTime")?.string ?? ""
    let condition = node.condition("Ready")
    let heartbeat = condition?["lastHeartbeatTime"]?.string ?? ""
    let ready = condition?["status"]?.string ?? ""
    let isKnown = !renewed.isEmpty || condition != nil
    guard let before = seen[node.name], before.uid == node.uid else {
      let created = Timestamp.parse(node.creationTimestamp)?.seconds ?? now
      seen[node.name] = Seen(
        uid: node.uid, renewed: renewed, heartbeat: heartbeat, at: isKnown ? now : min(created, now),
        ready: ready)
      return Sign(at: isKnown ? now : min(created, now), isKnown: isKnown)
    }
    var next = before
    // What this controller wrote itself is no sign of the node's.
    let isSign = before.renewed != renewed || (before.heartbeat != heartbeat && ready != "Unknown")
    if isSign || before.at > now { next.at = now }
    (next.renewed, next.heartbeat, next.ready) = (renewed, heartbeat, ready)
    seen[node.name] = next
    return Sign(at: next.at, isKnown: isKnown, readyBefore: before.ready)
  }

  mutating func forget(_ name: String) { seen[name] = nil }
}

/// The node with the conditions that its silence deserves; equal to the input when they are right.
func planNodeConditions(
  _ node: JSON, sign: NodeHeartbeats.Sign, clock: ControllerClock.Reading, grace: Int64, startupGrace: Int64
) -> JSON {
  guard clock.steady - sign.at > (sign.isKnown ? grace : startupGrace) else { return node }
  var node = node
  let time = Timestamp.text(seconds: clock.wall)
  for type in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
    guard let condition = node.condition(type) else {
      node.appendCondition([
        "type": JSON(type), "status": "Unknown", "reason": "NodeStatusNeverUpdated",
        "message": "Kubelet never posted node status.",
        "lastHeartbeatTime": JSON(node.creationTimestamp.isEmpty ? time : node.creationTimestamp),
        "lastTransitionTime": JSON(time),
      ])
      continue
    }
    if condition["status"]?.string == "Unknown" { continue }
    var changed = condition
    changed["status"] = "Unknown"
    changed["reason"] = "NodeStatusUnknown"
    changed["message"] = "Kubelet stopped posting node status."
    changed["lastTransitionTime"] = JSON(time)
    node.replaceCondition(changed)
  }
  return node
}

/// The node with the taints that its conditions deserve; equal to the input when they are right. Taints of others stay.
/// - Parameter mayEvict: whether a NoExecute taint may be added now; one that is there is always exchanged or removed.
func planNodeTaints(_ node: JSON, clock: ControllerClock.Reading, mayEvict: Bool) -> JSON {
  var wanted: [String] = []
  let ready = node.condition("Ready")?["status"]?.string
  let sick = ready == "Unknown" ? NodeTaints.unreachable : ready == "False" ? NodeTaints.notReady : nil
  if let sick { wanted.append(sick) }
  for (type, key) in NodeTaints.pressures where node.isConditionTrue(type) { wanted.append(key) }
  if node.at("spec", "unschedulable")?.bool == true { wanted.append(NodeTaints.unschedulable) }
  let before = node.at("spec", "taints")?.elements ?? []
  // A node that never said anything keeps the taint it was made with.
  let isSilent = ready == nil
  let hadNoExecute = before.contains {
    $0["effect"]?.string == "NoExecute"
      && [NodeTaints.notReady, NodeTaints.unreachable].contains($0["key"]?.string)
  }
  var taints = before.filter { taint in
    let key = taint["key"]?.string ?? ""
    switch taint["effect"]?.string {
    case "NoSchedule":
      return !NodeTaints.ofConditions.contains(key) || wanted.contains(key)
        || (isSilent && key == NodeTaints.notReady)
    case "NoExecute":
      return ![NodeTaints.notReady, NodeTaints.unreachable].contains(key) || key == sick
    default: return true
    }
  }
  func add(_ key: String, _ effect: String) {
    if taints.contains(where: { $0["key"]?.string == key && $0["effect"]?.string == effect }) { return }
    taints.append([
      "key": JSON(key), "effect": JSON(effect), "timeAdded": JSON(Timestamp.text(seconds: clock.wall)),
    ])
  }
  for key in wanted { add(key, "NoSchedule") }
  if let sick, mayEvict || hadNoExecute { add(sick, "NoExecute") }
  guard taints != before else { return node }
  var node = node
  node.set(taints.isEmpty ? nil : .array(taints), at: "spec", "taints")
  return node
}

extension JSON {
  fileprivate mutating func appendCondition(_ condition: JSON) {
    set(.array((at("status", "conditions")?.elements ?? []) + [condition]), at: "status", "conditions")
  }

  /// Puts a condition in the place of that of its type.
  mutating func replaceCondition(_ condition: JSON) {
    let all = (at("status", "conditions")?.elements ?? []).map {
      $0["type"] == condition["type"] ? condition : $0
    }
    set(.array(all), at: "status", "conditions")
  }
}
