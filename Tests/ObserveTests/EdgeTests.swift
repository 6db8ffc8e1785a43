// Flows become edges: pairs, windows, bounds, several nodes' sums; and pages of flows for askers that come again.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import FuzzLab
import Testing

@testable import Observe

private func end(
  _ pod: String?, _ address: String = "10.42.0.9", _ labels: [String: String] = [:], node: String? = nil
) -> Flow.End {
  var end = Flow.End(endpoint("\(address):4000"), pod: pod.map { Flow.key($0) }, labels: labels)
  end.node = node
  return end
}

private func flow(
  _ from: Flow.End, _ to: Flow.End, service: String? = nil, _ event: Flow.Event = .new,
  at time: UInt64 = start,
  milliseconds: UInt64? = nil, denied: [String] = [], hasReply: Bool = true
) -> Flow {
  var flow = Flow(
    time: time, event: event, verdict: denied.isEmpty ? .forwarded : .denied, node: "n1", transport: 6,
    source: from, destination: to)
  if let service {
    flow.service = Flow.Service(Flow.key(service), portName: "http", asked: endpoint("10.43.0.7:80"))
  }
  if let milliseconds {
    flow.totals = Flow.Totals(bytesSent: 10, bytesReceived: 20, milliseconds: milliseconds)
  }
  if !denied.isEmpty {
    flow.decision = Flow.Decision(policies: denied.map(Flow.key), reason: "no rule allows it")
  }
  flow.hasReply = hasReply
  return flow
}

private let client = end("demo/client-7d4-x2v9k", "10.42.0.9", ["pod-template-hash": "7d4"])
private let web = end("demo/web-7d4-aaaaa", "10.42.0.10", ["pod-template-hash": "7d4"])

@Suite struct EdgeTests {
  @Test(arguments: [
    ("web-7d4-x2v9k", ["pod-template-hash": "7d4"], "web"),
    ("db-0", ["statefulset.kubernetes.io/pod-name": "db-0"], "db"),
    ("agent-k2j4h", ["controller-revision-hash": "55"], "agent"),
    ("nightly-1-abcde", ["job-name": "nightly-1"], "nightly-1"),
    ("stranger", [:], "stranger"), ("-7d4-x", ["pod-template-hash": "7d4"], "-7d4-x"),
    ("-x", ["controller-revision-hash": "55"], "-x"),
  ])
  func `pods of one rollout are one party`(pod: String, labels: [String: String], workload: String) {
    #expect(FlowParty.workload(of: pod, labels) == workload)
  }

