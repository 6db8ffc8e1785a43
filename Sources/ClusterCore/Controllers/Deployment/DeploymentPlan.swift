// The next step of a Deployment's rollout. Pure: the Deployment and its ReplicaSets in, at most one step
// for each of them out; the step's effects come back as changes, and the next plan goes on from there.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Writes that take a Deployment one step further.
struct DeploymentPlan: Equatable {
  /// The ReplicaSet of the current template, when it does not exist yet.
  var create: JSON?
  /// ReplicaSets with other replicas or annotations than now.
  var update: [JSON] = []
  /// Old ReplicaSets past `revisionHistoryLimit`.
  var delete: [JSON] = []
  /// The Deployment's annotations, when they change.
  var annotations: [String: String]?
  var status: JSON = .null
  /// Seconds until the progress deadline must be looked at.
  var checkIn: Int?
}

enum DeploymentNames {
  static let revision = "deployment.kubernetes.io/revision"
  static let history = "deployment.kubernetes.io/revision-history"
  static let desired = "deployment.kubernetes.io/desired-replicas"
  static let maximum = "deployment.kubernetes.io/max-replicas"
  static let hash = "pod-template-hash"
  /// Annotations that belong to one object and are not copied to ReplicaSets.
  static let own: Set = [
    revision, history, desired, maximum, "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
  ]
}

/// The numbers a rollout keeps to.
struct RolloutBounds: Equatable {
  var wanted: Int
  var maxSurge: Int
  var maxUnavailable: Int
  var isRecreate: Bool

  init(_ deployment: JSON) {
    wanted = deployment.at("spec", "replicas")?.int ?? 1
    isRecreate = deployment.at("spec", "strategy", "type")?.string == "Recreate"
    let rolling = deployment.at("spec", "strategy", "rollingUpdate")
    maxSurge = scaledShare(rolling?["maxSurge"] ?? "25%", of: wanted, roundsUp: true)
    maxUnavailable = min(
      wanted, scaledShare(rolling?["maxUnavailable"] ?? "25%", of: wanted, roundsUp: false))
    // Both zero would never move.
    if maxSurge == 0, maxUnavailable == 0 { maxUnavailable = 1 }
    if isRecreate { maxSurge = 0 }
  }
}

/// The template without what controllers add to it.
func comparableTemplate(_ object: JSON) -> JSON {
  var template = object.at("spec", "template") ?? .null
  var labels = template.at("metadata", "labels")?.stringMap ?? [:]
  labels[DeploymentNames.hash] = nil
  template.set(labels.isEmpty ? nil : JSON(labels), at: "metadata", "labels")
  return template
}

func templateHash(_ deployment: JSON) -> String {
  stableHash(comparableTemplate(deployment), collisions: deployment.at("status", "collisionCount")?.int)
}

extension JSON {
  fileprivate var replicas: Int { at("spec", "replicas")?.int ?? 0 }
  fileprivate var available: Int { at("status", "availableReplicas")?.int ?? 0 }
  fileprivate var actual: Int { at("status", "replicas")?.int ?? 0 }
  fileprivate var revision: Int { annotations[DeploymentNames.revision].flatMap { Int($0) } ?? 0 }
}

