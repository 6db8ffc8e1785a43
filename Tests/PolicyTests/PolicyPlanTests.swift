// The compiled ruleset against the decision made from objects alone, and the properties the tables must have.
import Addresses
import ClusterObjects
import ClusterView
import Policy
import Ruleset
import Testing

private let settings = PolicySettings(
  nodeName: "n1", podBlocks: [IPPrefix("10.42.0.0/24")!], gateways: [IPAddress("10.42.0.1")!])

private func forward(_ tables: [Table], _ packet: Packet) -> Evaluation {
  Ruleset(tables).evaluate(packet, at: .forward)
}

private func address(_ pod: JSON) -> IPAddress { IPAddress(pod.at("status", "podIP")?.string ?? "")! }

/// What becomes of a packet in the hook that it meets on node n1.
private func arriving(_ tables: [Table], _ packet: Packet, own: [IPAddress]) -> Evaluation {
  let hook: BaseChain.Hook =
    own.contains(packet.source) ? .output : own.contains(packet.destination) ? .input : .forward
  return Ruleset(tables).evaluate(packet, at: hook)
}

@Test(arguments: 0..<300)
func `compiled rules decide as the objects do for every pair of pods`(seed: Int) {
  var random = Seeded(state: UInt64(seed))
  let objects = randomCluster(&random)
  var view = ClusterView(objects: objects)
  for name in resolvedNames {
    view.resolve(name, to: Set(resolvedAddresses.filter { _ in random.chance(30) }))
  }
  #expect(view.quarantined.isEmpty)
  let tables = planPolicy(view: view, attachments: [], settings: settings)
  let pods = objects.filter { $0.kind == "Pod" }
  let own = [IPAddress("192.0.2.1")!, IPAddress("10.42.0.1")!]
  var parties = pods.map { PolicyParty(address: address($0), pod: $0.key) }
  let outside = ["192.168.50.2", "198.51.100.7", "192.0.2.2"].map { IPAddress($0)! } + own
  parties += outside.map { PolicyParty(address: $0) }
  for source in parties {
    for destination in parties where destination.pod != nil || source.pod != nil {
      for (port, transport) in [(UInt16(80), TransportProtocol.tcp), (8080, .tcp), (80, .udp), (81, .tcp)] {
        let decision = decidePolicy(
          view: view, from: source, to: destination, port: port, transport: transport)
        let packet = Packet(
          source.address, destination.address, transport: transport.number, destinationPort: port)
        let evaluation = arriving(tables, packet, own: own)
        let audits = evaluation.steps.count { $0.chain.hasPrefix("KUBE-AUDIT") }
        #expect(
          evaluation.outcome.isAccept == decision.isAllowed && (audits > 0) == !decision.audited.isEmpty,
          "seed \(seed): \(source) -> \(destination):\(port)/\(transport.rawValue): \(decision) but \(evaluation.steps)"
        )
      }
    }
  }
}

@Test func `an address of the block without a committed pod is quarantined both ways`() {
  let view = ClusterView(objects: [pod("web", "a", "10.42.0.10", "web")])
  let tables = planPolicy(view: view, attachments: [], settings: settings)
  let known = IPAddress("10.42.0.10")!
  let unknown = IPAddress("10.42.0.99")!
  #expect(forward(tables, Packet(unknown, known, destinationPort: 80)).outcome == .drop)
  #expect(forward(tables, Packet(known, unknown, destinationPort: 80)).outcome == .drop)
  #expect(forward(tables, Packet(known, IPAddress("10.42.0.1")!, destinationPort: 80)).outcome == .accept)
  let ruleset = Ruleset(tables)
  #expect(
    ruleset.evaluate(Packet(IPAddress("10.42.0.1")!, unknown, destinationPort: 80), at: .output).outcome
      == .drop)
  #expect(
    ruleset.evaluate(
      Packet(unknown, IPAddress("10.42.0.1")!, transport: 17, destinationPort: 53, state: .untracked),
      at: .input
    ).outcome == .drop)
}

