// How many pods a metric asks for: the numbers are those that kube-controller-manager gives for the same pods.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private let now = workloadEpoch + 10_000

/// A pod that requests one core for each of its containers.
private func pod(
  _ name: String, ready: Bool = true, phase: String = "Running", requests: [String] = ["1"],
  started: Int64 = workloadEpoch, changed: Int64 = workloadEpoch + 60
) -> JSON {
  var pod = podObject(name, ready: ready, phase: phase)
  pod.set(JSON(Timestamp.text(seconds: started)), at: "status", "startTime")
  pod.set(
    [
      [
        "type": "Ready", "status": ready ? "True" : "False",
        "lastTransitionTime": JSON(Timestamp.text(seconds: changed)),
      ]
    ], at: "status", "conditions")
  pod.set(
    .array(
      requests.enumerated().map { index, text in
        var container: JSON = ["name": JSON("c\(index)")]
        if !text.isEmpty { container["resources"] = ["requests": ["cpu": JSON(text)]] }
        return container
      }), at: "spec", "containers")
  return pod
}

private func pods(_ count: Int, _ make: (String) -> JSON = { pod($0) }) -> [JSON] {
  (0..<count).map { make("p\($0)") }
}

/// Measures in thousandths for the first pods.
private func measures(_ values: [Int64], age: Int64 = 20, window: Int64 = 15) -> [String: PodMetric] {
  Dictionary(
    uniqueKeysWithValues: values.enumerated().map {
      ("p\($0.offset)", PodMetric(value: $0.element, time: now - age, window: window))
    })
}

private func utilization(
  _ pods: [JSON], _ values: [Int64], target: Int, current: Int? = nil, container: String? = nil,
  tolerances: Tolerances = Tolerances()
) throws -> ReplicaProposal {
  try ReplicaCalculator(pods: pods, now: now, tolerances: tolerances).utilization(
    current: current ?? pods.count, target: target, resource: "cpu", container: container,
    metrics: measures(values))
}

@Suite struct ReplicaCalculatorTests {
  @Test func `as many more pods as they are too busy, rounded up`() throws {
    let up = try utilization(pods(3), [300, 500, 700], target: 30)
    #expect(up == ReplicaProposal(replicas: 5, utilization: 50, usage: 500))
    let down = try utilization(pods(5), [100, 300, 500, 250, 250], target: 50)
    #expect(down == ReplicaProposal(replicas: 3, utilization: 28, usage: 280))
  }

