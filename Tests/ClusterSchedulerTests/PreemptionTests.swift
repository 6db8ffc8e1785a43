// Victims and the order of the tie-breaks; and a brute force that tries every set of victims.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterScheduler

@Suite struct PreemptionTests {
  private func victim(
    _ name: String, _ priority: Int, cpu: String = "1", start: String = "2026-01-01T00:00:00Z",
    labels: [String: String] = [:]
  ) -> JSON {
    makePod(name, cpu: cpu, labels: labels, priority: priority, start: start)
  }

  private func plans(
    _ pod: JSON, _ nodes: [NodeInfo], budgets: [JSON] = []
  ) throws -> PostFilterResult {
    var objects = ClusterObjectsView()
    objects.budgets = ObjectSnapshot(budgets)
    let cluster = ClusterState(nodes, objects: objects)
    let search = planFeasible(PodInfo(pod), cluster, try standardProfile())
    return DefaultPreemption().postFilter(PodInfo(pod), search, cluster, [:])
  }

  private func chosen(_ pod: JSON, _ nodes: [NodeInfo], budgets: [JSON] = []) throws -> PreemptionPlan? {
    guard case .nominate(let plans) = try plans(pod, nodes, budgets: budgets) else { return nil }
    return PreemptionPlan.best(of: plans)
  }

  private func budget(_ label: String, allowed: Int) -> JSON {
    [
      "metadata": ["namespace": "demo", "name": JSON(label)],
      "spec": ["selector": ["matchLabels": ["app": JSON(label)]]],
      "status": ["disruptionsAllowed": JSON(allowed)],
    ]
  }

  @Test func `first the fewest budgets violated`() throws {
    // Everything after the first rule speaks for the protected node.
    let nodes = [
      info(makeNode("protected", cpu: "1"), [victim("a", 1, labels: ["app": "web"])]),
      info(makeNode("open", cpu: "1"), [victim("b", 9)]),
    ]
    let pod = makePod("p", cpu: "1", priority: 10)
    #expect(try chosen(pod, nodes, budgets: [budget("web", allowed: 0)])?.node == "open")
    #expect(try chosen(pod, nodes, budgets: [budget("web", allowed: 1)])?.node == "protected")
  }

  @Test func `then the lowest highest priority`() throws {
    let nodes = [
      info(makeNode("high"), [victim("a", 9, cpu: "2")]),
      info(makeNode("low"), [victim("b", 8), victim("c", 8)]),
    ]
    #expect(try chosen(makePod("p", cpu: "2", priority: 10), nodes)?.node == "low")
  }

  @Test func `then the smallest sum of priorities`() throws {
    let nodes = [
      info(makeNode("more"), [victim("a", 8), victim("b", 7)]),
      info(makeNode("less"), [victim("c", 8), victim("d", 2)]),
    ]
    #expect(try chosen(makePod("p", cpu: "2", priority: 10), nodes)?.node == "less")
  }

  @Test func `then the fewest pods, and priorities below zero do not make many cheap`() throws {
    let many = PreemptionPlan(
      node: "many", victims: [victim("a", -5), victim("b", -5)].map(PodInfo.init), violations: 0)
    let one = PreemptionPlan(node: "one", victims: [PodInfo(victim("c", -5))], violations: 0)
    #expect(PreemptionPlan.best(of: [many, one])?.node == "one")
  }

  @Test func `then the latest start of the most important victim, then the first`() throws {
    let nodes = [
      info(makeNode("old"), [victim("a", 5, cpu: "2", start: "2026-01-01T00:00:00Z")]),
      info(makeNode("young"), [victim("b", 5, cpu: "2", start: "2026-06-01T00:00:00Z")]),
      info(makeNode("young-too"), [victim("c", 5, cpu: "2", start: "2026-06-01T00:00:00Z")]),
    ]
    #expect(try chosen(makePod("p", cpu: "2", priority: 10), nodes)?.node == "young")
  }

  @Test func `no more pods go than must, the least important first`() throws {
    let node = info(
      makeNode("n", cpu: "4"), [victim("a", 1), victim("b", 5), victim("c", 3), victim("d", 3, cpu: "1")])
    let plan = try #require(try chosen(makePod("p", cpu: "1", priority: 10), [node]))
    #expect(plan.victims.map(\.name) == ["a"])
    let two = try #require(try chosen(makePod("p", cpu: "2", priority: 10), [node]))
    #expect(two.victims.map(\.name) == ["d", "a"])
  }