@Test func `an attachment is policed before the API knows its address`() {
  var waiting = pod("web", "a", "", "web")
  waiting["status"] = ["phase": "Pending"]
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "none", "namespace": "a"],
    "spec": ["podSelector": [:], "policyTypes": ["Ingress"]],
  ]
  let view = ClusterView(objects: [waiting, policy, pod("client", "b", "10.42.0.20", "job")])
  let attachment = PodAttachment(
    pod: ObjectKey("a", "web"), addresses: [IPAddress("10.42.0.10")!], hardwareAddress: nil,
    hostInterface: "vp0")
  let tables = planPolicy(view: view, attachments: [attachment], settings: settings)
  let evaluation = forward(
    tables, Packet(IPAddress("10.42.0.20")!, IPAddress("10.42.0.10")!, destinationPort: 80))
  #expect(evaluation.outcome == .drop)
  #expect(evaluation.steps.contains { $0.comment == "a/none" })
}

@Test func `an address taken over by a new pod follows the new pod's policies`() {
  let old = pod("old", "a", "10.42.0.10", "db")
  var new = pod("new", "a", "", "web")
  new["status"] = ["phase": "Pending"]
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "db", "namespace": "a"],
    "spec": ["podSelector": ["matchLabels": ["app": "db"]], "policyTypes": ["Ingress"]],
  ]
  let attachment = PodAttachment(
    pod: ObjectKey("a", "new"), addresses: [IPAddress("10.42.0.10")!], hardwareAddress: nil,
    hostInterface: "vp0")
  let tables = planPolicy(
    view: ClusterView(objects: [old, new, policy]), attachments: [attachment], settings: settings)
  #expect(
    forward(tables, Packet(IPAddress("192.168.1.1")!, IPAddress("10.42.0.10")!, destinationPort: 80)).outcome
      == .accept)
}

@Test func `established traffic passes and a picked-up flow does not`() {
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "none", "namespace": "a"], "spec": ["podSelector": [:]],
  ]
  let view = ClusterView(objects: [
    pod("web", "a", "10.42.0.10", "web"), pod("x", "b", "10.42.0.11", "web"), policy,
  ])
  let tables = planPolicy(view: view, attachments: [], settings: settings)
  let there = IPAddress("10.42.0.10")!
  let here = IPAddress("10.42.0.11")!
  #expect(forward(tables, Packet(here, there, destinationPort: 80, state: .established)).outcome == .accept)
  #expect(forward(tables, Packet(there, here, destinationPort: 80, tcpFlags: TCPFlag.ack)).outcome == .drop)
  #expect(forward(tables, Packet(there, here, destinationPort: 80)).outcome == .accept)
}

@Test func `equal views give equal tables whatever the order of objects`() {
  var random = Seeded(state: 7)
  let objects = randomCluster(&random)
  let one = planPolicy(view: ClusterView(objects: objects), attachments: [], settings: settings)
  let other = planPolicy(view: ClusterView(objects: objects.reversed()), attachments: [], settings: settings)
  #expect(one == other)
}

@Test func `pods with the same policies share a chain`() {
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "none", "namespace": "a"], "spec": ["podSelector": [:]],
  ]
  let pods = (0..<50).map { pod("p\($0)", "a", "10.42.0.\(100 + $0)", "web") }
  let tables = planPolicy(view: ClusterView(objects: pods + [policy]), attachments: [], settings: settings)
  #expect(tables[0].chains.filter { $0.name.hasPrefix("KUBE-IN-") }.count == 1)
  #expect(tables[0][set: "pod-in"]?.elements.count == 50)
}

@Test func `a packet that meets a new profile's chain before its rules are there is let in nowhere`() {
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "none", "namespace": "a"], "spec": ["podSelector": [:]],
  ]
  let view = ClusterView(objects: [
    pod("web", "a", "10.42.0.10", "web"), pod("x", "b", "10.42.0.11", "web"), policy,
  ])
  var tables = planPolicy(view: view, attachments: [], settings: settings)
  // As the kernel shows it to a packet that is on its way while the transaction takes effect: look-ups are new, chains are old.
  for index in tables[0].chains.indices where tables[0].chains[index].name.hasPrefix("KUBE-IN-") {
    tables[0].chains[index].rules = []
  }
  let (closed, open) = (IPAddress("10.42.0.10")!, IPAddress("10.42.0.11")!)
  #expect(forward(tables, Packet(open, closed, destinationPort: 80)).outcome == .drop)
  #expect(forward(tables, Packet(closed, open, destinationPort: 80)).outcome == .accept)
}

