// The server as its users meet it: dig over UDP and TCP on the loopback address.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import Testing

@testable import DNS

@Suite(.serialized) struct LiveServerTests {
  @Test(arguments: [
    ("web.demo.svc.cluster.local A +short", "10.43.0.20\n"),
    ("web.demo.svc.cluster.local A +short +tcp", "10.43.0.20\n"),
    ("dual.demo.svc.cluster.local AAAA +short", "fd00:43::15\n"),
    ("_http._tcp.web.demo.svc.cluster.local SRV +short", "0 100 80 web.demo.svc.cluster.local.\n"),
    ("-x 10.43.0.20 +short", "web.demo.svc.cluster.local.\n"),
    ("dns-version.cluster.local TXT +short", "\"1.1.0\"\n"),
    ("inside.demo.svc.cluster.local A +short", "web.demo.svc.cluster.local.\n10.43.0.20\n"),
  ])
  func `dig reads the records`(_ question: String, _ answer: String) throws {
    try withServer { _, port in #expect(dig(port, question) == answer) }
  }

  @Test(arguments: [
    ("web.demo.svc.cluster.local AAAA", "status: NOERROR"),
    ("absent.demo.svc.cluster.local A", "status: NXDOMAIN"),
    ("example.com A", "status: REFUSED"), ("cluster.local AXFR +tcp", "Transfer failed"),
    ("web.demo.svc.cluster.local A +edns=1 +noednsneg", "status: BADVERS"),
    ("web.demo.svc.cluster.local A +opcode=2", "status: NOTIMP"),
    ("web.demo.svc.cluster.local A -c CH", "status: REFUSED"),
  ])
  func `dig reads the status`(_ question: String, _ status: String) throws {
    try withServer { _, port in
      let out = dig(port, question)
      #expect(out.contains(status), "\(out)")
    }
  }

  @Test func `the client's spelling comes back, flags are right, SOA stands in the authority`() throws {
    try withServer { _, port in
      let out = dig(port, "WeB.deMo.svc.CLUSTER.local A")
      #expect(out.contains("WeB.deMo.svc.CLUSTER.local. 30\tIN\tA\t10.43.0.20"), "\(out)")
      #expect(out.contains("flags: qr aa rd;"), "\(out)")
      let denial = dig(port, "absent.demo.svc.Cluster.local A")
      #expect(denial.contains("SOA\tns.dns.Cluster.local. hostmaster.Cluster.local."), "\(denial)")
      #expect(denial.contains("AUTHORITY: 1"))
      #expect(dig(port, "web.demo.svc.cluster.local +dnssec").contains("flags: do; udp: 1232"))
    }
  }

  @Test func `a long answer is cut at the client's size and whole over TCP`() throws {
    try withServer { _, port in
      let cut = dig(port, "big.demo.svc.cluster.local A +ignore +noedns")
      #expect(cut.contains("flags: qr aa tc rd;"), "\(cut)")
      #expect(cut.contains("ANSWER: 29,"), "\(cut)")
      #expect(dig(port, "big.demo.svc.cluster.local A +ignore +bufsize=4096").contains(" tc "))
      #expect(dig(port, "big.demo.svc.cluster.local A +short +tcp").split(separator: "\n").count == 100)
      #expect(dig(port, "big.demo.svc.cluster.local A +short").split(separator: "\n").count == 100)
    }
  }

  @Test func `addresses turn round`() throws {
    try withServer { _, port in
      let firsts = Set((0..<6).map { _ in dig(port, "db.demo.svc.cluster.local A +short").prefix(9) })
      #expect(firsts.count == 2)
    }
  }

  @Test func `a Service that appears is seen at once although its name was denied before`() throws {
    try withServer { server, port in
      #expect(dig(port, "new.demo.svc.cluster.local A").contains("NXDOMAIN"))
      var view = ClusterView(objects: Fixture.objects)
      view.apply(Fixture.service("new", ["clusterIP": "10.43.0.99"]))
      server.swapZone(planZone(view: view, settings: Fixture.settings))
      #expect(dig(port, "new.demo.svc.cluster.local A +short") == "10.43.0.99\n")
    }
  }

  @Test func `queries follow one another on one connection`() throws {
    try withServer { _, port in
      let out = dig(port, "+tcp +keepopen +short web.demo.svc.cluster.local A dual.demo.svc.cluster.local A")
      #expect(out == "10.43.0.20\n10.43.0.21\n", "\(out)")
    }
  }

  @Test func `a port that is taken is said with a code`() throws {
    try withServer { server, _ in
      let other = DNSServer(settings: DNSServerSettings(), zone: Fixture.zone, metrics: Metrics())
      let taken = SocketEndpoint(.v4(IPv4Address(192, 0, 2, 1)), 53)
      let error = #expect(throws: WeftError.self) { try other.start(listen: [taken]) }
      #expect(error?.code == "DNS0001")
    }
  }

  @Test func `numbers carry CoreDNS's names`() throws {
    let metrics = Metrics()
    try withServer(metrics: metrics) { _, port in
      _ = dig(port, "web.demo.svc.cluster.local A")
      _ = dig(port, "absent.demo.svc.cluster.local A +tcp")
      let text = metrics.text()
      #expect(
        text.contains("zone=\"cluster.local.\",view=\"\",proto=\"udp\",family=\"1\",type=\"A\"} 1"), "\(text)"
      )
      #expect(text.contains("rcode=\"NXDOMAIN\",plugin=\"kubernetes\"} 1"))
      #expect(text.contains("coredns_dns_request_duration_seconds_count"))
      for (what, least) in [("request", 30.0), ("response", 60)] {
        for transport in ["udp", "tcp"] {
          func value(_ name: String) -> Double? {
            text.split(separator: "\n").first {
              $0.hasPrefix("coredns_dns_\(what)_size_bytes_\(name){") && $0.contains("proto=\"\(transport)\"")
            }.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }
          }
          #expect(value("count") == 1, "\(what) \(transport)")
          #expect((value("sum") ?? 0) > least, "\(what) \(transport)")
        }
      }
    }
  }
}
