// Keeps the status of every PodDisruptionBudget: evictions are decided by it.

import ClusterClient
import ClusterObjects
import Diagnostics

func disruptionController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("disruption")
  let budgets = context.informers.informer(.disruptionBudgets)
  let pods = context.informers.informer(.pods)
  let scales = OwnerScales(context)

  @Sendable func addBudgets(of pods: [JSON]) {
    var seen: Set<JSON> = []
    for pod in pods where seen.insert(pod.at("metadata", "labels") ?? .null).inserted {
      for budget in budgets.objects(selecting: pod, by: .labelSelector) { queue.add(budget.key) }
    }
  }
  var registrations = [
    budgets.onChange { changes in for change in changes { queue.add(change.key) } },
    pods.onChange { changes in
      for change in changes {
        for budget in budgets.objects(concernedBy: change, by: .labelSelector) { queue.add(budget.key) }
      }
    },
  ]
  registrations += scales.informers.map { informer in
    informer.onChange { changes in
      for change in changes {
        let states = [change.old, change.new]
        // Whose pods say which number counts for them: an owner's own, or that of who controls it.
        guard
          states[0]?.at("spec", "replicas") != states[1]?.at("spec", "replicas")
            || states[0]?.controllerReference != states[1]?.controllerReference
        else { continue }
        addBudgets(of: scales.pods(pods, of: change.object))
      }
    }
  }
  return Controller(
    "disruption", context, queue: queue, registrations: registrations,
    resync: { for key in budgets.snapshot.keys { queue.add(key) } }
  ) { key in
    guard let budget = budgets[key], !budget.isTerminating else { return nil }
    let covered = pods.objects(in: key.namespace, selectedBy: SelectorMatch.selector(budget.spec["selector"]))
    let plan = planDisruption(
      budget, pods: covered, expected: { expectedPods(covered, find: scales.find) }, now: context.now)
    for event in plan.events {
      context.events.record(budget, event.type, event.reason, event.message, from: "controllermanager")
    }
    if plan.status != budget.status {
      var changed = budget
      changed["status"] = plan.status
      _ = try await context.api.update(
        .disruptionBudgets, changed, subresource: "status", options: context.options)
    }
    return plan.checkIn.map { .seconds($0) }
  }
}

/// The numbers that owners of pods ask for.
private struct OwnerScales: Sendable {
  private let context: ControllerContext
  private let deployments: Informer
  private let replicaSets: Informer
  private let statefulSets: Informer
  private let replicationControllers: Informer

  init(_ context: ControllerContext) {
    self.context = context
    deployments = context.informers.informer(.deployments)
    replicaSets = context.informers.informer(.replicaSets)
    statefulSets = context.informers.informer(.statefulSets)
    replicationControllers = context.informers.informer(.replicationControllers)
  }

  var informers: [Informer] { [deployments, replicaSets, statefulSets, replicationControllers] }

  /// The pods that a number counts for: those of the owner that says it, or of those that it controls.
  func pods(_ pods: Informer, of owner: JSON) -> [JSON] {
    let sets = replicaSets.objects(.controller, owner.uid).map(\.uid)
    return pods.objects(.controller, anyOf: sets + [owner.uid])
  }

  func find(_ reference: JSON, _ namespace: String) -> OwnerScale {
    let kind = reference["kind"]?.string ?? ""
    let group = reference["apiVersion"]?.string?.split(separator: "/").dropLast().first.map(String.init) ?? ""
    switch (group, kind) {
    case ("apps", "ReplicaSet"):
      guard let set = owner(replicaSets, reference, namespace) else { return .gone }
      guard let above = set.controllerReference, above["kind"]?.string == "Deployment" else {
        return scale(set)
      }
      return owner(deployments, above, namespace).map(scale) ?? .gone
    case ("apps", "StatefulSet"): return owner(statefulSets, reference, namespace).map(scale) ?? .gone
    case ("", "ReplicationController"):
      return owner(replicationControllers, reference, namespace).map(scale) ?? .gone
    default: return custom(reference, group, kind, namespace)
    }
  }

  private func owner(_ informer: Informer, _ reference: JSON, _ namespace: String) -> JSON? {
    guard let object = informer[namespace, reference["name"]?.string ?? ""] else { return nil }
    return object.uid == reference["uid"]?.string ? object : nil
  }

  private func scale(_ object: JSON) -> OwnerScale {
    .wants(object.at("spec", "replicas")?.int ?? 1, uid: object.uid)
  }

  /// A custom kind says its number where its definition's scale subresource points.
  private func custom(_ reference: JSON, _ group: String, _ kind: String, _ namespace: String) -> OwnerScale {
    for definition in context.definitions.snapshot.values {
      let parsed = CustomResourceDefinition(definition)
      guard parsed.group == group, parsed.kind == kind, let tracked = TrackedResource(definition) else {
        continue
      }
      let version = parsed.versions.first { $0["name"]?.string == tracked.resource.version }
      guard let path = version?.at("subresources", "scale", "specReplicasPath")?.string else { break }
      guard let object = owner(context.informers.informer(tracked.resource), reference, namespace) else {
        return .gone
      }
      let number = object.at(path.split(separator: ".").map(String.init))?.int ?? 0
      return .wants(number, uid: object.uid)
    }
    let name = kind.lowercased() + "s" + (group.isEmpty ? "" : ".\(group)")
    return .unknown("\(name) does not implement the scale subresource")
  }
}
