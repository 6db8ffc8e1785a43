// What a DaemonSet lacks and has too many of, node by node. Pure.
//
//   manage   every node that should have a pod has one; others have none; failed ones are replaced
//   update   RollingUpdate: old pods go first (maxUnavailable), or new ones come first (maxSurge)

import ClusterClient
import ClusterObjects
import Diagnostics

struct DaemonSetPlan: Equatable {
  /// Nodes to make a pod for.
  var create: [String] = []
  var delete: [JSON] = []
  var events: [PlannedEvent] = []
  var status: JSON = .null
  /// Seconds until a pod becomes available or a failed one may be replaced.
  var checkIn: Int?
}

/// One node with the pods for it.
private struct DaemonNode {
  var name: String
  var shouldRun: Bool
  var mayStay: Bool
  var pods: [JSON]
}

/// `pods` are those that the set owns; `hash` is that of today's template. `failures` says how often a
/// daemon failed on a node lately.
func planDaemonSet(
  _ set: JSON, nodes: [JSON], pods: [JSON], hash: String, now: Int64,
  failedDelay: (String) -> Int = { _ in 0 }
) -> DaemonSetPlan {
  var plan = DaemonSetPlan()
  let spec = daemonSpec(set)
  var byNode: [String: [JSON]] = [:]
  for pod in pods { byNode[daemonNode(pod) ?? "", default: []].append(pod) }
  let known = nodes.sorted { $0.name < $1.name }.map { node in
    let verdict = daemonVerdict(node, spec)
    return DaemonNode(
      name: node.name, shouldRun: verdict.shouldRun, mayStay: verdict.mayStay,
      pods: (byNode[node.name] ?? []).sorted { ($0.createdAt, $0.name) < ($1.createdAt, $1.name) })
  }
  let daemons = Daemons(set: set, hash: hash, now: now)
  plan.status = daemons.status(known)
  for pod in pods where !pod.isTerminating {
    if let wait = daemons.availableIn(pod), wait > 0 { plan.checkIn = earlier(plan.checkIn, wait) }
  }
  if set.isTerminating { return plan }
  // Bound nowhere, and made for a node that is gone.
  let names = Set(nodes.map(\.name))
  for pod in pods where pod.at("spec", "nodeName") == nil && !pod.isTerminating {
    if !names.contains(daemonNode(pod) ?? "") { plan.delete.append(pod) }
  }
  for node in known { daemons.manage(node, failedDelay, &plan) }
  if set.at("spec", "updateStrategy", "type")?.string != "OnDelete" { daemons.roll(known, &plan) }
  return plan
}

private struct Daemons {
  let set: JSON
  let hash: String
  let now: Int64
  var minReady: Int { self.set.at("spec", "minReadySeconds")?.int ?? 0 }
  var rolling: JSON { self.set.at("spec", "updateStrategy", "rollingUpdate") ?? .null }
  var isRolling: Bool { self.set.at("spec", "updateStrategy", "type")?.string != "OnDelete" }
  var hasSurge: Bool {
    guard isRolling, let surge = rolling["maxSurge"] else { return false }
    return surge != 0 && surge != "0%"
  }

  func isNew(_ pod: JSON) -> Bool { pod.labels[DaemonNames.hash] == hash }
  func availableIn(_ pod: JSON) -> Int? {
    PodState.availableIn(pod, minReadySeconds: minReady, now: now)
  }
  func isAvailable(_ pod: JSON) -> Bool { availableIn(pod) == 0 && !pod.isTerminating }

  func manage(_ node: DaemonNode, _ failedDelay: (String) -> Int, _ plan: inout DaemonSetPlan) {
    if node.shouldRun, node.pods.isEmpty {
      plan.create.append(node.name)
      return
    }
    guard node.mayStay else {
      plan.delete += node.pods.filter { !$0.isTerminating }
      return
    }
    var running: [JSON] = []
    for pod in node.pods where !pod.isTerminating {
      let place = "daemon pod \(pod.namespace)/\(pod.name) on node \(node.name), will try to "
      switch PodState.phase(pod) {
      case "Failed":
        let wait = failedDelay(node.name)
        guard wait <= 0 else {
          plan.checkIn = earlier(plan.checkIn, wait)
          continue
        }
        plan.events.append(.warning("FailedDaemonPod", "Found failed \(place)kill it"))
        plan.delete.append(pod)
      case "Succeeded":
        plan.events.append(.normal("SucceededDaemonPod", "Found succeeded \(place)delete it"))
        plan.delete.append(pod)
      default: running.append(pod)
      }
    }
    guard running.count > 1 else { return }
    guard hasSurge else {
      // The oldest stays.
      plan.delete += running.dropFirst()
      return
    }
    // Two may stand side by side: the oldest of the new template and the oldest of an old one, until the
    // new one can take over.
    var kept: [JSON] = []
    if let new = running.first(where: isNew) { kept.append(new) }
    if let old = running.first(where: { !isNew($0) }), !kept.contains(where: isAvailable) { kept.append(old) }
    plan.delete += running.filter { pod in !kept.contains { $0.uid == pod.uid } }
  }

