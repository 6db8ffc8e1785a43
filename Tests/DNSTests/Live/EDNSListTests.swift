// The list of EDNS compliance tests (RFC 8906 section 8), asked with dig over UDP and TCP, IPv4 and IPv6 (T-D1).

import Addresses
import Diagnostics
import Testing

@testable import DNS

/// What dig is told, the status, and what its output has and has not.
private struct Case: Sendable, CustomTestStringConvertible {
  let flags: String
  let status: String
  var has: [String] = []
  var hasNot: [String] = []
  var testDescription: String { flags }
}

private let soa = "cluster.local SOA"
private let list: [Case] = [
  // Plain DNS.
  Case(flags: "+noedns +noad +norec \(soa)", status: "NOERROR", has: ["\tSOA\t"], hasNot: ["OPT PSEUDO"]),
  Case(flags: "+noedns +noad +norec +header-only \(soa)", status: "FORMERR", hasNot: ["OPT PSEUDO"]),
  Case(
    flags: "+noedns +noad +norec cluster.local TYPE1000", status: "NOERROR", has: ["AUTHORITY: 1"],
    hasNot: ["OPT PSEUDO"]),
  Case(flags: "+noedns +norec +cd \(soa)", status: "NOERROR", has: ["\tSOA\t"]),
  Case(flags: "+noedns +norec +ad \(soa)", status: "NOERROR", hasNot: [" ad;", " ad "]),
  Case(flags: "+noedns +noad +norec +zflag \(soa)", status: "NOERROR", hasNot: ["MBZ"]),
  Case(flags: "+noedns +noad +norec +opcode=15 +header-only", status: "NOTIMP", hasNot: ["\tSOA\t"]),
  Case(flags: "+noedns +noad +rec \(soa)", status: "NOERROR", has: [" rd"]),
  // EDNS, version 0.
  Case(
    flags: "+edns=0 +nocookie +noad +norec \(soa)", status: "NOERROR", has: ["\tSOA\t", "EDNS: version: 0"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +bufsize=512 \(soa)", status: "NOERROR", has: ["EDNS: version: 0"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +bufsize=1 \(soa)", status: "NOERROR", has: ["EDNS: version: 0"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +ednsopt=100 \(soa)", status: "NOERROR",
    has: ["\tSOA\t", "EDNS: version: 0"], hasNot: ["OPT=100"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +ednsopt=100:0102030405 \(soa)", status: "NOERROR",
    hasNot: ["OPT=100"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +ednsflags=0x40 \(soa)", status: "NOERROR",
    has: ["EDNS: version: 0"],
    hasNot: ["MBZ"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +ednsflags=0x7fff \(soa)", status: "NOERROR", hasNot: ["MBZ"]),
  Case(flags: "+edns=0 +nocookie +noad +norec +dnssec \(soa)", status: "NOERROR", has: ["flags: do"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +dnssec +bufsize=512 \(soa)", status: "NOERROR", has: ["flags: do"]
  ),
  Case(flags: "+edns=0 +nocookie +noad +norec +nsid \(soa)", status: "NOERROR", has: ["NSID: 77 65 66 74"]),
  Case(flags: "+edns=0 +cookie +noad +norec \(soa)", status: "NOERROR", has: ["(good)"]),
  Case(
    flags: "+edns=0 +cookie=0102030405060708 +noad +norec \(soa)", status: "NOERROR",
    has: ["COOKIE: 0102030405060708"]),
  Case(
    flags: "+edns=0 +cookie=01020304050607080000000000000000 +noad +norec \(soa)", status: "NOERROR",
    has: ["COOKIE: 0102030405060708"]),
  Case(flags: "+edns=0 +ednsopt=10:0102 +nocookie +noad +norec \(soa)", status: "FORMERR"),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +subnet=0.0.0.0/0 \(soa)", status: "NOERROR",
    hasNot: ["CLIENT-SUBNET"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +subnet=2001:db8::/56 \(soa)", status: "NOERROR",
    hasNot: ["CLIENT-SUBNET"]),
  Case(flags: "+edns=0 +nocookie +noad +norec +expire \(soa)", status: "NOERROR", hasNot: ["EXPIRE"]),
  Case(flags: "+edns=0 +nocookie +noad +norec +keepalive \(soa)", status: "NOERROR", has: ["\tSOA\t"]),
  Case(flags: "+edns=0 +nocookie +noad +norec +padding=64 \(soa)", status: "NOERROR", has: ["\tSOA\t"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +nsid +cookie +subnet=0.0.0.0/0 +expire +ednsopt=100 \(soa)",
    status: "NOERROR", has: ["NSID", "(good)"], hasNot: ["OPT=100"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec cluster.local TYPE1000", status: "NOERROR",
    has: ["AUTHORITY: 1", "EDNS: version: 0"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec absent.cluster.local A", status: "NXDOMAIN",
    has: ["AUTHORITY: 1", "EDNS: version: 0"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec elsewhere.test A", status: "REFUSED",
    has: ["EDNS: version: 0", "EDE: 20"]),
  Case(
    flags: "+edns=0 +nocookie +noad +norec +opcode=15 \(soa)", status: "NOTIMP", hasNot: ["\tSOA\t"]),
  // Versions that are not there.
  Case(
    flags: "+edns=1 +noednsneg +nocookie +noad +norec \(soa)", status: "BADVERS", has: ["EDNS: version: 0"],
    hasNot: ["\tSOA\t"]),
  Case(
    flags: "+edns=100 +noednsneg +nocookie +noad +norec \(soa)", status: "BADVERS", has: ["EDNS: version: 0"],
    hasNot: ["\tSOA\t"]),
  Case(
    flags: "+edns=100 +noednsneg +nocookie +noad +norec +ednsopt=100 \(soa)", status: "BADVERS",
    has: ["EDNS: version: 0"], hasNot: ["OPT=100"]),
  Case(
    flags: "+edns=100 +noednsneg +nocookie +noad +norec +ednsflags=0x80 \(soa)", status: "BADVERS",
    hasNot: ["MBZ"]),
  Case(
    flags: "+edns=100 +noednsneg +nocookie +noad +norec +dnssec \(soa)", status: "BADVERS",
    has: ["EDNS: version: 0"]),
  Case(
    flags: "+edns=100 +noednsneg +nocookie +noad +norec +bufsize=512 \(soa)", status: "BADVERS",
    has: ["EDNS: version: 0"]),
  // An answer that is cut says so with its OPT.
  Case(
    flags: "+edns=0 +nocookie +noad +norec +bufsize=512 +ignore big.demo.svc.cluster.local A",
    status: "NOERROR",
    has: ["EDNS: version: 0"]),
]

@Suite(.serialized, .timeLimit(.minutes(5))) struct EDNSListTests {
  @Test func `the EDNS list is answered by the book over UDP and TCP, IPv4 and IPv6`() throws {
    var settings = DNSServerSettings()
    var block = ServerBlock()
    block.isServingCluster = true
    block.nsid = Array("weft".utf8)
    settings.blocks = [block]
    let addresses = [IPAddress.v4(IPv4Address(127, 0, 0, 1)), .v6(IPv6Address(bits: 1))]
    var asked = 0
    for address in addresses {
      let server = DNSServer(settings: settings, zone: Fixture.zone, metrics: Metrics())
      try server.start(listen: [SocketEndpoint(address, freeEndpoint().port)])
      defer { server.stop() }
      let port = try #require(server.endpoints.first).port
      for test in list {
        for transport in ["+notcp", "+tcp"] {
          let out = run("dig @\(address) -p \(port) +time=5 +tries=2 \(transport) \(test.flags) 2>&1")
          #expect(out.contains("status: \(test.status)"), "\(transport) \(test.flags)\n\(out)")
          // The question is no answer, and dig repeats the command in its first lines.
          let answer = out.split(separator: "\n").filter {
            !$0.contains("DiG") && !$0.contains("IN\tSOA") || $0.contains("\tSOA\t")
          }
          .joined(separator: "\n")
          for text in test.has { #expect(answer.contains(text), "\(transport) \(test.flags)\n\(out)") }
          for text in test.hasNot { #expect(!answer.contains(text), "\(transport) \(test.flags)\n\(out)") }
          asked += 1
        }
      }
    }
    #expect(asked == list.count * 4 && list.count >= 38)
  }
}
