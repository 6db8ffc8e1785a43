// The next step of a StatefulSet. Pure: the set, its pods and two revisions in; pods to make, change and
// delete, and the status, out.
//
//   OrderedReady:  0 ready -> 1 ready -> 2 …   one step at a time, the next only after the last is available
//   Parallel:      all at once
//   update:        from the highest number down to the partition, at most maxUnavailable missing

import ClusterClient
import ClusterObjects
import Diagnostics

struct StatefulSetPlan: Equatable {
  /// Pods to make, lowest number first.
  var create: [JSON] = []
  /// Pods to delete, in this order.
  var delete: [JSON] = []
  /// Pods whose labels do not say who they are, as they should be.
  var relabel: [JSON] = []
  /// Pods there are whose number is too high or too low.
  var condemned: [JSON] = []
  var events: [PlannedEvent] = []
  var status: JSON = .null
  /// Seconds until a ready pod becomes available.
  var availableIn: Int?
}

/// What one pod is, at one moment.
private struct Replica {
  var ordinal: Int
  var pod: JSON?
  var isHealthy = false
  var revision: String { pod?.labels[StatefulNames.revision] ?? "" }
  var isGoing: Bool { pod?.isTerminating ?? false }
  var isFinished: Bool { pod.map(PodState.isFinished) ?? false }
}

/// `pods` are those that the set owns; `current` and `update` are the ControllerRevisions that a rollout
/// leads from and to, the same one when there is no rollout.
func planStatefulSet(_ set: JSON, pods: [JSON], current: JSON, update: JSON, now: Int64) -> StatefulSetPlan {
  var plan = StatefulSetPlan()
  let wanted = max(0, set.at("spec", "replicas")?.int ?? 1)
  let start = set.firstOrdinal
  let minReady = set.at("spec", "minReadySeconds")?.int ?? 0
  var byOrdinal: [Int: JSON] = [:]
  for pod in pods { if let ordinal = set.ordinal(of: pod) { byOrdinal[ordinal] = pod } }

  func replica(_ ordinal: Int) -> Replica {
    var replica = Replica(ordinal: ordinal, pod: byOrdinal[ordinal])
    guard let pod = replica.pod, PodState.phase(pod) == "Running" else { return replica }
    let wait = PodState.availableIn(pod, minReadySeconds: minReady, now: now)
    if let wait, wait > 0 { plan.availableIn = earlier(plan.availableIn, wait) }
    replica.isHealthy = wait == 0 && !pod.isTerminating
    return replica
  }
  let valid = start..<(start + wanted)
  let replicas = valid.map(replica)
  let condemned = byOrdinal.keys.filter { !valid.contains($0) }.sorted(by: >).map(replica)
  plan.condemned = condemned.compactMap(\.pod)
  plan.status = status(
    set, pods: Array(byOrdinal.values), current: current, update: update, wanted: wanted, minReady: minReady,
    now: now)
  if set.isTerminating { return plan }

  let steps = StatefulSteps(set: set, current: current, update: update)
  if steps.scale(replicas, condemned, &plan) { steps.roll(replicas, &plan) }
  return plan
}

/// The two halves of a step: as many pods as asked for, then all of the right revision.
private struct StatefulSteps {
  let set: JSON
  let current: JSON
  let update: JSON
  var isOrdered: Bool { self.set.at("spec", "podManagementPolicy")?.string != "Parallel" }
  var strategy: JSON { self.set.at("spec", "updateStrategy") ?? .null }
  var isRolling: Bool { strategy["type"]?.string != "OnDelete" }
  var partition: Int { strategy.at("rollingUpdate", "partition")?.int ?? 0 }

