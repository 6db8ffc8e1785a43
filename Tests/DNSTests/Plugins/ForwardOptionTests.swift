// Options of forward as a Corefile writes them, and the numbers that come of it.

import Addresses
import Glibc
import Diagnostics
import SoakLab
import Synchronization
import Testing

@testable import DNS

@Suite(.serialized, .timeLimit(.minutes(3))) struct ForwardOptionTests {
  @Test func `next asks the servers of the next line, and so does next_on_nodata`() throws {
    let second = try TinyUpstream()
    defer { second.stop() }
    for (option, code, isSecond) in [
      ("next NXDOMAIN REFUSED", 3, true), ("next NXDOMAIN REFUSED", 5, true), ("next NXDOMAIN", 5, false),
      ("next_on_nodata", 3, false), ("", 3, false),
    ] as [(String, UInt16, Bool)] {
      let lines = "forward . UPSTREAM {\n \(option)\n}\nforward . 127.0.0.1:\(second.port)"
      try withLines(lines) { port, upstream, _ in
        upstream.code.store(code, ordering: .relaxed)
        let reply = dig(port, "ext.interwebs.test A")
        #expect(reply.contains("1.2.3.4") == isSecond, "\(option) \(code) \(reply)")
        upstream.code.store(0, ordering: .relaxed)
        #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      }
    }
    // The first server has an address and no other record there; the second says what it is told to.
    try withLines("forward . UPSTREAM {\n next_on_nodata\n}\nforward . 127.0.0.1:\(second.port)") {
      port, upstream, _ in
      second.code.store(5, ordering: .relaxed)
      #expect(dig(port, "ext.interwebs.test MX").contains("status: REFUSED"))
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      second.code.store(0, ordering: .relaxed)
    }
    // Without a line after it the answer is the answer.
    try withLines("forward . UPSTREAM {\n next NXDOMAIN\n}") { port, _, _ in
      #expect(dig(port, "missing.interwebs.test A").contains("status: NXDOMAIN"))
    }
  }

  @Test func `failover takes another server's answer`() throws {
    let second = try TinyUpstream()
    defer { second.stop() }
    let lines =
      "forward . UPSTREAM 127.0.0.1:\(second.port) {\n policy sequential\n failover SERVFAIL REFUSED\n}"
    try withLines(lines) { port, upstream, _ in
      upstream.code.store(5, ordering: .relaxed)
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
    }
  }

  @Test func `max_connect_attempts bounds how many servers are asked`() throws {
    let second = try TinyUpstream()
    defer { second.stop() }
    for (option, isAnswered) in [
      ("max_connect_attempts 1", false), ("max_connect_attempts 2", true), ("", true),
    ] {
      let lines = """
        forward . UPSTREAM 127.0.0.1:\(second.port) {
          policy sequential
          read_timeout 200ms
          \(option)
        }
        """
      try withLines(lines) { port, upstream, _ in
        upstream.isSilent.store(true, ordering: .relaxed)
        let reply = dig(port, "ext.interwebs.test A")
        #expect(reply.contains("1.2.3.4") == isAnswered, "\(option) \(reply)")
      }
    }
  }

  @Test(arguments: [true, false])
  func `failfast answers at once while every server fails, and checks that they do are counted`(
    _ isFast: Bool
  ) throws {
    let lines = """
      forward . UPSTREAM {
        \(isFast ? "failfast_all_unhealthy_upstreams" : "")
        max_fails 1
        read_timeout 200ms
        health_check 50ms no_rec domain check.test
      }
      """
    try withLines(lines) { port, upstream, metrics in
      upstream.isSilent.store(true, ordering: .relaxed)
      #expect(dig(port, "a.test A").contains("status: SERVFAIL"))
      let to = "to=\"127.0.0.1:\(upstream.port)\""
      // Checks are asked about their own name, without recursion, and nobody answers them.
      #expect(
        eventually {
          (metrics.series("coredns_forward_healthcheck_failures_total{\(to)}") ?? 0) >= 2
        })
      #expect(
        eventually {
          let packet = upstream.last.packet
          let message = try? Message(packet.span.bytes)
          return message?.question?.name == DomainName("check.test") && message?.question?.type == .ns
            && packet[2] & 1 == 0
        })
      let proxy =
        metrics.series("coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\",\(to)}") ?? 0
      #expect(proxy >= 2)
      func sent() -> Double { metrics.series("coredns_forward_requests_total{\(to)}") ?? 0 }
      let before = sent()
      let broken = metrics.series("coredns_forward_healthcheck_broken_total") ?? 0
      #expect(dig(port, "b.test A").contains("status: SERVFAIL"))
      #expect(isFast ? sent() == before : sent() > before)
      #expect((metrics.series("coredns_forward_healthcheck_broken_total") ?? 0) > broken)
      // One that is back is asked again.
      upstream.isSilent.store(false, ordering: .relaxed)
      #expect(eventually { dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n" })
    }
  }

  @Test func `questions come from source_address, over UDP and TCP`() throws {
    for option in ["", "force_tcp"] {
      try withLines("forward . UPSTREAM {\n source_address 127.0.0.9\n \(option)\n}") { port, upstream, _ in
        #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
        if option.isEmpty { #expect(upstream.last.peer?.address == IPAddress("127.0.0.9")) }
        #expect(dig(port, "big.interwebs.test A +tcp +short").split(separator: "\n").count == 120)
      }
    }
    // An address that is not the machine's gives no answer rather than one from elsewhere.
    try withLines("forward . UPSTREAM {\n source_address 192.0.2.9\n}") { port, upstream, _ in
      #expect(dig(port, "ext.interwebs.test A").contains("status: SERVFAIL"))
      #expect(upstream.queries == 0)
    }
  }

  @Test func `force_tcp asks over TCP alone, prefer_udp over UDP for TCP clients too`() throws {
    try withLines("forward . UPSTREAM {\n force_tcp\n prefer_udp\n}") { port, upstream, metrics in
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      #expect(upstream.queries == 0)
      let series =
        "coredns_proxy_conn_cache_misses_total{proxy_name=\"forward\",to=\"127.0.0.1:\(upstream.port)\""
      #expect((metrics.series("\(series),proto=\"tcp\"}") ?? 0) >= 1)
    }
    try withLines("forward . UPSTREAM {\n prefer_udp\n}") { port, upstream, metrics in
      #expect(dig(port, "ext.interwebs.test A +tcp +short") == "1.2.3.4\n")
      #expect(upstream.queries >= 1)
      let series =
        "coredns_proxy_conn_cache_misses_total{proxy_name=\"forward\",to=\"127.0.0.1:\(upstream.port)\""
      #expect((metrics.series("\(series),proto=\"udp\"}") ?? 0) >= 1)
    }
  }

  /// `expire`, `max_age`, `max_idle_conns`, names behind `%`.
  @Test func `connections over TLS are kept as long as they may be`() throws {
    let (credentials, folder) = try TestCertificate.make("DNS:dns.test")
    defer { ScratchFolder.remove(folder) }
    let upstream = DNSServer(settings: DNSServerSettings(), zone: Fixture.zone, metrics: Metrics())
    try upstream.start(
      listen: [freeEndpoint()], encrypted: [EncryptedPort(freeEndpoint(), .tls, credentials)])
    defer { upstream.stop() }
    let server = upstream.encryptedEndpoints[0]
    for (option, opensAnew) in [
      ("expire 1h\n max_idle_conns 3", false), ("expire 50ms", true), ("expire 1h\n max_age 50ms", true),
    ] {
      let lines = "forward . tls://127.0.0.1%dns.test:\(server.port) {\n tls ca\n \(option)\n}"
      let text = ".:53 {\n\(lines)\n}"
      let corefile = try Corefile.read(text) { $0 == "ca" ? credentials.certificate : nil }
      let metrics = Metrics()
      try withServer(corefile.server, metrics: metrics) { _, port in
        func count(_ what: String) -> Double {
          metrics.series(
            "coredns_proxy_conn_cache_\(what)_total{proxy_name=\"forward\",to=\"\(server)\",proto=\"tcp-tls\"}"
          ) ?? 0
        }
        #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
        if opensAnew {
          #expect(
            eventually {
              // Longer than the connection may be idle: questions that come one after another keep it.
              usleep(200_000)
              _ = dig(port, "web.demo.svc.cluster.local A")
              return count("misses") >= 2
            }, "\(option)")
        } else {
          for _ in 0..<3 { #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n") }
          // The first was a miss, and everything after it went the same way.
          #expect(count("misses") == 1 && count("hits") >= 3, "\(count("misses")) \(count("hits"))")
        }
      }
    }
  }

  @Test func `replies are counted by server and code under both names`() throws {
    try withLines("forward . UPSTREAM") { port, upstream, metrics in
      _ = dig(port, "ext.interwebs.test A")
      _ = dig(port, "missing.interwebs.test A")
      let to = "to=\"127.0.0.1:\(upstream.port)\""
      #expect(metrics.series("coredns_forward_responses_total{\(to),rcode=\"NOERROR\"}") == 1)
      for code in ["NOERROR", "NXDOMAIN"] {
        let name =
          "coredns_proxy_request_duration_seconds_count{proxy_name=\"forward\",\(to),rcode=\"\(code)\"}"
        #expect((metrics.series(name) ?? 0) >= 1, "\(name)")
      }
    }
  }
}
