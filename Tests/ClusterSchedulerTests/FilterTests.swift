// Each rule that keeps a pod from a node, with upstream's words, and the counts of reasons.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterScheduler

@Suite struct FilterTests {
  @Test(arguments: [
    (makePod("p", cpu: "3"), makeNode("n1"), "1 Insufficient cpu."),
    (makePod("p"), makeNode("n1", pods: 0), "1 Too many pods."),
    (
      makePod("p"), makeNode("n1", spec: ["unschedulable": true]), "1 node(s) were unschedulable."
    ),
    (
      makePod("p", spec: ["nodeSelector": ["disk": "ssd"]]), makeNode("n1"),
      "1 node(s) didn't match Pod's node affinity/selector."
    ),
    (
      makePod("p"), makeNode("n1", taints: [["key": "k", "value": "v", "effect": "NoSchedule"]]),
      "1 node(s) had untolerated taint(s)."
    ),
    (
      makePod("p"),
      makeNode("n1", taints: [["key": "node.kubernetes.io/unreachable", "effect": "NoExecute"]]),
      "1 node(s) had untolerated taint(s)."
    ),
  ])
  func `a node that does not fit is counted by its reason`(pod: JSON, node: JSON, reason: String) throws {
    #expect(try decide(pod, [info(node)]) == "0/1 nodes are available: " + reason)
  }