  @Test func `a protected pod stays when an unprotected one is enough`() throws {
    let node = info(
      makeNode("n", cpu: "2"), [victim("a", 1, labels: ["app": "web"]), victim("b", 5)])
    let plan = try #require(
      try chosen(makePod("p", cpu: "1", priority: 10), [node], budgets: [budget("web", allowed: 0)]))
    #expect(plan.victims.map(\.name) == ["b"] && plan.violations == 0)
  }

  @Test func `nobody of the same or a higher priority goes, and the message counts why`() throws {
    let nodes = [
      info(makeNode("full", cpu: "1"), [victim("a", 10)]),
      info(makeNode("tainted", taints: [["key": "k", "effect": "NoSchedule"]])),
      info(makeNode("small", cpu: "500m")),
    ]
    guard case .rejected(let message) = try plans(makePod("p", cpu: "1", priority: 10), nodes) else {
      Issue.record("there are victims")
      return
    }
    #expect(
      message == "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, "
        + "2 Preemption is not helpful for scheduling.")
  }

  @Test func `anti-affinity with a lesser pod is resolved by its going`() throws {
    let selector: JSON = ["matchLabels": ["app": "noisy"]]
    let term: JSON = ["labelSelector": selector, "topologyKey": "kubernetes.io/hostname"]
    let pod = makePod(
      "p", priority: 10,
      spec: [
        "affinity": ["podAntiAffinity": ["requiredDuringSchedulingIgnoredDuringExecution": [term]]]
      ])
    let node = info(
      makeNode("n"),
      [victim("quiet", 1, cpu: "100m"), victim("loud", 5, cpu: "100m", labels: ["app": "noisy"])])
    #expect(try chosen(pod, [node])?.victims.map(\.name) == ["loud"])
  }

  @Test func `while victims leave the nominated node nobody else has to go`() throws {
    var leaving = victim("a", 1)
    leaving.set("2026-06-01T00:00:00Z", at: "metadata", "deletionTimestamp")
    leaving.setCondition("DisruptionTarget", "True", reason: "PreemptionByScheduler", message: "")
    var pod = makePod("p", cpu: "1", priority: 10)
    pod.set("n", at: "status", "nominatedNodeName")
    let nodes = [info(makeNode("n", cpu: "1"), [leaving]), info(makeNode("m", cpu: "1"), [victim("b", 1)])]
    guard case .rejected(let message) = try plans(pod, nodes) else {
      Issue.record("a second victim was found")
      return
    }
    #expect(message == "preemption: not eligible due to a terminating pod on the nominated node.")
  }

  /// Every subset of the lesser pods; the least set by the order in which pods are given back.
  @Test(arguments: 0..<60) func `victims are what a brute force finds`(seed: Int) throws {
    var random = Dice(seed: UInt64(seed) &* 7919 &+ 1)
    let pods = (0..<Int.random(in: 1...6, using: &random)).map { index in
      victim(
        "v\(index)", Int.random(in: 0...12, using: &random),
        cpu: "\(Int.random(in: 1...4, using: &random) * 250)m",
        start: "2026-01-0\(Int.random(in: 1...9, using: &random))T00:00:00Z")
    }
    let node = info(makeNode("n", cpu: "2"), pods)
    let wanted = Int64(Int.random(in: 1...4, using: &random) * 500)
    let pod = makePod("p", cpu: "\(wanted)m", priority: 10)
    let lesser = node.pods.filter { $0.priority < 10 }.sorted(by: isMoreImportant)
    let kept = node.pods.filter { $0.priority >= 10 }.reduce(Int64(0)) { $0 + $1.requests.cpu }
    // Which sets may stay; the best one keeps the most important pod possible, then the next.
    var best: [Bool]?
    for bits in 0..<(1 << lesser.count) {
      let stays = lesser.indices.map { bits & (1 << $0) != 0 }
      let used = zip(lesser, stays).reduce(kept) { $0 + ($1.1 ? $1.0.requests.cpu : 0) }
      if used + wanted > 2000 { continue }
      let isBetter = best.map { old in
        for (mine, its) in zip(stays, old) where mine != its { return mine }
        return false
      }
      if isBetter ?? true { best = stays }
    }
    let search = planFeasible(PodInfo(pod), ClusterState([node]), profile(NodeResourcesFit()))
    let fitsAlready = node.requested.cpu + wanted <= 2000
    #expect(search.feasible.isEmpty == !fitsAlready)
    if fitsAlready { return }
    guard case .success(let plan) = planVictims(PodInfo(pod), node, search.filters, budgets: []) else {
      #expect(best == nil || lesser.isEmpty)
      return
    }
    let stays = try #require(best)
    let expected = zip(lesser, stays).filter { !$0.1 }.map(\.0.name)
    #expect(plan.victims.map(\.name) == expected)
  }
}

/// A small generator with a seed, so that a failure can be repeated.
struct Dice: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
