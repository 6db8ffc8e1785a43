// What ClusterNetworkPolicies add to the tables: the guarantees for packets on their way hold for their chains too, and a pod still
// costs its own elements.
import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Policy
import Ruleset
import Testing

private let everyone: JSON = [["namespaces": [:]]]

private func cluster(
  _ name: String, _ tier: String = "Admin", ingress: JSON = [], egress: JSON = [], isAudit: Bool = false
) -> JSON {
  [
    "kind": "ClusterNetworkPolicy",
    "metadata": ["name": JSON(name), "annotations": isAudit ? ["weft.dev/audit": "true"] : [:]],
    "spec": [
      "tier": JSON(tier), "priority": 1, "subject": ["namespaces": ["matchLabels": ["ns": "a"]]],
      "ingress": ingress, "egress": egress,
    ],
  ]
}

private func namespace(_ name: String) -> JSON {
  ["kind": "Namespace", "metadata": ["name": JSON(name), "labels": ["ns": JSON(name)]]]
}

private let world: [JSON] = [
  namespace("a"), namespace("b"), pod("web", "a", "10.42.0.10", "web"), pod("x", "b", "10.42.0.11", "web"),
]
private let (closed, open) = (IPAddress("10.42.0.10")!, IPAddress("10.42.0.11")!)

private func tables(_ more: JSON...) -> [Table] {
  planPolicy(view: ClusterView(objects: world + more), attachments: [], settings: plannerSettings)
}

private func forward(_ tables: [Table], _ from: IPAddress, _ to: IPAddress) -> Evaluation {
  Ruleset(tables).evaluate(Packet(from, to, destinationPort: 80), at: .forward)
}

/// As the kernel shows it to a packet on its way while a transaction takes effect: look-ups are new, chains are old.
private func withoutRules(_ tables: [Table], in chain: (Chain) -> Bool) -> [Table] {
  var tables = tables
  for index in tables[0].chains.indices where chain(tables[0].chains[index]) {
    tables[0].chains[index].rules = []
  }
  return tables
}

@Test func `a packet that meets a new tier's chain before its rules are there goes nowhere`() {
  let passing: JSON = [["action": "Pass", "from": everyone]]
  let denying: JSON = [["action": "Deny", "to": everyone]]
  let both = tables(
    cluster("c", ingress: passing, egress: [["action": "Pass", "to": everyone]]),
    cluster("b", "Baseline", ingress: [["action": "Deny", "from": everyone]], egress: denying))
  func isProfile(_ chain: Chain) -> Bool {
    chain.name.hasPrefix("KUBE-IN-") || chain.name.hasPrefix("KUBE-EG-")
  }
  #expect(both[0].chains.count(where: isProfile) == 4)
  for empty in [
    isProfile, { isProfile($0) && $0.rules.contains { $0.comment == "c#0" } },
    { isProfile($0) && $0.rules.contains { $0.comment == "b#0" } },
  ] {
    let shown = withoutRules(both, in: empty)
    #expect(forward(shown, open, closed).outcome == .drop)
    #expect(forward(shown, closed, open).outcome == .drop)
  }
}

@Test func `what a policy in audit mode would deny is counted apart and goes on`() {
  let audited = forward(
    tables(cluster("c", ingress: [["action": "Deny", "from": everyone]], isAudit: true)), open, closed)
  #expect(audited.outcome == .accept)
  #expect(audited.steps.contains { $0.chain == PolicyNames.auditIngress })
  #expect(audited.steps.contains { $0.comment == "c#0" })
  let enforced = forward(tables(cluster("c", ingress: [["action": "Deny", "from": everyone]])), open, closed)
  #expect(enforced.outcome == .drop && !enforced.steps.contains { $0.chain == PolicyNames.auditIngress })
}

@Test func `a rule is named in the ruleset by its policy, its place and its own name`() {
  let denied = forward(
    tables(cluster("c", ingress: [["name": "no guests", "action": "Deny", "from": everyone]])), open, closed)
  #expect(denied.steps.contains { $0.comment == "c#0 no guests" })
}

@Test func `addresses that cluster DNS answers are reached, and no longer once they are forgotten`() {
  var view = ClusterView(
    objects: world + [
      cluster(
        "c",
        egress: [
          ["action": "Accept", "to": [["domainNames": ["*.example.org"]]]],
          ["action": "Deny", "to": [["networks": ["0.0.0.0/0"]]]],
        ])
    ])
  view.namePods()
  var planner = PolicyPlanner(plannerSettings)
  _ = planner.apply(view.takeChanges())
  let there = IPAddress("198.51.100.7")!
  #expect(forward(planner.tables, closed, there).outcome == .drop)
  view.resolve("www.example.org", to: [there])
  let delta = planner.apply(view.takeChanges())
  #expect(!delta.isWhole && delta.tables.count == 1)
  #expect(delta.tables.first?.elements.values.reduce(0) { $0 + $1.count } == 1)
  #expect(forward(planner.tables, closed, there).outcome == .accept)
  // Another name may have the same address: it stays until both are forgotten.
  view.resolve("ftp.example.org", to: [there])
  view.resolve("www.example.org", to: [])
  _ = planner.apply(view.takeChanges())
  #expect(forward(planner.tables, closed, there).outcome == .accept)
  view.resolve("ftp.example.org", to: [])
  _ = planner.apply(view.takeChanges())
  #expect(forward(planner.tables, closed, there).outcome == .drop)
}