  /// True when every pod there should be is there, so that an update may go on.
  func scale(_ replicas: [Replica], _ condemned: [Replica], _ plan: inout StatefulSetPlan) -> Bool {
    var isSettled = true
    for replica in replicas {
      guard let pod = replica.pod else {
        plan.create.append(
          statefulPod(set, revision: revision(for: replica.ordinal), ordinal: replica.ordinal))
        isSettled = false
        if isOrdered { return false }
        continue
      }
      if replica.isFinished, !replica.isGoing {
        let hasFailed = PodState.phase(pod) == "Failed"
        let words = "StatefulSet \(set.namespace)/\(set.name) is recreating"
        plan.events.append(
          hasFailed
            ? .warning("RecreatingFailedPod", "\(words) failed Pod \(pod.name)")
            : .normal("RecreatingTerminatedPod", "\(words) terminated Pod \(pod.name)"))
        plan.delete.append(pod)
        isSettled = false
        if isOrdered { return false }
        continue
      }
      if isOrdered, !replica.isHealthy { return false }
      let labels = pod.labels.merging(statefulIdentity(set, ordinal: replica.ordinal)) { $1 }
      if labels != pod.labels, !replica.isGoing {
        var named = pod
        named.set(JSON(labels), at: "metadata", "labels")
        plan.relabel.append(named)
      }
    }
    // From the highest number down; in order each only when the one before it is gone. One that is not well
    // itself may go first: nobody would miss it, and waiting for it would be for ever.
    for extra in condemned {
      guard let pod = extra.pod else { continue }
      isSettled = false
      if extra.isGoing {
        if isOrdered { return false }
        continue
      }
      plan.delete.append(pod)
      if isOrdered { return false }
    }
    return isOrdered ? isSettled : true
  }

  /// Replaces pods of old revisions, from the highest number down to the partition.
  func roll(_ replicas: [Replica], _ plan: inout StatefulSetPlan) {
    guard isRolling else { return }
    let most = max(
      1, scaledShare(strategy.at("rollingUpdate", "maxUnavailable") ?? 1, of: replicas.count, roundsUp: false)
    )
    // What is missing already counts, also what goes in this very step.
    let going = Set(plan.delete.map(\.name))
    var missing = replicas.count { !$0.isHealthy || going.contains($0.pod?.name ?? "") }
    for replica in replicas.dropFirst(min(partition, replicas.count)).reversed() {
      guard let pod = replica.pod, !going.contains(pod.name) else { continue }
      guard replica.revision != update.name, !replica.isGoing else { continue }
      // One that serves nobody is replaced at once: it may be what the update is to heal.
      if replica.isHealthy {
        guard missing < most else { continue }
        missing += 1
      }
      plan.delete.append(pod)
    }
  }

  /// Which template a new pod of this number is made from: what is below the partition stays as it was.
  private func revision(for ordinal: Int) -> JSON {
    guard isRolling, current.name != update.name else { return update }
    if strategy["rollingUpdate"] == nil {
      let done = set.at("status", "currentReplicas")?.int ?? 0
      return ordinal < set.firstOrdinal + done ? current : update
    }
    return ordinal < set.firstOrdinal + partition ? current : update
  }
}

private func status(
  _ set: JSON, pods: [JSON], current: JSON, update: JSON, wanted: Int, minReady: Int, now: Int64
) -> JSON {
  var status = set.status.object == nil ? JSON.object([:]) : set.status
  let ready = pods.filter { PodState.phase($0) == "Running" && PodState.isReady($0) }
  let standing = pods.filter { !$0.isTerminating }
  func of(_ revision: JSON) -> Int {
    standing.count { $0.labels[StatefulNames.revision] == revision.name }
  }
  let updated = of(update)
  status["observedGeneration"] = JSON(set.generation)
  status["replicas"] = JSON(pods.count)
  status.count("readyReplicas", ready.count)
  status["availableReplicas"] = JSON(
    ready.count { PodState.availableIn($0, minReadySeconds: minReady, now: now) == 0 })
  status.count("currentReplicas", of(current))
  status.count("updatedReplicas", updated)
  status["currentRevision"] = JSON(current.name)
  status["updateRevision"] = JSON(update.name)
  let isRolling = set.at("spec", "updateStrategy", "type")?.string != "OnDelete"
  if isRolling, updated == pods.count, ready.count == pods.count, pods.count == wanted {
    status["currentRevision"] = JSON(update.name)
    status.count("currentReplicas", updated)
  }
  return status
}
