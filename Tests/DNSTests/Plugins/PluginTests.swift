// Plugins as their users meet them: a Corefile, a server on a free port, dig.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import DNS

private let acme = """
  $TTL 300
  @ IN SOA ns hostmaster 7 3600 600 86400 60
    IN NS ns
  ns A 192.0.2.1
  www 60 IN CNAME web
  web A 192.0.2.2
      A 192.0.2.3
  *.wild TXT "a b" c
  child NS ns.child
  ns.child A 192.0.2.9
  deep.er A 192.0.2.4
  """

private func withCorefile<Result>(_ lines: String, _ body: (UInt16) throws -> Result) throws -> Result {
  let text = ".:53 {\n kubernetes cluster.local in-addr.arpa {\n  fallthrough in-addr.arpa\n }\n\(lines)\n}"
  let corefile = try Corefile.read(text) { $0 == "acme.db" ? acme : nil }
  let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: try #require(corefile.zone))
  return try withServer(corefile.server, zone: zone) { _, port in try body(port) }
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct PluginTests {
  @Test func `hosts answers its names both ways and leaves the others`() throws {
    try withCorefile(
      "hosts {\n 192.0.2.7 printer.acme.test\n fd00::7 printer.acme.test\n ttl 60\n fallthrough\n}"
    ) { port in
      #expect(
        dig(port, "Printer.acme.test A +noall +answer").contains("Printer.acme.test.\t60\tIN\tA\t192.0.2.7"))
      #expect(dig(port, "printer.acme.test AAAA +short") == "fd00::7\n")
      #expect(dig(port, "-x 192.0.2.7 +short") == "printer.acme.test.\n")
      #expect(dig(port, "printer.acme.test MX").contains("NOERROR"))
      #expect(dig(port, "other.acme.test A").contains("REFUSED"))
      #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
    }
  }

  @Test func `a zone file answers with aliases, wildcards, referrals and denials`() throws {
    try withCorefile("file acme.db acme.test\ntransfer acme.test {\n to 127.0.0.1\n}") { port in
      #expect(dig(port, "www.acme.test A +short").split(separator: "\n").count == 3)
      #expect(dig(port, "anything.wild.acme.test TXT +short") == "\"a b\" \"c\"\n")
      #expect(dig(port, "er.acme.test A").contains("NOERROR"))
      #expect(dig(port, "nothing.acme.test A").contains("NXDOMAIN"))
      let referral = dig(port, "x.child.acme.test A")
      #expect(referral.contains("AUTHORITY: 1") && referral.contains("192.0.2.9"), "\(referral)")
      #expect(!referral.contains(" aa "), "\(referral)")
      #expect(
        dig(port, "acme.test SOA +short") == "ns.acme.test. hostmaster.acme.test. 7 3600 600 86400 60\n")
      let copy = dig(port, "acme.test AXFR +tcp +noall +answer")
      #expect(copy.split(separator: "\n").filter { !$0.hasPrefix(";") }.count == 11, "\(copy)")
      #expect(
        dig(port, "acme.test AXFR +notcp").contains("REFUSED") || dig(port, "acme.test AXFR").contains("SOA"))
    }
  }

  @Test func `a record is said once, however often it stands in the file or comes by an alias`() throws {
    let apex = try #require(DomainName("z.test"))
    let zone = try ServedZone(
      """
      $ORIGIN z.test.
      @ 60 IN SOA ns hostmaster 1 7200 1800 86400 30
      @ 60 IN NS ns
      ns 60 IN A 192.0.2.53
      * 60 IN CNAME c
      c 60 IN DNAME c.a
      t 60 IN TXT "text"
      t 90 IN TXT "text"
      t 60 IN SRV 0 0 1 ns
      t 60 IN SRV 0 0 2 ns
      """, zone: apex)
    func answer(_ name: String, _ type: RecordType) throws -> Message {
      let query = Message(query: try #require(DomainName(name)), type, id: 1)
      let question = try #require(query.question)
      return try #require(zone.answer(question))
    }
    #expect(try answer("t.z.test", .txt).answer.map(\.ttl) == [60])
    let services = try answer("t.z.test", .srv)
    #expect(services.answer.count == 2 && services.additional.count == 1, "\(services.additional)")
    // c.c leads to c.c.a, that by the wildcard to c, and c has the alias of the subtree that was there first.
    let aliases = try answer("c.c.z.test", .dname).answer
    #expect(aliases.map(\.data.type) == [.dname, .cname, .cname], "\(aliases)")
    #expect(zone.transfer.filter { $0.data.type == .txt }.count == 1)
  }

  @Test func `the cluster's zone is handed to whoever transfer names, whole`() throws {
    try withCorefile("transfer {\n to *\n}") { port in
      let copy = dig(port, "cluster.local AXFR +tcp +noall +answer").split(separator: "\n").filter {
        !$0.hasPrefix(";")
      }
      #expect(copy.first?.contains("SOA") == true && copy.last?.contains("SOA") == true)
      #expect(copy.contains { $0.hasPrefix("web.demo.svc.cluster.local.") && $0.contains("10.43.0.20") })
      #expect(copy.contains { $0.contains("outside.demo") && $0.contains("CNAME\twww.interwebs.test.") })
    }
    try withCorefile("") { port in #expect(dig(port, "cluster.local AXFR +tcp").contains("Transfer failed")) }
  }

  @Test func `rewrite asks another name and answers under the client's`() throws {
    let rules = """
      rewrite name exact short.test web.demo.svc.cluster.local
      rewrite name suffix .corp.test .demo.svc.cluster.local answer auto
      rewrite name regex (.*)-(.*)\\.in\\.test {1}.{2}.svc.cluster.local
      rewrite ttl exact web.demo.svc.cluster.local 77
      rewrite type MX A
      """
    try withCorefile(rules) { port in
      #expect(dig(port, "short.test A +noall +answer").contains("short.test."))
      #expect(dig(port, "SHORT.test A +short") == "10.43.0.20\n")
      #expect(dig(port, "dual.corp.test AAAA +noall +answer").contains("dual.corp.test."))
      #expect(dig(port, "web-demo.in.test A +short") == "10.43.0.20\n")
      #expect(dig(port, "web.demo.svc.cluster.local A +noall +answer").contains(" 77\tIN\tA"))
      #expect(dig(port, "db.demo.svc.cluster.local A +short").split(separator: "\n").count == 2)
    }
  }

  @Test func `template makes answers from the name`() throws {
    let rules = """
      template IN A ip.test {
        match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]ip[.]test[.]$
        answer "{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ index .Match 2 }}"
        fallthrough
      }
      template ANY ANY gone.test {
        rcode NXDOMAIN
      }
      """
    try withCorefile(rules) { port in
      #expect(dig(port, "ip-3-4.ip.test A +short") == "10.0.3.4\n")
      #expect(dig(port, "ip-3-999.ip.test A").contains("SERVFAIL"))
      #expect(dig(port, "other.ip.test A").contains("REFUSED"))
      #expect(dig(port, "a.gone.test A").contains("NXDOMAIN"))
    }
  }

  @Test func `acl blocks, filters and drops, and minimal leaves records out`() throws {
    let rules = """
      acl web.demo.svc.cluster.local {
        block type AAAA net 127.0.0.0/8
        filter type TXT net *
        allow net 127.0.0.1
      }
      acl demo.svc.cluster.local {
        drop type MX net 127.0.0.0/8
      }
      minimal
      """
    try withCorefile(rules) { port in
      let blocked = dig(port, "web.demo.svc.cluster.local AAAA")
      #expect(blocked.contains("REFUSED") && blocked.contains("EDE: 15"), "\(blocked)")
      #expect(dig(port, "web.demo.svc.cluster.local TXT").contains("AUTHORITY: 0"))
      #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
      #expect(dig(port, "db.demo.svc.cluster.local MX +time=1").contains("timed out"))
      #expect(dig(port, "_http._tcp.web.demo.svc.cluster.local SRV").contains("ADDITIONAL: 1"))
    }
  }

  @Test func `any, nsid and dns64 answer as they say`() throws {
    try withCorefile("any\nnsid weft-test\ndns64 {\n allow_ipv4\n}\nbufsize 600") { port in
      #expect(dig(port, "web.demo.svc.cluster.local ANY +notcp").contains("HINFO"))
      #expect(dig(port, "web.demo.svc.cluster.local A +nsid").contains("weft-test"))
      #expect(dig(port, "web.demo.svc.cluster.local AAAA +short") == "64:ff9b::a2b:14\n")
      #expect(dig(port, "dual.demo.svc.cluster.local AAAA +short") == "fd00:43::15\n")
      #expect(dig(port, "web.demo.svc.cluster.local A +bufsize=4096").contains("udp: 600"))
    }
  }

  @Test func `view gives the same zone two answers`() throws {
    let text = """
      .:53 {
        view v6 {
          expr type() == 'AAAA' || incidr(client_ip(), '192.0.2.0/24')
        }
        hosts {
          fd00::1 who.test
        }
      }
      .:53 {
        hosts {
          192.0.2.1 who.test
        }
      }
      """
    let corefile = try Corefile.read(text)
    try withServer(corefile.server) { _, port in
      #expect(dig(port, "who.test AAAA +short") == "fd00::1\n")
      #expect(dig(port, "who.test A +short") == "192.0.2.1\n")
    }
  }

  @Test func `autopath walks the search path of the pod that asks`() throws {
    let text =
      ".:53 {\n kubernetes cluster.local\n autopath @kubernetes\n hosts {\n  192.0.2.9 www.example.test\n  fallthrough\n }\n}"
    let corefile = try Corefile.read(text)
    let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: try #require(corefile.zone))
    let server = DNSServer(settings: corefile.server, zone: zone, metrics: Metrics()) { _ in "demo" }
    try server.start(listen: [freeEndpoint()])
    defer { server.stop() }
    let port = server.endpoints[0].port
    #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
    #expect(
      dig(port, "web.demo.demo.svc.cluster.local A +short") == "web.demo.svc.cluster.local.\n10.43.0.20\n")
    #expect(dig(port, "www.example.test.demo.svc.cluster.local A +short") == "www.example.test.\n192.0.2.9\n")
    #expect(dig(port, "absent.demo.svc.cluster.local A").contains("NXDOMAIN"))
    // A name without such records exists all the same: its AAAA is not denied while its A is found.
    let six = dig(port, "www.example.test.demo.svc.cluster.local AAAA")
    #expect(six.contains("NOERROR") && six.contains("CNAME") && six.contains("www.example.test.\n"), "\(six)")
  }
}
