// Options that are read and what comes of them; what cannot be done is an error with a mark under the word.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import DNS

private func refusal(_ line: String) -> WeftError? {
  do throws(WeftError) {
    _ = try Corefile.read(".:53 {\n  \(line)\n}", files: { $0 == "bad" ? "www.test\n192.0.2.1 0\n" : nil })
    return nil
  } catch {
    return error
  }
}

@Test(arguments: [
  ("rewrite edns0 local frob 0xffee x", "frob"), ("rewrite edns0 frob set", "frob"),
  ("rewrite edns0 local set 0xfffff x", "0xfffff"), ("rewrite edns0 local set 0xffee 0xabc", "0xabc"),
  ("rewrite edns0 local set 0xffee {frob}", "{frob}"), ("rewrite edns0 subnet set 33 56", "33"),
  ("rewrite edns0 subnet set 24 129", "129"), ("rewrite edns0 local set 10 x", "10"),
  ("rewrite frob a b", "frob"), ("loadbalance frob", "frob"), ("loadbalance weighted bad", "bad"),
  ("bind frob0", "frob0"), ("template CH TXT a.test", "CH"),
  ("forward . 192.0.2.1 {\n    next FROB\n  }", "FROB"),
  ("forward . 192.0.2.1 {\n    max_idle_conns x\n  }", "x"),
  ("forward . 192.0.2.1 {\n    health_check 1s frob\n  }", "frob"),
  ("forward . 192.0.2.1 {\n    source_address frob\n  }", "frob"),
  ("forward . 192.0.2.1 {\n    doh_method POST\n  }", "doh_method"),
  ("forward . 192.0.2.1 {\n    resolver 192.0.2.9\n  }", "resolver"),
  ("forward . dns.test", "dns.test"), ("cache {\n    serve_stale 1h frob\n  }", "frob"),
  ("cache {\n    serve_stale 1h verify 1s 1500ms\n  }", "1500ms"),
  ("cache {\n    serve_stale_policy frob\n  }", "frob"), ("cache {\n    keepttl 3\n  }", "3"),
  ("errors {\n    consolidate 1m .* frob\n  }", "frob"), ("errors {\n    consolidate x .*\n  }", "x"),
  ("template IN A a.test {\n    expr frob == 1\n  }", "frob"),
  ("template IN A a.test {\n    ederror frob\n  }", "frob"),
  ("kubernetes cluster.local {\n    apiserver_qps 0\n  }", "0"),
  ("kubernetes cluster.local {\n    startup_timeout frob\n  }", "frob"),
  ("hosts {\n    fallthrough_unsupported\n  }", "hosts"),
])
func `what cannot be done is said with the line and a mark under the word`(_ line: String, _ word: String)
  throws
{
  let error = try #require(refusal(line), "\(line)")
  #expect(error.code == "DNS0010")
  let lines = error.description.split(separator: "\n", omittingEmptySubsequences: false)
  try #require(lines.count == 3, "\(error)")
  let mark = try #require(lines[2].firstIndex(of: "^"))
  #expect(
    lines[1].dropFirst(lines[2].distance(from: lines[2].startIndex, to: mark)).hasPrefix(word), "\(error)")
}

@Test func `bind takes interfaces by name, and leaves out what except says`() throws {
  let own = ["eth0": ["192.0.2.1", "192.0.2.2", "fd00::1"], "lo": ["127.0.0.1", "::1"], "bare": []]
  func bound(_ lines: String) throws -> [String] {
    let corefile = try Corefile.read(".:53 {\n\(lines)\n}") { _ in
      nil
    } interfaces: { name in
      own[name]?.compactMap { IPAddress($0) }
    }
    return corefile.bindAddresses(53).map(\.description)
  }
  #expect(try bound("bind lo") == ["127.0.0.1", "::1"])
  #expect(
    try bound("bind eth0 {\n except 192.0.2.2 fd00::1\n}\nbind 127.0.0.1") == ["127.0.0.1", "192.0.2.1"])
  #expect(try bound("bind eth0 lo {\n except lo\n}") == ["192.0.2.1", "192.0.2.2", "fd00::1"])
  #expect(throws: WeftError.self) { try bound("bind bare") }
  #expect(throws: WeftError.self) { try bound("bind lo {\n except lo\n}") }
}

/// Each option, a query of the fixture and what it gives.
@Test(arguments: [
  ("namespace_labels team=blue", "web.demo.svc.cluster.local A", "NXDOMAIN"),
  ("namespace_labels !team", "web.demo.svc.cluster.local A", "NOERROR"),
  ("labels tier=back", "web.demo.svc.cluster.local A", "NXDOMAIN"),
  ("namespaces empty", "web.demo.svc.cluster.local A", "NXDOMAIN"),
  ("ignore empty_service", "web.demo.svc.cluster.local A", "NXDOMAIN"),
  ("ttl 5", "web.demo.svc.cluster.local A", "NOERROR"),
  ("noendpoints", "db.demo.svc.cluster.local A", "NXDOMAIN"),
  ("noendpoints", "db-0.db.demo.svc.cluster.local A", "NXDOMAIN"),
  ("noendpoints", "web.demo.svc.cluster.local A", "NOERROR"),
  ("pods insecure", "10-0-0-1.demo.pod.cluster.local A", "NOERROR"),
  ("multicluster clusterset.local", "web.demo.svc.clusterset.local A", "SERVFAIL"),
  ("multicluster clusterset.local", "web.demo.svc.cluster.local A", "NOERROR"),
])
func `options of kubernetes decide what dig sees`(_ option: String, _ question: String, _ code: String) throws
{
  let corefile = try Corefile.read(
    ".:53 {\n kubernetes cluster.local clusterset.local {\n \(option)\n }\n}".replacing(
      option.hasPrefix("multicluster") ? "\u{0}" : " clusterset.local", with: ""))
  let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: try #require(corefile.zone))
  try withServer(corefile.server, zone: zone) { _, port in
    let reply = dig(port, question)
    #expect(reply.contains("status: \(code)"), "\(option) \(reply)")
  }
}

@Test func `what kubernetes says of the API server and of the start is kept`() throws {
  let corefile = try Corefile.read(
    """
    .:53 {
      kubernetes cluster.local {
        endpoint https://192.0.2.1:6443
        apiserver_qps 2.5
        apiserver_burst 4
        apiserver_max_inflight 3
        startup_timeout 1m30s
      }
      hosts names {
        reload 0
      }
    }
    """, files: { $0 == "names" ? "" : nil })
  #expect(corefile.access.requestsPerSecond == 2.5 && corefile.access.requestBurst == 4)
  #expect(corefile.access.requestsInFlightMax == 3 && corefile.startupSeconds == 90)
  #expect(corefile.fileReloadSeconds == nil && corefile.warnings.isEmpty)
  let zonal = #expect(throws: WeftError.self) {
    try Corefile.read(".:53 {\n kubernetes cluster.local {\n zonal\n noendpoints\n }\n}")
  }
  #expect(zonal?.cause.contains("zonal") == true)
}
