// Carries out a Deployment's plan, step by step.

import ClusterClient
import ClusterObjects
import Diagnostics

func deploymentController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("deployment")
  let deployments = context.informers.informer(.deployments)
  let sets = context.informers.informer(.replicaSets)
  let pods = context.informers.informer(.pods)
  let expectations = Expectations()

  @Sendable func owner(_ set: JSON) -> [ObjectKey] {
    if let owner = set.controllerReference {
      guard owner["kind"]?.string == "Deployment", let name = owner["name"]?.string else { return [] }
      return [ObjectKey(set.namespace, name)]
    }
    return deployments.objects(selecting: set, by: .labelSelector).map(\.key)
  }

  let registrations = [
    deployments.onChange { changes in
      for change in changes {
        if change.isDeletion { expectations.forget(change.key) }
        queue.add(change.key)
      }
    },
    sets.onChange { changes in
      for change in changes {
        for key in owner(change.object) {
          expectations.see(key, change.object.uid)
          queue.add(key)
        }
      }
    },
    // Recreate waits for the last old pod; nothing else here looks at pods.
    pods.onChange { changes in
      for change in changes where change.isDeletion {
        guard let reference = change.object.controllerReference,
          let set = sets[change.key.namespace, reference["name"]?.string ?? ""],
          set.uid == reference["uid"]?.string
        else { continue }
        for key in owner(set) where deployments[key]?.at("spec", "strategy", "type") == "Recreate" {
          queue.add(key)
        }
      }
    },
  ]
  let reconciler = DeploymentReconciler(
    context: context, deployments: deployments, sets: sets, pods: pods, expectations: expectations)
  return Controller(
    "deployment", context, queue: queue, registrations: registrations,
    resync: { for key in deployments.snapshot.keys { queue.add(key) } }
  ) { key in try await reconciler.reconcile(key) }
}

private struct DeploymentReconciler: Sendable {
  let context: ControllerContext
  let deployments: Informer
  let sets: Informer
  let pods: Informer
  let expectations: Expectations

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    guard let deployment = deployments[key], !deployment.isTerminating else { return nil }
    if let wait = expectations.wait(key) { return wait }
    let selector = SelectorMatch.selector(deployment.at("spec", "selector"))
    let nearby = sets.objects(claimableBy: deployment, selector: selector)
    for orphan in nearby where isAdoptable(orphan, by: selector) { try await adopt(orphan, deployment) }
    let owned = nearby.filter { $0.isControlled(by: deployment) }
    let template = comparableTemplate(deployment)
    let oldUIDs = Set(owned.filter { comparableTemplate($0) != template }.map(\.uid))
    let hasOldPods = oldUIDs.contains { uid in
      pods.objects(.controller, uid).contains { !PodState.isFinished($0) }
    }
    let plan = planDeployment(deployment, sets: owned, hasOldPods: hasOldPods)
    try await apply(plan, to: deployment)
    return plan.checkIn.map { .seconds($0) }
  }

  private func isAdoptable(_ set: JSON, by selector: LabelSelector) -> Bool {
    set.controllerReference == nil && !set.isTerminating && selector.matches(set.labels)
  }

  private func adopt(_ set: JSON, _ deployment: JSON) async throws {
    var changed = set
    changed.set(
      .array(set.ownerReferences + [deployment.controllerReferenceToThis]), at: "metadata", "ownerReferences")
    _ = try await context.api.update(.replicaSets, changed, subresource: nil, options: context.options)
  }

  private func apply(_ plan: DeploymentPlan, to deployment: JSON) async throws {
    var deployment = deployment
    if let set = plan.create { try await create(set, for: deployment) }
    for set in plan.update {
      let before = sets[set.key]?.at("spec", "replicas")?.int ?? 0
      let after = set.at("spec", "replicas")?.int ?? 0
      _ = try await context.api.update(.replicaSets, set, subresource: nil, options: context.options)
      if before != after {
        context.events.record(
          deployment, "Normal", "ScalingReplicaSet",
          "Scaled \(before < after ? "up" : "down") replica set \(set.name) from \(before) to \(after)",
          from: "deployment-controller")
      }
    }
    for set in plan.delete {
      try await context.api.deleteIfPresent(
        .replicaSets, set.key, options: DeleteOptions(propagationPolicy: "Background", uid: set.uid))
    }
    if let annotations = plan.annotations {
      deployment.set(JSON(annotations), at: "metadata", "annotations")
      deployment = try await context.api.update(
        .deployments, deployment, subresource: nil, options: context.options)
    }
    guard plan.status != deployment.status else { return }
    deployment["status"] = plan.status
    _ = try await context.api.update(
      .deployments, deployment, subresource: "status", options: context.options)
  }

  private func create(_ set: JSON, for deployment: JSON) async throws {
    do {
      let made = try await context.api.create(.replicaSets, set, options: context.options)
      expectations.expect(deployment.key, made.uid) { sets.hasSeen(made) }
      let replicas = made.at("spec", "replicas")?.int ?? 0
      if replicas > 0 {
        context.events.record(
          deployment, "Normal", "ScalingReplicaSet",
          "Scaled up replica set \(made.name) from 0 to \(replicas)", from: "deployment-controller")
      }
    } catch let error as APIStatusError where error.isAlreadyExists {
      let existing = try await context.api.get(.replicaSets, namespace: set.namespace, name: set.name)
      // Ours already, and the informer is behind: the change will come.
      if existing.isControlled(by: deployment), comparableTemplate(existing) == comparableTemplate(deployment)
      {
        return
      }
      // Another template with the same hash: count it, and the next name differs.
      try await context.api.modify(.deployments, deployment.key, subresource: "status") { current in
        var changed = current
        let collisions = current.at("status", "collisionCount")?.int ?? 0
        changed.set(JSON(collisions + 1), at: "status", "collisionCount")
        return changed
      }
      throw error
    }
  }
}
