// Corefiles as clusters have them: read, with warnings for what is missing and lines for what is wrong.

import Addresses
import ClusterObjects
import Diagnostics
import Testing

@testable import DNS

private let kubeadm = """
  .:53 {
      errors
      health {
         lameduck 5s
      }
      ready
      kubernetes cluster.local in-addr.arpa ip6.arpa {
         pods insecure
         fallthrough in-addr.arpa ip6.arpa
         ttl 30
      }
      prometheus :9153
      forward . /etc/resolv.conf {
         max_concurrent 1000
      }
      cache 30
      loop
      reload
      loadbalance
  }
  """

@Test func `the default Corefile of kubeadm is read without a warning`() throws {
  let corefile = try Corefile.read(kubeadm, files: { _ in "nameserver 192.0.2.1\nnameserver 192.0.2.2\n" })
  let block = try #require(corefile.blocks.first)
  #expect(corefile.warnings == [])
  #expect(corefile.ports == [53])
  #expect(corefile.zone?.ttl == 30)
  #expect(corefile.zone?.pods == .insecure)
  #expect(corefile.zone?.fallthroughZones.map(\.description) == ["in-addr.arpa.", "ip6.arpa."])
  #expect(block.routes.map { $0.upstreams.map(\.description) } == [["192.0.2.1:53", "192.0.2.2:53"]])
  #expect(block.forwardsMax == 1000)
  #expect(block.cache?.positiveSecondsMax == 30)
  #expect(block.isServingCluster && block.isRotating && block.isLoggingErrors)
  #expect(block.isPlain)
  #expect(corefile.metricsAddress == ":9153")
  #expect(corefile.lameduckSeconds == 5)
  #expect(corefile.reloadSeconds == 30)
}

@Test func `every option of kubernetes and of cache is read, without a warning`() throws {
  let corefile = try Corefile.read(
    """
    .:53 {
      kubernetes cluster.local in-addr.arpa {
        endpoint https://k:6443
        tls a b c
        kubeconfig f admin
        apiserver_qps 5
        apiserver_burst 5
        apiserver_max_inflight 5
        namespaces demo prod
        labels tier=back
        pods verified
        endpoint_pod_names
        ttl 60
        fallthrough in-addr.arpa
        ignore empty_service
        zonal
        startup_timeout 3s
      }
      forward . 192.0.2.1
      cache 20 {
        success 500 40 6
        denial 300 10 2
        prefetch 3 2m 20%
        serve_stale 1h verify
        servfail 7s
        disable denial acme.test
        keepttl
      }
    }
    """)
  let zone = try #require(corefile.zone)
  #expect(zone.namespaces == ["demo", "prod"] && zone.serviceSelector?.matches(["tier": "back"]) == true)
  #expect(zone.pods == .verified && zone.endpointPodNames && zone.isZonal)
  #expect(zone.ttl == 60 && zone.ignoresEmptyServices)
  #expect(zone.fallthroughZones.map(\.description) == ["in-addr.arpa."])
  let cache = try #require(corefile.blocks.first?.cache)
  #expect(cache.entriesMax == 500 && cache.positiveSecondsMax == 40 && cache.positiveSecondsMin == 6)
  #expect(cache.denialsMax == 300 && cache.negativeSecondsMax == 10 && cache.negativeSecondsMin == 2)
  #expect(cache.prefetchQueries == 3 && cache.prefetchSeconds == 120 && cache.prefetchPercent == 20)
  #expect(cache.staleSeconds == 3600 && cache.isStaleVerified && cache.failureSeconds == 7)
  #expect(cache.disabledNegative.map(\.description) == ["acme.test."] && cache.disabledPositive.isEmpty)
  #expect(corefile.access.server == "https://k:6443" && corefile.access.tls == ["a", "b", "c"])
  #expect(corefile.access.kubeconfig == "f" && corefile.access.context == "admin")
  #expect(cache.keepsTTL && corefile.startupSeconds == 3)
  #expect(corefile.warnings == [], "every option does what it says")
}

