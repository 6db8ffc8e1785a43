// Text from outside: patterns mean what RE2 means by them, and damaged files never trap. `make soak` damages some hundred times as many.

import Addresses
import Diagnostics
import Patterns
import SoakLab
import Testing

@testable import DNS

@Test(arguments: [
  ("^a(b|c)+d$", "abcbd", true), ("^a(b|c)+d$", "ad", false), ("[0-9]{2,3}", "x12y", true),
  ("^[^.]+$", "a.b", false),
  ("(?i)WEB", "my-web", true), ("a{2}", "ab", false), ("\\.svc\\.", "a.svc.b", true), ("^$", "", true),
  ("x*", "", true),
  ("[\\w-]+", "a-b", true), ("^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
])
func `a pattern matches what it says`(_ pattern: String, _ text: String, _ isMatch: Bool) throws {
  #expect(try BytePattern(pattern).matches(Array(text.utf8)) == isMatch)
}

@Test func `groups are where leftmost alternatives put them`() throws {
  let text = Array("pod-7.demo".utf8)
  let groups = try #require(try BytePattern("(?P<name>[a-z]+)-(\\d+)\\.(.*?)$").match(text))
  #expect(
    groups.map { $0.map { String(decoding: text[$0], as: UTF8.self) } } == ["pod-7.demo", "pod", "7", "demo"])
}

@Test(arguments: ["(", "a)", "[a", "*a", "a{2000}", "((a{900}){900})", "(?P<x", "\\", "(?=a)"])
func `a pattern that cannot be read is an error`(_ pattern: String) {
  #expect(throws: BytePatternError.self) { try BytePattern(pattern) }
}

private let corefile = """
  (base) {
    errors
    cache 30 {
      success 5000
      prefetch 10 1m 10%
    }
  }
  .:53 10.0.0.0/8 {
    import base
    bind lo eth0 {
      except ::1
    }
    loadbalance weighted weights {
      reload 10s
      prefer 10.0.0.0/8 fd00::/8
    }
    errors {
      stacktrace
      consolidate 5m ".* i/o timeout$" warning show_first
    }
    rewrite continue edns0 local set 0xffee 0x61626364 revert
    rewrite continue edns0 local append 65518 {client_ip}
    rewrite continue edns0 subnet replace 24 56
    rewrite edns0 nsid unset
    rewrite cname suffix .a.test .b.test
    rewrite continue rcode exact a.test 2 BADCOOKIE
    cache 20 a.test {
      serve_stale 1h verify 100ms 30s 30s
      serve_stale_policy prefer_positive
      keepttl
    }
    kubernetes cluster.local in-addr.arpa {
      pods verified
      ttl 30
      startup_timeout 3s
      apiserver_qps 2.5
      apiserver_burst 4
      apiserver_max_inflight 3
    }
    rewrite name regex (.*)\\.corp {1}.svc answer auto
    template IN A x.test {
      match "^(?P<a>.*)$"
      var ip replace(group('a'), '-', '.')
      expr "any(['10.0.0.0/8', ip], incidr(ip, #)) or group(1) != ''"
      answer "{{ .Name }} 60 IN A 10.0.0.{{ parseInt .Group.a 16 8 }}" "{{ .Name }} 60 IN A 10.0.0.2"
      additional "{{ .Zone }} 60 IN TXT {{ .Remote }}"
      ederror 17 "why"
      fallthrough
    }
    acl {
      block type ANY net 10.0.0.0/8
    }
    view v {
      expr incidr(client_ip(), '10.0.0.0/8') && type() in ['A', 'AAAA'] or not (port() != '53')
    }
    forward . 192.0.2.1 {
      policy sequential
      max_fails 3
      next NXDOMAIN
      next_on_nodata
      failover SERVFAIL
      max_connect_attempts 4
      health_check 1s no_rec domain a.test
      expire 10s
      max_age 1m
      max_idle_conns 2
      source_address 192.0.2.7
      failfast_all_unhealthy_upstreams
    }
    forward . tls://192.0.2.1%dns.test
    hosts {
      192.0.2.1 a b
      reload 5s
      fallthrough
      fallthrough_unsupported
    }
  }
  """

private let zoneFile = """
  $ORIGIN acme.test.
  $TTL 1h
  @ SOA ns hostmaster ( 1 2h 3 ; comment
    4w 5 )
  www 60 IN A 192.0.2.1
   AAAA fd00::1
  t TXT "a \\" b" c\\046d
  x TYPE65 \\# 3 000100
  m MX 10 mail
  """