  @Test func `within a tenth nothing changes`() throws {
    #expect(try utilization(pods(3), [1010, 1030, 1020], target: 100).replicas == 3)
    #expect(try utilization(pods(10), Array(repeating: 900, count: 10), target: 100).replicas == 10)
    #expect(try utilization(pods(10), Array(repeating: 890, count: 10), target: 100).replicas == 9)
    #expect(try utilization(pods(10), Array(repeating: 1110, count: 10), target: 100).replicas == 12)
    let strict = Tolerances(down: 0.1, up: 0)
    #expect(
      try utilization(pods(10), Array(repeating: 1010, count: 10), target: 100, tolerances: strict).replicas
        == 11)
  }

  @Test func `a pod without a measure uses all of its request when fewer would do, nothing when more`() throws
  {
    // Three at a tenth would do with one; the fourth is taken as full.
    #expect(try utilization(pods(4), [100, 100, 100], target: 50).replicas == 3)
    // Two at 150 % ask for more; the third counts as idle.
    #expect(try utilization(pods(3), [1500, 1500], target: 50).replicas == 6)
    // What was assumed does not turn the direction.
    #expect(try utilization(pods(3), [1200], target: 100).replicas == 3)
    #expect(try utilization(pods(2), [400], target: 60).replicas == 2)
  }

  @Test func `pods that are not ready make nothing grow faster, and are not counted when it shrinks`() throws
  {
    var three = pods(3)
    three[2] = pod("p2", ready: false, started: now - 60, changed: now - 60)
    #expect(try utilization(three, [1000, 1000, 9000], target: 50).replicas == 4)
    #expect(try utilization(three, [100, 100, 9000], target: 50).replicas == 1)
    // A pod that has been ready before counts although it is not ready now.
    three[2] = pod("p2", ready: false, started: workloadEpoch, changed: now - 10)
    #expect(try utilization(three, [1000, 1000, 1000], target: 50).replicas == 6)
    // One that never was does not.
    three[2] = pod("p2", ready: false, started: workloadEpoch, changed: workloadEpoch + 10)
    #expect(try utilization(three, [1000, 1000, 9000], target: 50).replicas == 4)
  }

  @Test func `a young pod counts when a whole window was measured since it became ready`() throws {
    var two = pods(2)
    two[1] = pod("p1", started: now - 100, changed: now - 30)
    // Measured until twenty seconds ago over fifteen, ready since thirty: not yet.
    #expect(try utilization(two, [1000, 1000], target: 50).replicas == 2)
    two[1] = pod("p1", started: now - 100, changed: now - 40)
    #expect(try utilization(two, [1000, 1000], target: 50).replicas == 4)
  }

  @Test func `pods that end or failed are nobody`() throws {
    var three = pods(3)
    three[1] = pod("p1").terminating()
    three[2] = pod("p2", phase: "Failed")
    #expect(try utilization(three, [1000, 9000, 9000], target: 50, current: 1).replicas == 2)
  }

  @Test func `pending pods are waited for`() throws {
    var three = pods(3)
    three[2] = pod("p2", ready: false, phase: "Pending")
    #expect(try utilization(three, [1000, 1000], target: 50, current: 3).replicas == 4)
  }

  @Test func `one container's measure is held against one container's request`() throws {
    let two = pods(2) { pod($0, requests: ["1", ""]) }
    #expect(try utilization(two, [1000, 1000], target: 50, container: "c0").replicas == 4)
    #expect(
      throws: MetricError("missing request for cpu in container c1 of Pod p0")
    ) { try utilization(two, [1000, 1000], target: 50) }
  }

  @Test func `a pod's own requests go before its containers'`() throws {
    let one = pods(1) { name in
      var pod = pod(name, requests: ["", ""])
      pod.set(["requests": ["cpu": "2"]], at: "spec", "resources")
      return pod
    }
    #expect(try utilization(one, [2000], target: 50).utilization == 100)
  }

  @Test func `what cannot be computed is said in upstream's words`() {
    #expect(throws: MetricError("No pods returned by selector while calculating replica count")) {
      try utilization([], [], target: 50)
    }
    #expect(throws: MetricError("did not receive metrics for targeted pods (pods might be unready)")) {
      try utilization(pods(2), [], target: 50)
    }
    #expect(throws: MetricError("no metrics returned matched known pods")) {
      try utilization(pods(2) { pod($0, requests: ["0"]) }, [10, 10], target: 50)
    }
  }

  @Test func `a target for each pod needs no requests`() throws {
    let calculator = ReplicaCalculator(pods: pods(3) { pod($0, requests: [""]) }, now: now)
    let up = try calculator.averageUsage(
      current: 3, target: 15_000, resource: "", metrics: measures([20_000, 10_000, 30_000]))
    #expect(up == ReplicaProposal(replicas: 4, usage: 20_000))
    // Nobody knows the third: it uses the target when fewer would do.
    let down = try calculator.averageUsage(
      current: 3, target: 30_000, resource: "", metrics: measures([10_000, 10_000]))
    #expect(down.replicas == 2)
  }

  @Test func `an object's number multiplies the pods that are ready`() throws {
    var four = pods(4)
    four[3] = pod("p3", ready: false)
    let calculator = ReplicaCalculator(pods: four, now: now)
    #expect(try calculator.value(current: 4, usage: 20_000, target: 15_000).replicas == 4)
    #expect(try calculator.value(current: 4, usage: 15_500, target: 15_000).replicas == 4)
    #expect(try calculator.value(current: 4, usage: 40_000, target: 15_000).replicas == 8)
    // From nothing: as many as the ratio.
    #expect(try calculator.value(current: 0, usage: 40_000, target: 15_000).replicas == 3)
    #expect(try calculator.value(current: 0, usage: 0, target: 15_000).replicas == 0)
  }

  @Test func `a shared number is divided among the pods`() {
    let calculator = ReplicaCalculator(pods: [], now: now)
    #expect(
      calculator.share(status: 3, usage: 50_000, target: 10_000)
        == ReplicaProposal(replicas: 5, usage: 16_667))
    #expect(calculator.share(status: 5, usage: 52_000, target: 10_000).replicas == 5)
    #expect(calculator.share(status: 0, usage: 25_000, target: 10_000).replicas == 3)
  }

  @Test func `no numbers make the calculator fail`() {
    var random = SeededRandom(seed: 5)
    let extremes: [Int64] = [0, 1, -1, 1000, .max, .min + 1, .max / 2]
    func any() -> Int64 { extremes[Int(random.next() % UInt64(extremes.count))] }
    for _ in 0..<500 {
      let calculator = ReplicaCalculator(pods: pods(3), now: now)
      let metrics = measures([any(), any()])
      let target = any()
      _ = try? calculator.utilization(
        current: 3, target: Int(target), resource: "cpu", container: nil, metrics: metrics)
      _ = try? calculator.averageUsage(current: 3, target: target, resource: "", metrics: metrics)
      _ = try? calculator.value(current: 3, usage: any(), target: target)
      _ = calculator.share(status: Int(random.next() % 3), usage: any(), target: target)
    }
  }
}

@Suite struct PodMetricsTests {
  private let items: [JSON] = [
    [
      "metadata": ["name": "a", "namespace": "demo"], "timestamp": "2026-01-01T00:00:00Z", "window": "1m3.5s",
      "containers": [
        ["name": "x", "usage": ["cpu": "250m", "memory": "1Mi"]], ["name": "y", "usage": ["cpu": "1"]],
      ],
    ],
    [
      "metadata": ["name": "b", "namespace": "demo"],
      "containers": [["name": "x", "usage": ["memory": "1Mi"]]],
    ],
  ]

  @Test func `a pod's use is that of its containers, or of one`() throws {
    let all = try MetricsReader.podMetrics(items, "cpu", container: nil)
    #expect(all == ["a": PodMetric(value: 1250, time: 1_767_225_600, window: 63)])
    let one = try MetricsReader.podMetrics([items[0]], "cpu", container: "x")
    #expect(one["a"]?.value == 250)
    #expect(throws: MetricError("container y not present in metrics for pod demo/b")) {
      try MetricsReader.podMetrics(items, "cpu", container: "y")
    }
  }
}
