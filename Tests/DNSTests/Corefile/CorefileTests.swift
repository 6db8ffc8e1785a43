// Corefiles as clusters have them: read, with warnings for what is missing and lines for what is wrong.

import Addresses
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
  let corefile = try Corefile.read(
    kubeadm, resolvConf: { _ in "nameserver 192.0.2.1\nnameserver 192.0.2.2\n" })
  #expect(corefile.warnings == [])
  #expect(corefile.ports == [53])
  #expect(corefile.zone?.ttl == 30)
  #expect(corefile.zone?.pods == .insecure)
  #expect(corefile.zone?.fallthroughZones.map(\.description) == ["in-addr.arpa.", "ip6.arpa."])
  #expect(
    corefile.server.routes.map { $0.upstreams.map(\.description) } == [["192.0.2.1:53", "192.0.2.2:53"]])
  #expect(corefile.server.forwardsMax == 1000)
  #expect(corefile.server.cache.positiveSecondsMax == 30)
  #expect(corefile.metricsAddress == ":9153")
  #expect(corefile.lameduckSeconds == 5)
}

@Test func `an unknown plugin is a warning with its line`() throws {
  let corefile = try Corefile.read(
    ".:1053 {\n  autopath @kubernetes # comment\n  import common\n}\n(x) { errors }".replacing(
      "  import common\n", with: ""))
  #expect(corefile.warnings.map(\.line) == [2])
  #expect(corefile.warnings.map(\.subject) == ["autopath"])
  #expect(corefile.ports == [1053])
}

@Test func `stub domains and snippets and environment are understood`() throws {
  let text =
    "(base) {\n cache 5\n}\n.:53 {\n import base\n forward . {$UP}\n}\nacme.test:53 {\n forward . 192.0.2.9:5353\n}\n"
  let corefile = try Corefile.read(text, environment: ["UP": "192.0.2.1"])
  #expect(corefile.server.cache.positiveSecondsMax == 5)
  #expect(
    corefile.server.routes.map { "\($0.zone) \($0.upstreams[0])" } == [
      ". 192.0.2.1:53", "acme.test. 192.0.2.9:5353",
    ])
}

@Test(arguments: [
  (".:53 {\n kubernetes cluster.local {\n  ttl 99999\n }\n}", 3), (".:53 {\n forward . nonsense\n}", 2),
  (".:99999 {\n}", 1), (".:53 {\n errors", 1), (".:53 {\n}\n}", 3), (".:53 {\n log \"open\n}", 2),
  (".:53 {\n import missing\n}", 2),
])
func `a Corefile that cannot mean anything names the line`(_ text: String, _ line: Int) {
  let error = #expect(throws: WeftError.self) { try Corefile.read(text, file: "Corefile") }
  #expect(error?.code == "DNS0010")
  #expect(error?.object == "Corefile:\(line)")
}

@Test func `resolv.conf gives its servers`() {
  #expect(
    nameServers(resolvConf: "# x\nsearch a b\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver x\n")
      .count == 2)
}
