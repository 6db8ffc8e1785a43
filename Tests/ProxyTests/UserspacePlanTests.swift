// What the userspace mode would listen on, and where it would send what comes.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import Proxy

private func targets(
  _ plan: UserspacePlan, _ address: String, _ port: UInt16, _ transport: TransportProtocol = .tcp
)
  -> [String]?
{
  let key = UserspaceFrontendKey(
    transport: transport, endpoint: SocketEndpoint(IPAddress(address)!, port))
  return plan.frontends[key]?.targets.map(\.address.description)
}

@Test func `the userspace mode serves what the ruleset serves`() {
  let plan = planUserspace(ClusterView(objects: clusterObjects), clusterConfiguration)
  #expect(plan.quarantined == [])
  #expect(targets(plan, "10.43.0.10", 80) == ["10.42.0.11", "10.42.0.12"])
  #expect(targets(plan, "192.168.50.1", 30080) == ["10.42.0.11", "10.42.0.12"])
  #expect(targets(plan, "203.0.113.9", 80) == ["10.42.0.11", "10.42.0.12"])
  #expect(targets(plan, "10.43.0.11", 53, .udp) == ["10.42.0.11", "10.42.0.12"])
  #expect(targets(plan, "10.43.0.12", 80) == nil, "nobody serves: nobody listens, and clients are refused")
  #expect(targets(plan, "10.43.0.13", 80) == ["10.42.0.11", "10.42.1.21"])
  #expect(targets(plan, "192.168.50.1", 30083) == ["10.42.0.11"], "policy Local")
  #expect(targets(plan, "192.168.50.1", 30084) == [], "none is here, and pods of this node may still ask")
  #expect(targets(plan, "10.43.0.18", 80) == nil, "internal policy Local without a local endpoint")
  #expect(plan.addresses.contains(IPAddress("10.43.0.12")!), "refused, not routed away")
  #expect(plan.addresses.contains(IPAddress("203.0.113.7")!))
  #expect(!plan.addresses.contains(IPAddress("192.168.50.1")!))
}

@Test func `two Services that claim one port are told apart, and the first keeps it`() {
  let plan = planUserspace(
    ClusterView(objects: [
      service("a", "10.43.0.10", [nodePort(30080)], ["type": "NodePort"]), endpointSlice("a", [podA]),
      service("b", "10.43.0.11", [nodePort(30080)], ["type": "NodePort"]), endpointSlice("b", [podB]),
      service("s", "10.43.0.12", [["port": 80, "protocol": "SCTP"]]),
    ]), clusterConfiguration)
  #expect(targets(plan, "192.168.50.1", 30080) == ["10.42.0.11"])
  #expect(plan.quarantined.map(\.object) == ["Service demo/b", "Service demo/s"])
}

@Test func `weights are slots, Maglev goes by the client, and the older Service has an address`() throws {
  func annotated(_ annotations: JSON, created: String = "2026-01-02T00:00:00Z") -> [JSON] {
    var web = service("web", "10.43.0.10")
    web.set(annotations, at: "metadata", "annotations")
    web.set(JSON(created), at: "metadata", "creationTimestamp")
    return [web, endpointSlice("web", [podA, podB])]
  }
  let weighted = planUserspace(
    ClusterView(objects: annotated(["weft.dev/endpoint-weights": "10.42.0.11=3,10.42.0.12=1"])),
    clusterConfiguration)
  #expect(
    targets(weighted, "10.43.0.10", 80) == ["10.42.0.11", "10.42.0.11", "10.42.0.11", "10.42.0.12"])
  #expect(weighted.text == "TCP 10.43.0.10:80 demo/web:http -> 10.42.0.11:8080 10.42.0.12:8080")

  let maglev = planUserspace(
    ClusterView(objects: annotated(["weft.dev/balancing": "maglev"])), clusterConfiguration)
  let frontend = try #require(maglev.frontends.values.first)
  #expect(frontend.choosesByClient && Set(frontend.targets).count == 2)
  let slots = Set((1...200).map { UserspaceWorker.hash(IPAddress("192.0.2.\($0)")!) % 251 })
  #expect(slots.count > 90, "clients are spread: \(slots.count)")

  var rival = service("a-rival", "10.43.0.99")
  rival.set(["10.43.0.10"], at: "spec", "externalIPs")
  rival.set("2026-01-01T00:00:00Z", at: "metadata", "creationTimestamp")
  let claimed = planUserspace(
    ClusterView(objects: annotated([:]) + [rival, endpointSlice("a-rival", [podA])]), clusterConfiguration)
  #expect(
    claimed.frontends.values.first { $0.endpoint.address.description == "10.43.0.10" }?.key.name == "web")
  #expect(claimed.quarantined.map(\.object) == ["Service demo/a-rival"], "a ClusterIP goes before")
}

@Test func `endpoints that no packet may be sent to are left out of the userspace mode too`() {
  let plan = planUserspace(
    ClusterView(objects: [
      service("web", "10.43.0.10"),
      endpointSlice("web", [podA, ("127.0.0.1", "n1"), ("169.254.169.254", "n1")]),
    ]), clusterConfiguration)
  #expect(targets(plan, "10.43.0.10", 80) == ["10.42.0.11"])
  #expect(plan.quarantined.count == 2)
}

@Test func `a client with affinity keeps its endpoint until it lapses or the endpoint goes`() {
  let metrics = Metrics()
  let table = AffinityTable(entriesMax: 2, metrics: metrics)
  let client = IPAddress("192.0.2.1")!
  let (a, b) = (SocketEndpoint("10.42.0.11:80")!, SocketEndpoint("10.42.0.12:80")!)
  let second: UInt64 = 1_000_000_000
  func known(_ targets: [SocketEndpoint], at now: UInt64) -> SocketEndpoint? {
    table.target(of: client, service: "demo/web", seconds: 10, among: targets, now: now)
  }
  #expect(known([a, b], at: 0) == nil)
  table.remember(b, of: client, service: "demo/web", seconds: 10, now: 0)
  #expect(known([a, b], at: 9 * second) == b)
  #expect(known([a, b], at: 18 * second) == b, "each use begins its time anew")
  #expect(known([a], at: 19 * second) == nil)
  #expect(known([a, b], at: 20 * second) == nil, "forgotten with its endpoint")
  for last in 1...4 {
    table.remember(
      a, of: IPAddress("198.51.100.\(last)")!, service: "demo/web", seconds: 10, now: 30 * second)
  }
  #expect(table.count == 2)
  #expect(metrics.text().contains("weft_proxy_userspace_affinity_full_total 2"))
  table.remember(a, of: client, service: "demo/web", seconds: 10, now: 60 * second)
  #expect(table.count == 1, "what had lapsed made room")
}