  func roll(_ nodes: [DaemonNode], _ plan: inout DaemonSetPlan) {
    let desired = nodes.count { $0.shouldRun }
    var maxUnavailable = scaledShare(rolling["maxUnavailable"] ?? 1, of: desired, roundsUp: true)
    let maxSurge = scaledShare(rolling["maxSurge"] ?? 0, of: desired, roundsUp: true)
    if maxUnavailable == 0, maxSurge == 0 { maxUnavailable = 1 }
    let going = Set(plan.delete.map(\.uid))
    if maxSurge == 0 {
      replace(nodes, maxUnavailable, going, &plan)
    } else {
      surge(nodes, maxSurge, going, &plan)
    }
  }

  /// Old pods go, and new ones follow: first those that serve nobody anyway, then as many as may be missing.
  private func replace(_ nodes: [DaemonNode], _ most: Int, _ going: Set<String>, _ plan: inout DaemonSetPlan)
  {
    var missing = 0
    var candidates: [JSON] = []
    for node in nodes where node.shouldRun {
      let standing = node.pods.filter { !$0.isTerminating && !going.contains($0.uid) }
      guard let pod = standing.first(where: isNew) ?? standing.first else {
        missing += 1
        continue
      }
      if isNew(pod) {
        if !isAvailable(pod) { missing += 1 }
      } else if isAvailable(pod) {
        candidates.append(pod)
      } else {
        missing += 1
        plan.delete.append(pod)
      }
    }
    plan.delete += candidates.prefix(max(0, most - missing))
  }

  /// New pods come, and old ones go when these are available.
  private func surge(_ nodes: [DaemonNode], _ most: Int, _ going: Set<String>, _ plan: inout DaemonSetPlan) {
    var extra = 0
    var candidates: [String] = []
    for node in nodes where node.shouldRun && !node.pods.isEmpty {
      let standing = node.pods.filter { !$0.isTerminating && !going.contains($0.uid) }
      let new = standing.first(where: isNew)
      let old = standing.first { !isNew($0) }
      switch (new, old) {
      case (let new?, let old?):
        if isAvailable(new) { plan.delete.append(old) } else { extra += 1 }
      case (nil, let old?):
        if isAvailable(old) { candidates.append(node.name) } else { plan.create.append(node.name) }
      default: break
      }
    }
    plan.create += candidates.prefix(max(0, most - extra))
  }

  func status(_ nodes: [DaemonNode]) -> JSON {
    var desired = 0
    var current = 0
    var misplaced = 0
    var ready = 0
    var updated = 0
    var available = 0
    for node in nodes {
      let standing = node.pods.filter { !$0.isTerminating }
      guard node.shouldRun else {
        if !node.pods.isEmpty { misplaced += 1 }
        continue
      }
      desired += 1
      // The newest of what is there speaks for the node.
      guard !node.pods.isEmpty else { continue }
      current += 1
      guard
        let pod = standing.first(where: isAvailable) ?? standing.first(where: PodState.isReady)
          ?? standing.last
      else { continue }
      if PodState.isReady(pod) {
        ready += 1
        if availableIn(pod) == 0 { available += 1 }
      }
      if standing.contains(where: isNew) { updated += 1 }
    }
    var status = set.status.object == nil ? JSON.object([:]) : set.status
    status["observedGeneration"] = JSON(set.generation)
    status["desiredNumberScheduled"] = JSON(desired)
    status["currentNumberScheduled"] = JSON(current)
    status["numberMisscheduled"] = JSON(misplaced)
    status["numberReady"] = JSON(ready)
    status.count("updatedNumberScheduled", updated)
    status.count("numberAvailable", available)
    status.count("numberUnavailable", desired - available)
    return status
  }
}
