// `tcp-services` and `udp-services`: what entries mean, and connections and datagrams that follow them.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import Ingress

@Suite struct ServicePortTests {
  /// `demo/db` with a port for TCP (5432, `sql`) and one for UDP (53), at one address of the loopback.
  private func view(_ tcp: UInt16 = 7, _ udp: UInt16 = 8) -> ClusterView {
    var view = ClusterView()
    view.apply([
      "apiVersion": "v1", "kind": "Service", "metadata": ["namespace": "demo", "name": "db"],
      "spec": [
        "clusterIP": "10.0.0.1",
        "ports": [["name": "sql", "port": 5432], ["name": "dns", "port": 53, "protocol": "UDP"]],
      ],
    ])
    view.apply([
      "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
      "metadata": ["namespace": "demo", "name": "db-1", "labels": ["kubernetes.io/service-name": "db"]],
      "addressType": "IPv4",
      "ports": [
        ["name": "sql", "port": .integer(Int64(tcp))],
        ["name": "dns", "port": .integer(Int64(udp)), "protocol": "UDP"],
      ],
      "endpoints": [["addresses": ["127.0.0.1"]]],
    ])
    return view
  }

  @Test func `entries lead to a Service's port by number or name, with headers where they ask for them`() {
    let plan = planServicePorts(
      view: view(),
      [
        .tcp: ["9000": "demo/db:5432", "9001": "demo/db:sql:PROXY:PROXY", "9002": "demo/db:sql::PROXY"],
        .udp: ["9000": "demo/db:dns"],
      ], taken: [80])
    #expect(plan.problems.isEmpty)
    #expect(plan.ports == [.tcp: [9000, 9001, 9002], .udp: [9000]])
    #expect(plan.table.listeners.map(\.port) == [9000, 9001, 9002, 9000])
    #expect(plan.table.listeners.map(\.kind) == [.tcp, .tcp, .tcp, .udp])
    #expect(plan.table.listeners.map(\.acceptsProxy) == [false, true, false, false])
    #expect(plan.table.backends.map(\.policy.proxy) == [nil, .v1, .v1, nil])
    #expect(plan.table.backends.map { $0.endpoints[0].port } == [7, 7, 7, 8])
  }

  @Test func `what cannot be served is told, and harms nothing else`() {
    let wrong = [
      "80": "demo/db:5432", "0": "demo/db:5432", "http": "demo/db:5432", "70000": "demo/db:5432",
      "1": "db:5432", "2": "demo/db", "3": "demo/db:53", "4": "demo/none:5432", "5": "demo/db:sql:TLS",
      "6": "demo/db:sql:::PROXY", "7": "", "8": "/db:5432",
    ]
    let plan = planServicePorts(
      view: view(), [.tcp: wrong.merging(["9000": "demo/db:5432"]) { $1 }], taken: [80])
    #expect(plan.problems.count == wrong.count && plan.problems.allSatisfy { $0.contains("ING0022") })
    #expect(plan.ports == [.tcp: [9000]])
    // What is there stays, and keeps its port.
    let there = StreamTable(
      backends: [backend([])],
      listeners: [StreamListener(port: 9000, kind: .tcp, rules: [StreamRule(targets: [.init(backend: 0)])])])
    let beside = planServicePorts(
      view: view(), [.tcp: ["9000": "demo/db:5432"], .udp: ["9000": "demo/db:53"]], taken: [], beside: there)
    #expect(beside.problems.count == 1 && beside.ports == [.udp: [9000]])
    #expect(beside.table.listeners.count == 2 && beside.table.listeners[0] == there.listeners[0])
  }

  @Test func `connections and datagrams follow the entries`() throws {
    let server = try ThreadServer.echo("db:")
    let datagrams = try DatagramServer("dns")
    let lab = try StreamLab(server, datagrams)
    defer { lab.stop() }
    try lab.install(
      planServicePorts(
        view: view(server.endpoint.port, datagrams.endpoint.port),
        [.tcp: ["\(lab.ports[0].port)": "demo/db:sql"], .udp: ["\(lab.udp.port)": "demo/db:53"]], taken: []
      ).table)
    let client = Client(lab.ports[0])
    client.send("select")
    #expect(String(decoding: client.read(9), as: UTF8.self) == "db:select")
    #expect(DatagramClient(lab.udp).ask("who") == "dns who")
  }
}
