// The planner that keeps its plan against one that is asked for the whole, over random sequences of changes.
import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Policy
import Ruleset
import Testing

@Test(arguments: 0..<24)
func `tables after the deltas equal a plan of the whole`(seed: Int) {
  var cluster = ChangingCluster(seed: seed)
  for step in 0..<60 {
    if let wrong = cluster.plan().wrong {
      Issue.record("seed \(seed), step \(step): \(wrong)")
      return
    }
    for _ in 0..<(1 + cluster.random.next() % 3) { cluster.change() }
  }
  #expect(cluster.deltas > 10)
}

@Test(arguments: 100..<106)
func `the kernel takes every delta and holds what a plan of the whole has`(seed: Int) throws {
  try inFreshNamespace {
    var cluster = ChangingCluster(seed: seed)
    let owned = [
      Table.ID(.ip, PolicyNames.table), .init(.ip6, PolicyNames.table),
      .init(.bridge, PolicyNames.guardTable),
    ]
    let syncer = try RulesetSyncer(owned: owned)
    for step in 0..<25 {
      let delta = cluster.plan().delta
      if delta.isWhole {
        _ = try syncer.sync(cluster.planner.tables)
      } else if !delta.tables.isEmpty {
        _ = try syncer.sync([], deltas: delta.tables, keeping: Set(owned))
      }
      let held = try NftablesSocket().observe(owned)
      let left = Ruleset(cluster.planner.tables).operations(from: held)
      #expect(left.isEmpty, "seed \(seed), step \(step): \(left)")
      for _ in 0..<(1 + cluster.random.next() % 3) { cluster.change() }
    }
    #expect(cluster.deltas > 5)
  }
}

/// `count` pods of ten namespaces, and a policy for each of them that admits its neighbour's.
private func field(pods count: Int, policies: Int) -> ClusterView {
  var view = ClusterView()
  view.namePods()
  for index in 0..<10 {
    view.apply([
      "kind": "Namespace", "metadata": ["name": JSON("ns\(index)"), "labels": ["ns": JSON("ns\(index)")]],
    ])
  }
  for index in 0..<count {
    view.apply(
      pod("p\(index)", "ns\(index % 10)", "10.42.\(index / 250).\(index % 250 + 2)", "app\(index % 7)"))
  }
  for index in 0..<policies {
    view.apply([
      "kind": "NetworkPolicy",
      "metadata": ["name": JSON("np\(index)"), "namespace": JSON("ns\(index % 10)")],
      "spec": [
        "podSelector": ["matchLabels": ["app": JSON("app\(index % 7)")]],
        "ingress": [
          [
            "from": [
              ["podSelector": ["matchLabels": ["app": JSON("app\((index + 1) % 7)")]]],
              ["namespaceSelector": ["matchLabels": ["ns": JSON("ns\((index + 1) % 10)")]]],
            ], "ports": [["port": 80]],
          ]
        ],
      ],
    ])
  }
  return view
}

private func changed(_ delta: PolicyDelta) -> (elements: Int, chains: Int, sets: Int) {
  delta.tables.reduce((0, 0, 0)) { sum, table in
    (
      sum.0 + table.elements.values.reduce(0) { $0 + $1.count }, sum.1 + table.chains.count,
      sum.2 + table.sets.count
    )
  }
}

@Test func `one more pod costs its own elements, however many pods and policies there are`() {
  var costs: [Int] = []
  for (pods, policies) in [(140, 70), (1400, 70)] {
    var view = field(pods: pods, policies: policies)
    var planner = PolicyPlanner(plannerSettings)
    _ = planner.apply(view.takeChanges())
    view.apply(pod("new", "ns3", "10.42.200.1", "app3"))
    let delta = planner.apply(view.takeChanges())
    #expect(!delta.isWhole)
    let cost = changed(delta)
    #expect(cost.chains == 0 && cost.sets == 0)
    costs.append(cost.elements)
  }
  #expect(costs[0] == costs[1])
  #expect(costs[0] < 12)
}

@Test func `a label of a namespace moves its pods, and no chain`() {
  var view = field(pods: 100, policies: 70)
  var planner = PolicyPlanner(plannerSettings)
  _ = planner.apply(view.takeChanges())
  view.apply(["kind": "Namespace", "metadata": ["name": "ns1", "labels": ["ns": "other"]]])
  let cost = changed(planner.apply(view.takeChanges()))
  // Ten pods leave the one set that chooses the namespace.
  #expect(cost.elements == 10 && cost.chains == 0 && cost.sets == 0)
}

@Test func `a policy that changes rewrites the chains of its own profiles`() {
  var view = field(pods: 100, policies: 7)
  var planner = PolicyPlanner(plannerSettings)
  _ = planner.apply(view.takeChanges())
  view.apply([
    "kind": "NetworkPolicy", "metadata": ["name": "np3", "namespace": "ns3"],
    "spec": ["podSelector": ["matchLabels": ["app": "app3"]], "ingress": [["ports": [["port": 81]]]]],
  ])
  let cost = changed(planner.apply(view.takeChanges()))
  #expect(cost.elements == 0)
  // Nobody else looks into the two sets it looked into.
  #expect(cost.chains == 1 && cost.sets == 2)
}

@Test func `a change that policies do not look at changes nothing`() {
  var view = field(pods: 20, policies: 5)
  var planner = PolicyPlanner(plannerSettings)
  _ = planner.apply(view.takeChanges())
  var same = pod("p1", "ns1", "10.42.0.3", "app1")
  same["status"]?["conditions"] = [["type": "Ready", "status": "True"]]
  view.apply(same)
  let delta = planner.apply(view.takeChanges())
  #expect(!delta.isWhole && delta.tables.isEmpty)
}
