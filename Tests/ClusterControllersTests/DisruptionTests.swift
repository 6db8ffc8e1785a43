// Budgets: how many pods may be evicted, by what their owners want and by what is ready.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

@Suite struct DisruptionTests {
  func budget(_ spec: JSON, disrupted: JSON? = nil) -> JSON {
    var all = spec
    all["selector"] = ["matchLabels": ["app": "web"]]
    var budget = workload("PodDisruptionBudget", "budget", group: "policy/v1")
    budget["spec"] = all
    if let disrupted { budget.set(disrupted, at: "status", "disruptedPods") }
    return budget
  }

  func plan(_ budget: JSON, ready: Int, of pods: Int, wanted: Int? = nil, now: Int64 = workloadEpoch)
    -> DisruptionPlan
  {
    planDisruption(
      budget, pods: (0..<pods).map { podObject("p\($0)", ready: $0 < ready) },
      expected: { .count(wanted ?? pods, unmanaged: []) }, now: now)
  }

  static let cases: [(spec: JSON, ready: Int, pods: Int, wanted: Int, desired: Int, allowed: Int)] = [
    (["minAvailable": 2], 3, 3, 3, 2, 1), (["minAvailable": 2], 2, 3, 3, 2, 0),
    (["minAvailable": 5], 3, 3, 3, 5, 0), (["minAvailable": "50%"], 5, 5, 5, 3, 2),
    (["minAvailable": "50%"], 4, 4, 8, 4, 0), (["maxUnavailable": 1], 3, 3, 3, 2, 1),
    (["maxUnavailable": 1], 3, 3, 4, 3, 0), (["maxUnavailable": "30%"], 10, 10, 10, 7, 3),
    (["maxUnavailable": "30%"], 4, 4, 4, 2, 2), (["maxUnavailable": "100%"], 2, 4, 4, 0, 2),
    ([:], 3, 3, 3, 2, 1), (["minAvailable": 0], 0, 0, 0, 0, 0),
  ]

  @Test(arguments: cases)
  func `a budget allows what is ready beyond what must be`(
    spec: JSON, ready: Int, pods: Int, wanted: Int, desired: Int, allowed: Int
  ) {
    let status = plan(budget(spec), ready: ready, of: pods, wanted: wanted).status
    #expect(status["disruptionsAllowed"] == JSON(allowed))
    #expect(status["desiredHealthy"] == JSON(desired) && status["currentHealthy"] == JSON(ready))
    let object: JSON = ["status": status]
    let condition = object.condition("DisruptionAllowed")
    #expect(condition?["status"] == (allowed > 0 ? "True" : "False"))
    #expect(condition?["reason"] == (allowed > 0 ? "SufficientPods" : "InsufficientPods"))
    #expect(condition?["observedGeneration"] == 1 && status["observedGeneration"] == 1)
  }

  @Test func `an eviction that was allowed counts until its pod is gone, or for two minutes`() {
    let since = Timestamp.text(seconds: workloadEpoch)
    let budget = budget(["minAvailable": 1], disrupted: ["p0": JSON(since), "gone": JSON(since)])
    let fresh = plan(budget, ready: 3, of: 3, now: workloadEpoch + 20)
    #expect(fresh.status["currentHealthy"] == 2 && fresh.status["disruptionsAllowed"] == 1)
    #expect(fresh.status["disruptedPods"] == ["p0": JSON(since)] && fresh.checkIn == 100)
    let late = plan(budget, ready: 3, of: 3, now: workloadEpoch + 120)
    #expect(late.status["disruptedPods"] == nil && late.status["disruptionsAllowed"] == 2)
    #expect(late.events.map(\.reason) == ["NotDeleted"])
  }

  @Test func `an owner that says no number allows nothing, and the budget says why`() {
    let pods = [podObject("p0")]
    let plan = planDisruption(
      budget(["maxUnavailable": 1]), pods: pods, expected: { .unknown("no scale") }, now: workloadEpoch)
    #expect(plan.status["disruptionsAllowed"] == 0)
    let object: JSON = ["status": plan.status]
    #expect(object.condition("DisruptionAllowed")?["reason"] == "SyncFailed")
    #expect(plan.events.map(\.reason) == ["CalculateExpectedPodCountFailed"])
  }

  @Test func `owners count once, pods without one are told of`() {
    let set = workload("ReplicaSet", "web")
    let pods = [podObject("a", owner: set), podObject("b", owner: set), podObject("c")]
    let expected = expectedPods(pods) { reference, _ in .wants(5, uid: reference["uid"]?.string ?? "") }
    #expect(expected == .count(5, unmanaged: ["c"]))
    #expect(expectedPods(pods) { _, _ in .unknown("x") } == .unknown("x"))
  }
}

@Suite struct EndpointsTests {
  let service: JSON = serviceObject("web", targetPort: "http")

