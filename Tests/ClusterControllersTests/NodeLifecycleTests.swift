// Nodes that fall silent: what is written of them, when, and what becomes of their pods. By a clock of the tests' own.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterControllers

/// A clock that tests set.
final class FakeClock: Sendable {
  private let now: Mutex<ControllerClock.Reading>
  init(_ seconds: Int64 = 1_000_000) { now = Mutex(.init(steady: seconds, wall: seconds)) }
  func advance(_ seconds: Int64) {
    now.withLock {
      $0.steady += seconds
      $0.wall += seconds
    }
  }
  var clock: ControllerClock { ControllerClock { [self] in now.withLock { $0 } } }
}

private func at(_ seconds: Int64) -> ControllerClock.Reading { .init(steady: seconds, wall: seconds) }

private func node(_ name: String = "n1", ready: String? = "True", zone: String? = nil, taints: [JSON] = [])
  -> JSON
{
  var node: JSON = [
    "apiVersion": "v1", "kind": "Node",
    "metadata": [
      "name": JSON(name), "uid": JSON("uid-\(name)"),
      "creationTimestamp": JSON(Timestamp.text(seconds: 1_000_000)),
    ], "spec": [:],
  ]
  if let ready { node.setCondition("Ready", ready, reason: "KubeletReady", message: "") }
  if let zone { node.set(JSON(zone), at: "metadata", "labels", "topology.kubernetes.io/zone") }
  if !taints.isEmpty { node.set(.array(taints), at: "spec", "taints") }
  return node
}

private func lease(_ name: String, _ renewed: Int64) -> JSON {
  [
    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
    "metadata": ["name": JSON(name), "namespace": "kube-node-lease"],
    "spec": ["renewTime": JSON(Timestamp.text(seconds: renewed))],
  ]
}

private func taint(_ key: String, _ effect: String, added: Int64? = nil, value: String? = nil) -> JSON {
  var taint: JSON = ["key": JSON(key), "effect": JSON(effect)]
  if let added { taint["timeAdded"] = JSON(Timestamp.text(seconds: added)) }
  if let value { taint["value"] = JSON(value) }
  return taint
}

private func taints(_ node: JSON?) -> [String] {
  (node?.at("spec", "taints")?.elements ?? []).map {
    "\($0["key"]?.string ?? ""):\($0["effect"]?.string ?? "")"
  }.sorted()
}

@Suite struct NodeHealthTests {
  @Test func `a silent node turns Unknown after the grace period, whatever its own clock says`() {
    var beats = NodeHeartbeats()
    // The node's clock is years behind.
    let first = beats.observe(node(), lease: lease("n1", 5), clock: at(1_000_000))
    let renewed = beats.observe(node(), lease: lease("n1", 15), clock: at(1_000_030))
    #expect(first.at == 1_000_000 && renewed.at == 1_000_030 && renewed.isKnown)
    let silent = beats.observe(node(), lease: lease("n1", 15), clock: at(1_000_071))
    #expect(silent.at == 1_000_030 && silent.readyBefore == "True")
    func plan(_ now: Int64) -> JSON {
      planNodeConditions(node(), sign: silent, clock: at(now), grace: 40, startupGrace: 60)
    }
    #expect(plan(1_000_070) == node())
    let unknown = plan(1_000_071).condition("Ready")
    #expect(unknown?["status"] == "Unknown" && unknown?["reason"] == "NodeStatusUnknown")
    #expect(unknown?["message"] == "Kubelet stopped posting node status.")
    #expect(plan(1_000_071).condition("PIDPressure")?["reason"] == "NodeStatusNeverUpdated")
    let again = planNodeConditions(
      plan(1_000_071), sign: silent, clock: at(1_000_100), grace: 40, startupGrace: 60)
    #expect(again == plan(1_000_071))
  }

  @Test func `a node that never spoke is given the longer start-up time, counted from its creation`() {
    var beats = NodeHeartbeats()
    let made = node(ready: nil)
    let sign = beats.observe(made, lease: nil, clock: at(1_000_050))
    #expect(sign.at == 1_000_000 && !sign.isKnown)
    #expect(planNodeConditions(made, sign: sign, clock: at(1_000_060), grace: 40, startupGrace: 60) == made)
    let late = planNodeConditions(made, sign: sign, clock: at(1_000_061), grace: 40, startupGrace: 60)
    #expect(late.condition("Ready")?["message"] == "Kubelet never posted node status.")
    #expect((late.at("status", "conditions")?.elements ?? []).count == 4)
  }

