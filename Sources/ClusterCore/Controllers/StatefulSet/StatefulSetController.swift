// Carries out a StatefulSet's plan: claims before pods, pods in order, the status, the history.

import ClusterClient
import ClusterObjects
import Diagnostics

func statefulSetController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("statefulset")
  let sets = context.informers.informer(.statefulSets)
  let pods = context.informers.informer(.pods)
  let expectations = Expectations()
  let reconciler = StatefulSetReconciler(
    context: context, sets: sets, pods: pods,
    claims: context.informers.informer(.persistentVolumeClaims),
    history: RevisionKeeper(
      context: context, revisions: context.informers.informer(.controllerRevisions),
      hashLabel: StatefulNames.revisionHash),
    control: PodControl(
      context: context, pods: pods, expectations: expectations, source: "statefulset-controller"))
  return Controller(
    "statefulset", context, queue: queue,
    registrations: followOwners("StatefulSet", sets, pods: pods, expectations: expectations, queue: queue),
    resync: { for key in sets.snapshot.keys { queue.add(key) } }
  ) { key in try await reconciler.reconcile(key) }
}

/// A claim that its pod waits for.
private struct ClaimFailure: Error, CustomStringConvertible {
  var description: String
}

private struct StatefulSetReconciler: Sendable {
  let context: ControllerContext
  let sets: Informer
  let pods: Informer
  let claims: Informer
  let history: RevisionKeeper
  let control: PodControl

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    guard let set = sets[key] else { return nil }
    if let wait = control.expectations.wait(key) { return wait }
    let membership = PodClaims(
      set, among: pods, selector: set.at("spec", "selector"), isMember: { set.ordinal(of: $0) != nil })
    for pod in membership.adopt { try await control.changeOwner(pod, of: set, adopts: true) }
    for pod in membership.release { try await control.changeOwner(pod, of: set, adopts: false) }

    let (revisions, update, collisions) = try await history.keep(set)
    let current = revisions.first { $0.name == set.at("status", "currentRevision")?.string } ?? update
    var plan = planStatefulSet(
      set, pods: membership.owned, current: current, update: update, now: context.now)
    if let collisions { plan.status["collisionCount"] = JSON(collisions) }
    var failure: (any Error)?
    do {
      try await keepClaims(set, plan, membership.owned)
      try await apply(plan, to: set)
    } catch { failure = error }
    if plan.status != set.status {
      var changed = set
      changed["status"] = plan.status
      _ = try await context.api.update(
        .statefulSets, changed, subresource: "status", options: context.options)
    }
    if let failure { throw failure }
    let used = membership.owned.compactMap { $0.labels[StatefulNames.revision] }
    let named = ["currentRevision", "updateRevision"].compactMap { plan.status[$0]?.string }
    try await history.truncate(set, revisions, live: Set(used + named + [current.name, update.name]))
    return plan.availableIn.map { .seconds($0) }
  }

  private func apply(_ plan: StatefulSetPlan, to set: JSON) async throws {
    for event in plan.events { control.record(set, event) }
    for pod in plan.relabel {
      try await control.patch(pod, ["labels": pod.at("metadata", "labels") ?? .null])
    }
    for pod in plan.create { try await create(pod, for: set) }
    for pod in plan.delete { try await delete(pod, of: set) }
  }

  private func create(_ pod: JSON, for set: JSON) async throws {
    let words = "create Pod \(pod.name) in StatefulSet \(set.name)"
    var isExpected = false
    defer { if !isExpected { control.expectations.see(set.key, "+" + pod.name) } }
    do {
      if let ordinal = set.ordinal(of: pod) { try await createClaims(set, ordinal: ordinal, pod: pod.name) }
      control.expectations.expect(set.key, "+" + pod.name)
      _ = try await context.api.create(.pods, pod, options: context.options)
      isExpected = true
      control.record(set, .normal("SuccessfulCreate", "\(words) successful"))
    } catch let error as APIStatusError {
      // Made before, and the informer is behind; or the last of this name has not gone yet.
      if error.isAlreadyExists || error.isOfEndingNamespace { return }
      control.record(set, .warning("FailedCreate", "\(words) failed error: \(error.message)"))
      throw error
    } catch let error as ClaimFailure {
      control.record(set, .warning("FailedCreate", "\(words) failed error: \(error)"))
      throw error
    }
  }

  private func delete(_ pod: JSON, of set: JSON) async throws {
    let words = "delete Pod \(pod.name) in StatefulSet \(set.name)"
    control.expectations.expect(set.key, "-" + pod.uid) { pods[pod.key]?.isTerminating ?? true }
    do {
      try await context.api.delete(
        .pods, namespace: pod.namespace, name: pod.name, options: DeleteOptions(uid: pod.uid))
      control.record(set, .normal("SuccessfulDelete", "\(words) successful"))
    } catch let error as APIStatusError {
      control.expectations.see(set.key, "-" + pod.uid)
      if error.isNotFound || error.isConflict { return }
      control.record(set, .warning("FailedDelete", "\(words) failed error: \(error.message)"))
      throw error
    }
  }

  private func createClaims(_ set: JSON, ordinal: Int, pod: String) async throws {
    for var claim in statefulClaims(set, ordinal: ordinal) {
      if let existing = claims[claim.key] {
        // What is still being deleted would take its data along.
        if existing.isTerminating { throw ClaimFailure(description: "pvc \(claim.name) is being deleted") }
        continue
      }
      let owners = claimOwners(claim, set: set, pod: nil, isCondemned: false)
      if !owners.isEmpty { claim.set(.array(owners), at: "metadata", "ownerReferences") }
      let words = "create Claim \(claim.name) Pod \(pod) in StatefulSet \(set.name)"
      do {
        _ = try await context.api.create(.persistentVolumeClaims, claim, options: context.options)
        control.record(set, .normal("SuccessfulCreate", "\(words) success"))
      } catch let error as APIStatusError where error.isAlreadyExists {
      } catch let error as APIStatusError {
        control.record(set, .warning("FailedCreate", "\(words) failed error: \(error.message)"))
        throw error
      }
    }
  }

  /// Before a pod that is too many goes, its claims know whether they go with it.
  private func keepClaims(_ set: JSON, _ plan: StatefulSetPlan, _ owned: [JSON]) async throws {
    guard !set.isTerminating, set.at("spec", "volumeClaimTemplates")?.elements.isEmpty == false else {
      return
    }
    let condemned = Set(plan.condemned.map(\.name))
    for pod in owned {
      guard let ordinal = set.ordinal(of: pod) else { continue }
      for named in statefulClaims(set, ordinal: ordinal) {
        guard let claim = claims[named.key], !claim.isTerminating else { continue }
        let owners = claimOwners(claim, set: set, pod: pod, isCondemned: condemned.contains(pod.name))
        guard owners != claim.ownerReferences else { continue }
        var changed = claim
        changed.set(owners.isEmpty ? nil : .array(owners), at: "metadata", "ownerReferences")
        _ = try await context.api.update(
          .persistentVolumeClaims, changed, subresource: nil, options: context.options)
      }
    }
  }
}