@Test func `a packet that meets a new egress profile's chain before its rules are there is let out nowhere`()
{
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "none", "namespace": "a"],
    "spec": ["podSelector": [:], "policyTypes": ["Egress"]],
  ]
  let view = ClusterView(objects: [
    pod("web", "a", "10.42.0.10", "web"), pod("x", "b", "10.42.0.11", "web"), policy,
  ])
  var tables = planPolicy(view: view, attachments: [], settings: settings)
  for index in tables[0].chains.indices where tables[0].chains[index].name.hasPrefix("KUBE-EG-") {
    tables[0].chains[index].rules = []
  }
  let (closed, open) = (IPAddress("10.42.0.10")!, IPAddress("10.42.0.11")!)
  #expect(forward(tables, Packet(closed, open, destinationPort: 80)).outcome == .drop)
  #expect(forward(tables, Packet(open, closed, destinationPort: 80)).outcome == .accept)
}

@Test(arguments: ["10.42.0.10", "10.42.0.11"])
func `a packet that looked for a pod before it left, and for its policies afterwards, goes nowhere`(
  leaving: String
) {
  let policy: JSON = [
    "kind": "NetworkPolicy", "metadata": ["name": "none", "namespace": "a"], "spec": ["podSelector": [:]],
  ]
  let both = [pod("web", "a", "10.42.0.10", "web"), pod("x", "b", "10.42.0.11", "web")]
  let stays = both.filter { address($0).description != leaving }
  var tables = planPolicy(view: ClusterView(objects: stays + [policy]), attachments: [], settings: settings)
  // The first look was at the generation before.
  let forwards = tables[0].chains.firstIndex { $0.name == "KUBE-FORWARD" } ?? 0
  tables[0].chains[forwards].rules.removeAll { $0.description.contains("KUBE-QUARANTINE") }
  let (closed, open) = (IPAddress("10.42.0.10")!, IPAddress("10.42.0.11")!)
  #expect(forward(tables, Packet(closed, open, destinationPort: 80)).outcome == .drop)
  #expect(forward(tables, Packet(open, closed, destinationPort: 80)).outcome == .drop)
}

@Test func `the guard knows each attachment by interface, hardware and IP address`() {
  let attachment = PodAttachment(
    pod: ObjectKey("a", "web"), addresses: [IPAddress("10.42.0.10")!],
    hardwareAddress: MACAddress(text: "0a:58:0a:2a:00:0a"),
    hostInterface: "vp0123456789abc")
  let tables = planPolicy(view: ClusterView(), attachments: [attachment], settings: settings)
  let text = tables.first { $0.id.name == "KUBE-GUARD" }.map { Ruleset([$0]).description } ?? ""
  #expect(text.contains(#""vp0123456789abc" . 0a:58:0a:2a:00:0a . 10.42.0.10"#), "\(text)")
}

@Test func `what is refused is told with the chain's name, at a bounded rate, and dropped all the same`() {
  func chain(_ name: String, _ logging: PolicyLogging?) -> [String] {
    let settings = PolicySettings(nodeName: "n1", logging: logging)
    let tables = planPolicy(view: ClusterView(objects: []), attachments: [], settings: settings)
    return tables[0][chain: name]?.rules.map(\.description) ?? []
  }
  #expect(
    chain("KUBE-DENY-EG", PolicyLogging(group: 7, perSecond: 10, burst: 20)) == [
      "counter name \"denied-eg\"",
      "limit rate 10/second burst 20 packets log prefix \"KUBE-DENY-EG\" group 7 snaplen 96", "drop",
    ])
  #expect(chain("KUBE-QUARANTINE", PolicyLogging())[1].contains("prefix \"KUBE-QUARANTINE\" group 5"))
  #expect(chain("KUBE-DENY-IN", nil) == ["counter name \"denied-in\"", "drop"])
}

@Test func `the log's group is recognised in what is in force`() {
  for logging in [PolicyLogging(), PolicyLogging(group: 61_000), nil] {
    let settings = PolicySettings(nodeName: "n1", logging: logging)
    let tables = planPolicy(view: ClusterView(objects: []), attachments: [], settings: settings)
    #expect(PolicyLogging.adopt(from: InForce(Ruleset(tables))) == logging)
  }
}
