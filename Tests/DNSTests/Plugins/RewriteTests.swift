// `rewrite` in all its forms: what the upstream server is asked, and what the client is told.

import Addresses
import Synchronization
import Testing

@testable import DNS

private let local: UInt16 = 0xffee

@Suite(.serialized, .timeLimit(.minutes(3))) struct RewriteTests {
  @Test func `edns0 local is set, appended, replaced and unset`() throws {
    for (rule, client, asked) in [
      ("set 0xffee 0x61626364", "", "abcd"), ("set 65518 abcd", "", "abcd"),
      ("set 0xffee abcd", "+ednsopt=65518:7879", "abcd"), ("append 0xffee abcd", "", "abcd"),
      ("append 0xffee abcd", "+ednsopt=65518:7879", "xy"), ("replace 0xffee abcd", "", nil),
      ("replace 0xffee abcd", "+ednsopt=65518:7879", "abcd"), ("unset 0xffee", "+ednsopt=65518:7879", nil),
      ("set 0xffee abcd", "+ednsopt=65001:7879", "abcd"),
    ] as [(String, String, String?)] {
      try withLines("forward . UPSTREAM\nrewrite edns0 local \(rule)") { port, upstream, _ in
        #expect(dig(port, "ext.interwebs.test A +short \(client)") == "1.2.3.4\n")
        let options = upstream.lastOptions
        let value = options.first { $0.code == local }.map { String(decoding: $0.octets, as: UTF8.self) }
        #expect(value == asked, "\(rule) \(client)")
        #expect(!options.contains { $0.code == 65001 }, "no rule names it")
        // Who uses the cluster's names is not asked for options.
        #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
      }
    }
  }

  @Test func `the reply shows a local option, or with revert what was there before`() throws {
    for (rules, client, shown) in [
      (["local set 0xffee abcd"], "", "61 62 63 64"),
      (["local set 0xffee abcd revert"], "", nil),
      (["local set 0xffee abcd revert"], "+ednsopt=65518:7879", "78 79"),
      (["local set 0xffee abcd", "local replace 0xffee bcde revert"], "", "61 62 63 64"),
      (["subnet set 24 56"], "", nil), (["local unset 0xffee"], "+ednsopt=65518:7879", nil),
    ] as [([String], String, String?)] {
      let lines = rules.map { "rewrite continue edns0 \($0)" }.joined(separator: "\n")
      try withLines("forward . UPSTREAM\n\(lines)") { port, _, _ in
        for name in ["ext.interwebs.test", "web.demo.svc.cluster.local"] {
          let reply = dig(port, "\(name) A \(client)")
          #expect(reply.contains("status: NOERROR"), "\(reply)")
          if let shown {
            #expect(reply.contains("OPT=65518: \(shown)"), "\(rules) \(reply)")
          } else {
            #expect(!reply.contains("OPT=65518"), "\(rules) \(reply)")
          }
          #expect(!reply.contains("CLIENT-SUBNET"), "\(reply)")
        }
      }
    }
  }

  @Test func `edns0 tells who asks, for what and over what`() throws {
    for (variable, expected) in [
      ("{client_ip}", [127, 0, 0, 1]), ("{server_ip}", [127, 0, 0, 1]), ("{qtype}", [0, 1]),
      ("{protocol}", Array("udp".utf8)), ("{qname}", Array("ext.interwebs.test.".utf8)),
    ] as [(String, [UInt8])] {
      try withLines("forward . UPSTREAM\nrewrite edns0 local set 0xffee \(variable)") { port, upstream, _ in
        #expect(dig(port, "Ext.interwebs.test A +short") == "1.2.3.4\n")
        #expect(upstream.lastOptions.first { $0.code == local }?.octets == expected, "\(variable)")
      }
    }
    try withLines("forward . UPSTREAM\nrewrite edns0 local set 0xffee {server_port}") { port, upstream, _ in
      _ = dig(port, "ext.interwebs.test A")
      #expect(upstream.lastOptions.first?.octets == [UInt8(port >> 8), UInt8(port & 255)])
    }
    try withLines("forward . UPSTREAM\nrewrite edns0 local set 0xffee {client_port}") { port, upstream, _ in
      _ = dig(port, "ext.interwebs.test A")
      #expect(upstream.lastOptions.first?.octets.count == 2)
    }
  }

  @Test func `edns0 asks who answers, and tells the client's network`() throws {
    try withLines("forward . UPSTREAM\nrewrite edns0 nsid set") { port, upstream, _ in
      _ = dig(port, "ext.interwebs.test A")
      #expect(upstream.lastOptions == [EDNSValue(code: 3, octets: [])])
    }
    for (rule, client, expected) in [
      ("set 20 56", "", [0, 1, 20, 0, 127, 0, 0]), ("set 32 128", "", [0, 1, 32, 0, 127, 0, 0, 1]),
      ("append 24 56", "+subnet=192.0.2.0/24", [0, 1, 24, 0, 192, 0, 2]), ("replace 24 56", "", nil),
      ("unset", "+subnet=192.0.2.0/24", nil),
    ] as [(String, String, [UInt8]?)] {
      try withLines("forward . UPSTREAM\nrewrite edns0 subnet \(rule)") { port, upstream, _ in
        _ = dig(port, "ext.interwebs.test A \(client)")
        #expect(upstream.lastOptions.first?.octets == expected, "\(rule) \(client)")
      }
    }
  }

  @Test func `an answer for one client's network is not kept for another`() throws {
    for (rule, isKept) in [("subnet set 24 56", false), ("local set 0xffee abcd", true)] {
      try withLines("forward . UPSTREAM\ncache 60\nrewrite edns0 \(rule)") { port, upstream, _ in
        _ = dig(port, "ext.interwebs.test A")
        let asked = upstream.queries
        for _ in 0..<3 { #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n") }
        #expect(isKept ? upstream.queries == asked : upstream.queries >= asked + 3, "\(rule)")
      }
    }
  }

  @Test func `continue goes on to the next rule, stop and nothing do not`() throws {
    for (word, expected) in [("continue", "10.43.0.20\n"), ("stop", ""), ("", "")] {
      let lines = """
        rewrite \(word) name exact a.test b.test
        rewrite name exact b.test web.demo.svc.cluster.local
        """
      try withLines(lines) { port, _, _ in #expect(dig(port, "a.test A +short") == expected, "\(word)") }
    }
  }

  @Test func `names are matched by beginning, end, part and pattern`() throws {
    let lines = """
      rewrite name prefix old- web.
      rewrite name substring .middle. .demo.svc.
      rewrite name suffix .corp.test. .demo.svc.cluster.local.
      """
    try withLines(lines) { port, _, _ in
      #expect(dig(port, "old-demo.svc.cluster.local A +short") == "10.43.0.20\n")
      #expect(dig(port, "web.middle.cluster.local A +short") == "10.43.0.20\n")
      #expect(dig(port, "web.corp.test A +short") == "10.43.0.20\n")
    }
  }

  @Test func `answer auto turns names of the answer back, and value and name as they say`() throws {
    let suffix = "rewrite name suffix .corp.test .demo.svc.cluster.local answer auto"
    try withLines(suffix) { port, _, _ in
      let reply = dig(port, "_http._tcp.db.corp.test SRV +noall +answer +additional")
      #expect(reply.contains("db-0.db.corp.test."), "\(reply)")
      #expect(!reply.contains("cluster.local"), "\(reply)")
    }
    let block = """
      rewrite stop {
        name regex (.*)\\.corp\\.test {1}.demo.svc.cluster.local
        answer name (.*)\\.demo\\.svc\\.cluster\\.local {1}.corp.test
        answer value (.*)\\.demo\\.svc\\.cluster\\.local {1}.value.test
      }
      """
    try withLines(block) { port, _, _ in
      let reply = dig(port, "_http._tcp.db.corp.test SRV +noall +answer")
      #expect(reply.contains("db-0.db.value.test.") && !reply.contains("cluster.local"), "\(reply)")
    }
  }

  @Test func `the target of an alias is another one, with that one's records`() throws {
    let lines = """
      hosts {
        192.0.2.80 www.other.test
        fallthrough
      }
      forward . UPSTREAM
      rewrite cname regex (.*)\\.interwebs\\.test\\. www.other.test.
      """
    try withLines(lines) { port, _, _ in
      let reply = dig(port, "www.interwebs.test A +noall +answer")
      #expect(reply.contains("CNAME\twww.other.test.") && reply.contains("192.0.2.80"), "\(reply)")
      #expect(!reply.contains("1.2.3.4"), "\(reply)")
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
    }
    try withLines("rewrite cname exact web.demo.svc.cluster.local dual.demo.svc.cluster.local") {
      port, _, _ in
      #expect(
        dig(port, "inside.demo.svc.cluster.local A +short") == "dual.demo.svc.cluster.local.\n10.43.0.21\n")
    }
  }

  @Test func `type, class, ttl and rcode are rewritten`() throws {
    let lines = """
      rewrite continue type TXT A
      rewrite continue class CH IN
      rewrite continue ttl suffix .svc.cluster.local 30-300
      rewrite continue ttl exact ext.interwebs.test -7
      rewrite continue rcode regex (.*)\\.demo\\.svc\\.cluster\\.local NXDOMAIN REFUSED
      rewrite rcode exact odd.test 5 23
      forward interwebs.test UPSTREAM
      """
    try withLines(lines) { port, _, _ in
      #expect(dig(port, "web.demo.svc.cluster.local TXT +noall +answer").contains("10.43.0.20"))
      #expect(dig(port, "web.demo.svc.cluster.local A CH +noall +answer").contains("10.43.0.20"))
      #expect(dig(port, "web.demo.svc.cluster.local A HS").contains("status: REFUSED"))
      #expect(firstTTL(port, "web.demo.svc.cluster.local A") == 30)
      #expect(firstTTL(port, "ext.interwebs.test A") == 7)
      #expect(dig(port, "absent.demo.svc.cluster.local A").contains("status: REFUSED"))
      #expect(dig(port, "odd.test A").contains("status: BADCOOKIE"))
      // Without EDNS there is no place for that number.
      #expect(dig(port, "odd.test A +noedns").contains("status: SERVFAIL"))
    }
  }
}
