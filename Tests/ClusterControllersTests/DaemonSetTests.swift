// DaemonSets: which nodes get a pod, and how an update goes round.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

@Suite struct DaemonSetTests {
  func node(_ name: String, labels: [String: String] = [:], taints: JSON? = nil) -> JSON {
    var node: JSON = [
      "apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name), "labels": JSON(labels)],
      "spec": [:],
    ]
    if let taints { node.set(taints, at: "spec", "taints") }
    return node
  }

  func daemonSet(image: String = "a", template: JSON = [:], strategy: JSON = [:], minReady: Int = 0) -> JSON {
    var set = workload("DaemonSet", "agent", image: image)
    for (field, value) in template.object ?? [:] { set.set(value, at: "spec", "template", "spec", field) }
    var type = strategy
    if type["type"] == nil { type["type"] = "RollingUpdate" }
    set.set(type, at: "spec", "updateStrategy")
    set.set(JSON(minReady), at: "spec", "minReadySeconds")
    return set
  }

  func hash(_ set: JSON) -> String {
    revision(of: set, label: DaemonNames.hash).labels[DaemonNames.hash] ?? ""
  }

  func plan(_ set: JSON, _ nodes: [JSON], _ world: PodWorld, now: Int64 = workloadEpoch + 100)
    -> DaemonSetPlan
  {
    planDaemonSet(set, nodes: nodes, pods: world.sorted, hash: hash(set), now: now)
  }

  /// One step: what is created runs at once on its node, what is deleted is gone.
  @discardableResult
  func step(_ set: JSON, _ nodes: [JSON], _ world: inout PodWorld, now: Int64 = workloadEpoch + 100)
    -> DaemonSetPlan
  {
    let plan = plan(set, nodes, world, now: now)
    for pod in plan.delete { world.delete(pod) }
    for node in plan.create {
      world.create(daemonPod(set, spec: daemonSpec(set), hash: hash(set), node: node), at: now)
    }
    for name in world.names {
      world.update(name) {
        $0.at("spec", "nodeName") == nil ? $0.running(since: now, node: daemonNode($0) ?? "") : $0
      }
    }
    return plan
  }

