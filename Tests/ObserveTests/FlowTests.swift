// Records and told packets become flows by name; flows survive being written and read; filters, memory and metrics do as they say.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import FuzzLab
import KernelNftables
import Policy
import Ruleset
import Testing

@testable import Observe

let second: UInt64 = 1_000_000_000
let start: UInt64 = 1_790_000_000 * second

func flowPod(_ namespace: String, _ name: String, _ address: String, _ labels: [String: String]) -> JSON {
  [
    "kind": "Pod",
    "metadata": ["name": JSON(name), "namespace": JSON(namespace), "labels": JSON(labels)],
    "spec": ["nodeName": "n1", "containers": [["name": "c"]]],
    "status": ["phase": "Running", "podIP": JSON(address)],
  ]
}

let flowObjects: [JSON] = [
  ["kind": "Namespace", "metadata": ["name": "demo", "labels": ["kubernetes.io/metadata.name": "demo"]]],
  [
    "kind": "Node", "metadata": ["name": "n1"],
    "status": ["addresses": [["type": "InternalIP", "address": "192.168.50.1"]]],
  ],
  flowPod("demo", "client-1", "10.42.0.10", ["app": "client"]),
  flowPod("demo", "web-1", "10.42.0.11", ["app": "web", "pod-template-hash": "7d4"]),
  flowPod("demo", "stranger", "10.42.0.12", ["app": "stranger"]),
  [
    "kind": "Service", "metadata": ["name": "web", "namespace": "demo"],
    "spec": [
      "type": "NodePort", "clusterIP": "10.43.0.7", "selector": ["app": "web"],
      "ports": [["name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080]],
    ],
  ],
  [
    "kind": "NetworkPolicy", "metadata": ["name": "web-from-client", "namespace": "demo"],
    "spec": [
      "podSelector": ["matchLabels": ["app": "web"]],
      "ingress": [
        ["from": [["podSelector": ["matchLabels": ["app": "client"]]]], "ports": [["port": 8080]]]
      ],
    ],
  ],
]

func endpoint(_ text: String) -> SocketEndpoint { SocketEndpoint(text)! }

func flowRecord(
  _ event: FlowRecord.Event, _ from: String, _ asked: String, answered: String? = nil, transport: UInt8 = 6,
  began: UInt64 = start
) -> FlowRecord {
  var record = FlowRecord(
    event: event, transport: transport, original: .init(source: endpoint(from), destination: endpoint(asked)),
    reply: .init(source: endpoint(answered ?? asked), destination: endpoint(from)))
  record.startNanoseconds = began
  record.status = event == .end ? 2 | 4 : 0
  return record
}

func toldPacket(_ chain: String, _ from: String, _ to: String) -> LoggedPacket {
  let (source, destination) = (endpoint(from), endpoint(to))
  var told = LoggedPacket(
    prefix: chain,
    packet: Packet(
      source.address, destination.address, sourcePort: source.port, destinationPort: destination.port),
    bytes: 60)
  told.nanoseconds = start
  return told
}

private func translator(_ view: ClusterView) -> FlowTranslator {
  var translator = FlowTranslator(nodeName: "n1")
  var changes = view.allChanges
  changes.isWhole = true
  translator.names.apply(changes, now: start - 100 * second)
  return translator
}

@Suite struct FlowTests {
  private let view = ClusterView(objects: flowObjects)

  @Test func `a connection through a Service has both pods, the Service, and the rule that let it in`() throws
  {
    var translator = translator(view)
    let record = flowRecord(.new, "10.42.0.10:40000", "10.43.0.7:80", answered: "10.42.0.11:8080")
    let made = translator.translate(record, now: start, view: { view })
    let flow = try #require(made)
    #expect(
      flow.source.pod == ObjectKey("demo", "client-1") && flow.destination.pod == ObjectKey("demo", "web-1"))
    #expect(flow.destination.endpoint.port == 8080 && flow.service?.key == ObjectKey("demo", "web"))
    #expect(flow.service?.portName == "http" && flow.service?.asked == endpoint("10.43.0.7:80"))
    #expect(flow.verdict == .forwarded && flow.event == .new && flow.time == start)
    #expect(flow.decision?.policies == [ObjectKey("demo", "web-from-client")] && flow.decision?.rule == 0)
    #expect(
      flow.compact() == "14:13:20.000000  forwarded  demo/client-1:40000 → demo/web-1:8080 (demo/web:80) TCP"
        + "  allowed by demo/web-from-client, ingress rule 1")
    let outside = flowRecord(.new, "203.0.113.9:5000", "192.168.50.1:30080", answered: "10.42.0.11:8080")
    #expect(translator.translate(outside, now: start, view: nil)?.service?.key == ObjectKey("demo", "web"))
    let own = flowRecord(.new, "192.168.50.1:5000", "192.168.50.9:443")
    #expect(translator.translate(own, now: start, view: nil) == nil, "the machine's own")
  }

  @Test func `an ended connection has amounts, and lasted until it went idle`() throws {
    var translator = translator(view)
    var record = flowRecord(.end, "10.42.0.10:40000", "10.43.0.7:80", answered: "10.42.0.11:8080")
    record.sent = .init(packets: 5, bytes: 420)
    record.received = .init(packets: 4, bytes: 9000)
    record.tcpState = 7
    record.stopNanoseconds = start + 123 * second
    let made = translator.translate(record, now: start, view: nil)
    let flow = try #require(made)
    // TIME_WAIT is kept for 120 s.
    #expect(
      flow.totals
        == .init(
          bytesSent: 420, bytesReceived: 9000, packetsSent: 5, packetsReceived: 4, milliseconds: 3000))
    #expect(flow.time == start + 123 * second && flow.event == .end && flow.hasReply)
    record.stopNanoseconds = start + 2 * second
    #expect(translator.translate(record, now: start, view: nil)?.totals?.milliseconds == 2000, "it was cut")
  }

  @Test
  func `a refused packet names policy and direction, an audited one the same, an unknown address itself`() {
    var translator = translator(view)
    let denied = translator.translate(
      toldPacket("KUBE-DENY-IN", "10.42.0.12:40000", "10.42.0.11:8080"), now: start, view: { view })
    #expect(denied?.verdict == .denied && denied?.event == .packet)
    #expect(denied?.decision?.policies == [ObjectKey("demo", "web-from-client")])
    #expect(denied?.decision?.direction == "Ingress")
    #expect(denied?.decision?.reason == "no ingress rule of demo/web-from-client allows it")
    let audited = translator.translate(
      toldPacket("KUBE-AUDIT-IN", "10.42.0.12:40000", "10.42.0.11:8080"), now: start, view: { view })
    #expect(audited?.verdict == .audited && audited?.decision?.direction == "Ingress")
    let unknown = translator.translate(
      toldPacket("KUBE-QUARANTINE", "10.42.0.99:40000", "10.42.0.11:8080"), now: start, view: { view })
    #expect(unknown?.verdict == .denied && unknown?.decision?.reason.contains("10.42.0.99") == true)
    let drifted = translator.translate(
      toldPacket("KUBE-DENY-IN", "10.42.0.10:40000", "10.42.0.11:8080"), now: start, view: { view })
    #expect(drifted?.verdict == .denied && drifted?.decision?.reason.contains("weft diff") == true)
    #expect(
      translator.translate(toldPacket("OTHER", "10.42.0.10:1", "10.42.0.11:2"), now: start, view: { view })
        == nil)
  }

  @Test func `policies are asked once for equal ends, and only so often a second for what passed`() {
    var translator = translator(view)
    var asked = 0
    func ask() -> ClusterView {
      asked += 1
      return view
    }
    for port in 1...50 {
      let record = flowRecord(.new, "10.42.0.10:\(port)", "10.42.0.11:8080")
      _ = translator.translate(record, now: start, view: ask)
    }
    #expect(asked == 1)
    for port in 1...2000 {
      let record = flowRecord(.new, "10.42.0.10:1", "10.42.0.11:\(port)")
      _ = translator.translate(record, now: start, view: ask)
    }
    #expect(asked == FlowTranslator.questionsPerSecond)
    _ = translator.translate(
      toldPacket("KUBE-DENY-IN", "10.42.0.12:1", "10.42.0.11:8080"), now: start, view: ask)
    #expect(asked == FlowTranslator.questionsPerSecond + 1, "what was refused is always asked about")
    translator.forgetDecisions()
    let record = flowRecord(.new, "10.42.0.10:1", "10.42.0.11:8080")
    #expect(translator.translate(record, now: start + second, view: ask)?.decision != nil)
  }

  @Test func `an address that another pod took over is the old pod's for connections of its time`() {
    var names = FlowNames()
    var view = ClusterView(objects: flowObjects)
    let consumer = view.addConsumer(withPods: true)
    names.apply(view.takeChanges(of: consumer), now: start)
    view.remove(kind: "Pod", ObjectKey("demo", "client-1"))
    names.apply(view.takeChanges(of: consumer), now: start + 10 * second)
    #expect(names.holder(of: IPAddress("10.42.0.10")!, at: 0)?.pod.name == "client-1", "still the last known")
    let next = PodAttachment(
      pod: ObjectKey("demo", "next"), addresses: [IPAddress("10.42.0.10")!], hardwareAddress: nil,
      hostInterface: "vp1")
    names.apply([next], now: start + 20 * second)
    let address = IPAddress("10.42.0.10")!
    #expect(names.holder(of: address, at: start + 5 * second)?.pod.name == "client-1")
    #expect(names.holder(of: address, at: start + 25 * second)?.pod.name == "next")
    #expect(names.holder(of: address, at: 0)?.pod.name == "next")
    names.apply([], now: start + 30 * second)
    #expect(names.holder(of: address, at: start + 25 * second)?.pod.name == "next")
  }

  @Test func `names of departed pods are bounded`() {
    var names = FlowNames()
    func pod(_ number: Int) -> PodAttachment {
      PodAttachment(
        pod: ObjectKey("a", "p\(number)"), addresses: [.v4(IPv4Address(bits: 0x0a00_0000 + UInt32(number)))],
        hardwareAddress: nil, hostInterface: "")
    }
    for number in 0..<(FlowNames.departedMax + 100) { names.apply([pod(number)], now: UInt64(number)) }
    #expect(names.holder(of: pod(0).addresses[0], at: 0) == nil)
    #expect(names.holder(of: pod(FlowNames.departedMax).addresses[0], at: 0) != nil)
  }

  private func samples() -> [Flow] {
    var translator = translator(view)
    var ended = flowRecord(.end, "10.42.0.10:40000", "10.43.0.7:80", answered: "10.42.0.11:8080")
    ended.sent = .init(packets: 5, bytes: 420)
    ended.received = .init(packets: 4, bytes: 9000)
    ended.stopNanoseconds = start + 5 * second
    return [
      translator.translate(
        flowRecord(.new, "10.42.0.10:40000", "10.43.0.7:80", answered: "10.42.0.11:8080"), now: start,
        view: { view }),
      translator.translate(ended, now: start, view: nil),
      translator.translate(
        toldPacket("KUBE-DENY-IN", "10.42.0.12:40000", "10.42.0.11:8080"), now: start, view: { view }),
      translator.translate(
        flowRecord(.new, "203.0.113.9:0", "10.42.0.11:0", transport: 1), now: start, view: nil),
      translator.translate(
        flowRecord(.new, "192.168.50.1:1", "10.42.0.11:2", transport: 17), now: start, view: nil),
    ].compactMap { $0 }
  }

  @Test func `a flow that was written is read back the same`() throws {
    let flows = samples()
    #expect(flows.count == 5)
    for flow in flows { #expect(Flow(try JSON(parsing: flow.json.text)) == flow, "\(flow.json.text)") }
  }

  @Test func `damaged lines are no flows or some flow, and never trap`() {
    var read = 0
    let corpus = samples().map { Array($0.json.text.utf8) }
    for bytes in mutants(
      of: corpus, words: ["-1", "99999999999999999999", "null", "\"\""], count: 20_000, seed: 8)
    {
      if let tree = try? JSON(parsing: bytes), let flow = Flow(tree) {
        _ = flow.compact()
        _ = flow.json
        read += 1
      }
    }
    #expect(read > 0)
  }

  @Test func `filters take what they say and refuse what they cannot read`() throws {
    let flows = samples()
    func taken(
      from: String? = nil, to: String? = nil, verdict: String? = nil, service: String? = nil,
      port: String? = nil
    ) throws -> [Int] {
      let filter = try FlowFilter(
        from: from, to: to, verdict: verdict, service: service, port: port, namespace: "demo")
      return flows.indices.filter { filter.matches(flows[$0]) }
    }
    #expect(try taken() == [0, 1, 2, 3, 4])
    #expect(try taken(from: "client-1") == [0, 1])
    #expect(try taken(from: "demo/client-*") == [0, 1])
    #expect(try taken(from: "demo/") == [0, 1, 2])
    #expect(try taken(from: "app=stranger") == [2])
    #expect(try taken(from: "203.0.113.0/24") == [3])
    #expect(try taken(to: "10.42.0.11", verdict: "denied") == [2])
    #expect(try taken(verdict: "forwarded,denied") == [0, 1, 2, 3, 4])
    #expect(try taken(service: "web") == [0, 1])
    #expect(try taken(port: "80") == [0, 1])
    #expect(try taken(port: "8080") == [0, 1, 2])
    for (from, verdict, port) in [("a/b/c", nil, nil), (nil, "maybe", nil), (nil, nil, "0"), ("=", nil, nil)]
      as [(String?, String?, String?)]
    {
      #expect { try FlowFilter(from: from, verdict: verdict, port: port) } throws: {
        ($0 as? WeftError)?.code == "FLW0002"
      }
    }
    #expect(try FlowFilter.moment("5m", now: start) == start - 300 * second)
    #expect(try FlowFilter.moment("2026-09-21T14:13:20Z", now: 0) == start)
    #expect(throws: WeftError.self) { try FlowFilter.moment("soon", now: start) }
    var filter = FlowFilter()
    filter.since = start + second
    #expect(flows.filter(filter.matches).count == 1)
  }

  @Test func `memory holds the newest, and readers learn what they missed`() throws {
    let flow = try #require(samples().first)
    var ring = FlowRing(capacity: 8)
    for time in 0..<20 {
      var copy = flow
      copy.time = UInt64(time)
      ring.append(copy)
    }
    let all = ring.read(from: 0, limit: 100)
    #expect(all.flows.map(\.time) == Array(12..<20) && all.next == 20 && all.missed == 12)
    let some = ring.read(from: 15, limit: 2)
    #expect(some.flows.map(\.time) == [15, 16] && some.next == 17 && some.missed == 0)
    #expect(ring.read(from: 20, limit: 5).flows.isEmpty && ring.read(from: 99, limit: 5).next == 20)
  }

  @Test func `connections, refusals, bytes and verdicts are counted by Service and policy`() {
    let metrics = Metrics()
    var counting = FlowMetrics(metrics)
    var translator = translator(view)
    for flow in samples() { counting.count(flow) }
    var told = toldPacket("KUBE-DENY-IN", "10.42.0.12:40000", "10.42.0.11:8080")
    told.connection = flowRecord(.new, "10.42.0.12:40000", "10.43.0.7:80", answered: "10.42.0.11:8080")
    if let flow = translator.translate(told, now: start, view: { view }) { counting.count(flow) }
    counting.setLost(flows: 7, packets: 0)
    counting.setLost(flows: 9, packets: 1)
    let text = metrics.text()
    for line in [
      "weft_service_connections_total{namespace=\"demo\",service=\"web\"} 1",
      "weft_service_denied_packets_total{namespace=\"demo\",service=\"web\"} 1",
      "weft_service_bytes_total{namespace=\"demo\",service=\"web\",direction=\"received\"} 9000",
      "weft_policy_verdicts_total{namespace=\"demo\",policy=\"web-from-client\",direction=\"ingress\",verdict=\"denied\"} 2",
      "weft_policy_verdicts_total{namespace=\"demo\",policy=\"web-from-client\",direction=\"ingress\",verdict=\"forwarded\"} 1",
      "weft_flow_events_lost_total{kind=\"connection\"} 9", "weft_flow_events_lost_total{kind=\"packet\"} 1",
      "weft_flows_total 6",
    ] {
      #expect(text.contains(line + "\n"), "\(line) in \(text)")
    }
  }
}
