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

  @Test func `the lines of weft diff`() {
    var report = DifferenceReport(
      node: "n1",
      operations: [
        "add element ip KUBE-PROXY svc-id { 10.43.0.9 . tcp . 80 : 7 }",
        "delete element ip KUBE-PROXY svc-id { 10.43.0.8 . tcp . 80 }",
        "replace chain ip KUBE-PROXY KUBE-SERVICES",
      ], weight: 5, paths: ["delete route 10.99.0.0/24 dev ext0"],
      names: ["change name web.demo.svc.cluster.local. from nothing to 10.43.0.9"], tables: 4)
    #expect(
      report.text(colour: false) == """
        + add element ip KUBE-PROXY svc-id { 10.43.0.9 . tcp . 80 : 7 }
        - delete element ip KUBE-PROXY svc-id { 10.43.0.8 . tcp . 80 }
        ~ replace chain ip KUBE-PROXY KUBE-SERVICES
        - delete route 10.99.0.0/24 dev ext0
        ~ change name web.demo.svc.cluster.local. from nothing to 10.43.0.9

        """)
    #expect(report.summary == "7 changes would put the plan in force" && !report.isEqual)
    #expect(report.text(colour: true).hasPrefix("\u{1b}[32m+ add element"))
    #expect(report.json["equal"]?.bool == false && report.json["paths"]?.array?.count == 1)
    (report.operations, report.paths, report.names) = ([], [], [])
    #expect(report.isEqual && report.text(colour: true).isEmpty)
    #expect(report.summary == "equal: 4 tables in force as planned")
  }

  @Test func `the lines of weft policy test`() {
    func result(_ line: Int, _ text: String, _ hasPassed: Bool, _ reason: String) throws -> PolicyTestResult {
      let lines = String(repeating: "\n", count: line - 1) + text
      let read = try PolicyExpectation.read(lines, file: "f", namespace: "shop")
      return PolicyTestResult(expectation: try #require(read.first), hasPassed: hasPassed, reason: reason)
    }
    let report = try? PolicyTestReport([
      result(2, "allow shop/web shop/db:5432", true, "allowed by shop/db, ingress rule 0"),
      result(
        4, "deny shop/report shop/db:5432", false, "shop/db: allowed, no policy isolates either end"),
    ])
    #expect(
      report?.text == """
        ok   line 2: allow shop/web shop/db:5432
        FAIL line 4: deny shop/report shop/db:5432
               shop/db: allowed, no policy isolates either end
        2 expectations, 1 failed

        """, "\(report?.text ?? "")")
    #expect(report?.hasPassed == false)
    let items = report?.json["expectations"]?.array ?? []
    #expect(items.count == 2 && items[1]["passed"]?.bool == false && items[0]["line"]?.int == 2)
  }

  @Test func `the lines of certificates`() {
    let day: Int64 = 86_400
    let items = checkClusterCertificates(
      [
        ("ca", 1000 * day, true), ("apiserver", 20 * day, false), ("admin", 9 * day, false),
        ("front-proxy/client", -day, false),
      ], now: 0)
    #expect(
      CheckReport([.init("certificates", items)]).text(colour: false) == """
        certificates
        √ cluster ca                  the authority is good for 1000 days
        √ cluster apiserver           the certificate is good for 20 days
        ‼ cluster admin               CLI0145 the certificate expires in 9 days
                                      → weft server certs renew --data-dir DIR; weft server certs check-expiration --data-dir DIR
        × cluster front-proxy/client  CLI0145 the certificate expired 1 day ago
                                      → weft server certs renew --data-dir DIR; weft server certs check-expiration --data-dir DIR

        1 wrong, 1 to look at, 2 well

        """)
  }
}