  @Test func `each node gets one pod, for this node alone`() {
    let set = daemonSet()
    let plan = plan(set, [node("b"), node("a")], PodWorld())
    #expect(plan.create == ["a", "b"])
    let pod = daemonPod(set, spec: daemonSpec(set), hash: "h", node: "a")
    #expect(daemonNode(pod) == "a")
    #expect(NodeFit.isSelected(node("a"), by: pod.spec) && !NodeFit.isSelected(node("b"), by: pod.spec))
    #expect(pod.labels["controller-revision-hash"] == "h")
    let tolerated = Set(pod.spec["tolerations"]?.elements.compactMap { $0["key"]?.string } ?? [])
    #expect(tolerated == Set(DaemonNames.tolerated.map(\.key)))
    var host = set
    host.set(true, at: "spec", "template", "spec", "hostNetwork")
    #expect(
      daemonSpec(host)["tolerations"]?.elements.contains {
        $0["key"] == "node.kubernetes.io/network-unavailable"
      } == true)
  }

  @Test func `selectors, affinity and taints choose the nodes`() {
    let nodes = [
      node("plain"), node("ssd", labels: ["disk": "ssd"]),
      node("tainted", labels: ["disk": "ssd"], taints: [["key": "own", "effect": "NoSchedule"]]),
      node("full", taints: [["key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"]]),
    ]
    #expect(plan(daemonSet(), nodes, PodWorld()).create == ["full", "plain", "ssd"])
    #expect(plan(daemonSet(template: ["nodeSelector": ["disk": "ssd"]]), nodes, PodWorld()).create == ["ssd"])
    let affinity: JSON = [
      "nodeAffinity": [
        "requiredDuringSchedulingIgnoredDuringExecution": [
          "nodeSelectorTerms": [
            ["matchExpressions": [["key": "disk", "operator": "DoesNotExist"]]],
            ["matchFields": [["key": "metadata.name", "operator": "In", "values": ["tainted"]]]],
          ]
        ]
      ]
    ]
    let tolerant: JSON = ["affinity": affinity, "tolerations": [["key": "own", "operator": "Exists"]]]
    #expect(plan(daemonSet(template: tolerant), nodes, PodWorld()).create == ["full", "plain", "tainted"])
  }

  @Test func `a pod leaves a node that is no longer chosen, and stays where new ones are not wanted`() {
    let set = daemonSet(template: ["nodeSelector": ["disk": "ssd"]])
    var world = PodWorld()
    step(set, [node("n", labels: ["disk": "ssd"])], &world)
    let tainted = node("n", labels: ["disk": "ssd"], taints: [["key": "x", "effect": "NoSchedule"]])
    #expect(plan(set, [tainted], world).delete.isEmpty)
    #expect(plan(set, [tainted], world).status["numberMisscheduled"] == 1)
    let evicting = node("n", labels: ["disk": "ssd"], taints: [["key": "x", "effect": "NoExecute"]])
    #expect(plan(set, [evicting], world).delete.count == 1)
    #expect(plan(set, [node("n")], world).delete.count == 1)
  }

  @Test func `a pod made for a node that went before it was bound goes too`() {
    let set = daemonSet()
    var world = PodWorld()
    world.create(daemonPod(set, spec: daemonSpec(set), hash: hash(set), node: "gone"))
    #expect(plan(set, [], world).delete.count == 1)
  }

  @Test(arguments: [(1, 1), (2, 2)])
  func `a rolling update takes as many nodes at a time as may be missing`(most: Int, perStep: Int) {
    let nodes = (0..<5).map { node("n\($0)") }
    let strategy: JSON = ["rollingUpdate": ["maxUnavailable": JSON(most), "maxSurge": 0]]
    let old = daemonSet(strategy: strategy)
    var world = PodWorld()
    step(old, nodes, &world)
    let new = daemonSet(image: "b", strategy: strategy)
    for _ in 0..<20 where world.sorted.contains(where: { $0.image == "a" }) || world.pods.count < 5 {
      let plan = step(new, nodes, &world)
      #expect(plan.delete.count <= perStep)
      #expect(world.pods.count >= 5 - most)
    }
    #expect(world.sorted.map(\.image) == ["b", "b", "b", "b", "b"])
    let status = plan(new, nodes, world).status
    #expect(status["updatedNumberScheduled"] == 5 && status["numberAvailable"] == 5)
    #expect(status["numberUnavailable"] == nil && status["desiredNumberScheduled"] == 5)
  }

  @Test func `what serves nobody is replaced first and beyond the bound`() {
    let nodes = (0..<3).map { node("n\($0)") }
    let old = daemonSet()
    var world = PodWorld()
    step(old, nodes, &world)
    for name in world.names { world.update(name) { $0.running(ready: false, node: daemonNode($0) ?? "") } }
    #expect(plan(daemonSet(image: "b"), nodes, world).delete.count == 3)
  }

  @Test func `with maxSurge a new pod comes before the old one goes`() {
    let nodes = (0..<3).map { node("n\($0)") }
    let strategy: JSON = ["rollingUpdate": ["maxUnavailable": 0, "maxSurge": 1]]
    let old = daemonSet(strategy: strategy)
    var world = PodWorld()
    step(old, nodes, &world)
    let new = daemonSet(image: "b", strategy: strategy, minReady: 5)
    var now = workloadEpoch + 200
    let first = step(new, nodes, &world, now: now)
    #expect(first.create.count == 1 && first.delete.isEmpty)
    // Ready, and not for long enough: the old one stays, and no second node begins.
    let second = step(new, nodes, &world, now: now + 1)
    #expect(second.create.isEmpty && second.delete.isEmpty && second.checkIn == 4)
    for _ in 0..<30 where world.sorted.contains(where: { $0.image == "a" }) {
      now += 10
      step(new, nodes, &world, now: now)
      for node in nodes { #expect(world.sorted.contains { daemonNode($0) == node.name }) }
    }
    #expect(world.sorted.map(\.image) == ["b", "b", "b"])
  }

  @Test func `OnDelete replaces only what somebody deletes`() {
    let nodes = [node("n0"), node("n1")]
    var world = PodWorld()
    step(daemonSet(), nodes, &world)
    let new = daemonSet(image: "b", strategy: ["type": "OnDelete"])
    #expect(step(new, nodes, &world).delete.isEmpty)
    if let first = world.sorted.first { world.delete(first) }
    step(new, nodes, &world)
    #expect(world.sorted.map(\.image).sorted() == ["a", "b"])
  }

  @Test func `a failed daemon is replaced, later and later`() {
    let set = daemonSet()
    var world = PodWorld()
    step(set, [node("n")], &world)
    for name in world.names { world.update(name) { $0.phase("Failed") } }
    let now = plan(set, [node("n")], world)
    #expect(now.delete.count == 1 && now.events.first?.reason == "FailedDaemonPod")
    let waiting = planDaemonSet(
      set, nodes: [node("n")], pods: world.sorted, hash: hash(set), now: workloadEpoch,
      failedDelay: { _ in 7 })
    #expect(waiting.delete.isEmpty && waiting.checkIn == 7)
    let failures = FailedDaemons()
    var delays: [Int] = []
    for _ in 0..<12 {
      failures.note("n", now: 1000)
      delays.append(failures.delay("n", now: 1000))
    }
    #expect(delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900])
    #expect(failures.delay("n", now: 5000) == 0)
  }

  @Test func `of two pods on a node the older stays`() {
    let set = daemonSet()
    var world = PodWorld()
    let pod = daemonPod(set, spec: daemonSpec(set), hash: hash(set), node: "n")
    world.create(pod, at: workloadEpoch)
    world.create(pod, at: workloadEpoch + 5)
    #expect(plan(set, [node("n")], world).delete.map(\.name) == ["agent-2"])
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct DaemonSetClusterTests {
  @Test func `a DaemonSet follows nodes that come and go, and adopts what it finds`() async throws {
    let cluster = TestCluster(runsPods: false)
    var set = workload("DaemonSet", "agent")
    set.set(nil, at: "metadata", "uid")
    set.set(["type": "RollingUpdate"], at: "spec", "updateStrategy")
    for name in ["n1", "n2"] {
      try await cluster.create(
        .nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name)]])
    }
    var orphan = podObject("stray", labels: ["app": "agent"])
    orphan.set(nil, at: "metadata", "uid")
    orphan.set(nil, at: "metadata", "resourceVersion")
    try await cluster.create(.pods, orphan)
    try await cluster.create(.daemonSets, set)
    #expect(
      await eventually {
        let owner = cluster.get(.daemonSets, "agent")?.uid
        return cluster.pods().compactMap(daemonNode).sorted() == ["n1", "n2"]
          && cluster.pods().allSatisfy { $0.controllerReference?["uid"]?.string == owner }
          && cluster.get(.daemonSets, "agent")?.at("status", "desiredNumberScheduled") == 2
      })
    try await cluster.create(.nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": "n3"]])
    #expect(await eventually { cluster.pods().compactMap(daemonNode).sorted() == ["n1", "n2", "n3"] })
    cluster.api.remove(.nodes, ObjectKey("", "n3"))
    #expect(await eventually { cluster.pods().compactMap(daemonNode).sorted() == ["n1", "n2"] })
    await cluster.stop()
  }
}
