// Options of loadbalance, cache, template, errors, hosts: a Corefile, a server, dig.

import Addresses
import Diagnostics
import Glibc
import Logging
import SoakLab
import Synchronization
import Testing

@testable import DNS

private let three =
  "hosts {\n 192.0.2.1 www.test\n 192.0.2.2 www.test\n 198.51.100.3 www.test\n fallthrough\n}"

/// How often each address stands first.
private func firsts(_ port: UInt16, _ name: String, _ count: Int) -> [String: Int] {
  // One process asks for all.
  let replies = dig(
    port, "+short +tries=3 " + Array(repeating: "\(name) A", count: count).joined(separator: " "))
  let lines = replies.split(separator: "\n").map(String.init)
  let each = lines.count / count
  return stride(from: 0, to: lines.count, by: max(1, each)).reduce(into: [:]) {
    $0[lines[$1], default: 0] += 1
  }
}

/// Keeps what is logged.
private final class KeptLines: LogHandler, @unchecked Sendable {
  static let lines = Mutex<[String: [(Logger.Level, String)]]>([:])
  let name: String
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.debug
  init(_ name: String) { self.name = name }
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }
  func log(event: LogEvent) {
    let text = "\(event.message)" + (event.metadata?["cause"].map { " \($0)" } ?? "")
    Self.lines.withLock { $0[name, default: []].append((event.level, text)) }
  }
  static func all(_ name: String) -> [(Logger.Level, String)] { lines.withLock { $0[name] ?? [] } }
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct PluginOptionTests {
  @Test func `a weight says how often an address comes first, in hosts and in the cluster`() throws {
    let weights = """
      # names, then addresses and weights
      www.test
      198.51.100.3 255

      db.demo.svc.cluster.local.
      10.42.0.6 255
      """
    let lines = "\(three)\nloadbalance weighted w.txt {\n reload 10s\n}"
    try withLines(lines, files: ["w.txt": weights]) { port, _, _ in
      // The others have 1 each: 2 of 257. That 40 of 200 begin otherwise does not happen.
      let hosts = firsts(port, "www.test", 200)
      #expect((hosts["198.51.100.3"] ?? 0) > 160, "\(hosts)")
      let cluster = firsts(port, "db.demo.svc.cluster.local", 200)
      #expect((cluster["10.42.0.6"] ?? 0) > 160, "\(cluster)")
      #expect(dig(port, "db.demo.svc.cluster.local A +short").split(separator: "\n").count == 2)
      #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
    }
  }

  @Test func `each address is drawn as often as its weight says`() {
    var random = SeededRandom(state: 7)
    var counts = [0, 0, 0]
    for _ in 0..<6000 { counts[Balance.drawn([3, 1, 2], &random)] += 1 }
    for (count, expected) in zip(counts, [3000, 1000, 2000]) {
      #expect(abs(count - expected) < 200, "\(counts)")
    }
  }

  @Test func `addresses of preferred networks come before others`() throws {
    let lines = "\(three)\nloadbalance round_robin {\n prefer 198.51.100.0/24 10.42.0.6/32\n}"
    try withLines(lines) { port, _, _ in
      #expect(firsts(port, "www.test", 20) == ["198.51.100.3": 20])
      #expect(firsts(port, "db.demo.svc.cluster.local", 20) == ["10.42.0.6": 20])
      // The others still turn round.
      let seconds = Set(
        (0..<20).compactMap { _ in
          dig(port, "www.test A +short").split(separator: "\n").dropFirst().first.map(String.init)
        })
      #expect(seconds == ["192.0.2.1", "192.0.2.2"])
    }
  }

  @Test(arguments: [true, false]) func `keepttl tells the whole time of a kept answer`(_ keeps: Bool) throws {
    try withLines("forward . UPSTREAM\ncache 60 {\n\(keeps ? "keepttl" : "")\n}") { port, upstream, _ in
      #expect(firstTTL(port, "ext.interwebs.test A") == 60)
      let asked = upstream.queries
      usleep(1_200_000)
      let ttl = try #require(firstTTL(port, "ext.interwebs.test A"))
      #expect(keeps ? ttl == 60 : ttl < 60, "\(ttl)")
      #expect(upstream.queries == asked)
    }
  }

  /// Upstream says a minute. In plain blocks and in those where plugins have a say.
  @Test(arguments: ["", "minimal"]) func `clients see no longer time than cache has, in the first answer too`(
    _ other: String
  ) throws {
    try withLines("forward . UPSTREAM\ncache 30\n\(other)") { port, upstream, _ in
      for name in ["ext.interwebs.test A", "www.interwebs.test A"] {
        let first = ttls(port, "\(name) +answer")
        #expect(!first.isEmpty && first.allSatisfy { $0 == 30 }, "\(name): \(first)")
        let asked = upstream.queries
        let second = ttls(port, "\(name) +answer")
        #expect(second.count == first.count && second.allSatisfy { $0 <= 30 }, "\(name): \(second)")
        #expect(upstream.queries == asked, "the second answer is the one that was kept")
      }
      #expect(ttls(port, "missing.interwebs.test A +authority") == [30], "denials too")
      // The cache keeps an answer for five seconds at least; nobody is told more than the server said.
      upstream.ttl.store(2, ordering: .relaxed)
      #expect(firstTTL(port, "EXT.other.test A") == 2)
    }
    // The shortest time of an answer is that of all its records.
    try withLines("forward . UPSTREAM\ncache\n\(other)") { port, upstream, _ in
      upstream.ttl.store(86400, ordering: .relaxed)
      #expect(ttls(port, "www.interwebs.test A +answer") == [3600, 3600])
      #expect(ttls(port, "uneven.interwebs.test A +answer") == [20, 20])
    }
    // What no cache has a say in is as it came.
    for lines in ["forward . UPSTREAM", "forward . UPSTREAM\ncache 30 elsewhere.test"] {
      try withLines("\(lines)\n\(other)") { port, _, _ in
        #expect(ttls(port, "www.interwebs.test A +answer") == [60, 60], "\(lines)")
      }
    }
  }

  @Test(arguments: ["", "minimal"])
  func `prefetch fetches again what is asked for often, before its time is over`(_ other: String) throws {
    // Of 30 seconds 27 are left after three: from then on who asks has it fetched.
    let lines = "forward . UPSTREAM\ncache {\n success 100 30\n prefetch 3 1m 90%\n}\n\(other)"
    try withLines(lines) { port, upstream, metrics in
      func fetched() -> Double {
        metrics.series("coredns_cache_prefetch_total{server=\"dns://:\(port)\"}") ?? 0
      }
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      upstream.isFailing.store(true, ordering: .relaxed)
      let asked = upstream.queries
      var replies: [String] = []
      func ask() { replies.append(dig(port, "ext.interwebs.test A +short")) }
      let isFetched = eventually {
        ask()
        return fetched() >= 1
      }
      #expect(isFetched && replies.count >= 3)
      // What is fetched is a failure here: who asks still has the answer that is kept.
      #expect(eventually { upstream.queries > asked })
      for _ in 0..<3 { ask() }
      #expect(replies.allSatisfy { $0 == "1.2.3.4\n" }, "\(replies)")
      // One that brings an answer puts it in place of the old one, with its whole time.
      upstream.isFailing.store(false, ordering: .relaxed)
      #expect(
        eventually {
          usleep(200_000)
          return firstTTL(port, "ext.interwebs.test A") ?? 0 > 27
        })
      #expect(fetched() >= 2)
    }
  }

  @Test func `only names of the zones that cache names are kept`() throws {
    try withLines("forward . UPSTREAM\ncache 60 www.interwebs.test") { port, upstream, _ in
      for (name, isKept) in [("www", true), ("ext", false)] {
        _ = dig(port, "\(name).interwebs.test A")
        let asked = upstream.queries
        for _ in 0..<3 { _ = dig(port, "\(name).interwebs.test A") }
        #expect(isKept ? upstream.queries == asked : upstream.queries >= asked + 3, "\(name)")
      }
    }
  }

  /// In plain blocks and in those where plugins have a say.
  @Test(arguments: ["", "minimal"]) func `serve_stale immediate answers first and asks then`(_ other: String)
    throws
  {
    let lines = "forward . UPSTREAM\ncache {\n success 100 1 0\n serve_stale 1h immediate 30s\n}\n\(other)"
    try withLines(lines) { port, upstream, metrics in
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      usleep(1_300_000)
      upstream.isSilent.store(true, ordering: .relaxed)
      let asked = upstream.queries
      let reply = dig(port, "ext.interwebs.test A")
      #expect(reply.contains("30\tIN\tA\t1.2.3.4") && reply.contains("EDE: 3"), "\(reply)")
      #expect(eventually { upstream.queries > asked }, "nobody waits for this question")
      #expect((metrics.series("coredns_cache_served_stale_total{server=\"dns://:\(port)\"}") ?? 0) >= 1)
    }
  }

  @Test(arguments: ["", "minimal"])
  func `serve_stale verify waits so long, and not again after a failure`(_ other: String) throws {
    let lines =
      "forward . UPSTREAM\ncache {\n success 100 1 0\n serve_stale 1h verify 100ms 20s 300s\n}\n\(other)"
    try withLines(lines) { port, upstream, _ in
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      usleep(1_300_000)
      // Whoever answers is heard, and kept for a second.
      let before = upstream.queries
      #expect(firstTTL(port, "ext.interwebs.test A") == 1)
      #expect(upstream.queries > before)
      usleep(1_300_000)
      upstream.isSilent.store(true, ordering: .relaxed)
      // Servers have six seconds in all, dig four: the stale answer comes before them.
      let reply = dig(port, "ext.interwebs.test A")
      #expect(reply.contains("20\tIN\tA\t1.2.3.4") && reply.contains("EDE: 3"), "\(reply)")
      // Once all attempts have failed nobody is asked for five minutes.
      #expect(
        eventually {
          let asked = upstream.queries
          usleep(100_000)
          return dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n" && upstream.queries == asked
        })
    }
  }

  @Test func `a stale answer goes before a failure, and with prefer_positive before a denial`() throws {
    for (code, policy, isStale) in [
      (2, "", true), (3, "", false), (3, "serve_stale_policy prefer_positive", true),
    ] as [(UInt16, String, Bool)] {
      let lines = "forward . UPSTREAM\ncache {\n success 100 1 0\n serve_stale 1h verify\n \(policy)\n}"
      try withLines(lines) { port, upstream, _ in
        #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
        usleep(1_300_000)
        upstream.code.store(code, ordering: .relaxed)
        let reply = dig(port, "ext.interwebs.test A")
        #expect(reply.contains("1.2.3.4") == isStale, "\(code) \(policy) \(reply)")
      }
    }
  }

  @Test func `template fills every place, and says what went wrong`() throws {
    let lines = """
      template IN A hex.test {
        match ^ip-(?P<a>[0-9a-f]{2})-(?P<b>[0-9a-z]+)[.]hex[.]test[.]$
        answer "{{ .Name }} 60 IN A 10.0.{{ parseInt .Group.a 16 8 }}.{{ .Group.b }}"
        answer "{{ .Name }} 60 IN A 10.1.{{ parseInt .Group.b 16 16 }}.1"
        additional "{{ .Zone }} 60 IN TXT \\"{{ .Remote }} {{ .Type }} {{ .Class }} {{ .Question.Qtype }}\\""
        authority "{{ .Zone }} 60 IN NS ns.{{ .Zone }}"
        fallthrough ip-00.hex.test
      }
      template ANY ANY gone.test {
        rcode NXDOMAIN
        ederror 17 "not for you"
      }
      template ANY ANY hex.test {
        rcode REFUSED
        ederror 18
      }
      """
    try withLines(lines) { port, _, metrics in
      let reply = dig(port, "Ip-0f-20.hex.test A")
      #expect(reply.contains("A\t10.0.15.20") && reply.contains("A\t10.1.32.1"), "\(reply)")
      #expect(reply.contains("\"127.0.0.1 A IN 1\"") && reply.contains("NS\tns.hex.test."), "\(reply)")
      let gone = dig(port, "a.gone.test MX")
      #expect(gone.contains("status: NXDOMAIN") && gone.contains("EDE: 17") && gone.contains("not for you"))
      // 999 is no octet, zz no number.
      #expect(dig(port, "ip-0f-999.hex.test A").contains("status: SERVFAIL"))
      #expect(dig(port, "ip-0f-zz.hex.test A").contains("status: SERVFAIL"))
      #expect(
        dig(port, "other.hex.test A").contains("status: SERVFAIL"), "without fallthrough this is the end")
      let passed = dig(port, "x.ip-00.hex.test A")
      #expect(passed.contains("status: REFUSED") && passed.contains("EDE: 18"), "\(passed)")
      #expect(
        dig(port, "other.hex.test TXT").contains("status: REFUSED"), "of another type is the next rule's")
      let own = "server=\"dns://:\(port)\",zone=\"hex.test.\",view=\"\",class=\"IN\",type=\"A\""
      // Three of the first rule and one of the last.
      #expect(metrics.series("coredns_template_matches_total{\(own)}") == 4)
      #expect(metrics.text().contains("coredns_template_rr_failures_total{\(own),section=\"answer\""))
      #expect(!metrics.text().contains("coredns_template_template_failures_total{"))
    }
    let broken =
      "template IN A hex.test {\n answer \"{{ .Name }} 60 IN A 10.0.0.{{ parseInt \"zz\" 16 8 }}\"\n}"
      .replacing("\"zz\"", with: "\\\"zz\\\"")
    try withLines(broken) { port, _, metrics in
      #expect(dig(port, "a.hex.test A").contains("status: SERVFAIL"))
      #expect(metrics.text().contains("coredns_template_template_failures_total{"))
    }
  }

  @Test func `template works variables out, and answers where conditions hold`() throws {
    let lines = """
      template IN A dev.test {
        match ^(?P<ip>[0-9]{1,3}(-[0-9]{1,3}){3})[.](?P<id>[a-z2-7]+)[.]dev[.]test[.]$
        var ip replace(group('ip'), '-', '.')
        var isOwn ip startsWith '192.168.' || group(3) == 'own'
        expr "any(['10.0.0.0/8', '192.168.0.0/16'], incidr(ip, #))"
        expr type() == 'A' and client_ip() == '127.0.0.1'
        answer "{{ .Name }} 60 IN A {{ .Var.ip }}"
        additional "{{ .Name }} 60 IN TXT {{ .Var.isOwn }}"
        fallthrough
      }
      template IN A dev.test {
        match ^other[.]
        expr "all(['a', 'b'], # != 'c') && none(['a'], # == 'b')"
        answer "{{ .Name }} 60 IN A 192.0.2.1"
      }
      """
    try withLines(lines) { port, _, metrics in
      let known = dig(port, "192-168-7-9.abc.dev.test A")
      #expect(known.contains("A\t192.168.7.9") && known.contains("\"true\""), "\(known)")
      #expect(dig(port, "10-1-2-3.abc.dev.test A").contains("\"false\""))
      #expect(dig(port, "10-1-2-3.own.dev.test A").contains("\"true\""))
      // Outside the networks, or no address at all: the next rule is asked, which has no name for it.
      for name in ["192-0-2-7.abc.dev.test", "10-1-2-999.abc.dev.test"] {
        #expect(dig(port, "\(name) A").contains("status: SERVFAIL"), "\(name)")
      }
      #expect(dig(port, "other.dev.test A +short") == "192.0.2.1\n")
      let own = "server=\"dns://:\(port)\",zone=\"dev.test.\",view=\"\",class=\"IN\",type=\"A\""
      #expect(metrics.series("coredns_template_matches_total{\(own)}") == 4)
    }
    for (option, why) in [
      ("var type 'A'", "another meaning"), ("var ip", "a name and an expression"), ("var 9 'a'", "no name"),
      ("expr later == 'A'", "later is not known"), ("expr group('absent') == 'A'", "no group"),
      ("expr do()", "not known in templates"), ("expr incidr(name(), 'x')", "block of addresses"),
      ("expr any(name(), true)", "needs a list"), ("expr replace('a')", "needs 3 arguments"),
      ("expr \"# == 'a'\"", "out of place"),
    ] {
      let text = ".:53 {\n template IN A dev.test {\n  \(option)\n }\n}"
      let error = #expect(throws: WeftError.self, "\(option)") { try Corefile.read(text) }
      #expect(error?.cause.contains(why) == true && error?.object == "Corefile:3", "\(option): \(error)")
    }
  }

  @Test func `failures that look alike are one line when their time is over`() throws {
    let log = QueryLogger(failures: Logger(label: "consolidate") { KeptLines($0) })
    let lines = """
      forward . UPSTREAM {
        max_connect_attempts 1
        read_timeout 20ms
      }
      errors {
        consolidate 1s ".* i/o timeout$" warning
      }
      """
    try withLines(lines, log: log) { port, upstream, _ in
      upstream.isSilent.store(true, ordering: .relaxed)
      for index in 0..<3 { #expect(dig(port, "a\(index).silent A").contains("status: SERVFAIL")) }
      #expect(eventually { KeptLines.all("consolidate").contains { $0.0 == .warning } })
      let said = KeptLines.all("consolidate").map(\.1)
      #expect(
        said.allSatisfy { $0.hasSuffix("errors like '.* i/o timeout$' occurred in last 1s") }, "\(said)")
    }
    // All three were counted, whichever period they fell into; what was open is said at the end.
    let counted = KeptLines.all("consolidate").compactMap { Int($0.1.prefix { $0 != " " }) }.reduce(0, +)
    #expect(counted == 3)
  }

  @Test func `show_first says the first failure at once, and no more of one alone`() throws {
    let log = QueryLogger(failures: Logger(label: "first") { KeptLines($0) })
    let lines = """
      forward . UPSTREAM {
        max_connect_attempts 1
        read_timeout 20ms
      }
      errors {
        stacktrace
        consolidate 1h ^nothing
        consolidate 1h "^read udp .* i/o timeout$" info show_first
      }
      """
    try withLines(lines, log: log) { port, upstream, _ in
      upstream.isSilent.store(true, ordering: .relaxed)
      #expect(dig(port, "one.silent A").contains("status: SERVFAIL"))
      let address = "127.0.0.1:\(upstream.port)"
      #expect(KeptLines.all("first").map(\.1) == ["2 one.silent. A: read udp \(address): i/o timeout"])
      #expect(KeptLines.all("first").first?.0 == .info)
    }
    #expect(KeptLines.all("first").count == 1)
  }

  @Test func `hosts passes types that it has no records of, where that is asked for`() throws {
    for option in ["fallthrough", "fallthrough\n fallthrough_unsupported"] {
      let lines = "hosts {\n 192.0.2.7 ext.interwebs.test\n \(option)\n}\nforward . UPSTREAM"
      try withLines(lines) { port, upstream, _ in
        _ = eventually { upstream.queries > 0 }
        let asked = upstream.queries
        #expect(dig(port, "ext.interwebs.test MX").contains("status: NOERROR"))
        #expect((upstream.queries > asked) == option.contains("unsupported"))
        #expect(dig(port, "ext.interwebs.test A +short") == "192.0.2.7\n")
      }
    }
  }
}
