// Evictions: deletions of pods that ask the pods' disruption budgets first.

import ClusterClient
import ClusterObjects

extension RESTCore {
  private static let retrySeconds = 10

  /// Deletes a pod in the way of an Eviction: admission sees the Eviction, not a deletion. Throws 429 when the
  /// pod's budget does not allow it now.
  func evict(
    _ kind: ResourceKind, namespace: String, name: String, _ eviction: JSON, options: WriteOptions,
    identity: Identity
  ) async throws {
    let (body, _) = try await admitCreate(
      kind, namespace: namespace, name: name, subresource: "eviction", eviction, options: options,
      identity: identity)
    var deletion = DeleteOptions()
    deletion.gracePeriodSeconds = body.at("deleteOptions", "gracePeriodSeconds")?.int
    deletion.uid = body.at("deleteOptions", "preconditions", "uid")?.string
    deletion.resourceVersion = body.at("deleteOptions", "preconditions", "resourceVersion")?.string
    try await askBudgets(kind, namespace: namespace, name: name, dryRun: options.dryRun)
    _ = try await delete(
      kind, namespace: namespace, name: name, options: deletion, dryRun: options.dryRun, identity: identity,
      admits: false)
  }

  private func askBudgets(
    _ kind: ResourceKind, namespace: String, name: String, dryRun: Bool
  ) async throws {
    let pod = try await get(kind, namespace: namespace, name: name).tree
    guard let budgets = registry[GroupVersionKind("policy", "v1", "PodDisruptionBudget")],
      !DisruptionBudgets.isUncounted(pod)
    else { return }
    let covering = trees(budgets, namespace).filter { DisruptionBudgets.covers($0, pod) }
    guard let budget = covering.first else { return }
    if covering.count > 1 {
      throw APIStatusError(
        code: 500, reason: "InternalError",
        message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
          + "support.")
    }
    func verdict(_ budget: JSON) throws -> EvictionVerdict {
      let verdict = DisruptionBudgets.judge(budget, pod: pod, now: .now) {
        trees(kind, namespace).filter { DisruptionBudgets.covers(budget, $0) }
      }
      guard case .refused(let cause, let isPending) = verdict else { return verdict }
      var details: JSON = ["causes": [["reason": "DisruptionBudget", "message": JSON(cause)]]]
      // client-go obeys this in silence, ten times over: kubectl drain could not say what it waits for.
      if isPending { details["retryAfterSeconds"] = JSON(Self.retrySeconds) }
      throw APIStatusError(
        code: 429, reason: "TooManyRequests",
        message: "Cannot evict pod as it would violate the pod's disruption budget.",
        details: details)
    }
    guard case .counted = try verdict(budget), !dryRun else { return }
    // Judged again on what is stored at that moment: two evictions must not both take the last one.
    _ = try await change(
      budgets, namespace: namespace, name: budget.name, part: .status, options: WriteOptions(),
      identity: .system
    ) { current in
      var object = current
      if case .counted(let status) = try verdict(current) { object["status"] = status }
      object.set(nil, at: "metadata", "resourceVersion")
      return (object, [])
    }
  }

  private func trees(_ kind: ResourceKind, _ namespace: String) -> [JSON] {
    var found: [JSON] = []
    cache(kind).snapshot.forEach(prefix: Self.prefix(kind, namespace: namespace), after: nil) {
      found.append($0.tree)
      return true
    }
    return found
  }
}
