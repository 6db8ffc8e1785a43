// What makes one node better than another.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterScheduler

@Suite struct ScoreTests {
  @Test func `the emptier node wins`() throws {
    let nodes = [info(makeNode("n1"), [makePod("x", cpu: "1500m")]), info(makeNode("n2"))]
    #expect(try decide(makePod("p", cpu: "100m"), nodes) == "n2")
  }

  @Test func `three strategies rank a half-full and an empty node`() {
    let nodes = [info(makeNode("half"), [makePod("x", cpu: "1")]), info(makeNode("empty"))]
    let pod = makePod("p", cpu: "500m")
    var fit = NodeResourcesFit()
    fit.resources = [ResourceWeight("cpu")]
    #expect(scores(pod, nodes, fit) == [25, 75])
    fit.strategy = .mostAllocated
    #expect(scores(pod, nodes, fit) == [75, 25])
    fit.strategy = .requestedToCapacityRatio([
      UtilizationPoint(utilization: 0, score: 0), UtilizationPoint(utilization: 50, score: 10),
      UtilizationPoint(utilization: 100, score: 0),
    ])
    #expect(scores(pod, nodes, fit) == [50, 50])
    #expect(scores(makePod("p", cpu: "1"), nodes, fit) == [0, 100])
  }

  @Test func `balance counts CPU against memory`() {
    let lopsided = info(makeNode("n1", cpu: "2", memory: "4Gi"), [makePod("x", cpu: "1500m")])
    let even = info(makeNode("n2", cpu: "2", memory: "4Gi"))
    let ranks = scores(makePod("p", cpu: "100m"), [lopsided, even], NodeResourcesBalancedAllocation())
    #expect(ranks[0] < ranks[1])
    #expect(
      scores(makePod("p"), [lopsided, even], NodeResourcesBalancedAllocation()) == [0, 0],
      "a pod that asks for nothing changes no balance")
  }

  @Test func `preferred node affinity adds weights and is brought to a hundred`() {
    func preference(_ weight: Int, _ key: String) -> JSON {
      [
        "weight": JSON(weight),
        "preference": ["matchExpressions": [["key": JSON(key), "operator": "Exists"]]],
      ]
    }
    let pod = makePod(
      "p",
      spec: [
        "affinity": [
          "nodeAffinity": [
            "preferredDuringSchedulingIgnoredDuringExecution": [preference(20, "a"), preference(60, "b")]
          ]
        ]
      ])
    let nodes = [
      info(makeNode("n1", labels: ["a": "1"])), info(makeNode("n2", labels: ["a": "1", "b": "1"])),
      info(makeNode("n3")),
    ]
    #expect(scores(pod, nodes, NodeAffinity()) == [25, 100, 0])
  }

  @Test func `PreferNoSchedule makes a node the second choice`() throws {
    let nodes = [
      info(makeNode("n1", taints: [["key": "k", "effect": "PreferNoSchedule"]])), info(makeNode("n2")),
    ]
    #expect(scores(makePod("p"), nodes, TaintToleration()) == [0, 100])
    #expect(try decide(makePod("p"), nodes) == "n2")
    let tolerant = makePod("p", spec: ["tolerations": [["key": "k", "operator": "Exists"]]])
    #expect(scores(tolerant, nodes, TaintToleration()) == [100, 100])
  }

  @Test func `large images that are there already draw pods`() {
    let images: JSON = [["names": ["i:latest", "i@sha256:1"], "sizeBytes": 900_000_000]]
    let nodes = [info(makeNode("n1", more: ["images": images])), info(makeNode("n2"))]
    let ranks = scores(makePod("p"), nodes, ImageLocality())
    #expect(ranks[0] > 30 && ranks[1] == 0)
  }

  @Test func `equal nodes take turns`() throws {
    let nodes = (0..<3).map { info(makeNode("n\($0)")) }
    let cluster = ClusterState(nodes)
    let pod = PodInfo(makePod("p"))
    let profile = try standardProfile()
    var chosen: Set<String> = []
    for start in 0..<3 {
      let search = planFeasible(pod, cluster, profile, start: start)
      chosen.insert(planBest(search.feasible, planScores(pod, search.feasible, cluster, profile))?.name ?? "")
    }
    #expect(chosen.count == 3)
  }
}
