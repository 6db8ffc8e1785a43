// How fast an autoscaler goes: windows, policies and limits, with a clock of the test.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

private func summary(_ replicas: Int) -> MetricSummary {
  MetricSummary(
    [.success(MetricProposal(replicas: replicas, name: "cpu resource", status: [:]))], specReplicas: 0)
}

private func target(_ least: Int, _ most: Int, _ behavior: JSON? = nil) -> AutoscalerTarget {
  var spec: JSON = ["minReplicas": JSON(least), "maxReplicas": JSON(most)]
  if let behavior { spec["behavior"] = behavior }
  return AutoscalerTarget(["spec": spec])
}

/// Runs an autoscaler over what its metrics ask for, every fifteen seconds, and returns the numbers it sets.
private func run(_ target: AutoscalerTarget, from start: Int, _ wanted: [Int]) -> [Int] {
  var history = ScaleHistory()
  var current = start
  return wanted.enumerated().map { index, wanted in
    let now = 1000 + Int64(index) * 15
    let plan = planAutoscaler(target, current: current, summary(wanted), &history, now: now)
    if let replicas = plan.replicas {
      history.changed(from: current, to: replicas, at: now)
      current = replicas
    }
    return current
  }
}

private func condition(_ plan: AutoscalerPlan, _ type: String) -> String? {
  plan.conditions.last { $0.type == type }.map { "\($0.isTrue) \($0.reason)" }
}

@Suite struct ScalingRulesTests {
  @Test func `without behavior it doubles at most, or goes to four`() {
    #expect(run(target(1, 100), from: 1, [50, 50, 50, 50]) == [4, 8, 16, 32])
  }

  @Test func `without behavior it goes down when five minutes have asked for less`() {
    let numbers = run(target(1, 100), from: 10, [10] + Array(repeating: 2, count: 25))
    #expect(numbers.prefix(20).allSatisfy { $0 == 10 })
    #expect(numbers.last == 2)
  }

  @Test func `the window for going up takes the least of it, that for going down the most`() {
    let up = target(1, 100, ["scaleUp": ["stabilizationWindowSeconds": 60]])
    let numbers = run(up, from: 2, [2, 9, 9, 9, 9, 9, 9])
    #expect(numbers == [2, 2, 2, 2, 6, 9, 9])
    let down = target(
      1, 100,
      [
        "scaleDown": [
          "stabilizationWindowSeconds": 30,
          "policies": [["type": "Percent", "value": 100, "periodSeconds": 15]],
        ]
      ])
    #expect(run(down, from: 8, [8, 3, 3, 3]) == [8, 8, 3, 3])
  }

  @Test func `policies bound the change of a period, and the larger goes first`() {
    let both = target(
      1, 1000,
      [
        "scaleUp": [
          "policies": [
            ["type": "Pods", "value": 4, "periodSeconds": 60],
            ["type": "Percent", "value": 50, "periodSeconds": 60],
          ]
        ]
      ])
    // Four more than at the start of the minute; at twenty pods half as many more are ten.
    #expect(run(both, from: 2, Array(repeating: 500, count: 5)) == [6, 6, 6, 6, 10])
    #expect(run(both, from: 20, Array(repeating: 500, count: 2)) == [30, 30])
    let least = target(
      1, 1000,
      [
        "scaleUp": [
          "selectPolicy": "Min",
          "policies": [
            ["type": "Pods", "value": 4, "periodSeconds": 60],
            ["type": "Percent", "value": 50, "periodSeconds": 60],
          ],
        ]
      ])
    #expect(run(least, from: 20, [500]) == [24])
  }

  @Test func `going down is bounded in the same way, or forbidden`() {
    let slow = target(
      1, 100,
      [
        "scaleDown": [
          "stabilizationWindowSeconds": 0, "policies": [["type": "Pods", "value": 2, "periodSeconds": 30]],
        ]
      ])
    #expect(run(slow, from: 10, [1, 1, 1, 1, 1]) == [8, 8, 6, 6, 4])
    let never = target(1, 100, ["scaleDown": ["stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"]])
    #expect(run(never, from: 10, [1, 1]) == [10, 10])
  }

  @Test func `conditions say what limits`() {
    var history = ScaleHistory()
    func plan(_ target: AutoscalerTarget, current: Int, wanted: Int) -> AutoscalerPlan {
      history = ScaleHistory()
      return planAutoscaler(target, current: current, summary(wanted), &history, now: 1000)
    }
    let many = plan(target(1, 5), current: 4, wanted: 9)
    #expect(many.replicas == 5 && condition(many, "ScalingLimited") == "true TooManyReplicas")
    #expect(many.reason == "cpu resource above target")
    #expect(condition(plan(target(1, 100), current: 4, wanted: 90), "ScalingLimited") == "true ScaleUpLimit")
    let behavior: JSON = ["scaleDown": ["stabilizationWindowSeconds": 0]]
    let few = plan(target(3, 9, behavior), current: 5, wanted: 1)
    #expect(few.replicas == 3 && condition(few, "ScalingLimited") == "true TooFewReplicas")
    let right = plan(target(1, 9), current: 5, wanted: 5)
    #expect(right.replicas == nil && condition(right, "ScalingLimited") == "false DesiredWithinRange")
    #expect(condition(right, "AbleToScale") == "true ReadyForNewScale")
    let stable = plan(target(1, 9), current: 5, wanted: 2)
    #expect(stable.replicas == nil && condition(stable, "AbleToScale") == "true ScaleDownStabilized")
  }

  @Test func `bounds need no metrics`() {
    #expect(target(2, 5).bound(current: 7)?.replicas == 5)
    #expect(target(2, 5).bound(current: 1)?.replicas == 2)
    #expect(target(2, 5).bound(current: 3) == nil)
    let off = target(2, 5).bound(current: 0)
    #expect(off?.replicas == nil && off.flatMap { condition($0, "ScalingActive") } == "false ScalingDisabled")
    #expect(target(0, 5).bound(current: 0) == nil)
  }

  @Test func `metrics without an answer forbid going down, not going up`() {
    let failure = MetricFailure(reason: "FailedGetPodsMetric", detail: "no", summary: "failed: no")
    func proposal(_ replicas: Int) -> Result<MetricProposal, MetricFailure> {
      .success(MetricProposal(replicas: replicas, name: "m", status: [:]))
    }
    #expect(MetricSummary([.failure(failure), proposal(9)], specReplicas: 5).replicas == 9)
    let less = MetricSummary([.failure(failure), proposal(2)], specReplicas: 5)
    #expect(less.replicas == nil)
    #expect(less.error == "invalid metrics (1 invalid out of 2), first error is: failed: no")
    #expect(MetricSummary([proposal(3), proposal(7), proposal(5)], specReplicas: 5).replicas == 7)
    var history = ScaleHistory()
    let plan = planAutoscaler(target(1, 9), current: 5, less, &history, now: 0)
    #expect(plan.replicas == nil && condition(plan, "ScalingActive") == "false FailedGetPodsMetric")
    #expect(plan.events.map(\.reason) == ["FailedGetPodsMetric", "FailedComputeMetricsReplicas"])
  }

  @Test func `what is remembered is bounded`() {
    var history = ScaleHistory()
    for second in 0..<10_000 {
      _ = history.highest(desired: second % 7, windowSeconds: 300, at: Int64(second))
      history.changed(from: 1, to: 2, at: Int64(second))
    }
    #expect(history.count <= 2 * ScaleHistory.entriesMax)
  }
}
