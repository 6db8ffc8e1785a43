// Policies as packets meet them: every pod of nine asks every other, on two ports, by TCP, UDP and SCTP, over IPv4 and IPv6, after
// each change. What arrives is held against the evaluator, and against tables that were written by hand.
import Addresses
import ClusterObjects
import ClusterView
import NamespaceLab
import Policy
import SoakLab
import Testing

/// Both ways, at most three of each: what should have arrived and did not, and what should not have and did.
private func difference(_ arrived: Set<Probe>, _ expected: Set<Probe>) -> String? {
  if arrived == expected { return nil }
  let missing = expected.subtracting(arrived).map(\.description).sorted()
  let leaked = arrived.subtracting(expected).map(\.description).sorted()
  return "\(missing.count) missing \(missing.prefix(3)), \(leaked.count) leaked \(leaked.prefix(3))"
}

private func run(_ scenarios: [Scenario], in lab: PolicyLab) throws {
  for scenario in scenarios {
    lab.reset()
    for (index, step) in scenario.steps.enumerated() {
      step.change(lab)
      try lab.enforce()
      let table = TruthTable(step.table)
      let byHand = Set(lab.probes.filter(table.allows))
      let decided = difference(lab.decided(), byHand)
      #expect(decided == nil, "\(scenario.name), step \(index), the evaluator: \(decided ?? "")")
      let kernel = difference(try lab.arrived(), byHand)
      #expect(kernel == nil, "\(scenario.name), step \(index), the kernel: \(kernel ?? "")")
    }
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct MatrixTests {
  @Test func `the 48 cases of upstream are as its tables have them, for every pod, port and protocol`() throws
  {
    try inFreshNamespace {
      let lab = try PolicyLab("up")
      let scenarios = upstreamScenarios(lab)
      #expect(scenarios.count == 48 && Set(scenarios.map(\.name)).count == 48)
      try run(scenarios, in: lab)
    }
  }

  @Test func `the tiers of ClusterNetworkPolicy are in their order, whatever the packet`() throws {
    try inFreshNamespace { try run(tierScenarios(), in: try PolicyLab("tier")) }
  }

  @Test func `generated cases arrive as the evaluator says`() throws {
    try inFreshNamespace {
      let lab = try PolicyLab("gen")
      let cases = generatedCases()
      #expect(cases.count >= 230 && Set(cases.map(\.name)).count == cases.count)
      for one in cases {
        lab.reset()
        for (step, change) in one.changes.enumerated() {
          change(lab)
          try lab.enforce()
          let wrong = difference(try lab.arrived(), lab.decided())
          #expect(wrong == nil, "\(one.name), step \(step): \(wrong ?? "")")
        }
      }
    }
  }

  @Test func `a pod reaches its own node, and the node it, unless a ClusterNetworkPolicy denies the way out`()
    throws
  {
    try inFreshNamespace {
      let lab = try PolicyLab("own")
      func check(_ out: Bool, _ what: String) throws {
        try lab.enforce()
        for family in IPFamily.allCases {
          let met = try lab.meetsNode("x/a", family)
          #expect(met.out == out && met.back, "\(what), IP\(family): \(met)")
          let pod = lab.members[0]
          guard let address = pod.addresses[family],
            let own = PolicyLab.settings.gateways.first(where: { $0.family == family })
          else { continue }
          let (near, far) = (PolicyParty(address: address, pod: pod.key), PolicyParty(address: own))
          func says(_ from: PolicyParty, _ to: PolicyParty) -> Bool {
            decidePolicy(view: lab.view, from: from, to: to, port: 7000, transport: .udp).isAllowed
          }
          #expect(says(near, far) == out && says(far, near), "\(what), the evaluator")
        }
      }
      try check(true, "no policy")
      lab.policy("closed", types: ["Ingress", "Egress"])
      try check(true, "a NetworkPolicy that denies all")
      lab.cluster("nodes", egress: [["action": "Deny", "to": [["nodes": [:]]]]])
      try check(false, "Admin denies nodes")
      lab.cluster("nodes", egress: [["action": "Deny", "to": [["nodes": ["matchLabels": ["zone": "b"]]]]]])
      try check(true, "Admin denies other nodes")
      lab.cluster(
        "nodes", "Baseline", egress: [["action": "Deny", "to": [["networks": ["0.0.0.0/0", "::/0"]]]]])
      try check(true, "a NetworkPolicy goes before Baseline")
      lab.removePolicies()
      try check(false, "Baseline denies everything")
    }
  }

  @Test func `random steps arrive as the evaluator says`() throws {
    let seed = Soak.seed
    let steps = Soak.rounds(60, long: 5000)
    try inFreshNamespace {
      let lab = try PolicyLab("rnd")
      var random = Seeded(state: seed)
      for step in 0..<steps {
        for _ in 0..<(1 + random.next() % 3) { lab.changeAnything(&random) }
        try lab.enforce()
        if let wrong = difference(try lab.arrived(), lab.decided()) {
          Issue.record("seed \(seed), step \(step): \(wrong)")
          return
        }
      }
    }
    if Soak.isLong { Soak.report("policy matrix: \(steps) random steps of seed \(seed)") }
  }
}

extension PolicyLab {
  func changeAnything(_ random: inout Seeded) {
    let namespace = random.pick(Self.namespaces)
    let key = ObjectKey(namespace, random.pick(["a", "b", "c"]))
    switch random.next() % 10 {
    case 0...3:
      var policy = randomPolicy("np\(random.next() % 6)", &random)
      policy["metadata"]?["namespace"] = JSON(namespace)
      view.apply(policy)
    case 4: view.networkPolicies.keys.sorted().first.map { view.remove(kind: "NetworkPolicy", $0) }
    case 5, 6: view.apply(randomClusterPolicy("cnp\(random.next() % 4)", &random))
    case 7:
      view.clusterNetworkPolicies.keys.sorted().first.map {
        view.remove(kind: "ClusterNetworkPolicy", ObjectKey("", $0))
      }
    case 8:
      put(key, ["app": random.pick(["web", "db", "job"]), "tier": random.pick(["f", "b"])])
    default:
      label(
        namespace: namespace,
        ["team": random.pick(["x", "y", "z"]), "ns": random.pick(["a", "b", namespace])])
    }
  }
}