/// The next step. `hasOldPods` says whether pods of old ReplicaSets still exist, which Recreate waits for.
func planDeployment(
  _ deployment: JSON, sets: [JSON], hasOldPods: Bool, now: Int64 = Timestamp.now().seconds
) -> DeploymentPlan {
  var plan = DeploymentPlan()
  let bounds = RolloutBounds(deployment)
  let template = comparableTemplate(deployment)
  let isPaused = deployment.at("spec", "paused")?.bool ?? false
  let oldestFirst = sets.sorted { ($0.creationTimestamp, $0.name) < ($1.creationTimestamp, $1.name) }
  let current = oldestFirst.first { comparableTemplate($0) == template }
  let old = oldestFirst.filter { $0.uid != current?.uid }

  // Revisions: the current template carries the highest number, also after a rollback to an older one.
  let newest = old.map(\.revision).max() ?? 0
  let revision = max(newest + 1, current?.revision ?? 0)
  var sizes: [String: Int] = [:]
  for set in sets { sizes[set.uid] = set.replicas }
  var created: Int?

  if isPaused {
    scaleProportionally(deployment, bounds, current: current, sets, &sizes)
  } else if isResized(bounds, sets), !bounds.isRecreate || old.allSatisfy({ $0.replicas == 0 }) {
    scaleProportionally(deployment, bounds, current: current, sets, &sizes)
  } else if bounds.isRecreate {
    for set in old { sizes[set.uid] = 0 }
    if !hasOldPods, old.allSatisfy({ $0.replicas == 0 && $0.actual == 0 }) {
      if let current { sizes[current.uid] = bounds.wanted } else { created = bounds.wanted }
    }
  } else {
    created = planRollingUpdate(bounds, current: current, old: old, &sizes)
  }
  if let created {
    plan.create = newReplicaSet(deployment, bounds, replicas: created, revision: revision)
  }

  for set in sets {
    var changed = set
    changed.set(JSON(sizes[set.uid] ?? set.replicas), at: "spec", "replicas")
    var annotations = set.annotations
    if set.uid == current?.uid {
      for (key, value) in deployment.annotations where !DeploymentNames.own.contains(key) {
        annotations[key] = value
      }
      if set.revision != revision, !isPaused || set.revision < revision {
        if set.revision > 0 {
          let history = annotations[DeploymentNames.history].map { $0 + "," } ?? ""
          annotations[DeploymentNames.history] = history + "\(set.revision)"
        }
        annotations[DeploymentNames.revision] = "\(revision)"
      }
    }
    if changed.replicas > 0 || set.uid == current?.uid {
      annotations[DeploymentNames.desired] = "\(bounds.wanted)"
      annotations[DeploymentNames.maximum] = "\(bounds.wanted + bounds.maxSurge)"
    }
    if annotations != set.annotations { changed.set(JSON(annotations), at: "metadata", "annotations") }
    if changed != set { plan.update.append(changed) }
  }
  if current != nil || plan.create != nil, deployment.annotations[DeploymentNames.revision] != "\(revision)" {
    plan.annotations = deployment.annotations.merging([DeploymentNames.revision: "\(revision)"]) { $1 }
  }

  let limit = deployment.at("spec", "revisionHistoryLimit")?.int ?? 10
  let idle = old.filter { $0.replicas == 0 && $0.actual == 0 && !$0.isTerminating }
  let isComplete = current.map { $0.available >= bounds.wanted } ?? false
  if isComplete, idle.count > limit {
    plan.delete = Array(idle.sorted { $0.revision < $1.revision }.prefix(idle.count - limit))
  }
  (plan.status, plan.checkIn) = planDeploymentStatus(
    deployment, sets: sets, current: current, created: plan.create, bounds: bounds, now: now)
  return plan
}

/// Sizes for one step of a rolling update; the size to create the new ReplicaSet with when there is none.
private func planRollingUpdate(
  _ bounds: RolloutBounds, current: JSON?, old: [JSON], _ sizes: inout [String: Int]
) -> Int? {
  let oldTotal = old.map(\.replicas).reduce(0, +)
  let room = bounds.wanted + bounds.maxSurge - oldTotal
  guard let current else { return max(0, min(bounds.wanted, room)) }
  let grown =
    current.replicas > bounds.wanted
    ? bounds.wanted : max(current.replicas, min(bounds.wanted, max(0, room)))
  sizes[current.uid] = grown

  // What may go: everything above the minimum that must stay available, counting new pods not there yet as
  // missing.
  let minimum = bounds.wanted - bounds.maxUnavailable
  let newMissing = grown - min(grown, current.available)
  var mayGo = max(0, oldTotal + grown - minimum - newMissing)
  // Broken old pods serve nobody: they go first.
  for set in old where mayGo > 0 {
    let broken = min(max(0, set.replicas - set.available), mayGo)
    sizes[set.uid] = set.replicas - broken
    mayGo -= broken
  }
  // Status lags behind spec, so what may go by spec bounds what may go by status.
  var spare = min(mayGo, old.map(\.available).reduce(0, +) + current.available - minimum)
  for set in old where spare > 0 {
    let size = sizes[set.uid] ?? set.replicas
    let less = min(size, spare, set.available)
    sizes[set.uid] = size - less
    spare -= less
  }
  return nil
}

