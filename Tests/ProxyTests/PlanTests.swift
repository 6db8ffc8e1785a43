// Goal: the planned table does to packets what Services promise. Method: evaluate the table for first
// packets.

import Addresses
import ClusterObjects
import ClusterView
import Proxy
import Ruleset
import Testing

private let client = "10.42.0.13"
private let outside = "192.168.50.2"
private let node = "192.168.50.1"
private let both: Fate = .answered(["10.42.0.11", "10.42.0.12"])

struct Promise: CustomTestStringConvertible, Sendable {
  var source: String
  var destination: String
  var port: UInt16
  var transport: TransportProtocol = .tcp
  var fate: Fate
  var isMasqueraded = false
  var testDescription: String { "\(source) to \(destination):\(port)/\(transport.rawValue)" }
}

let promises: [Promise] = [
  // ClusterIP: from a pod with its own address, from the node, UDP likewise.
  .init(source: client, destination: "10.43.0.10", port: 80, fate: both),
  .init(source: "10.42.0.1", destination: "10.43.0.10", port: 80, fate: both),
  .init(source: client, destination: "10.43.0.11", port: 53, transport: .udp, fate: both),
  // A wrong port, a Service without endpoints, a Service whose endpoints are elsewhere only.
  .init(source: client, destination: "10.43.0.10", port: 81, fate: .refused),
  .init(source: client, destination: "10.43.0.11", port: 53, fate: .refused),
  .init(source: client, destination: "10.43.0.12", port: 80, fate: .refused),
  .init(source: client, destination: "10.43.0.18", port: 80, fate: .silent),
  // NodePort: masqueraded, and only on the node's address.
  .init(source: outside, destination: node, port: 30080, fate: both, isMasqueraded: true),
  .init(source: client, destination: node, port: 30080, fate: both, isMasqueraded: true),
  .init(source: outside, destination: node, port: 30053, transport: .udp, fate: both, isMasqueraded: true),
  .init(source: outside, destination: node, port: 30082, fate: .refused),
  .init(source: outside, destination: node, port: 30099, fate: .refused),
  .init(source: outside, destination: "203.0.113.9", port: 80, fate: both, isMasqueraded: true),
  // externalTrafficPolicy Local: the source stays, and only local endpoints serve strangers.
  .init(source: outside, destination: node, port: 30083, fate: .answered(["10.42.0.11"])),
  .init(source: client, destination: node, port: 30083, fate: .answered(["10.42.0.11", "10.42.1.21"])),
  .init(source: outside, destination: node, port: 30084, fate: .silent),
  .init(source: client, destination: node, port: 30084, fate: .answered(["10.42.1.21"])),
  // Source ranges guard the load balancer's address, not the ClusterIP.
  .init(
    source: outside, destination: "203.0.113.7", port: 80, fate: .answered(["10.42.0.11"]),
    isMasqueraded: true
  ),
  .init(source: outside, destination: "203.0.113.8", port: 80, fate: .silent),
  .init(source: client, destination: "10.43.0.17", port: 80, fate: .answered(["10.42.0.11"])),
  // A client with affinity, and a direct packet that the proxy leaves alone.
  .init(source: client, destination: "10.43.0.15", port: 80, fate: both),
  .init(source: client, destination: "10.42.0.11", port: 8080, fate: .answered(["10.42.0.11"])),
]

private let plan = planProxy(ClusterView(objects: clusterObjects), clusterConfiguration)

@Test(arguments: promises)
func `a packet meets what its Service promises`(promise: Promise) {
  let (met, isMasqueraded) = fate(
    plan.tables, promise.source, promise.destination, promise.port, promise.transport)
  #expect(met == promise.fate)
  #expect(isMasqueraded == promise.isMasqueraded)
}

@Test func `a pod that reaches itself through its Service is masqueraded`() {
  let own = "10.42.0.11"
  #expect(fate(plan.tables, own, "10.43.0.17", 80).isMasqueraded)
  #expect(!fate(plan.tables, client, "10.43.0.17", 80).isMasqueraded)
}

@Test func `a headless Service has no rules and every other one is counted`() {
  #expect(plan.services == 9)
  #expect(plan.quarantined.isEmpty)
  let table = plan.tables[0]
  #expect(table[set: "cluster-ips"]?.elements.count == 9)
}

@Test func `planning again with the allocation recovered from the table changes nothing`() throws {
  let inForce = InForce(Ruleset(plan.tables))
  let table = try #require(inForce.tables[ProxyTables.id(.v4)])
  let recovered = ProxyAllocation(recovering: table, family: .v4)
  let again = planProxy(
    ClusterView(objects: clusterObjects.reversed()), clusterConfiguration, previous: [.v4: recovered])
  #expect(Ruleset(again.tables).operations(from: inForce).map(\.description) == [])
}

