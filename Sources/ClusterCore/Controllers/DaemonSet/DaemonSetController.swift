// Carries out a DaemonSet's plan. Nodes that come, go or change their labels and taints concern every
// DaemonSet.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// Pods made or deleted in one go; the rest follows when these were seen.
private let burstMax = 250

func daemonSetController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("daemonset")
  let sets = context.informers.informer(.daemonSets)
  let pods = context.informers.informer(.pods)
  let nodes = context.informers.informer(.nodes)
  let expectations = Expectations()
  let reconciler = DaemonSetReconciler(
    context: context, sets: sets, pods: pods, nodes: nodes, failures: FailedDaemons(),
    history: RevisionKeeper(
      context: context, revisions: context.informers.informer(.controllerRevisions),
      hashLabel: DaemonNames.hash),
    control: PodControl(
      context: context, pods: pods, expectations: expectations, source: "daemonset-controller"))
  let owners = followOwners("DaemonSet", sets, pods: pods, expectations: expectations, queue: queue)
  let registration = nodes.onChange { changes in
    for change in changes {
      for (key, set) in sets.snapshot.keys.compactMap({ key in sets[key].map { (key, $0) } }) {
        let spec = daemonSpec(set)
        let before = change.old.map { daemonVerdict($0, spec) } ?? (false, false)
        let after = change.new.map { daemonVerdict($0, spec) } ?? (false, false)
        if before != after { queue.add(key) }
      }
    }
  }
  return Controller(
    "daemonset", context, queue: queue, registrations: owners + [registration],
    resync: { for key in sets.snapshot.keys { queue.add(key) } }
  ) { key in try await reconciler.reconcile(key) }
}

/// How often daemons failed on each node: one that always fails is replaced less and less often.
final class FailedDaemons: Sendable {
  /// Past this many nodes the oldest memory is given up: their next failure counts as the first.
  static let nodesMax = 20_000
  private static let delayMax = 900
  private struct Failure {
    var count: Int
    var at: Int64
  }
  private let failures = Mutex<[String: Failure]>([:])

  /// Seconds until the failed pod of a node may be replaced.
  func delay(_ node: String, now: Int64) -> Int {
    failures.withLock { failures in
      guard let last = failures[node] else { return 0 }
      let delay = min(Self.delayMax, 1 << min(last.count - 1, 10))
      // Long quiet: start anew.
      if Int(now - last.at) > 2 * Self.delayMax {
        failures[node] = nil
        return 0
      }
      return max(0, delay - Int(now - last.at))
    }
  }

  func note(_ node: String, now: Int64) {
    failures.withLock { failures in
      if failures.count >= Self.nodesMax { failures = [:] }
      failures[node] = Failure(count: (failures[node]?.count ?? 0) + 1, at: now)
    }
  }
}

private struct DaemonSetReconciler: Sendable {
  let context: ControllerContext
  let sets: Informer
  let pods: Informer
  let nodes: Informer
  let failures: FailedDaemons
  let history: RevisionKeeper
  let control: PodControl

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    guard let set = sets[key] else { return nil }
    if let wait = try await control.awaited(set) { return wait }
    let selector = set.at("spec", "selector")
    if (try? LabelSelector(selector))?.isEmpty == true {
      control.record(
        set,
        .warning("SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required."))
      return nil
    }
    let membership = PodClaims(set, among: pods, selector: selector)
    for pod in membership.adopt { try await control.changeOwner(pod, of: set, adopts: true) }
    for pod in membership.release { try await control.changeOwner(pod, of: set, adopts: false) }

    let (revisions, update, collisions) = try await history.keep(set)
    let hash = update.labels[DaemonNames.hash] ?? ""
    let now = context.now
    func memory(_ node: String) -> String { "\(set.uid)/\(node)" }
    var plan = planDaemonSet(
      set, nodes: nodes.snapshot.values, pods: membership.owned, hash: hash, now: now,
      failedDelay: { failures.delay(memory($0), now: now) })
    if let collisions { plan.status["collisionCount"] = JSON(collisions) }
    var failure: (any Error)?
    do {
      for event in plan.events { control.record(set, event) }
      for pod in plan.delete where PodState.phase(pod) == "Failed" {
        failures.note(memory(daemonNode(pod) ?? ""), now: now)
      }
      let spec = daemonSpec(set)
      try await control.delete(Array(plan.delete.prefix(burstMax)), of: set)
      try await control.create(
        plan.create.prefix(burstMax).map { daemonPod(set, spec: spec, hash: hash, node: $0) }, for: set)
    } catch { failure = error }
    if plan.status != set.status {
      var changed = set
      changed["status"] = plan.status
      _ = try await context.api.update(.daemonSets, changed, subresource: "status", options: context.options)
    }
    if let failure { throw failure }
    let used = Set(membership.owned.compactMap { $0.labels[DaemonNames.hash] } + [hash])
    let live = revisions.filter { used.contains($0.labels[DaemonNames.hash] ?? "") }.map(\.name)
    try await history.truncate(set, revisions, live: Set(live))
    return plan.checkIn.map { .seconds($0) }
  }
}