  @Test func `every reason has its exact count, in the order of the texts`() throws {
    let nodes = [
      info(makeNode("a", taints: [["key": "k", "effect": "NoSchedule"]])), info(makeNode("b", cpu: "1")),
      info(makeNode("c", cpu: "1", memory: "1Mi")),
    ]
    var pod = makePod("p", cpu: "1500m")
    pod.set(["cpu": "1500m", "memory": "1Gi"], at: "spec", "resources", "requests")
    #expect(
      try decide(pod, nodes)
        == "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), "
        + "2 Insufficient cpu.")
    #expect(try decide(pod, []) == "no nodes available to schedule pods")
  }

  @Test func `a toleration opens a tainted node`() throws {
    let node = info(makeNode("n1", taints: [["key": "k", "value": "v", "effect": "NoSchedule"]]))
    for toleration: JSON in [
      ["operator": "Exists"], ["key": "k", "operator": "Exists"],
      ["key": "k", "value": "v", "effect": "NoSchedule"], ["key": "k", "operator": "Equal", "value": "v"],
    ] {
      #expect(try decide(makePod("p", spec: ["tolerations": [toleration]]), [node]) == "n1")
    }
    for toleration: JSON in [
      ["key": "k", "value": "w"], ["key": "j", "operator": "Exists"],
      ["key": "k", "value": "v", "effect": "NoExecute"], ["operator": "Equal", "value": "v"],
    ] {
      #expect(try decide(makePod("p", spec: ["tolerations": [toleration]]), [node]) != "n1")
    }
  }

  @Test(arguments: [
    ("In", ["n1"], true), ("In", ["n2"], false), ("NotIn", ["n2"], true), ("NotIn", ["n1"], false),
    ("Exists", [], true), ("DoesNotExist", [], false), ("Gt", ["4"], true), ("Gt", ["5"], false),
    ("Lt", ["6"], true), ("Lt", ["5"], false), ("Near", ["n1"], false),
  ])
  func `required node affinity knows every operator`(operation: String, values: [String], fits: Bool) throws {
    let key = operation == "Gt" || operation == "Lt" ? "generation" : "name"
    let term: JSON = [
      "matchExpressions": [["key": JSON(key), "operator": JSON(operation), "values": JSON(values)]]
    ]
    let node = info(makeNode("n1", labels: ["name": "n1", "generation": "5"]))
    #expect(!passing(requiring([term]), [node], .init(), NodeAffinity()).isEmpty == fits)
  }

  private func requiring(_ terms: [JSON]) -> JSON {
    makePod(
      "p",
      spec: [
        "affinity": [
          "nodeAffinity": [
            "requiredDuringSchedulingIgnoredDuringExecution": ["nodeSelectorTerms": .array(terms)]
          ]
        ]
      ])
  }

  @Test func `one of several terms is enough, and an empty one matches nothing`() {
    let node = info(makeNode("n1", labels: ["a": "1"]))
    let matching: JSON = ["matchExpressions": [["key": "a", "operator": "Exists"]]]
    let other: JSON = ["matchExpressions": [["key": "b", "operator": "Exists"]]]
    #expect(passing(requiring([other, matching]), [node], .init(), NodeAffinity()) == ["n1"])
    #expect(passing(requiring([other]), [node], .init(), NodeAffinity()).isEmpty)
    #expect(passing(requiring([.object([:])]), [node], .init(), NodeAffinity()).isEmpty)
  }

  @Test func `matchFields names one node, and the others are not even asked`() throws {
    let nodes = ["a", "b", "c"].map { info(makeNode($0)) }
    let term: JSON = ["matchFields": [["key": "metadata.name", "operator": "In", "values": ["b"]]]]
    #expect(try decide(requiring([term]), nodes) == "b")
    let full = [nodes[0], info(makeNode("b", pods: 0)), nodes[2]]
    #expect(
      try decide(requiring([term]), full)
        == "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].")
  }

  @Test func `a host port is given once a node, and the wildcard takes every address`() {
    func claiming(_ name: String, _ port: JSON) -> JSON {
      makePod(name, spec: ["containers": [["name": "c", "ports": [port]]]])
    }
    let first = claiming("a", ["containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"])
    let nodes = [info(makeNode("n1"), [first]), info(makeNode("n2"))]
    let all = claiming("b", ["containerPort": 80, "hostPort": 8080])
    #expect(passing(all, nodes, .init(), NodePorts()) == ["n2"])
    let elsewhere = claiming("c", ["containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.2"])
    #expect(passing(elsewhere, nodes, .init(), NodePorts()) == ["n1", "n2"])
    let datagrams = claiming("d", ["containerPort": 80, "hostPort": 8080, "protocol": "UDP"])
    #expect(passing(datagrams, nodes, .init(), NodePorts()) == ["n1", "n2"])
  }

  @Test func `devices are counted, and a resource that another keeps is not`() throws {
    let pod = makePod(
      "p",
      spec: ["containers": [["name": "c", "resources": ["requests": ["example.com/gpu": "2"]]]]])
    let two = info(makeNode("n1", more: ["allocatable": ["cpu": "1", "example.com/gpu": "2", "pods": "9"]]))
    #expect(try decide(pod, [two]) == "n1")
    #expect(
      try decide(pod, [two.adding(PodInfo(pod))])
        == "0/1 nodes are available: 1 Insufficient example.com/gpu.")
    var fit = NodeResourcesFit()
    fit.ignoredResourceGroups = ["example.com"]
    #expect(passing(pod, [info(makeNode("n1"))], .init(), fit) == ["n1"])
  }

  @Test func `what a node can never give is not worth preemption`() {
    let small = info(makeNode("n1", cpu: "1"))
    let search = planFeasible(
      PodInfo(makePod("p", cpu: "2")), ClusterState([small]), profile(NodeResourcesFit()))
    #expect(search.rejections.first?.rejection.isResolvable == false)
    let full = info(makeNode("n1", cpu: "2"), [makePod("x", cpu: "1")])
    let other = planFeasible(
      PodInfo(makePod("p", cpu: "2")), ClusterState([full]), profile(NodeResourcesFit()))
    #expect(other.rejections.first?.rejection.isResolvable == true)
  }

  @Test func `of many nodes enough are looked at, and the next pod begins where the last ended`() {
    let nodes = (0..<1000).map { info(makeNode("n\($0)")) }
    let cluster = ClusterState(nodes)
    let first = planFeasible(PodInfo(makePod("p")), cluster, profile(NodeResourcesFit()))
    #expect(first.feasible.count == 420 && first.looked == 420)
    let second = planFeasible(PodInfo(makePod("p")), cluster, profile(NodeResourcesFit()), start: 900)
    #expect(second.feasible.first?.name == "n900" && second.feasible.last?.name == "n319")
    var all = profile(NodeResourcesFit())
    all.percentageOfNodesToScore = 100
    #expect(planFeasible(PodInfo(makePod("p")), cluster, all).feasible.count == 1000)
    #expect(Profile().nodesWanted(of: 99) == 99 && Profile().nodesWanted(of: 10_000) == 500)
  }

  @Test func `a pod that waits for room on a node keeps lesser pods from it`() {
    let node = info(makeNode("n1", cpu: "1"))
    let waiting = PodInfo(makePod("big", cpu: "1", priority: 10))
    let rules = profile(NodeResourcesFit())
    let lesser = PodInfo(makePod("p", cpu: "500m"))
    let cluster = ClusterState([node])
    #expect(planFeasible(lesser, cluster, rules, nominated: ["n1": [waiting]]).feasible.isEmpty)
    let greater = PodInfo(makePod("q", cpu: "500m", priority: 11))
    #expect(planFeasible(greater, cluster, rules, nominated: ["n1": [waiting]]).feasible.count == 1)
    #expect(planFeasible(waiting, cluster, rules, nominated: ["n1": [waiting]]).feasible.count == 1)
  }
}