@Test(arguments: [
  ("frobnicate", "there is no plugin of this name"), ("etcd", "not supported"),
  ("kubernets", "did you mean kubernetes?"), ("forwrad", "did you mean forward?"),
])
func `a plugin that is not here is an error with its line`(_ name: String, _ cause: String) {
  let error = #expect(throws: WeftError.self) { try Corefile.read(".:1053 {\n  errors\n  \(name)\n}") }
  #expect(error?.object == "Corefile:3")
  #expect(error?.cause.contains(cause) == true)
}

@Test func `stub domains and snippets and environment are understood`() throws {
  let text =
    "(base) {\n cache 5\n}\n.:53 {\n import base\n forward . {$UP}\n}\nacme.test:53 {\n forward . 192.0.2.9:5353\n}\n"
  let corefile = try Corefile.read(text, environment: ["UP": "192.0.2.1"])
  #expect(corefile.blocks[0].cache?.positiveSecondsMax == 5)
  #expect(
    corefile.blocks.map { "\($0.keys[0].zone) \($0.routes[0].upstreams[0])" } == [
      ". 192.0.2.1:53", "acme.test. 192.0.2.9:5353",
    ])
}

@Test func `imported files name their own lines, and imports that never end are an error`() throws {
  let error = #expect(throws: WeftError.self) {
    try Corefile.read(".:53 {\n import other\n}", files: { $0 == "other" ? "errors\nnonsense\n" : nil })
  }
  #expect(error?.object == "other:2")
  let endless = #expect(throws: WeftError.self) {
    try Corefile.read(".:53 {\n import self\n}", files: { _ in "import self" })
  }
  #expect(endless?.cause.contains("nested too deeply") == true)
}

@Test(arguments: [
  (".:53 {\n kubernetes cluster.local {\n  ttl 99999\n }\n}", 3), (".:53 {\n forward . nonsense\n}", 2),
  (".:99999 {\n}", 1), (".:53 {\n errors", 1), (".:53 {\n}\n}", 3), (".:53 {\n log \"open\n}", 2),
  (".:53 {\n import missing\n}", 2), (".:53 {\n}\n. {\n}", 3), (".:53 {\n kubernetes {\n  frob\n }\n}", 3),
  (".:53 {\n rewrite name regex ( x\n}", 2), (".:53 {\n rewrite\n}", 2),
  (".:53 {\n acl {\n  permit\n }\n}", 3),
  (".:53 {\n template IN A {\n  answer \"{{ .Nothing }}\"\n }\n}", 3),
  (".:53 {\n view v {\n  expr type( == 1\n }\n}", 3),
  (".:53 {\n file missing.db acme.test\n}", 2), (".:53 {\n cache {\n  success many\n }\n}", 3),
  (".:53 {\n errors {\n  frob\n }\n}", 3), (".:53 {\n forward . 192.0.2.1 {\n  failover FROB\n }\n}", 3),
  (".:53 {\n kubernetes c.local {\n  tls a b\n }\n}", 3),
  (".:53 {\n kubernetes c.local {\n  kubeconfig\n }\n}", 3),
  (".:53 {\n dns64 10.0.0.0/8\n}", 2), ("quic://. {\n}", 1), (".:53 {\n bufsize 100\n}", 2),
])
func `a Corefile that cannot mean anything names the line`(_ text: String, _ line: Int) {
  let error = #expect(throws: WeftError.self) { try Corefile.read(text, file: "Corefile") }
  #expect(error?.code == "DNS0010")
  #expect(error?.object == "Corefile:\(line)")
}

@Test func `a block of addresses is as many reverse zones as it needs`() throws {
  let corefile = try Corefile.read("10.43.0.0/15 {\n errors\n}\nfd00:43::/32 {\n}")
  #expect(
    corefile.blocks[0].keys.map { "\($0.zone)" } == ["43.10.in-addr.arpa.", "42.10.in-addr.arpa."]
      || corefile.blocks[0].keys.map { "\($0.zone)" } == ["42.10.in-addr.arpa.", "43.10.in-addr.arpa."])
  #expect(corefile.blocks[1].keys.map { "\($0.zone)" } == ["3.4.0.0.0.0.d.f.ip6.arpa."])
}

@Test func `resolv.conf gives its servers`() {
  #expect(
    nameServers(resolvConf: "# x\nsearch a b\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver x\n")
      .count == 2)
}
