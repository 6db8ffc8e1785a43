// Cluster DNS from outside: one question a rule, asked of a server that reads manifests, of one that follows an API server, and, where the
// rule is plain DNS, of other people's servers, which have the zone from us.

import Foundation
import NameServerLab
import Testing

@Suite(.serialized) struct ClusterDNSTests {
  @Test(.timeLimit(.minutes(5)))
  func `the rules hold on manifests, and other servers say the same of the zone they are handed`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let manifests = "\(node.dataFolder)/manifests"
    _ = try node.write("manifests/cluster.yaml", NamedCluster.manifests + NamedCluster.underscored)
    let path = try node.write("Corefile", NamedCluster.corefile)
    let dns = try node.background([Project.weft, "dns", "--manifests", manifests, "--corefile", path])
    defer { dns.terminate() }
    try #require(node.answers(5300, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"))
    for transport in ["+notcp", "+tcp"] { node.check(5300, NameRule.all, transport) }

    let zone = node.dig(5300, ["+noall", "+answer", "cluster.local", "AXFR"]).standardOutput
    let lines = zone.split(separator: "\n").filter { !$0.hasPrefix(";") }
    try #require(lines.count > 20, "\(zone)")
    // As a file, and by a transfer that they ask for: both are held against their rules.
    let handed =
      OtherNameServer.allCases.flatMap { [($0, .file("zone")), ($0, .transfer(5300))] }
      as [(OtherNameServer, OtherNameServer.Source)]
    for (index, (server, source)) in handed.enumerated() {
      // What a program leaves, such as its number, must not be found by the next.
      let folder = "\(server)-\(index)"
      _ = try node.write("\(folder)/zone", lines.dropLast().joined(separator: "\n") + "\n")
      let settings = try node.write(
        "\(folder)/settings",
        server.settings(
          folder: "\(node.dataFolder)/\(folder)", port: 5301, zones: [.init("cluster.local", source)]))
      // All its processes go with the first, which is theirs to wait for, whatever signals they were born with blocked.
      let other = try node.background(
        ["unshare", "--pid", "--fork", "--kill-child", "--"] + server.command + [settings])
      defer { if other.isRunning { kill(other.processIdentifier, SIGKILL) } }
      try #require(
        node.answers(5301, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"),
        "\(server) \(source)")
      for transport in ["+notcp", "+tcp"] {
        node.check(
          5301, NameRule.all.filter { $0.isPlain && (server.endsAliases || !$0.isBehindAlias) }, transport)
      }
      kill(other.processIdentifier, SIGKILL)
      #expect(eventually(within: 30) { !other.isRunning } != nil, "\(server)")
    }