/// Whether the Deployment was resized since its ReplicaSets were written.
private func isResized(_ bounds: RolloutBounds, _ sets: [JSON]) -> Bool {
  sets.contains { set in
    guard set.replicas > 0, let before = set.annotations[DeploymentNames.desired].flatMap({ Int($0) }) else {
      return false
    }
    return before != bounds.wanted
  }
}

/// A Deployment resized in mid-rollout, or paused there: every ReplicaSet grows or shrinks by its share, so
/// that as much as before is of the old template. The largest takes what rounding leaves.
private func scaleProportionally(
  _ deployment: JSON, _ bounds: RolloutBounds, current: JSON?, _ sets: [JSON], _ sizes: inout [String: Int]
) {
  let active = sets.filter { $0.replicas > 0 }
  guard active.count > 1 else {
    if let only = active.first ?? current ?? sets.max(by: { $0.revision < $1.revision }) {
      sizes[only.uid] = bounds.wanted
    }
    return
  }
  // The rollout is over but for the old pods.
  if let current, current.replicas == bounds.wanted, current.available == bounds.wanted {
    for set in active where set.uid != current.uid { sizes[set.uid] = 0 }
    return
  }
  guard !bounds.isRecreate, isResized(bounds, sets) else { return }
  let allowed = bounds.wanted > 0 ? bounds.wanted + bounds.maxSurge : 0
  let toAdd = allowed - active.map(\.replicas).reduce(0, +)
  let growing = toAdd > 0
  let largestFirst = active.sorted { a, b in
    if a.replicas != b.replicas { return a.replicas > b.replicas }
    return growing ? a.createdAt > b.createdAt : a.createdAt < b.createdAt
  }
  var added = 0
  for set in largestFirst where toAdd != 0 {
    let before = set.annotations[DeploymentNames.maximum].flatMap { Int($0) } ?? 0
    let total = before > 0 ? before : max(1, deployment.at("status", "replicas")?.int ?? 0)
    // To the nearest.
    let share = (2 * set.replicas * allowed + total) / (2 * total) - set.replicas
    let step = growing ? min(max(0, share), toAdd - added) : max(min(0, share), toAdd - added)
    sizes[set.uid] = set.replicas + step
    added += step
  }
  if let largest = largestFirst.first {
    sizes[largest.uid] = max(0, (sizes[largest.uid] ?? largest.replicas) + toAdd - added)
  }
}

private func newReplicaSet(_ deployment: JSON, _ bounds: RolloutBounds, replicas: Int, revision: Int) -> JSON
{
  let hash = templateHash(deployment)
  var annotations = deployment.annotations.filter { !DeploymentNames.own.contains($0.key) }
  annotations[DeploymentNames.revision] = "\(revision)"
  annotations[DeploymentNames.desired] = "\(bounds.wanted)"
  annotations[DeploymentNames.maximum] = "\(bounds.wanted + bounds.maxSurge)"
  var template = deployment.at("spec", "template") ?? .null
  template.set(JSON(hash), at: "metadata", "labels", DeploymentNames.hash)
  var selector = deployment.at("spec", "selector") ?? .null
  selector.set(JSON(hash), at: "matchLabels", DeploymentNames.hash)
  var spec: JSON = ["replicas": JSON(replicas), "selector": selector, "template": template]
  if let ready = deployment.at("spec", "minReadySeconds") { spec["minReadySeconds"] = ready }
  return [
    "apiVersion": "apps/v1", "kind": "ReplicaSet",
    "metadata": [
      "name": JSON("\(deployment.name)-\(hash)"), "namespace": JSON(deployment.namespace),
      "labels": template.at("metadata", "labels") ?? .null, "annotations": JSON(annotations),
      "ownerReferences": [deployment.controllerReferenceToThis],
    ],
    "spec": spec,
  ]
}
