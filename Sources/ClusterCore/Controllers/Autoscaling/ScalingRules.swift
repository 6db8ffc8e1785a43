// How fast an autoscaler may go: stabilization windows and policies of `spec.behavior`, and the fixed rules that hold
// without it. Pure; times are seconds of a clock that nobody sets.

import ClusterObjects

/// One direction of `spec.behavior`.
struct ScalingRules: Sendable, Hashable {
  struct Policy: Sendable, Hashable {
    var isPercent: Bool
    var value: Int
    var periodSeconds: Int64
  }
  var windowSeconds: Int64
  /// `Max`, `Min` or `Disabled`.
  var select: String
  var policies: [Policy]
  var tolerance: Double

  /// What is missing of a rule is what the defaults say.
  init(_ rules: JSON?, windowSeconds: Int64, policies: [Policy]) {
    self.windowSeconds = rules?["stabilizationWindowSeconds"]?.integer ?? windowSeconds
    select = rules?["selectPolicy"]?.string ?? "Max"
    let said = rules?["policies"]?.elements ?? []
    self.policies =
      said.isEmpty
      ? policies
      : said.map {
        Policy(
          isPercent: $0["type"]?.string == "Percent", value: $0["value"]?.int ?? 0,
          periodSeconds: $0["periodSeconds"]?.integer ?? 15)
      }
    tolerance = Quantity(rules?["tolerance"]).map { Double($0.milliValue) / 1000 } ?? Tolerances.standard
  }

  /// As much in a period, by the policy that allows most or least. `change` is what was added less what was removed in
  /// the last so many seconds.
  func limit(current: Int, isUp: Bool, change: (_ seconds: Int64) -> Int) -> Int {
    if select == "Disabled" { return current }
    let proposals = policies.map { policy in
      let start = current - change(policy.periodSeconds)
      let step = policy.isPercent ? Double(start) * Double(policy.value) / 100 : Double(policy.value)
      return isUp
        ? ceiling(Double(start) + step) : Int(max((Double(start) - step).rounded(.towardZero), 0))
    }
    // Going down, the most change is the smallest number.
    return (select == "Min") == isUp ? proposals.min() ?? current : proposals.max() ?? current
  }
}

struct ScalingBehavior: Sendable, Hashable {
  var up: ScalingRules
  var down: ScalingRules

  init(_ behavior: JSON?, downWindowSeconds: Int64 = 300) {
    up = ScalingRules(
      behavior?["scaleUp"], windowSeconds: 0,
      policies: [
        .init(isPercent: false, value: 4, periodSeconds: 15),
        .init(isPercent: true, value: 100, periodSeconds: 15),
      ])
    down = ScalingRules(
      behavior?["scaleDown"], windowSeconds: downWindowSeconds,
      policies: [.init(isPercent: true, value: 100, periodSeconds: 15)])
  }

  var tolerances: Tolerances { Tolerances(down: down.tolerance, up: up.tolerance) }
}

/// A number and why it is not another, for a condition.
struct LimitedReplicas: Sendable, Hashable {
  var replicas: Int
  var reason: String
  var message: String
}

/// What an autoscaler has recommended and done lately.
struct ScaleHistory: Sendable {
  /// Past this many the oldest goes: an hour, the longest window, at four a minute.
  static let entriesMax = 512

  private struct Entry: Sendable {
    var time: Int64
    var value: Int
  }
  private var recommendations: [Entry] = []
  private var changes: [Entry] = []
  var count: Int { recommendations.count + changes.count }

  /// A first look takes the present number for the recommendation so far: nothing shrinks right after a restart.
  mutating func begin(current: Int, at now: Int64) {
    if recommendations.isEmpty { recommendations.append(Entry(time: now, value: current)) }
  }

  mutating func changed(from old: Int, to new: Int, at now: Int64) {
    changes.append(Entry(time: now, value: new - old))
    trim(&changes, before: now - 3600)
  }

