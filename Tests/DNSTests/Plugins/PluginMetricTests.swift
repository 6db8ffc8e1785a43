// CoreDNS's numbers of plugins: queries with dig, then the page.

import Addresses
import ClusterView
import Diagnostics
import Synchronization
import Testing

@testable import DNS

@Suite(.serialized, .timeLimit(.minutes(2))) struct PluginMetricTests {
  @Test func `acl counts what it allows, refuses, empties and drops, wherever it is answered`() throws {
    let lines = """
      acl web.demo.svc.cluster.local demo.svc.cluster.local {
        block type AAAA
        filter type TXT
        drop type MX
      }
      """
    try withLines(lines) { port, _, metrics in
      for type in ["A", "A", "AAAA", "TXT"] { _ = dig(port, "web.demo.svc.cluster.local \(type)") }
      _ = dig(port, "web.demo.svc.cluster.local MX +time=1")
      let server = "server=\"dns://:\(port)\""
      let zone = "\(server),zone=\"web.demo.svc.cluster.local.\",view=\"\""
      #expect(metrics.series("coredns_acl_allowed_requests_total{\(server),view=\"\"}") == 2)
      for what in ["blocked", "filtered", "dropped"] {
        #expect(metrics.series("coredns_acl_\(what)_requests_total{\(zone)}") == 1, "\(what)")
      }
      #expect(dig(port, "db.demo.svc.cluster.local TXT").contains("EDE: 17"))
      let wide = "\(server),zone=\"demo.svc.cluster.local.\",view=\"\""
      #expect(metrics.series("coredns_acl_filtered_requests_total{\(wide)}") == 1)
    }
  }

  @Test func `dns64, hosts and queries that want DNSSEC are counted`() throws {
    let lines = """
      dns64 {
        allow_ipv4
      }
      hosts names {
        192.0.2.7 a.test b.test
        fallthrough
      }
      forward . UPSTREAM
      """
    try withLines(lines, files: ["names": "192.0.2.8 c.test\n"]) { port, _, metrics in
      let server = "server=\"dns://:\(port)\""
      #expect(dig(port, "web.demo.svc.cluster.local AAAA +short") == "64:ff9b::a2b:14\n")
      #expect(dig(port, "dual.demo.svc.cluster.local AAAA +short") == "fd00:43::15\n")
      #expect(metrics.series("coredns_dns64_requests_translated_total{\(server)}") == 1)
      #expect(metrics.series("coredns_hosts_entries{hostsfile=\"names\"}") == 6)
      #expect((metrics.series("coredns_hosts_reload_timestamp_seconds") ?? 0) > 1_700_000_000)
      _ = dig(port, "web.demo.svc.cluster.local A +dnssec")
      _ = dig(port, "c.test A +dnssec")
      _ = dig(port, "ext.interwebs.test A +dnssec")
      _ = dig(port, "web.demo.svc.cluster.local A")
      let wanted = "coredns_dns_do_requests_total{\(server),zone"
      #expect(metrics.series("\(wanted)=\"cluster.local.\",view=\"\"}") == 2)
      #expect(metrics.series("\(wanted)=\".\",view=\"\"}") == 1)
      #expect(metrics.series("coredns_reload_failed_total") == 0)
    }
    // On the fast path too.
    try withLines("") { port, _, metrics in
      _ = dig(port, "web.demo.svc.cluster.local A +dnssec")
      let series =
        "coredns_dns_do_requests_total{server=\"dns://:\(port)\",zone=\"cluster.local.\",view=\"\"}"
      #expect(metrics.series(series) == 1)
    }
  }

  @Test func `a name found further on in the search path is counted`() throws {
    let text = ".:53 {\n kubernetes cluster.local\n autopath @kubernetes\n}"
    let corefile = try Corefile.read(text)
    let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: try #require(corefile.zone))
    let metrics = Metrics()
    let server = DNSServer(settings: corefile.server, zone: zone, metrics: metrics) { _ in "demo" }
    try server.start(listen: [freeEndpoint()])
    defer { server.stop() }
    let port = server.endpoints[0].port
    _ = dig(port, "web.demo.demo.svc.cluster.local A")
    _ = dig(port, "web.demo.svc.cluster.local A")
    _ = dig(port, "absent.demo.svc.cluster.local A")
    #expect(metrics.series("coredns_autopath_success_total{server=\"dns://:\(port)\"}") == 1)
  }

  @Test func `queries beyond max_concurrent are counted`() throws {
    try withLines("forward . UPSTREAM {\n max_concurrent 1\n}") { port, upstream, metrics in
      upstream.isSilent.store(true, ordering: .relaxed)
      _ = run(
        "dig @127.0.0.1 -p \(port) +time=1 +tries=1 a.test A >/dev/null & dig @127.0.0.1 -p \(port) +time=1 +tries=1 b.test A >/dev/null; wait"
      )
      #expect(
        eventually {
          _ = run(
            "dig @127.0.0.1 -p \(port) +time=1 +tries=1 c.test A >/dev/null & dig @127.0.0.1 -p \(port) +time=1 +tries=1 d.test A; wait"
          )
          return (metrics.series("coredns_forward_max_concurrent_rejects_total") ?? 0) >= 1
        })
    }
  }

  @Test func `programming time is told by kind of Service`() throws {
    let metrics = Metrics()
    try withServer(metrics: metrics) { server, _ in
      server.swapZone(
        server.zone, programmingSeconds: [("cluster_ip", 0.003), ("headless_with_selector", 2)])
      let name = "coredns_kubernetes_dns_programming_duration_seconds"
      #expect(metrics.series("\(name)_count{service_kind=\"cluster_ip\"}") == 1)
      #expect(metrics.series("\(name)_bucket{service_kind=\"cluster_ip\",le=\"0.004\"}") == 1)
      #expect(metrics.series("\(name)_sum{service_kind=\"headless_with_selector\"}") == 2)
    }
  }
}