  @Test func `ready and other pods are told apart, and a second look changes nothing`() {
    var leaving = podObject("c", ip: "10.0.0.3")
    leaving.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
    let pods = [podObject("a", ip: "10.0.0.1"), podObject("b", ready: false, ip: "10.0.0.2"), leaving]
    let made = planEndpoints(service, pods: pods, existing: nil)
    #expect(made["subsets"]?.elements.count == 1)
    let subset = made["subsets"]?[0] ?? .null
    #expect(subset["addresses"]?.elements.compactMap { $0["ip"]?.string } == ["10.0.0.1"])
    #expect(subset["notReadyAddresses"]?.elements.compactMap { $0["ip"]?.string } == ["10.0.0.2"])
    #expect(subset["ports"]?[0]?["port"] == 8080 && subset["addresses"]?[0]?.at("targetRef", "name") == "a")
    #expect(made.labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller")
    #expect(planEndpoints(service, pods: pods, existing: made, triggerTime: "now") == made)
    #expect(planEndpoints(service, pods: [], existing: made)["subsets"] == nil)
  }

  @Test func `past a thousand addresses the rest is left out`() {
    let pods = (0..<1003).map { podObject("p\($0)", ip: "10.0.\($0 / 250).\($0 % 250)") }
    let made = planEndpoints(service, pods: pods, existing: nil)
    #expect(made["subsets"]?[0]?["addresses"]?.elements.count == 1000)
    #expect(made.annotations["endpoints.kubernetes.io/over-capacity"] == "truncated")
  }

  @Test func `hand-made Endpoints become slices, by family and ports`() {
    var made: JSON = [
      "apiVersion": "v1", "kind": "Endpoints",
      "metadata": ["name": "db", "namespace": "demo", "uid": "e", "labels": ["a": "b"]],
      "subsets": [
        [
          "addresses": [["ip": "192.0.2.1"], ["ip": "2001:db8::1"]],
          "notReadyAddresses": [["ip": "192.0.2.2"]],
          "ports": [["name": "sql", "port": 5432]],
        ]
      ],
    ]
    let plan = planMirror(made, slices: [])
    #expect(plan.create.map { $0["addressType"] } == ["IPv4", "IPv6"])
    #expect(plan.create[0]["endpoints"]?.elements.map { $0.at("conditions", "ready") } == [true, false])
    #expect(plan.create[0].labels["kubernetes.io/service-name"] == "db" && plan.create[0].labels["a"] == "b")
    #expect(plan.create[0].isControlled(by: made))
    var stored = plan.create
    for index in stored.indices { stored[index].set(JSON("db-\(index)"), at: "metadata", "name") }
    #expect(planMirror(made, slices: stored).isEmpty)
    made.set(
      [["addresses": [["ip": "192.0.2.9"]], "ports": [["name": "sql", "port": 5432]]]], at: "subsets")
    let change = planMirror(made, slices: stored)
    #expect(change.update.count == 1 && change.delete.count == 1 && change.create.isEmpty)
  }

  @Test func `Endpoints that are kept for pods, or ask for it, are not mirrored`() {
    let plain: JSON = ["metadata": ["name": "web"]]
    var free = service
    free.set(nil, at: "spec", "selector")
    #expect(isMirrored(plain, service: free) && !isMirrored(plain, service: service))
    #expect(!isMirrored(plain, service: nil))
    #expect(
      !isMirrored(
        ["metadata": ["labels": ["endpointslice.kubernetes.io/skip-mirror": "true"]]], service: free))
    #expect(
      !isMirrored(
        ["metadata": ["annotations": ["control-plane.alpha.kubernetes.io/leader": "x"]]], service: free))
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct DisruptionClusterTests {
  @Test func `a budget follows its Deployment, and Endpoints follow its pods`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.services, serviceObject("web", targetPort: "http"))
    try await cluster.create(.deployments, deploymentObject("web", replicas: 3))
    try await cluster.create(
      .disruptionBudgets,
      [
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": ["name": "web", "namespace": "demo"],
        "spec": ["maxUnavailable": 1, "selector": ["matchLabels": ["app": "web"]]],
      ])
    #expect(
      await eventually {
        let status = cluster.get(.disruptionBudgets, "web")?.status ?? .null
        return status["disruptionsAllowed"] == 1 && status["expectedPods"] == 3
          && cluster.get(.endpoints, "web")?["subsets"]?[0]?["addresses"]?.elements.count == 3
      })
    try await cluster.api.modify(.deployments, ObjectKey("demo", "web")) { current in
      var changed = current
      changed.set(5, at: "spec", "replicas")
      return changed
    }
    #expect(
      await eventually {
        let status = cluster.get(.disruptionBudgets, "web")?.status ?? .null
        return status["desiredHealthy"] == 4 && status["disruptionsAllowed"] == 1
      })
    try await cluster.api.delete(.services, namespace: "demo", name: "web", options: DeleteOptions())
    #expect(await eventually { cluster.get(.endpoints, "web") == nil })
    await cluster.stop()
  }
}