@Test func `removing one of three endpoints changes three elements and no chain`() throws {
  let three = ["10.42.0.11", "10.42.0.12", "10.42.0.14"].map { ($0, "n2") }
  var view = ClusterView(objects: [
    service("web", "10.43.0.10"), endpointSlice("web", three),
    service("two", "10.43.0.20"), endpointSlice("two", [podA, podB]),
  ])
  let before = planProxy(view, clusterConfiguration)
  view.apply(endpointSlice("web", [three[1], three[2]]))
  let after = planProxy(view, clusterConfiguration, previous: before.allocation)
  let operations = Ruleset(after.tables).operations(from: InForce(Ruleset(before.tables)))
  // The last endpoint moves into the hole, the frontend points at a class of two, the last slot goes.
  let added = operations.filter { if case .addElements = $0 { true } else { false } }
  let deleted = operations.filter { if case .deleteElements = $0 { true } else { false } }
  #expect(added.reduce(0) { $0 + $1.weight } == 2)
  #expect(deleted.reduce(0) { $0 + $1.weight } == 3)
  #expect(added.count + deleted.count == operations.count)
}

@Test func `ids stay when Services come and go`() {
  var view = ClusterView(objects: [service("b", "10.43.0.20"), endpointSlice("b", [podA])])
  let before = planProxy(view, clusterConfiguration)
  view.apply(service("a", "10.43.0.19"))
  view.apply(endpointSlice("a", [podB]))
  let after = planProxy(view, clusterConfiguration, previous: before.allocation)
  let key = ProxyAllocation.PortKey("demo/b:http", .tcp)
  #expect(before.allocation[.v4]?.ids[key] == after.allocation[.v4]?.ids[key])
  #expect(after.allocation[.v4]?.ids.count == 2)
}

@Test func `a node port that is taken leaves the second Service out by name and keeps the rest`() {
  let view = ClusterView(objects: [
    service("a", "10.43.0.19", [nodePort(30080)], ["type": "NodePort"]), endpointSlice("a", [podA]),
    service("b", "10.43.0.20", [nodePort(30080)], ["type": "NodePort"]), endpointSlice("b", [podB]),
  ])
  let plan = planProxy(view, clusterConfiguration)
  #expect(plan.quarantined.map(\.object) == ["Service demo/b"])
  #expect(fate(plan.tables, client, "10.43.0.20", 80).0 == .answered(["10.42.0.12"]))
  #expect(fate(plan.tables, outside, node, 30080).0 == .answered(["10.42.0.11"]))
}

@Test func `a Service of IPv6 gets the same in its own table`() {
  let view = ClusterView(objects: [
    service("six", "fd00:43::a"),
    endpointSlice("six", [("fd00:42::11", "n1"), ("fd00:42::12", "n1")], family: "IPv6"),
  ])
  var configuration = clusterConfiguration
  configuration.families = [.v4, .v6]
  let plan = planProxy(view, configuration)
  #expect(plan.tables.map(\.id.description) == ["ip KUBE-PROXY", "ip6 KUBE-PROXY"])
  #expect(fate(plan.tables, "fd00:42::13", "fd00:43::a", 80).0 == .answered(["fd00:42::11", "fd00:42::12"]))
  #expect(fate(plan.tables, "fd00:42::13", "fd00:43::a", 81).0 == .refused)
}

@Test func `a packet that meets a new class's chain before its rules are there reaches the first slot`() {
  var tables = planProxy(ClusterView(objects: clusterObjects), clusterConfiguration).tables
  #expect(fate(tables, client, "10.43.0.10", 80).0 == .answered(["10.42.0.11", "10.42.0.12"]))
  // As the kernel shows it to a packet that is on its way while the transaction takes effect: look-ups are new, chains are old.
  let new: Set<String> = ["KUBE-LB-TCP-2", "KUBE-LB-UDP-2", "KUBE-AFF-TCP-2-10800"]
  for index in tables[0].chains.indices where new.contains(tables[0].chains[index].name) {
    tables[0].chains[index].rules = []
  }
  #expect(tables[0].chains.filter { $0.rules.isEmpty }.count == 3)
  #expect(fate(tables, client, "10.43.0.10", 80).0 == .answered(["10.42.0.11"]))
  #expect(fate(tables, client, "10.43.0.11", 53, .udp).0 == .answered(["10.42.0.11"]))
  #expect(fate(tables, client, "10.43.0.15", 80).0 == .answered(["10.42.0.11"]))
}