    // A changed Corefile is taken over, one that cannot be read changes nothing.
    let more = NamedCluster.corefile.replacing("errors", with: "hosts {\n    192.0.2.80 extra.test\n  }")
    _ = try node.write("Corefile", more)
    #expect(node.answers(5300, "+short", "extra.test", says: "192.0.2.80"))
    _ = try node.write("Corefile", more.replacing("192.0.2.80", with: "192.0.2.81") + "frobnicate {\n")
    _ = eventually(within: 4) { false }
    #expect(node.answers(5300, "+short", "extra.test", says: "192.0.2.80"))
    node.check(5300, [NameRule.all[1]], "+notcp")
  }

  @Test(.timeLimit(.minutes(5)))
  func `the rules hold beside an API server, and last answers while it is away`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let server = try node.background(
      [Project.weft, "server", "--listen", "127.0.0.1:6443", "--data-dir", node.dataFolder])
    defer { server.terminate() }
    try #require(
      eventually(within: 60) { node.kubectl("get", "--raw", "/readyz").standardOutput == "ok" } != nil)
    let applied = node.kubectl("apply", "-f", try node.write("cluster.yaml", NamedCluster.manifests))
    #expect(applied.status == 0, "\(applied)")
    let own = NamedCluster.corefile.replacing(
      "pods insecure", with: "pods insecure\n    kubeconfig \(node.kubeconfig)")
    let path = try node.write("Corefile", own)
    let names = "\(node.dataFolder)/dns/last.names"
    let plain = [Project.weft, "dns", "--corefile", path, "--metrics", "127.0.0.1:9153", "--snapshot"]
    let arguments = plain + [names]
    let dns = try node.background(arguments)
    defer { dns.terminate() }
    try #require(node.answers(5300, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"))
    for transport in ["+notcp", "+tcp"] { node.check(5300, NameRule.ofServer, transport) }

    // Names of the cluster set are not denied before there is a list of them.
    #expect(node.answers(5300, "far.demo.svc.clusterset.local", says: "status: SERVFAIL"))
    let set = try node.write("set.yaml", NamedCluster.setResource)
    #expect(node.kubectl("apply", "-f", set).status == 0)
    let far = try node.write("far.yaml", NamedCluster.farService)
    let imported = eventually(within: 60) { node.kubectl("apply", "-f", far).status == 0 }
    #expect(imported != nil)
    #expect(node.answers(5300, "+short", "far.demo.svc.clusterset.local", within: 90, says: "10.43.200.7"))
    #expect(node.answers(5300, "absent.demo.svc.clusterset.local", says: "status: NXDOMAIN"))

    func current() -> String {
      node.exec("curl", "-s", "-m", "5", "http://127.0.0.1:9153/metrics").lines.first {
        $0.hasPrefix("weft_dns_cluster_current")
      } ?? ""
    }
    #expect(eventually(within: 60) { current().hasSuffix(" 1") } != nil, "\(current())")
    server.terminate()
    #expect(eventually(within: 60) { !server.isRunning } != nil)
    #expect(eventually(within: 60) { current().hasSuffix(" 0") } != nil, "\(current())")
    node.check(5300, NameRule.ofServer, "+notcp")

    // A server that starts meanwhile and knows nothing says that rather than deny.
    func end(_ process: Process) {
      process.terminate()
      #expect(eventually(within: 60) { !process.isRunning } != nil)
    }
    end(dns)
    let late = try node.background(plain + ["none"])
    defer { late.terminate() }
    #expect(node.answers(5300, "web.demo.svc.cluster.local", says: "status: SERVFAIL"))
    #expect(node.answers(5300, "absent.demo.svc.cluster.local", says: "status: SERVFAIL"))
    end(late)

    // One that ended before has left what it knew: until its start has waited long enough SERVFAIL, then the names of before.
    let again = try node.background(arguments)
    defer { again.terminate() }
    try #require(
      node.answers(5300, "+short", "web.demo.svc.cluster.local", within: 60, says: "10.43.7.20"))
    func snapshotInForce() -> String {
      node.exec("curl", "-s", "-m", "5", "http://127.0.0.1:9153/metrics").lines.first {
        $0.hasPrefix("weft_dns_snapshot_in_force")
      } ?? ""
    }
    #expect(snapshotInForce().hasSuffix(" 1"), "\(snapshotInForce())")
    #expect(eventually(within: 30) { current().hasSuffix(" 0") } != nil, "\(current())")
    node.check(5300, NameRule.ofServer, "+notcp")
    // Names of the cluster set were known too.
    #expect(node.answers(5300, "+short", "far.demo.svc.clusterset.local", says: "10.43.200.7"))

    // The API server comes back with another cluster in it: names are its own at once.
    let back = try node.background(
      [Project.weft, "server", "--listen", "127.0.0.1:6443", "--data-dir", node.dataFolder])
    defer { back.terminate() }
    let changed = eventually(within: 60) {
      node.kubectl("delete", "service", "early", "-n", "demo", "--wait=false").status == 0
    }
    #expect(changed != nil)
    #expect(node.answers(5300, "early.demo.svc.cluster.local", within: 60, says: "status: NXDOMAIN"))
    #expect(eventually(within: 30) { snapshotInForce().hasSuffix(" 0") } != nil, "\(snapshotInForce())")
    end(back)
    end(again)

    // A file that is damaged is as good as none.
    let cut = node.exec("truncate", "-s", "-9", names)
    #expect(cut.status == 0, "\(cut)")
    let written = "\(node.dataFolder)/damaged.log"
    let blind = try node.background([
      "/bin/sh", "-c", "exec \(arguments.joined(separator: " ")) >\(written) 2>&1",
    ])
    defer { blind.terminate() }
    let said = eventually(within: 30) {
      ((try? String(contentsOfFile: written, encoding: .utf8)) ?? "").contains("DNS0031")
    }
    #expect(said != nil)
    #expect(node.answers(5300, "web.demo.svc.cluster.local", says: "status: SERVFAIL"))
  }

  /// `ndots:5` makes a resolver ask for `www.extra.test.demo.svc.cluster.local` first: that one question is answered.
  @Test(.timeLimit(.minutes(5)))
  func `a pod's search path costs one question, and its node watches no pods for it`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let corefile = """
      .:53 {
        kubernetes cluster.local in-addr.arpa ip6.arpa
        autopath @kubernetes
        hosts {
          192.0.2.80 www.extra.test
        }
        reload 2s
      }

      """
    let path = try node.write("Corefile", corefile)
    try node.start(["--demo", "--http", "none", "--corefile", path])
    let running = eventually(within: 120) {
      node.kubectl("get", "pod", "client", "-n", "demo", "-o", "jsonpath={.status.phase}").trimmed
        == "Running"
    }
    try #require(running != nil, "\(node.log.suffix(3000))")
    func dig(_ name: String) -> Output {
      node.inPodNetwork("client", ["dig", "+time=5", "+tries=2", "@10.43.0.10", name])
    }
    let answered = eventually(within: 60) {
      let out = dig("www.extra.test.demo.svc.cluster.local").standardOutput
      return out.contains("status: NOERROR") && out.contains("\tA\t192.0.2.80")
    }
    #expect(answered != nil, "\(dig("www.extra.test.demo.svc.cluster.local"))")
    // The path of another namespace is not this pod's.
    #expect(dig("www.extra.test.default.svc.cluster.local").standardOutput.contains("status: NXDOMAIN"))
    // The host's processes are in no namespace.
    let host = node.exec("dig", "+time=5", "@10.43.0.10", "www.extra.test.demo.svc.cluster.local")
    #expect(host.standardOutput.contains("status: NXDOMAIN"), "\(host)")

    // A changed Corefile is taken over, one that cannot be read is counted and changes nothing.
    func isSeen(_ name: String, says text: String) -> Bool {
      eventually(within: 60) {
        node.exec("dig", "+time=5", "@10.43.0.10", name).standardOutput.contains(text)
      } != nil
    }
    _ = try node.write("Corefile", corefile.replacing("192.0.2.80", with: "192.0.2.81"))
    #expect(isSeen("www.extra.test", says: "\tA\t192.0.2.81"))
    _ = try node.write("Corefile", corefile + "frobnicate {\n")
    let counted = eventually(within: 60) {
      node.exec("curl", "-s", "-m", "5", "http://127.0.0.1:10249/metrics").lines.contains {
        $0.hasPrefix("coredns_reload_failed_total ") && !$0.hasSuffix(" 0")
      }
    }
    #expect(counted != nil)
    #expect(isSeen("www.extra.test", says: "\tA\t192.0.2.81"))
    // The server that took over follows the cluster, and knows whose pod asks.
    #expect(node.kubectl("create", "service", "clusterip", "late", "-n", "demo", "--tcp=80").status == 0)
    #expect(isSeen("late.demo.svc.cluster.local", says: "status: NOERROR"))
    #expect(dig("www.extra.test.demo.svc.cluster.local").standardOutput.contains("\tA\t192.0.2.81"))
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(3000))")
  }

  @Test(.timeLimit(.minutes(5)))
  func `queries are written down, pages say how it is, and a name is explained for a pod`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let manifests = "\(node.dataFolder)/manifests"
    let pod =
      """
      ---
      apiVersion: v1
      kind: Pod
      metadata: {name: asks, namespace: demo}
      status: {podIP: 10.42.7.99}
      ---
      apiVersion: v1
      kind: Pod
      metadata: {name: own, namespace: demo}
      spec:
        dnsPolicy: None
        dnsConfig:
          nameservers: [192.0.2.53]
          searches: [svc.cluster.local]
          options: [{name: ndots, value: "2"}]
      ---
      apiVersion: v1
      kind: Pod
      metadata: {name: host, namespace: demo}
      spec: {hostNetwork: true}

      """
    _ = try node.write("manifests/cluster.yaml", NamedCluster.manifests + pod)
    let path = try node.write(
      "Corefile",
      """
      .:5300 {
        errors
        log . {
          class denial error
        }
        kubernetes cluster.local in-addr.arpa ip6.arpa
        forward . 127.0.0.1:1
        health 127.0.0.1:8080 {
          lameduck 10s
        }
        ready 127.0.0.1:8181
        prometheus 127.0.0.1:9153
      }

      """)
    let written = "\(node.dataFolder)/log"
    let dns = try node.background([
      "/bin/sh", "-c",
      "exec \(Project.weft) dns --manifests \(manifests) --corefile \(path) >\(written) 2>&1",
    ])
    defer { dns.terminate() }
    try #require(node.answers(5300, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"))
    _ = node.dig(5300, ["absent.demo.svc.cluster.local", "AAAA"])
    #expect(node.answers(5300, "www.interwebs.test", says: "status: SERVFAIL"))
    func log() -> String { (try? String(contentsOfFile: written, encoding: .utf8)) ?? "" }
    let line = "\"AAAA IN absent.demo.svc.cluster.local. udp"
    #expect(
      eventually(within: 60) { log().contains(line) && log().contains("no upstream server answered") } != nil,
      "\(log())")
    #expect(log().contains("NXDOMAIN qr,aa,rd"), "\(log())")
    #expect(!log().contains("\" NOERROR "), "an answer is not of the classes asked for: \(log())")
    func page(_ address: String) -> Output {
      node.exec("curl", "-s", "-m", "5", "http://127.0.0.1:\(address)")
    }
    #expect(eventually(within: 60) { page("8181/ready").status == 0 } != nil)
    #expect(page("8080/health").standardOutput.lowercased().contains("ok"), "\(page("8080/health"))")
    let metrics = page("9153/metrics").standardOutput
    for name in [
      "coredns_dns_requests_total", "coredns_dns_request_duration_seconds_count",
      "coredns_dns_responses_total",
      "coredns_cache_hits_total", "coredns_cache_misses_total", "coredns_forward_requests_total",
      "coredns_forward_healthcheck_broken_total", "coredns_forward_max_concurrent_rejects_total",
      "coredns_panics_total", "coredns_plugin_enabled",
    ] { #expect(metrics.contains("\n\(name)"), "\(name)") }

    // What the pod's resolver would try, and what comes of each.
    func explain(_ arguments: String...) -> Output {
      node.exec([Project.weft, "dns", "query", "--manifests", manifests, "-n", "demo"] + arguments)
    }
    let short = explain("web", "--from", "asks")
    #expect(short.status == 0 && short.standardOutput.contains("web.demo.svc.cluster.local."), "\(short)")
    #expect(short.standardOutput.contains("10.43.7.20"), "\(short)")
    let outside = explain("www.interwebs.test", "--from", "demo/asks")
    #expect(outside.status == 0 && outside.standardOutput.contains("forwarded"), "\(outside)")
    #expect(outside.lines.filter { $0.contains("NXDOMAIN") }.count == 3, "\(outside)")
    let none = explain("absent.demo.svc.cluster.local.", "AAAA")
    #expect(none.status == 1 && none.standardOutput.contains("NXDOMAIN"), "\(none)")
    let nobody = explain("web", "--from", "nobody")
    #expect(nobody.status != 0 && nobody.standardError.contains("DNS0022"), "\(nobody)")
    #expect(explain("web", "NOTYPE").status == 2)
    // By the pod's own settings: its endings and dots, and whom it asks at all.
    let own = explain("web.demo", "--from", "own")
    #expect(own.status == 0 && own.lines.first?.hasPrefix("web.demo.svc.cluster.local.") == true, "\(own)")
    #expect(own.standardError.contains("dnsPolicy None and asks 192.0.2.53"), "\(own)")
    let host = explain("web", "--from", "host")
    #expect(
      host.lines.first?.hasPrefix("web.") == true && host.lines.first?.contains("forwarded") == true,
      "\(host)")
    #expect(host.standardError.contains("ClusterFirstWithHostNet"), "\(host)")

    // Told to end it is not ready any more, and answers for as long as `lameduck` says.
    dns.terminate()
    #expect(eventually(within: 60) { page("8181/ready").status != 0 } != nil)
    #expect(dns.isRunning)
    #expect(
      node.dig(5300, ["+short", "web.demo.svc.cluster.local"]).standardOutput.contains("10.43.7.20"))
    #expect(eventually(within: 60) { !dns.isRunning } != nil)
  }

  @Test(.timeLimit(.minutes(1))) func `a Corefile is looked at before it is used`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let good = node.weft("dns", "--check", try node.write("Corefile", NamedCluster.corefile))
    #expect(good.status == 0 && good.standardOutput.contains("zone cluster.local"), "\(good)")
    let bad = try node.write(
      "Wrong", NamedCluster.corefile.replacing("errors", with: "errors\n  frobnicate all"))
    let wrong = node.weft("dns", "--check", bad)
    #expect(wrong.status == 1, "\(wrong)")
    #expect(wrong.standardError.contains("DNS0010 \(bad):3: frobnicate: there is no plugin"), "\(wrong)")
  }
}