private let weights = """
  # a name, then addresses
  www.acme.test
  192.0.2.1 200
  fd00::1 1

  db.acme.test.
  192.0.2.2 7
  """

private func read(_ text: String, weights file: String = weights) throws(WeftError) -> Corefile {
  try Corefile.read(text, environment: ["X": "y"], files: { $0 == "weights" ? file : nil }) {
    $0 == "lo" || $0 == "eth0" ? ["::1", "192.0.2.7"].compactMap { IPAddress($0) } : nil
  }
}

private func damaged(_ text: String, _ random: inout SeededRandom) -> String {
  var bytes = Array(text.utf8)
  let marks = Array("{}()\"\\#$%@;[]*+?|^'.- \n".utf8)
  for _ in 0..<Int.random(in: 1..<12, using: &random) where !bytes.isEmpty {
    let at = Int.random(in: 0..<bytes.count, using: &random)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
    case 1: bytes.remove(at: at)
    case 2: bytes.insert(marks[Int.random(in: 0..<marks.count, using: &random)], at: at)
    default:
      let end = min(bytes.count, at + Int.random(in: 1..<20, using: &random))
      bytes.insert(contentsOf: bytes[at..<end], at: Int.random(in: 0..<bytes.count, using: &random))
    }
  }
  return String(decoding: bytes, as: UTF8.self)
}

@Test(arguments: 1...8) func `damaged Corefiles are read or refused with a line`(_ seed: Int) {
  var random = SeededRandom(state: UInt64(seed))
  #expect(throws: Never.self) { try read(corefile) }
  for _ in 0..<Soak.rounds(60, long: 20_000) {
    let text = damaged(corefile, &random)
    do throws(WeftError) {
      _ = try read(text, weights: damaged(weights, &random))
    } catch {
      #expect(error.code == "DNS0010" && error.object.hasPrefix("Corefile:"), "seed \(seed): \(error)")
    }
  }
}

@Test(arguments: 1...8) func `damaged zone files are read or refused with a line`(_ seed: Int) throws {
  var random = SeededRandom(state: UInt64(seed))
  let origin = try #require(DomainName("acme.test"))
  let whole = try ZoneText.records(zoneFile, origin: origin)
  #expect(whole.count == 6)
  #expect(whole.last?.owner == DomainName("m.acme.test"))
  for _ in 0..<Soak.rounds(150, long: 60_000) {
    let text = damaged(zoneFile, &random)
    if let zone = try? ServedZone(text, zone: origin) {
      for name in ["www.acme.test", "acme.test", "nothing.acme.test"].compactMap({ DomainName($0) }) {
        let reply = zone.answer(Message.Question(name: name, type: .a))
        #expect((reply?.encoded.count ?? 0) < 65536)
      }
    }
  }
}

@Test(arguments: 1...8) func `random patterns and expressions neither trap nor run away`(_ seed: Int) {
  var random = SeededRandom(state: UInt64(seed))
  let text = Array("web-7.demo.svc.cluster.local.".utf8)
  for _ in 0..<Soak.rounds(150, long: 20_000) {
    if let pattern = try? BytePattern(damaged("^(a|b)*[a-z]{1,3}(?P<n>\\d+)?\\..*(x+x+)+$", &random)) {
      _ = pattern.match(text)
    }
    _ = try? ViewParser.parse(
      damaged("incidr(client_ip(), '10.0.0.0/8') && (type() in ['A'] || !do())", &random))
    let expression = try? ViewParser.parse(
      damaged(
        "any(['10.0.0.0/8', x], incidr(replace(group('a'), '-', x), #)) and !(all([x], # == name()))", &random
      ),
      template: ViewParser.Template(groups: ["a"], variables: ["x"]))
    let question = Message.Question(name: DomainName("a.test") ?? .root, type: .a)
    let client = Client(
      endpoint: SocketEndpoint(.v4(IPv4Address(192, 0, 2, 7)), 53), local: nil, isTCP: false)
    _ = expression?.knowing { _ in .text("10.0.0.0/8") }.value(question, client, QueryHead())
    let template = try? TemplateText(
      damaged("{{ .Name }} 60 IN A {{ index .Match 1 }} {{- parseInt .Group.a 16 8 -}} x", &random),
      groups: ["a"])
    _ = template?.filled(["Name": "a.test.", "Match 1": "1", "Group.a": "ff"])
    if let weights = try? Balance.weights(damaged(weights, &random)) {
      #expect(weights.values.allSatisfy { !$0.values.contains(0) })
    }
  }
}
