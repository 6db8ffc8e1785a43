// What an autoscaler does with what its metrics ask for: the number, the conditions, the events. Pure.

import ClusterClient
import ClusterObjects

/// All entries' answers put together.
struct MetricSummary: Sendable {
  /// Nil when nothing may be concluded: no entry has an answer, or one has none and the others want fewer.
  var replicas: Int?
  /// The entry that asks for most.
  var name = ""
  /// `status.currentMetrics`, in the order of the spec.
  var statuses: [JSON] = []
  var failures: [MetricFailure] = []
  /// Of the failures together; nil without any.
  var error: String?

  init(_ results: [Result<MetricProposal, MetricFailure>], specReplicas: Int) {
    var most: MetricProposal?
    for result in results {
      switch result {
      case .success(let proposal):
        statuses.append(proposal.status)
        if most == nil || proposal.replicas > most?.replicas ?? 0 { most = proposal }
      case .failure(let failure): failures.append(failure)
      }
    }
    if let first = failures.first {
      error =
        "invalid metrics (\(failures.count) invalid out of \(results.count)), first error is: "
        + first.summary
    }
    guard let most, failures.isEmpty || most.replicas >= specReplicas else { return }
    (replicas, name) = (most.replicas, most.name)
  }
}

/// What to do, and what to say.
struct AutoscalerPlan: Sendable, Equatable {
  /// The number to set; nil leaves it.
  var replicas: Int?
  var reason = ""
  var conditions: [Condition] = []
  var events: [PlannedEvent] = []

  struct Condition: Sendable, Equatable {
    var type: String
    var isTrue: Bool
    var reason: String
    var message: String
  }

  mutating func say(_ type: String, _ isTrue: Bool, _ reason: String, _ message: String) {
    conditions.append(Condition(type: type, isTrue: isTrue, reason: reason, message: message))
  }
}

/// What an autoscaler's spec asks for, read once.
struct AutoscalerTarget: Sendable {
  var least: Int
  var most: Int
  var behavior: ScalingBehavior?

  init(_ autoscaler: JSON, downWindowSeconds: Int64 = 300) {
    least = autoscaler.spec["minReplicas"]?.int ?? 1
    most = autoscaler.spec["maxReplicas"]?.int ?? 1
    behavior = autoscaler.spec["behavior"].map {
      ScalingBehavior($0, downWindowSeconds: downWindowSeconds)
    }
  }

  /// The number that needs no metrics, when there is one: off, or outside of the bounds.
  func bound(current: Int) -> AutoscalerPlan? {
    var plan = AutoscalerPlan()
    if current == 0, least != 0 {
      plan.say(
        "ScalingActive", false, "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero")
    } else if current > most {
      (plan.replicas, plan.reason) = (most, "Current number of replicas above Spec.MaxReplicas")
    } else if current < least {
      (plan.replicas, plan.reason) = (least, "Current number of replicas below Spec.MinReplicas")
    } else {
      return nil
    }
    return plan
  }
}

/// With metrics. `history` learns what was recommended. `now` is of a clock that nobody sets.
func planAutoscaler(
  _ target: AutoscalerTarget, current: Int, _ summary: MetricSummary, _ history: inout ScaleHistory,
  now: Int64
) -> AutoscalerPlan {
  var plan = AutoscalerPlan()
  for failure in summary.failures { plan.events.append(.warning(failure.reason, failure.detail)) }
  if let error = summary.error { plan.events.append(.warning("FailedComputeMetricsReplicas", error)) }
  guard let wanted = summary.replicas else {
    if let first = summary.failures.first {
      plan.say(
        "ScalingActive", false, first.reason,
        "the HPA was unable to compute the replica count: \(first.detail)")
    }
    return plan
  }
  plan.say(
    "ScalingActive", true, "ValidMetricFound",
    "the HPA was able to successfully calculate a replica count from \(summary.name)")
  if wanted > current { plan.reason = "\(summary.name) above target" }
  if wanted < current { plan.reason = "All metrics below target" }

  history.begin(current: current, at: now)
  let stable: LimitedReplicas
  if let behavior = target.behavior {
    stable = history.stabilized(
      current: current, desired: wanted, upSeconds: behavior.up.windowSeconds,
      downSeconds: behavior.down.windowSeconds, at: now)
  } else {
    stable = history.highest(desired: wanted, windowSeconds: 300, at: now)
  }
  plan.say("AbleToScale", true, stable.reason, stable.message)
  let limited = limitReplicas(
    current: current, desired: stable.replicas, least: target.least, most: target.most,
    behavior: target.behavior, history: history, now: now)
  plan.say("ScalingLimited", limited.replicas != stable.replicas, limited.reason, limited.message)
  if limited.replicas != current { plan.replicas = limited.replicas }
  return plan
}
