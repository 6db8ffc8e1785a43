// May a pod be evicted? What a budget's status says, or, before anybody has written one, what its pods say.

/// What the budgets of a pod say to its eviction.
public enum EvictionVerdict: Sendable, Equatable {
  /// No budget is touched.
  case free
  /// The budget allows it; this is the budget's status afterwards.
  case counted(status: JSON)
  /// Not now. The cause is what a Status carries for people; `isPending` when it is a matter of moments.
  case refused(cause: String, isPending: Bool)
}

public enum DisruptionBudgets {
  /// Evictions that a budget remembers until their pods are gone.
  public static let disruptedMax = 2000
  /// An eviction whose pod is still there after that came to nothing.
  public static let disruptedSecondsMax: Int64 = 120

  /// Pods that nobody counts on: they end without asking a budget.
  public static func isUncounted(_ pod: JSON) -> Bool {
    pod.isTerminating || ["Pending", "Succeeded", "Failed"].contains(pod.status["phase"]?.string ?? "")
  }

  public static func covers(_ budget: JSON, _ pod: JSON) -> Bool {
    guard budget.namespace == pod.namespace, let selector = budget.spec["selector"] else { return false }
    return (try? LabelSelector(selector))?.matches(pod.labels) ?? false
  }

  /// `pods` are those that the budget covers; they are asked for only while the budget has no status.
  public static func judge(
    _ budget: JSON, pod: JSON, now: KubeTime, pods: () -> [JSON]
  ) -> EvictionVerdict {
    let status = budget.status
    let isReady = isReady(pod)
    if !isReady, budget.spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow" { return .free }
    let observed = status["observedGeneration"]?.integer ?? 0
    if observed == 0 { return judgeByPods(budget, pod: pod, now: now, pods()) }
    let healthy = status["currentHealthy"]?.integer ?? 0
    let needed = status["desiredHealthy"]?.integer ?? 0
    if !isReady, needed > 0, healthy >= needed { return .free }
    if observed < budget.generation {
      return .refused(
        cause: "The disruption budget \(budget.name) is still being processed by the server.", isPending: true
      )
    }
    let allowed = status["disruptionsAllowed"]?.integer ?? 0
    var disrupted = status["disruptedPods"]?.object ?? [:]
    guard allowed > 0, disrupted.count < disruptedMax else { return tooFew(budget, needed, healthy) }
    disrupted[pod.name] = .string(now.text)
    var after = status
    after["disruptedPods"] = .object(disrupted)
    after["disruptionsAllowed"] = .integer(allowed - 1)
    return .counted(status: after)
  }

  private static func judgeByPods(
    _ budget: JSON, pod: JSON, now: KubeTime, _ pods: [JSON]
  ) -> EvictionVerdict {
    let counted = pods.filter { !isUncounted($0) }
    // Those evicted a moment ago may not show it yet: two at once must not both take the last one.
    var disrupted: [(key: String, value: JSON)] = []
    for pod in counted {
      guard let since = budget.status["disruptedPods"]?[pod.name],
        let time = since.string.flatMap({ KubeTime($0) }), now.seconds - time.seconds < disruptedSecondsMax
      else { continue }
      disrupted.append((pod.name, since))
    }
    let gone = Set(disrupted.map(\.key)).subtracting([pod.name])
    let healthy = Int64(counted.count { isReady($0) && !gone.contains($0.name) })
    let needed: Int64
    if let most = budget.spec["maxUnavailable"] {
      needed = Int64(counted.count) - amount(most, of: counted.count)
    } else {
      needed = amount(budget.spec["minAvailable"] ?? 1, of: counted.count)
    }
    if !isReady(pod) { return needed <= 0 || healthy >= needed ? .free : tooFew(budget, needed, healthy) }
    guard healthy > needed, disrupted.count < disruptedMax else { return tooFew(budget, needed, healthy) }
    var after: JSON = [
      "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
    ]
    for (name, value) in budget.status.object ?? [:] { after[name] = value }
    var marks: JSONObject = [:]
    for (name, since) in disrupted { marks[name] = since }
    marks[pod.name] = .string(now.text)
    after["disruptedPods"] = .object(marks)
    return .counted(status: after)
  }

  private static func tooFew(_ budget: JSON, _ needed: Int64, _ healthy: Int64) -> EvictionVerdict {
    .refused(
      cause: "The disruption budget \(budget.name) needs \(needed) healthy pods and has \(healthy) currently",
      isPending: false)
  }

  /// A number, or a share rounded up.
  private static func amount(_ value: JSON, of total: Int) -> Int64 {
    if let number = value.integer { return number }
    guard let text = value.string, text.last == "%", let share = Int(text.dropLast()), share >= 0 else {
      return 0
    }
    return Int64((min(share, 100) * total + 99) / 100)
  }

  private static func isReady(_ pod: JSON) -> Bool {
    pod.status["conditions"]?.elements.contains { $0["type"] == "Ready" && $0["status"] == "True" } ?? false
  }
}