  @Test func `what the controller writes itself is no sign of life, and a Node of the same name starts anew`()
  {
    var beats = NodeHeartbeats()
    _ = beats.observe(node(), lease: lease("n1", 1), clock: at(100))
    var written = node()
    written.setCondition("Ready", "Unknown", reason: "NodeStatusUnknown", message: "")
    #expect(beats.observe(written, lease: lease("n1", 1), clock: at(200)).at == 100)
    var other = written
    other.set("other", at: "metadata", "uid")
    #expect(beats.observe(other, lease: lease("n1", 1), clock: at(300)).at == 300)
  }

  @Test(arguments: [
    (node(), false, []),
    (node(ready: "Unknown"), false, ["unreachable:NoSchedule"]),
    (node(ready: "Unknown"), true, ["unreachable:NoExecute", "unreachable:NoSchedule"]),
    (node(ready: "False"), true, ["not-ready:NoExecute", "not-ready:NoSchedule"]),
    (
      // One taint is exchanged for the other without a turn of its own.
      node(ready: "False", taints: [taint("node.kubernetes.io/unreachable", "NoExecute")]), false,
      ["not-ready:NoExecute", "not-ready:NoSchedule"]
    ),
    (
      node(taints: [
        taint("node.kubernetes.io/not-ready", "NoSchedule"),
        taint("node.kubernetes.io/unreachable", "NoExecute"),
      ]), false, []
    ),
    // As the API server makes it: it stays until the node has spoken.
    (
      node(ready: nil, taints: [taint("node.kubernetes.io/not-ready", "NoSchedule")]), true,
      ["not-ready:NoSchedule"]
    ),
  ])
  func `taints follow the Ready condition`(node: JSON, mayEvict: Bool, wanted: [String]) {
    let planned = planNodeTaints(node, clock: at(1000), mayEvict: mayEvict)
    #expect(taints(planned) == wanted.map { "node.kubernetes.io/\($0)" })
    #expect(planNodeTaints(planned, clock: at(2000), mayEvict: mayEvict) == planned)
  }

