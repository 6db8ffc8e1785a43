// Tables that people read, whole: a change of one is a change of this file.

import Addresses
import ClusterObjects
import Testing

@testable import Observe

@Suite struct TableTests {
  @Test func `the table of flows`() {
    var passed = Flow(
      time: start, event: .end, verdict: .forwarded, node: "n1", transport: 6,
      source: Flow.End(endpoint("10.42.0.10:40000"), pod: ObjectKey("demo", "client-1")),
      destination: Flow.End(endpoint("10.42.0.11:8080"), pod: ObjectKey("demo", "web-1")))
    passed.service = Flow.Service(ObjectKey("demo", "web"), portName: "http", asked: endpoint("10.43.0.7:80"))
    passed.totals = Flow.Totals(bytesSent: 420, bytesReceived: 1300, milliseconds: 12)
    passed.decision = Flow.Decision(
      direction: "Ingress", policies: [ObjectKey("demo", "web-from-client")], rule: 0, reason: "allowed by it"
    )
    var denied = Flow(
      time: start + 5_000, event: .packet, verdict: .denied, node: "", transport: 17,
      source: Flow.End(endpoint("203.0.113.9:5353")),
      destination: Flow.End(endpoint("[fd00::7]:53"), pod: ObjectKey("demo", "dns-0")))
    denied.decision = Flow.Decision(reason: "of another namespace")
    let lines = TextTable.lines([Flow.header, passed.cells(), denied.cells(numeric: true)], gap: 2)
    #expect(
      lines.joined(separator: "\n") == """
        TIME                         NODE  VERDICT    EVENT   SOURCE               DESTINATION      SERVICE      PROTO  BYTES     DURATION  POLICY
        2026-09-21T14:13:20.000000Z  n1    forwarded  end     demo/client-1:40000  demo/web-1:8080  demo/web:80  TCP    420/1300  12ms      demo/web-from-client
        2026-09-21T14:13:20.000005Z  -     denied     packet  203.0.113.9:5353     [fd00::7]:53     -            UDP    -         -         of another namespace
        """, "\n\(lines.joined(separator: "\n"))")
  }

  @Test func `the steps of an explanation`() {
    var explanation = Explanation(source: "demo/stranger", destination: "demo/web")
    explanation.verdict = .deny
    explanation.kernel = .agrees
    explanation.steps = [
      .init("source", .fine, "pod demo/stranger at 10.42.0.6 on node node-1"),
      .init("endpoints", .note, "1 of 2 is not ready"),
      .init(
        "policy", .fault, "denied by NetworkPolicy demo/web-from-client",
        hint: "look at: kubectl describe networkpolicy -n demo web-from-client"),
    ]
    #expect(
      explanation.text(colour: false) == """
        √ source     pod demo/stranger at 10.42.0.6 on node node-1
        ‼ endpoints  1 of 2 is not ready
        × policy     denied by NetworkPolicy demo/web-from-client
                     → look at: kubectl describe networkpolicy -n demo web-from-client
        deny: demo/stranger to demo/web, kernel agrees

        """, "\n\(explanation.text(colour: false))")
  }
}
