// How many pods a PodDisruptionBudget allows to be evicted now. Pure.

import ClusterClient
import ClusterObjects
import Diagnostics

struct DisruptionPlan: Equatable {
  var status: JSON
  var events: [PlannedEvent] = []
  /// Seconds until an eviction that came to nothing is forgotten.
  var checkIn: Int?
}

/// How many pods the owners of some pods want.
enum ExpectedPods: Equatable {
  case count(Int, unmanaged: [String])
  /// An owner that says no number.
  case unknown(String)
}

/// An eviction whose pod is still there after this many seconds came to nothing.
private let disruptedSecondsMax = Int(DisruptionBudgets.disruptedSecondsMax)

/// `pods` are those that the budget covers; `expected` is asked only where the number matters.
func planDisruption(
  _ budget: JSON, pods: [JSON], expected: () -> ExpectedPods, now: Int64
) -> DisruptionPlan {
  var plan = DisruptionPlan(status: budget.status.object == nil ? .object([:]) : budget.status)
  if pods.isEmpty { plan.events.append(.normal("NoPods", "No matching pods found")) }
  let spec = budget.spec
  let minimum = spec["minAvailable"]
  var total = pods.count
  var desired = minimum?.int ?? 0
  if spec["maxUnavailable"] != nil || minimum?.string != nil {
    switch expected() {
    case .unknown(let why):
      plan.events.append(
        .warning("CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: \(why)")
      )
      plan.status["disruptionsAllowed"] = 0
      setVerdict(&plan.status, budget, "False", "SyncFailed", why, now)
      return plan
    case .count(let count, let unmanaged):
      total = count
      if !unmanaged.isEmpty {
        plan.events.append(.warning("UnmanagedPods", unmanagedText(budget, unmanaged)))
      }
    }
    if let most = spec["maxUnavailable"] {
      desired = max(0, total - scaledShare(most, of: total, roundsUp: true))
    } else if let minimum {
      desired = scaledShare(minimum, of: total, roundsUp: true)
    }
  } else if minimum == nil {
    // Neither is said: one pod may go.
    desired = max(0, total - 1)
  }

  var disrupted: [String: Int64] = [:]
  for (name, value) in budget.status["disruptedPods"]?.object ?? [:] {
    guard let pod = pods.first(where: { $0.name == name }), !pod.isTerminating,
      let since = value.string.flatMap({ Timestamp.parse($0)?.seconds })
    else { continue }
    let left = Int(since - now) + disruptedSecondsMax
    if left <= 0 {
      plan.events.append(
        .warning(
          "NotDeleted",
          "Pod \(name) was expected by PDB \(budget.namespace)/\(budget.name) to be deleted but it wasn't"))
      continue
    }
    disrupted[name] = since
    plan.checkIn = earlier(plan.checkIn, left)
  }
  let healthy = pods.count { !$0.isTerminating && disrupted[$0.name] == nil && PodState.isReady($0) }
  let allowed = total <= 0 ? 0 : max(0, healthy - desired)
  plan.status["currentHealthy"] = JSON(healthy)
  plan.status["desiredHealthy"] = JSON(desired)
  plan.status["expectedPods"] = JSON(total)
  plan.status["disruptionsAllowed"] = JSON(allowed)
  plan.status["observedGeneration"] = JSON(budget.generation)
  plan.status["disruptedPods"] =
    disrupted.isEmpty ? nil : JSON(disrupted.mapValues { Timestamp.text(seconds: $0) })
  setVerdict(
    &plan.status, budget, allowed > 0 ? "True" : "False",
    allowed > 0 ? "SufficientPods" : "InsufficientPods", "", now)
  return plan
}

private func setVerdict(
  _ status: inout JSON, _ budget: JSON, _ value: String, _ reason: String, _ message: String, _ now: Int64
) {
  var object: JSON = ["status": status]
  object.setCondition(
    "DisruptionAllowed", value, reason: reason, message: message, now: Timestamp.text(seconds: now))
  let conditions = (object.at("status", "conditions")?.elements ?? []).map { condition in
    guard condition["type"]?.string == "DisruptionAllowed" else { return condition }
    var condition = condition
    condition["observedGeneration"] = JSON(budget.generation)
    return condition
  }
  status["conditions"] = .array(conditions)
}

private func unmanagedText(_ budget: JSON, _ pods: [String]) -> String {
  let selector = (try? LabelSelector(budget.spec["selector"]))?.description ?? ""
  return "Pods selected by this PodDisruptionBudget (selector: \(selector)) were found to be unmanaged. As a "
    + "result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To "
    + "account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
}

/// What the owners of pods want together, each owner once. `find` gives an owner by reference and namespace.
func expectedPods(_ pods: [JSON], find: (_ reference: JSON, _ namespace: String) -> OwnerScale)
  -> ExpectedPods
{
  var scales: [String: Int] = [:]
  var unmanaged: [String] = []
  for pod in pods {
    guard let reference = pod.controllerReference else {
      unmanaged.append(pod.name)
      continue
    }
    switch find(reference, pod.namespace) {
    case .wants(let count, let uid): scales[uid] = count
    case .gone: unmanaged.append(pod.name)
    case .unknown(let why): return .unknown(why)
    }
  }
  return .count(scales.values.reduce(0, +), unmanaged: unmanaged)
}

/// What the owner of a pod says of its number.
enum OwnerScale: Equatable {
  case wants(Int, uid: String)
  case gone
  case unknown(String)
}
