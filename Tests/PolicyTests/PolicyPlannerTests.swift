// The planner that keeps its plan against one that is asked for the whole, over random sequences of changes.
import Addresses
import ClusterObjects
import ClusterView
import Policy
import Ruleset
import Testing

private let settings = PolicySettings(
  nodeName: "n1", podBlocks: [IPPrefix("10.42.0.0/24")!], gateways: [IPAddress("10.42.0.1")!])

/// A cluster that changes step by step, and what two planners make of it.
private struct Changing {
  var random: Seeded
  var view = ClusterView()
  var attachments: [PodAttachment] = []
  var haveAttachmentsChanged = true
  var planner = PolicyPlanner(settings)
  /// Tables as the deltas made them.
  var tables: [Table.ID: Table] = [:]
  /// What the kernel would hold after the operations of the deltas.
  var inForce: [Table.ID: InForce.TableInForce] = [:]
  var deltas = 0

  init(seed: Int) {
    random = Seeded(state: UInt64(seed))
    view.namePods()
    for object in randomCluster(&random) { view.apply(object) }
  }

  mutating func change() {
    let name = "p\(random.next() % 12)"
    let namespace = random.pick(namespaceNames)
    switch random.next() % 12 {
    case 0...3:
      // Two pods may claim one address for a moment.
      let address = random.pick(["10.42.0.\(10 + random.next() % 12)", "fd00::\(1 + random.next() % 3)"])
      var object = pod(
        name, namespace, address, random.pick(["web", "db", "job"]), tier: random.pick(["f", "b"]))
      if random.chance(25) { object["spec"]?["nodeName"] = "n2" }
      if random.chance(10) { object["spec"]?["hostNetwork"] = true }
      if random.chance(10) { object["status"]?["phase"] = "Succeeded" }
      if random.chance(20) { object["status"] = ["phase": "Pending"] }
      view.apply(object)
    case 4: view.remove(kind: "Pod", ObjectKey(namespace, name))
    case 5:
      view.apply([
        "kind": "Namespace",
        "metadata": [
          "name": JSON(namespace),
          "labels": ["ns": JSON(namespace), "team": JSON(random.pick(["x", "y", "z"]))],
        ],
      ])
    case 6 where random.chance(30): view.remove(kind: "Namespace", ObjectKey("", namespace))
    case 6, 7, 8: view.apply(randomPolicy("np\(random.next() % 6)", &random))
    case 9: view.remove(kind: "NetworkPolicy", ObjectKey(namespace, "np\(random.next() % 6)"))
    case 10:
      haveAttachmentsChanged = true
      let key = ObjectKey(namespace, name)
      attachments.removeAll { $0.pod == key }
      attachments.append(
        PodAttachment(
          pod: key, addresses: [IPAddress("10.42.0.\(10 + random.next() % 12)")!],
          hardwareAddress: MACAddress([2, 0, 0, 0, 0, UInt8(random.next() % 9)]), hostInterface: "vp\(name)"))
    default:
      haveAttachmentsChanged = true
      if !attachments.isEmpty { attachments.remove(at: Int(random.next() % UInt64(attachments.count))) }
    }
  }

  /// Plans what has changed, and returns what is wrong.
  mutating func plan() -> String? {
    let delta = planner.apply(view.takeChanges(), attachments: haveAttachmentsChanged ? attachments : nil)
    haveAttachmentsChanged = false
    let whole = planPolicy(view: view, attachments: attachments, settings: settings)
    if delta.isWhole {
      tables = Dictionary(uniqueKeysWithValues: planner.tables.map { ($0.id, $0) })
      inForce = InForce(Ruleset(planner.tables)).tables
    } else {
      deltas += 1
      for change in delta.tables {
        guard inForce[change.id]?.operations(change) != nil else { return "\(change.id): no operations" }
        tables[change.id]?.apply(change)
        inForce[change.id]?.apply(change)
      }
    }
    for table in whole {
      guard let kept = tables[table.id] else { return "no \(table.id)" }
      if kept.inOrder != table.inOrder { return differences(kept, table) }
      if inForce[table.id] != InForce(Ruleset([table])).tables[table.id] { return "\(table.id) in force" }
    }
    if planner.tables.map(\.inOrder) != whole.map(\.inOrder) { return "its own tables" }
    return nil
  }

  private func differences(_ kept: Table, _ table: Table) -> String {
    let operations = Ruleset([table]).operations(from: InForce(Ruleset([kept])))
    return operations.map(\.description).joined(separator: "\n")
  }
}

extension Table {
  /// Sets and chains by name: their order means nothing.
  fileprivate var inOrder: Table {
    var copy = self
    copy.sets.sort { $0.name < $1.name }
    copy.chains.sort { $0.name < $1.name }
    return copy
  }
}

@Test(arguments: 0..<24)
func `tables after the deltas equal a plan of the whole`(seed: Int) {
  var cluster = Changing(seed: seed)
  for step in 0..<60 {
    if let wrong = cluster.plan() {
      Issue.record("seed \(seed), step \(step): \(wrong)")
      return
    }
    for _ in 0..<(1 + cluster.random.next() % 3) { cluster.change() }
  }
  #expect(cluster.deltas > 10)
}

/// `count` pods of ten namespaces, and a policy for each of them that admits its neighbour's.
private func field(pods count: Int, policies: Int) -> ClusterView {
  var view = ClusterView()
  view.namePods()
  for index in 0..<10 {
    view.apply(["kind": "Namespace", "metadata": ["name": JSON("ns\(index)"), "labels": ["ns": JSON("ns\(index)")]]])
  }
  for index in 0..<count {
    view.apply(pod("p\(index)", "ns\(index % 10)", "10.42.\(index / 250).\(index % 250 + 2)", "app\(index % 7)"))
  }
  for index in 0..<policies {
    view.apply([
      "kind": "NetworkPolicy", "metadata": ["name": JSON("np\(index)"), "namespace": JSON("ns\(index % 10)")],
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
    var planner = PolicyPlanner(settings)
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
  var planner = PolicyPlanner(settings)
  _ = planner.apply(view.takeChanges())
  view.apply(["kind": "Namespace", "metadata": ["name": "ns1", "labels": ["ns": "other"]]])
  let cost = changed(planner.apply(view.takeChanges()))
  // Ten pods leave the one set that chooses the namespace.
  #expect(cost.elements == 10 && cost.chains == 0 && cost.sets == 0)
}

@Test func `a policy that changes rewrites the chains of its own profiles`() {
  var view = field(pods: 100, policies: 7)
  var planner = PolicyPlanner(settings)
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
  var planner = PolicyPlanner(settings)
  _ = planner.apply(view.takeChanges())
  var same = pod("p1", "ns1", "10.42.0.3", "app1")
  same["status"]?["conditions"] = [["type": "Ready", "status": "True"]]
  view.apply(same)
  let delta = planner.apply(view.takeChanges())
  #expect(!delta.isWhole && delta.tables.isEmpty)
}