  @Test func `connections, errors, refusals and durations of a pair are counted`() {
    var edges = FlowEdges()
    for _ in 0..<90 { edges.count(flow(client, web, service: "demo/web")) }
    for milliseconds in [1, 3, 3, 900] {
      edges.count(flow(client, web, service: "demo/web", .end, milliseconds: UInt64(milliseconds)))
    }
    edges.count(flow(client, web, service: "demo/web", .end, hasReply: false))
    edges.count(flow(end("demo/stranger"), web, .packet, denied: ["demo/web-from-client"]))
    edges.count(flow(end(nil, node: "n2"), web, service: "demo/web"))
    edges.count(flow(end(nil, "203.0.113.9"), web, service: "demo/web"))
    let list = edges.read(now: start + 10 * second)
    #expect(
      list.edges.map { "\($0.from.text) \($0.to.text)" } == [
        "demo/stranger demo/web", "demo/client demo/web", "node/n2 demo/web", "outside demo/web",
      ])
    #expect(list.edges[0].to.kind == .workload && list.edges[1].to.kind == .service)
    let signals = list.edges[1].signals
    #expect(signals.connections == 90 && signals.unanswered == 1 && signals.denied == 0)
    #expect(signals.bytesSent == 40 && signals.bytesReceived == 80)
    #expect(signals.lasted(share: 0.5) == 4 && signals.lasted(share: 0.99) == 1024)
    #expect(list.edges[0].signals.denied == 1)
    #expect(list.edges[0].signals.deniedBy == [ObjectKey("demo", "web-from-client")])
    #expect((9.9...30).contains(list.seconds))
  }

  @Test func `what is older than two halves is forgotten`() {
    var edges = FlowEdges()
    let half = FlowEdges.halfSeconds * second
    let begin = start / half * half
    edges.count(flow(client, web, service: "demo/web", at: begin))
    #expect(edges.read(now: begin + half).edges.count == 1)
    edges.count(flow(client, web, service: "demo/web", at: begin + half))
    #expect(edges.read(now: begin + half + second).edges[0].signals.connections == 2)
    #expect(edges.read(now: begin + 2 * half).edges[0].signals.connections == 1)
    #expect(edges.read(now: begin + 3 * half).edges.isEmpty)
    // A flow that comes late counts where it comes; a clock that goes back takes nothing away.
    edges.count(flow(client, web, service: "demo/web", at: begin))
    #expect(edges.read(now: begin).edges.count == 1)
    #expect(edges.read(now: begin + 100 * half).edges.isEmpty)
  }

  @Test func `pairs beyond the bound are counted together, and a short list says so`() {
    var edges = FlowEdges(capacity: 3)
    for index in 0..<5 { edges.count(flow(end("demo/c\(index)"), web, service: "demo/web")) }
    let list = edges.read(now: start + second, limit: 2)
    #expect(list.edges.count == 2 && list.isCut && list.others.connections == 2)
  }

  @Test func `edges survive the way to the asker, and nodes are added up`() throws {
    var edges = FlowEdges()
    edges.count(flow(client, web, service: "demo/web"))
    edges.count(flow(client, web, service: "demo/web", .end, milliseconds: 5))
    edges.count(flow(end("demo/stranger"), web, .packet, denied: ["demo/web-from-client"]))
    var list = edges.read(now: start + 20 * second)
    list.name(by: [ObjectKey("demo", "web-7d4-aaaaa"): [ObjectKey("demo", "web")]])
    #expect(list.edges[0].toServices == [ObjectKey("demo", "web")])
    var back = try #require(FlowEdgeList(try JSON(parsing: list.json.bytes)))
    #expect(back.edges == list.edges)
    back.merge(list)
    #expect(
      back.edges.count == 2 && back.edges[1].signals.connections == 2 && back.edges[0].signals.denied == 2)
    #expect(back.edges[1].signals.lasted.reduce(0, +) == 2)
  }

  @Test func `the table of edges`() {
    var edges = FlowEdges()
    for _ in 0..<60 { edges.count(flow(client, web, service: "demo/web")) }
    edges.count(flow(client, web, service: "demo/web", .end, milliseconds: 5))
    edges.count(flow(client, web, service: "demo/web", .end, milliseconds: 500_000, hasReply: false))
    edges.count(flow(end("demo/stranger"), web, .packet, denied: ["demo/web-from-client"]))
    var list = edges.read(now: start + 20 * second)
    list.seconds = 30
    let table = TextTable.lines([FlowEdgeList.header] + list.rows, gap: 3).joined(separator: "\n")
    #expect(
      table == """
        FROM            TO         PORT       RATE    UNANSWERED   DENIED   LASTED P50   P99        DENIED BY
        demo/stranger   demo/web   4000/TCP   0.0/s   0            1        -            -          demo/web-from-client
        demo/client     demo/web   80/TCP     2.0/s   1            0        ≤16ms        >65536ms   -
        """, "\(table)")
  }

  @Test func `an answer of a stranger is read or refused, and never trapped on`() throws {
    #expect(FlowEdgeList(["edges": []]) == nil)
    #expect(FlowEdgeList(["milliseconds": -1, "edges": []]) == nil)
    let strange: JSON = [
      "milliseconds": 1,
      "edges": [
        ["from": ["kind": "service"], "to": ["kind": "elsewhere"]], 7,
        [
          "from": ["kind": "outside"], "to": ["kind": "node", "name": "n1"],
          "signals": [
            "connections": -4, "denied": 9_000_000_000_000_000_000, "lasted": [1, 2], "port": 99999,
          ],
        ],
      ],
    ]
    let list = try #require(FlowEdgeList(strange))
    #expect(list.edges.count == 1 && list.edges[0].signals.connections == 0 && list.seconds == 1)
    var twice = list
    for _ in 0..<3 { twice.merge(list) }
    #expect(twice.rows.count == 1)
    let text = list.json.bytes
    for bytes in mutations(of: text, count: 2000, seed: 1) {
      if let tree = try? JSON(parsing: bytes), var found = FlowEdgeList(tree) { found.merge(list) }
    }
  }

  @Test func `Services of a pod are those whose endpoints name it`() {
    let view = ClusterView(objects: [
      [
        "kind": "Service", "metadata": ["name": "web", "namespace": "demo"],
        "spec": ["clusterIP": "10.43.0.7"],
      ],
      [
        "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": ["name": "web-a", "namespace": "demo", "labels": ["kubernetes.io/service-name": "web"]],
        "ports": [["name": "http", "port": 80]],
        "endpoints": [
          ["addresses": ["10.42.0.9"], "targetRef": ["kind": "Pod", "name": "web-1", "namespace": "demo"]]
        ],
      ],
    ])
    #expect(servicesOfPods(view) == [ObjectKey("demo", "web-1"): [ObjectKey("demo", "web")]])
  }
}
