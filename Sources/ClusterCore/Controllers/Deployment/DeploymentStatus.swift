// What a Deployment says of itself: counts, and the conditions that `kubectl rollout status` and `wait` read.

import ClusterClient
import ClusterObjects
import Diagnostics

/// The status for what exists now, and when the progress deadline is to be looked at again.
func planDeploymentStatus(
  _ deployment: JSON, sets: [JSON], current: JSON?, created: JSON?, bounds: RolloutBounds, now: Int64
) -> (status: JSON, checkIn: Int?) {
  var changed = deployment
  if changed.status.object == nil { changed["status"] = .object(JSONObject()) }
  func sum(_ field: String) -> Int { sets.compactMap { $0.at("status", field)?.int }.reduce(0, +) }
  let total = sum("replicas")
  let available = sum("availableReplicas")
  let updated = current?.at("status", "replicas")?.int ?? 0
  let wanted = sets.compactMap { $0.at("spec", "replicas")?.int }.reduce(0, +)
  func count(_ field: String, _ value: Int) {
    changed.set(value == 0 ? nil : JSON(value), at: "status", field)
  }
  changed.set(JSON(deployment.generation), at: "status", "observedGeneration")
  count("replicas", total)
  count("updatedReplicas", updated)
  count("readyReplicas", sum("readyReplicas"))
  count("availableReplicas", available)
  count("unavailableReplicas", max(0, wanted - available))
  count("terminatingReplicas", sum("terminatingReplicas"))

  let time = Timestamp.text(seconds: now)
  let isAvailable = available >= bounds.wanted - bounds.maxUnavailable
  changed.setCondition(
    "Available", isAvailable ? "True" : "False",
    reason: isAvailable ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
    message: isAvailable
      ? "Deployment has minimum availability." : "Deployment does not have minimum availability.",
    updateTime: true, now: time)
  let checkIn = setProgress(
    &changed, before: deployment, current: current, created: created, updated: updated, total: total,
    available: available, wanted: bounds.wanted, now: now)
  if let failure = sets.compactMap({ $0.condition("ReplicaFailure") }).first {
    changed.setCondition(
      "ReplicaFailure", "True", reason: failure["reason"]?.string ?? "FailedCreate",
      message: failure["message"]?.string ?? "", updateTime: true, now: time)
  } else {
    changed.removeCondition("ReplicaFailure")
  }
  return (changed.status, checkIn)
}

private func setProgress(
  _ changed: inout JSON, before: JSON, current: JSON?, created: JSON?, updated: Int, total: Int,
  available: Int, wanted: Int, now: Int64
) -> Int? {
  let time = Timestamp.text(seconds: now)
  func set(_ status: String, _ reason: String, _ message: String) {
    changed.setCondition("Progressing", status, reason: reason, message: message, updateTime: true, now: time)
  }
  let was = before.condition("Progressing")
  let reason = was?["reason"]?.string ?? ""
  if before.at("spec", "paused")?.bool == true {
    set("Unknown", "DeploymentPaused", "Deployment is paused")
    return nil
  }
  let name = current?.name ?? created?.name ?? ""
  if reason == "DeploymentPaused" { set("Unknown", "DeploymentResumed", "Deployment is resumed") }
  let isComplete = updated == wanted && total == wanted && available >= wanted && current != nil
  if isComplete {
    set("True", "NewReplicaSetAvailable", "ReplicaSet \"\(name)\" has successfully progressed.")
    return nil
  }
  if created != nil {
    set("True", "NewReplicaSetCreated", "Created new replica set \"\(name)\"")
  } else if current == nil {
    return nil
  } else {
    // Progress is more updated, fewer old, or more available pods than last written down.
    func old(_ field: String) -> Int { before.at("status", field)?.int ?? 0 }
    let progressed =
      updated > old("updatedReplicas") || total - updated < old("replicas") - old("updatedReplicas")
      || available > old("availableReplicas")
    if progressed || was == nil {
      changed.removeConditionKeepingTransition("Progressing")
      let transition = was?["status"]?.string == "True" ? was?["lastTransitionTime"]?.string : nil
      set("True", "ReplicaSetUpdated", "ReplicaSet \"\(name)\" is progressing.")
      if let transition { changed.setTransition("Progressing", transition) }
    } else if reason == "NewReplicaSetAvailable" {
      // A finished rollout that lost a pod is no rollout: its deadline does not run.
      return nil
    }
  }
  guard let deadline = before.at("spec", "progressDeadlineSeconds")?.int ?? 600 as Int?,
    deadline < 2_147_483_647
  else { return nil }
  let updatedAt = changed.condition("Progressing")?["lastUpdateTime"]?.string
  let left = Int((updatedAt.flatMap { Timestamp.parse($0)?.seconds } ?? now)) + deadline - Int(now)
  guard left <= 0 else { return left + 1 }
  set("False", "ProgressDeadlineExceeded", "ReplicaSet \"\(name)\" has timed out progressing.")
  return nil
}

extension JSON {
  /// Takes a condition out so that its update time is written anew.
  fileprivate mutating func removeConditionKeepingTransition(_ type: String) { removeCondition(type) }

  fileprivate mutating func setTransition(_ type: String, _ time: String) {
    let conditions = (at("status", "conditions")?.elements ?? []).map { condition in
      guard condition["type"]?.string == type else { return condition }
      var condition = condition
      condition["lastTransitionTime"] = JSON(time)
      return condition
    }
    set(.array(conditions), at: "status", "conditions")
  }
}
