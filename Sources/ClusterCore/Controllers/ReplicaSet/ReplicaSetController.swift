// Keeps as many pods as each ReplicaSet asks for, and each ReplicationController, its elder twin.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Pods made or deleted in one go; the rest follows when these were seen.
private let burstMax = 500

/// A kind that keeps a number of equal pods. The two differ in name alone; `podSelector` reads either's selector.
struct ReplicaKind: Sendable {
  var resource: GroupVersionResource
  var kind: String
  /// The queue's and the controller's name, upstream's.
  var name: String

  static let replicaSet = ReplicaKind(resource: .replicaSets, kind: "ReplicaSet", name: "replicaset")
  static let replicationController = ReplicaKind(
    resource: GroupVersionResource("", "v1", "replicationcontrollers"), kind: "ReplicationController",
    name: "replicationmanager")
}

func replicaController(_ context: ControllerContext, of kind: ReplicaKind) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue(kind.name)
  let sets = context.informers.informer(kind.resource)
  let pods = context.informers.informer(.pods)
  let expectations = Expectations()

  /// The sets that a pod concerns: its owner, or those whose selector would adopt it.
  @Sendable func concerned(_ pod: JSON) -> [ObjectKey] {
    if let owner = pod.controllerReference {
      guard owner["kind"]?.string == kind.kind, let name = owner["name"]?.string else { return [] }
      return [ObjectKey(pod.namespace, name)]
    }
    return sets.objects(.namespace, pod.namespace).filter {
      SelectorMatch.matches($0.podSelector, pod.labels)
    }.map(\.key)
  }

  let registrations = [
    sets.onChange { changes in
      for change in changes {
        if change.isDeletion { expectations.forget(change.key) }
        queue.add(change.key)
      }
    },
    pods.onChange { changes in
      for change in changes {
        for state in [change.old, change.new].compactMap(\.self) {
          for key in concerned(state) {
            expectations.see(key, "+" + state.uid)
            if change.isDeletion || change.new?.isTerminating == true {
              expectations.see(key, "-" + state.uid)
            }
            queue.add(key)
          }
        }
      }
    },
  ]
  let controller = ReplicaSetReconciler(
    context: context, kind: kind, sets: sets, pods: pods, expectations: expectations)
  return Controller(
    kind.name, context, queue: queue, registrations: registrations,
    resync: { for key in sets.snapshot.keys { queue.add(key) } }
  ) { key in try await controller.reconcile(key) }
}

private struct ReplicaSetReconciler: Sendable {
  let context: ControllerContext
  let kind: ReplicaKind
  let sets: Informer
  let pods: Informer
  let expectations: Expectations

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    if let wait = expectations.wait(key) { return wait }
    guard let set = sets[key] else { return nil }
    let selector = set.podSelector
    let candidates = pods.objects(.namespace, key.namespace).filter {
      $0.isControlled(by: set) || SelectorMatch.matches(selector, $0.labels)
    }
    let plan = planReplicaSet(set, pods: candidates)
    for pod in plan.adopt { try await changeOwner(pod, of: set, adopts: true) }
    for pod in plan.release { try await changeOwner(pod, of: set, adopts: false) }
    var failure: (any Error)?
    do {
      try await create(min(plan.create, burstMax), for: set)
      try await delete(Array(plan.delete.prefix(burstMax)), of: set)
    } catch { failure = error }
    try await writeStatus(set, plan, failure: failure)
    if let failure { throw failure }
    return plan.availableIn.map { .seconds($0) }
  }

  /// In batches of 1, 2, 4, …: a quota or a bad template is met once, not five hundred times.
  private func create(_ count: Int, for set: JSON) async throws {
    var remaining = count
    var batch = 1
    while remaining > 0 {
      let size = min(batch, remaining)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<size { group.addTask { try await createOne(for: set) } }
        try await group.waitForAll()
      }
      remaining -= size
      batch *= 2
    }
  }

  private func createOne(for set: JSON) async throws {
    do {
      let pod = try await context.api.create(.pods, podFromTemplate(of: set), options: context.options)
      expectations.expect(set.key, "+" + pod.uid) { pods[pod.key] != nil }
      context.events.record(
        set, "Normal", "SuccessfulCreate", "Created pod: \(pod.name)", from: "replicaset-controller")
    } catch let error as APIStatusError {
      // A namespace on its way out takes no new pods; nothing is wrong with the set.
      if error.isOfEndingNamespace { return }
      context.events.record(
        set, "Warning", "FailedCreate", "Error creating: \(error.message)", from: "replicaset-controller")
      throw error
    }
  }

  private func delete(_ doomed: [JSON], of set: JSON) async throws {
    for pod in doomed {
      expectations.expect(set.key, "-" + pod.uid) { pods[pod.key]?.isTerminating ?? true }
      do {
        try await context.api.delete(
          .pods, namespace: pod.namespace, name: pod.name, options: DeleteOptions(uid: pod.uid))
        context.events.record(
          set, "Normal", "SuccessfulDelete", "Deleted pod: \(pod.name)", from: "replicaset-controller")
      } catch let error as APIStatusError where error.isNotFound || error.isConflict {
        expectations.see(set.key, "-" + pod.uid)
      } catch {
        expectations.see(set.key, "-" + pod.uid)
        throw error
      }
    }
  }

  private func changeOwner(_ pod: JSON, of set: JSON, adopts: Bool) async throws {
    let others = pod.ownerReferences.filter { $0["uid"]?.string != set.uid }
    let owners = adopts ? others + [set.controllerReferenceToThis] : others
    // The pod as it was seen, and no other of its name.
    let patch: JSON = [
      "metadata": [
        "uid": JSON(pod.uid), "resourceVersion": JSON(pod.resourceVersion),
        "ownerReferences": owners.isEmpty ? .null : .array(owners),
      ]
    ]
    do {
      _ = try await context.api.patch(
        .pods, namespace: pod.namespace, name: pod.name, patch: .merge(patch), subresource: nil,
        options: context.options)
    } catch let error as APIStatusError where error.isNotFound {}
  }

  private func writeStatus(_ set: JSON, _ plan: ReplicaSetPlan, failure: (any Error)?) async throws {
    var changed = set
    changed["status"] = plan.status
    if let failure, !Task.isCancelled {
      changed.setCondition("ReplicaFailure", "True", reason: "FailedCreate", message: "\(failure)")
    } else {
      changed.removeCondition("ReplicaFailure")
      if changed.at("status", "conditions")?.elements.isEmpty == true {
        changed.set(nil, at: "status", "conditions")
      }
    }
    guard changed.status != set.status else { return }
    _ = try await context.api.update(kind.resource, changed, subresource: "status", options: context.options)
  }
}
