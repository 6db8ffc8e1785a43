// Decisions by table, and the scheduler against an API in memory.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterScheduler

private func node(_ name: String, cpu: String = "2", pods: Int = 110, spec: JSON = [:]) -> JSON {
  [
    "apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name), "labels": ["name": JSON(name)]],
    "spec": spec,
    "status": ["allocatable": ["cpu": JSON(cpu), "memory": "4Gi", "pods": JSON("\(pods)")]],
  ]
}

private func pod(_ name: String, cpu: String? = nil, spec: [String: JSON] = [:]) -> JSON {
  var container: JSON = ["name": "c", "image": "i"]
  if let cpu { container["resources"] = ["requests": ["cpu": JSON(cpu)]] }
  var pod: JSON = [
    "apiVersion": "v1", "kind": "Pod", "metadata": ["namespace": "demo", "name": JSON(name)],
    "spec": ["containers": [container]],
  ]
  for (key, value) in spec { pod.set(value, at: "spec", key) }
  return pod
}

@Suite(.timeLimit(.minutes(10))) struct DecisionTests {
  @Test(arguments: [
    (pod("p", cpu: "3"), node("n1"), "0/1 nodes are available: 1 Insufficient cpu."),
    (pod("p"), node("n1", pods: 0), "0/1 nodes are available: 1 Too many pods."),
    (
      pod("p"), node("n1", spec: ["unschedulable": true]),
      "0/1 nodes are available: 1 node(s) were unschedulable."
    ),
    (
      pod("p", spec: ["nodeSelector": ["disk": "ssd"]]), node("n1"),
      "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    ),
    (
      pod("p"), node("n1", spec: ["taints": [["key": "k", "value": "v", "effect": "NoSchedule"]]]),
      "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}."
    ),
    (
      pod("p"),
      node("n1", spec: ["taints": [["key": "node.kubernetes.io/unreachable", "effect": "NoExecute"]]]),
      "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."
    ),
  ])
  func `a node that does not fit is counted by its reason`(pod: JSON, node: JSON, message: String) {
    #expect(planScheduling(pod, nodes: [NodeState(node: node, pods: [])]) == .none(message))
  }

  @Test func `a toleration opens a tainted node`() {
    let tainted = node("n1", spec: ["taints": [["key": "k", "value": "v", "effect": "NoSchedule"]]])
    for toleration: JSON in [
      ["operator": "Exists"], ["key": "k", "operator": "Exists"],
      ["key": "k", "value": "v", "effect": "NoSchedule"],
    ] {
      let tolerant = pod("p", spec: ["tolerations": [toleration]])
      #expect(planScheduling(tolerant, nodes: [NodeState(node: tainted, pods: [])]) == .node("n1"))
    }
  }

  @Test func `a host port is given once a node`() {
    let claims: JSON = [["name": "c", "ports": [["containerPort": 80, "hostPort": 8080]]]]
    let first = pod("a", spec: ["containers": claims])
    let second = pod("b", spec: ["containers": claims])
    let states = [NodeState(node: node("n1"), pods: [first]), NodeState(node: node("n2"), pods: [])]
    #expect(planScheduling(second, nodes: states) == .node("n2"))
    guard case .none = planScheduling(second, nodes: [states[0]]) else {
      Issue.record("two pods on one host port")
      return
    }
  }

  @Test func `the emptier node wins and replicas spread`() {
    let full = NodeState(node: node("n1"), pods: [pod("x", cpu: "1500m")])
    let empty = NodeState(node: node("n2"), pods: [])
    #expect(planScheduling(pod("p", cpu: "100m"), nodes: [full, empty]) == .node("n2"))
    func replica(_ name: String) -> JSON {
      var replica = pod(name)
      replica.set([["uid": "rs", "controller": true]], at: "metadata", "ownerReferences")
      return replica
    }
    let one = NodeState(node: node("n1"), pods: [replica("r1")])
    #expect(planScheduling(replica("r2"), nodes: [one, empty]) == .node("n2"))
  }

  @Test func `required node affinity knows every operator`() {
    func fits(_ operation: String, _ values: JSON) -> Bool {
      let affinity: JSON = [
        "nodeAffinity": [
          "requiredDuringSchedulingIgnoredDuringExecution": [
            "nodeSelectorTerms": [
              ["matchExpressions": [["key": "name", "operator": JSON(operation), "values": values]]]
            ]
          ]
        ]
      ]
      let decision = planScheduling(
        pod("p", spec: ["affinity": affinity]), nodes: [NodeState(node: node("n1"), pods: [])])
      return decision == .node("n1")
    }
    #expect(fits("In", ["n1"]) && !fits("In", ["n2"]) && fits("NotIn", ["n2"]) && fits("Exists", []))
    #expect(!fits("DoesNotExist", []) && !fits("Gt", ["1"]))
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct SchedulerTests {
  private func eventually(_ body: () -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      if body() { return true }
      try? await Task.sleep(for: .microseconds(200))
    }
    return body()
  }

  private func start(_ api: MemoryClusterAPI) async throws -> (SharedInformers, SchedulerHandle) {
    let informers = SharedInformers(api: api, metrics: Metrics())
    let scheduler = startScheduler(api: api, informers: informers, metrics: Metrics())
    try await informers.waitForSync()
    return (informers, scheduler)
  }

  private func nodeName(_ api: MemoryClusterAPI, _ name: String) -> String? {
    api.objects(.pods).first { $0.name == name }?.at("spec", "nodeName")?.string
  }

  @Test func `a pod is bound within milliseconds of its creation`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, node("n1"))
    let (informers, scheduler) = try await start(api)
    var latencies: [Duration] = []
    for number in 0..<50 {
      let began = ContinuousClock.now
      _ = try await api.create(.pods, pod("p\(number)", cpu: "10m"), options: WriteOptions())
      #expect(await eventually { nodeName(api, "p\(number)") == "n1" })
      latencies.append(ContinuousClock.now - began)
    }
    latencies.sort()
    print("pod to bound: p50 \(latencies[25]) p98 \(latencies[48])")
    #expect(latencies[25] < .milliseconds(250))
    await scheduler.stop()
    await informers.stop()
  }

  @Test func `a node that is not ready takes only pods that tolerate it, and the others when it is`()
    async throws
  {
    let api = MemoryClusterAPI()
    let (informers, scheduler) = try await start(api)
    let taints = JSON.array(
      ["NoSchedule", "NoExecute"].map { ["key": "node.kubernetes.io/not-ready", "effect": JSON($0)] })
    api.put(.nodes, node("n1", spec: ["taints": taints]))
    let tolerations: JSON = [["key": "node.kubernetes.io/not-ready", "operator": "Exists"]]
    for made in [pod("tolerant", spec: ["tolerations": tolerations]), pod("other")] {
      _ = try await api.create(.pods, made, options: WriteOptions())
    }
    #expect(await eventually { nodeName(api, "tolerant") == "n1" })
    #expect(
      await eventually {
        api.objects(.events).contains {
          $0["message"]?.string?.contains("untolerated taint {node.kubernetes.io/not-ready: }") == true
        }
      })
    #expect((nodeName(api, "other") ?? "").isEmpty)
    api.put(.nodes, node("n1"))
    #expect(await eventually { nodeName(api, "other") == "n1" })
    await scheduler.stop()
    await informers.stop()
  }

  @Test func `a pod that fits nowhere says why and is bound when a node comes`() async throws {
    let api = MemoryClusterAPI()
    let (informers, scheduler) = try await start(api)
    _ = try await api.create(.pods, pod("p"), options: WriteOptions())
    #expect(
      await eventually {
        api.objects(.pods).first?.condition("PodScheduled")?["reason"] == "Unschedulable"
          && api.objects(.events).contains { $0["reason"] == "FailedScheduling" }
      })
    api.put(.nodes, node("n1"))
    #expect(await eventually { nodeName(api, "p") == "n1" })
    #expect(await eventually { api.objects(.events).contains { $0["reason"] == "Scheduled" } })
    await scheduler.stop()
    await informers.stop()
  }

  @Test func `capacity is never given twice, and room made is used`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, node("n1", cpu: "1"))
    let (informers, scheduler) = try await start(api)
    for number in 0..<20 {
      _ = try await api.create(.pods, pod("p\(number)", cpu: "100m"), options: WriteOptions())
    }
    func bound() -> [JSON] { api.objects(.pods).filter { $0.at("spec", "nodeName") != nil } }
    #expect(await eventually { bound().count == 10 })
    #expect(
      await eventually {
        api.objects(.pods).count { $0.condition("PodScheduled")?["status"] == "False" } == 10
      })
    #expect(bound().count == 10)
    for pod in bound().prefix(3) { api.remove(.pods, pod.key) }
    #expect(await eventually { bound().count == 10 && api.objects(.pods).count == 17 })
    await scheduler.stop()
    await informers.stop()
  }
}