  private mutating func recommend(_ replicas: Int, at now: Int64) {
    recommendations.append(Entry(time: now, value: replicas))
    trim(&recommendations, before: now - 3600)
  }

  private func trim(_ entries: inout [Entry], before moment: Int64) {
    entries.removeAll { $0.time < moment }
    if entries.count > Self.entriesMax { entries.removeFirst(entries.count - Self.entriesMax) }
  }

  /// Added less removed since.
  func change(after moment: Int64) -> Int {
    changes.reduce(0) { $1.time > moment ? $0 + $1.value : $0 }
  }

  /// Nothing below what was recommended within the window for going down, nothing above the least of the window for
  /// going up. Remembers `desired`.
  mutating func stabilized(
    current: Int, desired: Int, upSeconds: Int64, downSeconds: Int64, at now: Int64
  ) -> LimitedReplicas {
    var (low, high) = (desired, desired)
    for entry in recommendations {
      if entry.time > now - upSeconds { low = min(low, entry.value) }
      if entry.time > now - downSeconds { high = max(high, entry.value) }
    }
    recommend(desired, at: now)
    let replicas = min(max(current, low), high)
    if replicas == desired {
      return LimitedReplicas(
        replicas: replicas, reason: "ReadyForNewScale", message: "recommended size matches current size")
    }
    let isUp = desired >= current
    return LimitedReplicas(
      replicas: replicas, reason: isUp ? "ScaleUpStabilized" : "ScaleDownStabilized",
      message: isUp
        ? "recent recommendations were lower than current one, applying the lowest recent recommendation"
        : "recent recommendations were higher than current one, applying the highest recent recommendation")
  }

  /// Without `spec.behavior`: the most of five minutes.
  mutating func highest(desired: Int, windowSeconds: Int64, at now: Int64) -> LimitedReplicas {
    let high = recommendations.reduce(desired) { $1.time > now - windowSeconds ? max($0, $1.value) : $0 }
    recommend(desired, at: now)
    if high == desired {
      return LimitedReplicas(
        replicas: high, reason: "ReadyForNewScale", message: "recommended size matches current size")
    }
    return LimitedReplicas(
      replicas: high, reason: "ScaleDownStabilized",
      message:
        "recent recommendations were higher than current one, applying the highest recent recommendation")
  }
}

/// The number within the least, the most, and the speed that is allowed.
func limitReplicas(
  current: Int, desired: Int, least: Int, most: Int, behavior: ScalingBehavior?, history: ScaleHistory,
  now: Int64
) -> LimitedReplicas {
  let within = LimitedReplicas(
    replicas: desired, reason: "DesiredWithinRange",
    message: "the desired count is within the acceptable range")
  let tooMany = "the desired replica count is more than the maximum replica count"
  let tooFew = "the desired replica count is less than the minimum replica count"
  let tooFast = "the desired replica count is increasing faster than the maximum scale rate"
  func allowed(_ rules: ScalingRules, isUp: Bool) -> Int {
    rules.limit(current: current, isUp: isUp) { history.change(after: now - $0) }
  }
  var (floor, ceiling) = (least, most)
  var (floorReason, ceilingReason) = (("TooFewReplicas", tooFew), ("TooManyReplicas", tooMany))
  if let behavior {
    if desired > current {
      let limit = max(allowed(behavior.up, isUp: true), current)
      if limit < most { (ceiling, ceilingReason) = (limit, ("ScaleUpLimit", tooFast)) }
    } else if desired < current {
      let limit = min(allowed(behavior.down, isUp: false), current)
      if limit > least {
        floor = limit
        floorReason = (
          "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
        )
      }
    }
  } else {
    let limit = max(2 * current, 4)
    if limit < most { (ceiling, ceilingReason) = (limit, ("ScaleUpLimit", tooFast)) }
  }
  if desired < floor {
    return LimitedReplicas(replicas: floor, reason: floorReason.0, message: floorReason.1)
  }
  if desired > ceiling {
    return LimitedReplicas(replicas: ceiling, reason: ceilingReason.0, message: ceilingReason.1)
  }
  return within
}