@Test func `one more pod costs its own elements, however many ClusterNetworkPolicies there are`() {
  var costs: [Int] = []
  for count in [4, 200] {
    var view = ClusterView(objects: world)
    for index in 0..<count {
      // The same few selectors in all of them: a set more would be an element more.
      view.apply(
        cluster(
          "c\(index)", index % 2 == 0 ? "Admin" : "Baseline",
          ingress: [
            ["action": "Deny", "from": [["pods": ["podSelector": ["matchLabels": ["app": "web"]]]]]]
          ],
          egress: [["action": "Pass", "to": everyone]]))
    }
    view.namePods()
    var planner = PolicyPlanner(plannerSettings)
    _ = planner.apply(view.takeChanges())
    view.apply(pod("new", "a", "10.42.0.12", "web"))
    let delta = planner.apply(view.takeChanges())
    #expect(!delta.isWhole)
    #expect(delta.tables.allSatisfy { $0.chains.isEmpty && $0.sets.isEmpty })
    costs.append(delta.tables.reduce(0) { $0 + $1.elements.values.reduce(0) { $0 + $1.count } })
  }
  #expect(costs[0] == costs[1] && costs[0] > 0)
}

@Test func `enormous, empty and contradictory policies are put in force as they are decided`() throws {
  let blocks: [JSON] = (0..<200).map {
    ["ipBlock": ["cidr": JSON("10.\($0).0.0/16"), "except": [JSON("10.\($0).1.0/24")]]]
  }
  let ports: [JSON] = (0..<20).map { ["port": JSON(1000 + $0 * 10), "endPort": JSON(1005 + $0 * 10)] }
  func policy(_ name: String, _ spec: JSON) -> JSON {
    ["kind": "NetworkPolicy", "metadata": ["name": JSON(name), "namespace": "a"], "spec": spec]
  }
  let objects =
    world + [
      policy(
        "enormous", ["podSelector": [:], "ingress": [["from": .array(blocks), "ports": .array(ports)]]]),
      policy("empty", ["podSelector": [:], "policyTypes": ["Ingress", "Egress"]]),
      policy("all", ["podSelector": ["matchLabels": ["app": "none"]], "ingress": [[:]], "egress": [[:]]]),
      cluster("yes", ingress: [["action": "Accept", "from": everyone, "protocols": [["udp": [:]]]]]),
      cluster("no", ingress: [["action": "Deny", "from": everyone, "protocols": [["udp": [:]]]]]),
    ]
  let view = ClusterView(objects: objects)
  let tables = planPolicy(view: view, attachments: [], settings: plannerSettings)
  try inFreshNamespace {
    let owned = [Table.ID(.ip, PolicyNames.table), .init(.bridge, PolicyNames.guardTable)]
    let report = try RulesetSyncer(owned: owned).sync(tables)
    #expect(report.quarantined.isEmpty && report.operations > 200)
    #expect(Ruleset(tables).operations(from: try NftablesSocket().observe(owned)).isEmpty)
  }
  let web = PolicyParty(address: closed, pod: ObjectKey("a", "web"))
  for (text, port) in [
    ("10.7.0.1", UInt16(1003)), ("10.7.1.1", 1003), ("10.7.0.1", 1007), ("192.0.2.1", 1003),
  ] {
    let far = IPAddress(text)!
    let decision = decidePolicy(
      view: view, from: PolicyParty(address: far), to: web, port: port, transport: .tcp)
    #expect(decision.isAllowed == (text == "10.7.0.1" && port == 1003), "\(text):\(port)")
    let evaluation = Ruleset(tables).evaluate(Packet(far, closed, destinationPort: port), at: .forward)
    #expect(evaluation.outcome.isAccept == decision.isAllowed)
  }
}

@Test func `what a node's DNS has answered is read back from its rules`() {
  let policy = cluster(
    "c", egress: [["action": "Accept", "to": [["domainNames": ["*.example.org", "example.com"]]]]])
  var view = ClusterView(objects: world + [policy])
  view.resolve("www.example.org", to: [IPAddress("198.51.100.7")!])
  view.resolve("example.com", to: [IPAddress("198.51.100.8")!])
  let inForce = Ruleset(planPolicy(view: view, attachments: [], settings: plannerSettings))
  var fresh = ClusterView(objects: world + [policy])
  fresh.adoptAnswers(from: InForce(inForce))
  let again = planPolicy(view: fresh, attachments: [], settings: plannerSettings)
  #expect(Ruleset(again).operations(from: InForce(inForce)).isEmpty)
  #expect(fresh.resolved["example.com"] == [IPAddress("198.51.100.8")!])
}
