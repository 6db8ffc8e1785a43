// Keeps as many pods as each ReplicaSet asks for, and each ReplicationController, its elder twin.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Pods made or deleted in one go; the rest follows when these were seen.
private let burstMax = 500

/// A kind that keeps a number of equal pods. The two differ in name alone; `podSelector` reads either's
/// selector.
struct ReplicaKind: Sendable {
  var resource: GroupVersionResource
  var kind: String
  /// The queue's and the controller's name, upstream's.
  var name: String
  /// What its events name as their source.
  var source: String

  static let replicaSet = ReplicaKind(
    resource: .replicaSets, kind: "ReplicaSet", name: "replicaset", source: "replicaset-controller")
  static let replicationController = ReplicaKind(
    resource: .replicationControllers, kind: "ReplicationController", name: "replicationmanager",
    source: "replication-controller")
}

func replicaController(_ context: ControllerContext, of kind: ReplicaKind) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue(kind.name)
  let sets = context.informers.informer(kind.resource)
  let pods = context.informers.informer(.pods)
  let expectations = Expectations()

  let registrations = followOwners(
    kind.kind, sets, pods: pods, expectations: expectations, queue: queue, selector: \.podSelector)
  let control = PodControl(
    context: context, pods: pods, expectations: expectations, source: kind.source)
  let controller = ReplicaSetReconciler(
    context: context, kind: kind, sets: sets, pods: pods, control: control)
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
  let control: PodControl

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    guard let set = sets[key] else { return nil }
    if let wait = try await control.awaited(set) { return wait }
    let candidates = pods.objects(claimableBy: set, selector: SelectorMatch.selector(set.podSelector))
    let plan = planReplicaSet(set, pods: candidates)
    for pod in plan.adopt { try await control.changeOwner(pod, of: set, adopts: true) }
    for pod in plan.release { try await control.changeOwner(pod, of: set, adopts: false) }
    var failure: (any Error)?
    do {
      let made = min(plan.create, burstMax)
      try await control.create(Array(repeating: podFromTemplate(of: set), count: made), for: set)
      try await control.delete(Array(plan.delete.prefix(burstMax)), of: set)
    } catch { failure = error }
    try await writeStatus(set, plan, failure: failure)
    if let failure { throw failure }
    return plan.availableIn.map { .seconds($0) }
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
