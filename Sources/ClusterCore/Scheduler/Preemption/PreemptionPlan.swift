// Which pods would have to go for a more important one, and on which node that hurts least. Pure.
//
//   for each node that removing pods could help:
//     take all less important pods away -> does it fit now? -> give back whom we can, the protected first
//   of the nodes left, the first difference in this order decides:
//     fewest budgets violated, lowest highest priority, smallest sum of priorities, fewest pods,
//     latest start of the most important victim, first looked at

import ClusterObjects

/// One node and the pods that would have to leave it.
public struct PreemptionPlan: Sendable {
  public var node: String
  /// Most important first.
  public var victims: [PodInfo]
  /// Victims that a PodDisruptionBudget protects.
  public var violations: Int

  public init(node: String, victims: [PodInfo], violations: Int) {
    self.node = node
    self.victims = victims
    self.violations = violations
  }

  /// Compared place by place, smaller is better.
  var cost: [Int64] {
    let highest = victims.map(\.priority).max() ?? .min
    // Shifted to be positive, so that few of low priority stay cheaper than many of negative priority.
    let shifted = victims.reduce(Int64(0)) { sum($0, sum($1.priority, 1 << 31)) }
    let earliest = victims.filter { $0.priority == highest }.map(\.startSeconds).min() ?? .max
    return [Int64(violations), highest, shifted, Int64(victims.count), 0 &- earliest]
  }

  /// The plan that hurts least; of equal ones the first.
  public static func best(of plans: [PreemptionPlan]) -> PreemptionPlan? {
    var best: (plan: PreemptionPlan, cost: [Int64])?
    for plan in plans {
      let cost = plan.cost
      if best == nil || cost.lexicographicallyPrecedes(best!.cost) { best = (plan, cost) }
    }
    return best?.plan
  }
}

/// More important: of higher priority, else running for longer.
func isMoreImportant(_ a: PodInfo, _ b: PodInfo) -> Bool {
  (b.priority, a.startSeconds, a.key) < (a.priority, b.startSeconds, b.key)
}

/// What a node says to preemption: the victims, or why none would help.
func planVictims(
  _ pod: PodInfo, _ node: NodeInfo, _ filters: [PreparedFilter], budgets: [DisruptionBudget],
  nominated: [PodInfo] = []
) -> Result<PreemptionPlan, Rejection> {
  let candidates = node.pods.filter { $0.priority < pod.priority }.sorted(by: isMoreImportant)
  if candidates.isEmpty {
    return .failure(Rejection("No preemption victims found for incoming pod", isResolvable: false))
  }
  var filters = filters
  var left = node
  for candidate in candidates {
    left = left.removing(candidate.key)
    filters.remove(candidate, from: node)
  }
  if let rejection = filters.reject(pod, left, nominated: nominated) { return .failure(rejection) }
  let isProtected = DisruptionBudget.protected(candidates, by: budgets)
  var victims: [PodInfo] = []
  var violations = 0
  for protected in [true, false] {
    for (candidate, itsProtection) in zip(candidates, isProtected) where itsProtection == protected {
      var trial = filters
      trial.add(candidate, to: node)
      let crowded = left.adding(candidate)
      if trial.reject(pod, crowded, nominated: nominated) == nil {
        filters = trial
        left = crowded
      } else {
        victims.append(candidate)
        if protected { violations += 1 }
      }
    }
  }
  victims.sort(by: isMoreImportant)
  return .success(PreemptionPlan(node: node.name, victims: victims, violations: violations))
}

/// A PodDisruptionBudget, as far as preemption minds it.
struct DisruptionBudget: Sendable {
  var namespace: String
  var selector: LabelSelector
  var allowed: Int
  /// Pods whose eviction is counted already.
  var disrupted: Set<String>

  init(_ budget: JSON) {
    namespace = budget.namespace
    let selector = (try? LabelSelector(budget.at("spec", "selector"))) ?? .nothing
    self.selector = selector.isEmpty ? .nothing : selector
    allowed = budget.at("status", "disruptionsAllowed")?.int ?? 0
    disrupted = Set(budget.at("status", "disruptedPods")?.object?.keys ?? [])
  }

  /// For each pod in turn, whether its going would be one more than a budget allows.
  static func protected(_ pods: [PodInfo], by budgets: [DisruptionBudget]) -> [Bool] {
    var left = budgets.map(\.allowed)
    return pods.map { pod in
      var isProtected = false
      for (index, budget) in budgets.enumerated()
      where budget.namespace == pod.namespace && !pod.labels.isEmpty && budget.selector.matches(pod.labels)
        && !budget.disrupted.contains(pod.name)
      {
        left[index] -= 1
        if left[index] < 0 { isProtected = true }
      }
      return isProtected
    }
  }
}
