// Options of a Corefile that reach beyond one query: how the API server is reached, when the start is over, interfaces, files that
// change, numbers of the process. `weft dns` as users start it, dig and curl as they look.

import Foundation
import Testing

private let web = """
  apiVersion: v1
  kind: Namespace
  metadata: {name: demo}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: demo}
  spec: {clusterIP: 10.43.7.20, ports: [{name: http, port: 80}]}

  """

extension TestNode {
  fileprivate func metrics() -> String {
    exec("curl", "-s", "-m", "5", "http://127.0.0.1:9153/metrics").standardOutput
  }

  /// The number of the first series that begins so.
  fileprivate func number(_ series: String) -> Double? {
    metrics().split(separator: "\n").first { $0.hasPrefix(series) }.flatMap { line in
      line.split(separator: " ").last.flatMap { Double($0) }
    }
  }
}

@Suite(.serialized) struct ClusterDNSOptionTests {
  @Test(.timeLimit(.minutes(5)))
  func `endpoint and tls lead to the API server, within the bounds set for requests`() throws {
    let node = try TestNode()
    defer { node.remove() }
    // Nobody serves there yet: the start waits, and then says that it knows nothing.
    let corefile = """
      .:5300 {
        kubernetes cluster.local {
          endpoint https://127.0.0.1:6443
          tls client.crt client.key ca.crt
          apiserver_qps 5
          apiserver_burst 1
          apiserver_max_inflight 1
          startup_timeout 4s
        }
        prometheus 127.0.0.1:9153
      }

      """
    let path = try node.write("Corefile", corefile)
    let server = try node.background(
      [Project.weft, "server", "--listen", "127.0.0.1:6443", "--data-dir", node.dataFolder])
    defer { server.terminate() }
    try #require(
      eventually(within: 60) { node.kubectl("get", "--raw", "/readyz").standardOutput == "ok" } != nil)
    #expect(node.kubectl("apply", "-f", try node.write("web.yaml", web)).status == 0)
    for (field, name) in [
      ("users[0].user.client-certificate-data", "client.crt"),
      ("users[0].user.client-key-data", "client.key"),
      ("clusters[0].cluster.certificate-authority-data", "ca.crt"),
    ] {
      let text = node.kubectl("config", "view", "--raw", "-o", "jsonpath={.\(field)}").trimmed
      let data = try #require(Data(base64Encoded: text), "\(field)")
      _ = try node.write(name, String(decoding: data, as: UTF8.self))
    }
    // No names of an earlier run: what is known then is another test's.
    let arguments = [Project.weft, "dns", "--corefile", path, "--snapshot", "none"]
    do {
      let dns = try node.background(arguments)
      defer { dns.terminate() }
      try #require(node.answers(5300, "+short", "web.demo.svc.cluster.local", within: 60, says: "10.43.7.20"))
      let prefix = "coredns_kubernetes_rest_client"
      let page = node.metrics()
      #expect(
        page.contains("\n\(prefix)_requests_total{code=\"200\",method=\"")
          && page.contains("host=\"127.0.0.1:6443\"}"), "\(page)")
      #expect((node.number("\(prefix)_request_duration_seconds_count{") ?? 0) >= 1)
      // Three lists or more, one at once and five a second: all but the first wait.
      #expect((node.number("\(prefix)_rate_limiter_duration_seconds_sum{") ?? 0) >= 0.15, "\(page)")
      #expect(page.contains("\ncoredns_build_info{version=\""), "\(page)")
      dns.terminate()
      #expect(eventually(within: 30) { !dns.isRunning } != nil)
    }
    // Without an API server nothing is answered for four seconds, and then SERVFAIL.
    server.terminate()
    #expect(eventually(within: 30) { !server.isRunning } != nil)
    let began = ContinuousClock.now
    let late = try node.background(arguments)
    defer { late.terminate() }
    #expect(node.answers(5300, "web.demo.svc.cluster.local", within: 60, says: "status: SERVFAIL"))
    #expect(
      ContinuousClock.now - began >= .seconds(3.9), "the start waits before it says that it knows nothing")
  }

  @Test(.timeLimit(.minutes(5)))
  func `interfaces are bound by name, files are read again, and the process asks for its own health`() throws
  {
    let node = try TestNode()
    defer { node.remove() }
    _ = try node.write("manifests/web.yaml", web)
    _ = try node.write("names", "192.0.2.80 extra.test\n")
    _ = try node.write("weights", "two.test\n192.0.2.1 255\n")
    let corefile = """
      .:5300 {
        bind lo {
          except ::1
        }
        kubernetes cluster.local
        hosts names {
          192.0.2.1 two.test
          192.0.2.2 two.test
          reload 500ms
          fallthrough
        }
        loadbalance weighted weights {
          reload 500ms
        }
        health 127.0.0.1:8080
        prometheus 127.0.0.1:9153
      }

      """
    let path = try node.write("Corefile", corefile)
    let dns = try node.background(
      [Project.weft, "dns", "--manifests", "\(node.dataFolder)/manifests", "--corefile", path])
    defer { dns.terminate() }
    try #require(node.answers(5300, "+short", "extra.test", says: "192.0.2.80"))
    #expect(node.answers(5300, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"))
    let six = node.exec(["dig", "@::1", "-p", "5300", "+time=1", "+tries=1", "extra.test"], seconds: 30)
    #expect(!six.standardOutput.contains("192.0.2.80"), "::1 is excepted: \(six)")
    // Of 257 answers two begin with the other address.
    func first() -> String { node.dig(5300, ["+short", "two.test"]).lines.first ?? "" }
    let firsts = (0..<30).map { _ in first() }
    #expect(firsts.filter { $0 == "192.0.2.1" }.count > 20, "\(firsts)")

    // Files are looked at without `reload`, and the Corefile is not.
    _ = try node.write("Corefile", corefile.replacing("192.0.2.2 two", with: "192.0.2.3 two"))
    _ = try node.write("names", "192.0.2.81 extra.test\n")
    #expect(node.answers(5300, "+short", "extra.test", within: 60, says: "192.0.2.81"))
    #expect(node.answers(5300, "+short", "two.test", says: "192.0.2.2"))
    _ = try node.write("weights", "two.test\n192.0.2.2 255\n")
    #expect(eventually(within: 60) { (0..<6).allSatisfy { _ in first() == "192.0.2.2" } } != nil)

    let health = "coredns_health_request_duration_seconds_count"
    #expect(eventually(within: 30) { (node.number(health) ?? 0) >= 2 } != nil)
    #expect(node.number("coredns_health_request_failures_total") == 0)
    #expect(node.number("coredns_hosts_entries{") == 6)
    #expect(node.number("coredns_reload_failed_total") == 0)

    // A file that cannot be read changes nothing, and is counted.
    _ = try node.write("weights", "two.test\n192.0.2.2 many\n")
    #expect(eventually(within: 60) { (node.number("coredns_reload_failed_total") ?? 0) >= 1 } != nil)
    #expect(node.answers(5300, "+short", "extra.test", says: "192.0.2.81"))
  }

  @Test(.timeLimit(.minutes(2))) func `the specification alone is answered where that is asked for`() throws {
    let node = try TestNode()
    defer { node.remove() }
    _ = try node.write("manifests/web.yaml", web)
    let folder = "\(node.dataFolder)/manifests"
    // SRV at a Service's own name is CoreDNS's.
    for (choice, isThere) in [("coredns", true), ("none", false)] {
      let dns = try node.background(
        [Project.weft, "dns", "--manifests", folder, "--listen", "127.0.0.1:5300", "--compat", choice])
      defer { dns.terminate() }
      #expect(
        node.answers(5300, "+short", "_http._tcp.web.demo.svc.cluster.local", "SRV", says: "0 100 80 web."))
      let bare = node.dig(5300, ["web.demo.svc.cluster.local", "SRV"]).standardOutput
      #expect(bare.contains("status: NOERROR") && bare.contains("0 100 80 web.") == isThere, "\(bare)")
      let said = node.weft(
        "dns", "query", "--manifests", folder, "web.demo.svc.cluster.local.", "SRV", "--compat", choice)
      #expect(said.status == (isThere ? 0 : 1), "\(said)")
      dns.terminate()
      #expect(eventually(within: 60) { !dns.isRunning } != nil)
    }
  }

  @Test(.timeLimit(.minutes(1))) func `what cannot be done is shown with a mark under the word`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let path = try node.write("Corefile", ".:53 {\n  kubernetes cluster.local\n  bind lo frob0\n}\n")
    let refused = node.weft("dns", "--check", path)
    #expect(refused.status == 1, "\(refused)")
    #expect(refused.standardError.contains("\n    bind lo frob0\n            ^"), "\(refused)")
  }
}