  @Test func `pressure and cordoning keep new pods away, and others' taints stay`() {
    var full = node(taints: [
      taint("team", "NoExecute"), taint("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ])
    full.setCondition("DiskPressure", "True", reason: "r", message: "")
    full.set(true, at: "spec", "unschedulable")
    #expect(
      taints(planNodeTaints(full, clock: at(0), mayEvict: true)) == [
        "node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule",
        "team:NoExecute",
      ])
  }

  private func zones(_ ill: Int, of size: Int, zone: String = "a") -> ZoneEvictions {
    var zones = ZoneEvictions(NodeEvictionSettings())
    for _ in 0..<2 {
      for index in 0..<size { zones.observe(node("\(zone)\(index)", zone: zone), isIll: index < ill) }
    }
    return zones
  }

  @Test func `one node of a zone loses its pods every ten seconds`() {
    var evictions = zones(2, of: 5)
    let turns = [
      evictions.takeTurn("a0", now: 0), evictions.takeTurn("a1", now: 9), evictions.takeTurn("a1", now: 10),
      // It is well.
      evictions.takeTurn("a2", now: 1000),
    ]
    #expect(turns == [true, false, true, false])
  }

  @Test func `nobody loses pods before the others were looked at too`() {
    var zones = ZoneEvictions(NodeEvictionSettings())
    for name in ["a", "b"] { zones.observe(node(name), isIll: false) }
    zones.observe(node("a"), isIll: true)
    let early = zones.takeTurn("a", now: 0)
    zones.observe(node("b"), isIll: false)
    zones.observe(node("a"), isIll: true)
    let late = zones.takeTurn("a", now: 1)
    #expect(!early && late)
  }

  @Test func `where most are ill it goes slower or not at all, and nowhere when all are`() {
    var small = zones(4, of: 6)
    let isSmallTaken = small.takeTurn("a0", now: 0)
    #expect(!isSmallTaken)
    var large = zones(40, of: 60)
    let turns = [0, 99, 100].map { large.takeTurn("a\($0 == 0 ? 0 : 1)", now: $0) }
    #expect(turns == [true, false, true])
    var all = zones(3, of: 3)
    let isOneOfAllTaken = all.takeTurn("a0", now: 0)
    #expect(all.isAllDisrupted && !isOneOfAllTaken)
    // Another zone is well: then it is the zone, not us.
    all.observe(node("b0", zone: "b"), isIll: false)
    #expect(!all.isAllDisrupted)
    let isOneOfAZoneTaken = all.takeTurn("a0", now: 0)
    #expect(!all.isAllDisrupted && isOneOfAZoneTaken)
    all.forget("b0")
    #expect(all.zones.count == 1)
  }
}

@Suite struct TaintEvictionTests {
  private func pod(_ tolerations: [JSON]) -> JSON {
    var pod = podObject("p")
    if !tolerations.isEmpty { pod.set(.array(tolerations), at: "spec", "tolerations") }
    return pod
  }
  private static let unreachable = taint("node.kubernetes.io/unreachable", "NoExecute")

  @Test(
    arguments: [
      ([], 100), ([["operator": "Exists"]], nil),
      ([["key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoSchedule"]], 100),
      ([["key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300]], 400),
      ([["key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": -1]], 100),
      // The first that covers the taint counts.
      ([["operator": "Exists", "tolerationSeconds": 7], ["operator": "Exists"]], 107),
      ([["key": "node.kubernetes.io/unreachable", "value": "x"]], 100),
    ] as [([JSON], Int64?)])
  func `a pod goes when its toleration says`(tolerations: [JSON], due: Int64?) {
    #expect(planTaintEviction(pod(tolerations), taints: [Self.unreachable], bound: 50) { _ in 100 } == due)
  }

  @Test func `of several taints the first to be due counts, and a pod that came later has its whole time`() {
    let tolerant = pod([
      ["key": "a", "operator": "Exists", "tolerationSeconds": 60],
      ["key": "b", "operator": "Exists", "tolerationSeconds": 10],
    ])
    let (a, b) = (taint("a", "NoExecute"), taint("b", "NoExecute"))
    #expect(planTaintEviction(tolerant, taints: [a, b], bound: 0) { $0 == a ? 100 : 200 } == 160)
    #expect(planTaintEviction(tolerant, taints: [b], bound: 500) { _ in 200 } == 510)
    #expect(planTaintEviction(tolerant, taints: [a, taint("c", "NoExecute")], bound: 0) { _ in 100 } == 100)
    #expect(planTaintEviction(tolerant, taints: [], bound: 0) { _ in 100 } == nil)
  }

  @Test func `a restart forgets no time, and a clock that is set changes none`() {
    var times = TaintTimes()
    let old = taint("a", "NoExecute", added: 900)
    times.observe("n1", [old], clock: .init(steady: 5000, wall: 1000))
    #expect(times.time("n1", old) == 4900)
    times.observe("n1", [old], clock: .init(steady: 5001, wall: 90_000))
    #expect(times.time("n1", old) == 4900)
    let future = taint("b", "NoExecute", added: 2000)
    times.observe("n1", [future], clock: .init(steady: 5002, wall: 1000))
    #expect(times.time("n1", future) == 5002 && times.time("n1", old) == nil)
  }
}

@Suite struct PodGarbageTests {
  private func pod(_ name: String, phase: String = "Running", node: String = "n1", created: Int64 = 0) -> JSON
  {
    var pod = podObject(name, node: node, phase: phase)
    pod.set(JSON(Timestamp.text(seconds: created)), at: "metadata", "creationTimestamp")
    return pod
  }

  @Test func `finished pods beyond the number go, evicted ones first, then the oldest`() {
    var evicted = pod("evicted", phase: "Failed", created: 900)
    evicted.set("Evicted", at: "status", "reason")
    let pods = [
      pod("young", phase: "Succeeded", created: 800), pod("old", phase: "Failed", created: 100), evicted,
      pod("running", created: 1), pod("middle", phase: "Succeeded", created: 300),
    ]
    func gone(_ max: Int) -> [String] {
      planPodGarbage(pods, terminatedMax: max, isOutOfService: { _ in false }).map(\.pod.name)
    }
    #expect(gone(2) == ["evicted", "old"])
    #expect(gone(4) == [] && gone(0) == [])
  }

  @Test func `deleted pods without a node go, and those of a node that is out of service`() {
    func deleted(_ name: String, _ node: String) -> JSON {
      var pod = pod(name, node: node)
      pod.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
      return pod
    }
    let pods = [
      deleted("unbound", ""), deleted("lost", "dead"), deleted("here", "n1"), pod("alive", node: "dead"),
    ]
    let found = planPodGarbage(pods, terminatedMax: 10, isOutOfService: { $0 == "dead" })
    #expect(
      found.map(\.pod.name) == ["unbound", "lost"] && found.map(\.reason) == [.unscheduled, .outOfService])
  }
}

@Suite(.timeLimit(.minutes(5))) struct NodeLifecycleControllerTests {
  private func cluster(_ clock: FakeClock) -> TestCluster {
    var settings = ControllerSettings()
    settings.clock = clock.clock
    settings.nodeMonitorPeriod = .milliseconds(20)
    settings.podGarbagePeriod = .milliseconds(20)
    settings.podGarbageDelay = .milliseconds(20)
    return TestCluster(settings: settings, runsPods: false)
  }

  private func pod(_ name: String, on node: String, tolerations: [JSON] = []) -> JSON {
    var pod = podObject(name, node: node)
    if !tolerations.isEmpty { pod.set(.array(tolerations), at: "spec", "tolerations") }
    return pod
  }

  /// What its agent does when it is back: first the Lease, then the status.
  private func revive(_ name: String, _ cluster: TestCluster) async throws {
    let renewed = lease(name, 1000)
    cluster.api.put(.leases, renewed)
    let leases = cluster.informers.informer(.leases, namespace: "kube-node-lease")
    #expect(await eventually { leases["kube-node-lease", name]?.spec == renewed.spec })
    _ = try await cluster.api.patch(
      .nodes, namespace: "", name: name, patch: .merge(["status": node().status]), subresource: "status",
      options: WriteOptions())
  }

  private func reasons(_ api: MemoryClusterAPI) -> Set<String> {
    Set(api.objects(.events).compactMap { $0["reason"]?.string })
  }

  @Test func `a node falls silent, loses the pods that do not tolerate it, and comes back`() async throws {
    let clock = FakeClock()
    let cluster = cluster(clock)
    let api = cluster.api
    for name in ["n1", "n2"] {
      try await cluster.create(.nodes, node(name))
      try await cluster.create(.leases, lease(name, 1))
    }
    let patient: JSON = [
      "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
      "tolerationSeconds": 86_400,
    ]
    api.put(.pods, pod("impatient", on: "n1"))
    api.put(.pods, pod("patient", on: "n1", tolerations: [patient]))
    api.put(.pods, pod("forever", on: "n1", tolerations: [["operator": "Exists"]]))
    api.put(.pods, pod("elsewhere", on: "n2"))
    #expect(await eventually { reasons(api).contains("RegisteredNode") })
    clock.advance(41)
    // Nothing answers: it may be us who are cut off, and nobody loses a pod.
    #expect(
      await eventually {
        ["n1", "n2"].allSatisfy {
          cluster.get(.nodes, $0, "")?.condition("Ready")?["status"] == "Unknown"
            && taints(cluster.get(.nodes, $0, "")) == ["node.kubernetes.io/unreachable:NoSchedule"]
        } && cluster.pods().allSatisfy { !$0.isConditionTrue("Ready") }
      })
    #expect(cluster.pods().count == 4 && cluster.pods().allSatisfy { !$0.isTerminating })
    try await revive("n2", cluster)
    #expect(await eventually { taints(cluster.get(.nodes, "n2", "")).isEmpty })
    #expect(await eventually { taints(cluster.get(.nodes, "n1", "")).count == 2 })
    #expect(await eventually { cluster.pods().filter(\.isTerminating).map(\.name) == ["impatient"] })
    #expect(
      cluster.get(.pods, "impatient")?.condition("DisruptionTarget")?["reason"] == "DeletionByTaintManager")
    #expect(await eventually { reasons(api).isSuperset(of: ["NodeNotReady", "TaintManagerEviction"]) })
    #expect(await eventually { cluster.metrics.text().contains("weft_taint_eviction_waiting_pods 1") })
    try await revive("n1", cluster)
    #expect(await eventually { taints(cluster.get(.nodes, "n1", "")).isEmpty })
    #expect(
      await eventually {
        api.objects(.events).contains { $0["message"] == "Cancelling deletion of Pod demo/patient" }
      })
    await cluster.stop()
  }

  @Test func `an eviction that is due later happens`() async throws {
    var settings = ControllerSettings()
    settings.nodeMonitorPeriod = .milliseconds(20)
    let cluster = TestCluster(settings: settings, runsPods: false)
    try await cluster.create(.nodes, node(taints: [taint("gone", "NoExecute")]))
    cluster.api.put(
      .pods, pod("p", on: "n1", tolerations: [["key": "gone", "operator": "Exists", "tolerationSeconds": 1]]))
    #expect(await eventually { cluster.pods().isEmpty || cluster.pods()[0].isTerminating })
    await cluster.stop()
  }

  @Test func `pods of a node that is gone end as failed and are removed`() async throws {
    let clock = FakeClock()
    let cluster = cluster(clock)
    let api = cluster.api
    try await cluster.create(.nodes, node())
    api.put(.pods, pod("p", on: "n1"))
    let saw = Mutex(false)
    let informers = SharedInformers(api: api, metrics: Metrics())
    let registration = informers.informer(.pods).onChange { changes in
      for pod in changes.compactMap(\.new)
      where pod.at("status", "phase") == "Failed"
        && pod.condition("DisruptionTarget")?["reason"] == "DeletionByPodGC"
      {
        saw.withLock { $0 = true }
      }
    }
    try await informers.waitForSync()
    // Nobody says that a node goes who has not seen it come.
    #expect(await eventually { reasons(api).contains("RegisteredNode") })
    api.remove(.nodes, ObjectKey("", "n1"))
    #expect(await eventually { cluster.pods().isEmpty })
    #expect(await eventually { saw.withLock { $0 } })
    #expect(await eventually { reasons(api).contains("RemovingNode") })
    withExtendedLifetime(registration) {}
    await informers.stop()
    await cluster.stop()
  }
}
