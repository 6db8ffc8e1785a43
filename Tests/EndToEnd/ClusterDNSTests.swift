// Cluster DNS from outside, with dig and with a client of our own that shares no code with the server: one row a rule, asked of a server that reads manifests, of one that follows an API server, and
// where the rule is plain DNS of Knot, which has the zone by a transfer.
import Foundation
import Testing

/// A question and what must come of it.
private struct Rule {
  var name: String
  var type: String
  /// The records' data, sorted; empty for none.
  var data: [String]
  var status = "NOERROR"
  /// Follows from the zone's records alone.
  var isPlain = true
}

private let rules: [Rule] = [
  // Kubernetes DNS-Based Service Discovery 1.1.0, section by section.
  Rule(name: "dns-version.cluster.local", type: "TXT", data: ["\"1.1.0\""]),
  Rule(name: "web.demo.svc.cluster.local", type: "A", data: ["10.43.7.20"]),
  Rule(name: "WEB.Demo.svc.Cluster.LOCAL", type: "A", data: ["10.43.7.20"]),
  Rule(name: "web.demo.svc.cluster.local", type: "AAAA", data: []),
  Rule(
    name: "_http._tcp.web.demo.svc.cluster.local", type: "SRV", data: ["0 100 80 web.demo.svc.cluster.local."]
  ),
  Rule(
    name: "_dns._udp.web.demo.svc.cluster.local", type: "SRV", data: ["0 100 53 web.demo.svc.cluster.local."]),
  Rule(name: "_absent._tcp.web.demo.svc.cluster.local", type: "SRV", data: [], status: "NXDOMAIN"),
  Rule(name: "20.7.43.10.in-addr.arpa", type: "PTR", data: ["web.demo.svc.cluster.local."], isPlain: false),
  Rule(name: "db.demo.svc.cluster.local", type: "A", data: ["10.42.7.5", "10.42.7.6"]),
  Rule(name: "db.demo.svc.cluster.local", type: "AAAA", data: ["fd00:42::5"]),
  Rule(name: "db-0.db.demo.svc.cluster.local", type: "A", data: ["10.42.7.5"]),
  Rule(name: "db-0.db.demo.svc.cluster.local", type: "AAAA", data: ["fd00:42::5"]),
  Rule(name: "10-42-7-6.db.demo.svc.cluster.local", type: "A", data: ["10.42.7.6"]),
  Rule(name: "10-42-7-7.db.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
  Rule(
    name: "_pg._tcp.db.demo.svc.cluster.local", type: "SRV",
    data: ["0 50 5432 10-42-7-6.db.demo.svc.cluster.local.", "0 50 5432 db-0.db.demo.svc.cluster.local."]),
  Rule(
    name: "5.7.42.10.in-addr.arpa", type: "PTR", data: ["db-0.db.demo.svc.cluster.local."], isPlain: false),
  Rule(
    name: "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.4.0.0.0.0.d.f.ip6.arpa", type: "PTR",
    data: ["db-0.db.demo.svc.cluster.local."], isPlain: false),
  Rule(name: "idle.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
  Rule(name: "early.demo.svc.cluster.local", type: "A", data: ["10.42.7.9"]),
  Rule(name: "outside.demo.svc.cluster.local", type: "CNAME", data: ["www.interwebs.test."]),
  Rule(
    name: "inside.demo.svc.cluster.local", type: "A", data: ["10.43.7.20", "web.demo.svc.cluster.local."]),
  Rule(name: "inside.demo.svc.cluster.local", type: "AAAA", data: ["web.demo.svc.cluster.local."]),
  Rule(
    name: "port.demo.svc.cluster.local", type: "SRV",
    data: ["0 100 80 web.demo.svc.cluster.local.", "_http._tcp.web.demo.svc.cluster.local."]),
  Rule(
    name: "astray.demo.svc.cluster.local", type: "A", data: ["absent.demo.svc.cluster.local."],
    status: "NXDOMAIN"),
  // DNS itself: what exists and what does not.
  Rule(name: "cluster.local", type: "NS", data: ["ns.dns.cluster.local."]),
  Rule(name: "cluster.local", type: "A", data: []), Rule(name: "svc.cluster.local", type: "A", data: []),
  Rule(name: "demo.svc.cluster.local", type: "A", data: []),
  Rule(name: "_tcp.web.demo.svc.cluster.local", type: "A", data: []),
  Rule(name: "dns-version.cluster.local", type: "A", data: []),
  Rule(name: "web.demo.svc.cluster.local", type: "MX", data: []),
  Rule(name: "web.demo.svc.cluster.local", type: "HTTPS", data: []),
  Rule(name: "web.demo.svc.cluster.local", type: "TYPE1000", data: []),
  Rule(name: "absent.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
  Rule(name: "web.absent.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
  Rule(name: "x.web.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
  Rule(name: "*.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
  // What CoreDNS adds.
  Rule(
    name: "web.demo.svc.cluster.local", type: "SRV",
    data: ["0 100 53 web.demo.svc.cluster.local.", "0 100 80 web.demo.svc.cluster.local."]),
  Rule(name: "_http._tcp.web.demo.svc.cluster.local", type: "A", data: ["10.43.7.20"]),
  Rule(
    name: "http.tcp.web.demo.svc.cluster.local", type: "SRV", data: ["0 100 80 web.demo.svc.cluster.local."],
    isPlain: false),
  Rule(name: "10-1-2-3.demo.pod.cluster.local", type: "A", data: ["10.1.2.3"], isPlain: false),
  Rule(name: "fd00--7.demo.pod.cluster.local", type: "AAAA", data: ["fd00::7"], isPlain: false),
  Rule(name: "10-1-2-300.demo.pod.cluster.local", type: "A", data: [], status: "NXDOMAIN", isPlain: false),
]

private let cluster = """
  apiVersion: v1
  kind: Namespace
  metadata: {name: demo}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: demo}
  spec:
    clusterIP: 10.43.7.20
    ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: db, namespace: demo}
  spec: {clusterIP: None, ports: [{name: pg, port: 5432}]}
  ---
  apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: db-4, namespace: demo, labels: {kubernetes.io/service-name: db}}
  addressType: IPv4
  ports: [{name: pg, port: 5432, protocol: TCP}]
  endpoints:
  - {addresses: [10.42.7.5], hostname: db-0, conditions: {ready: true}}
  - {addresses: [10.42.7.6], conditions: {ready: true}}
  - {addresses: [10.42.7.7], conditions: {ready: false}}
  ---
  apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: db-6, namespace: demo, labels: {kubernetes.io/service-name: db}}
  addressType: IPv6
  ports: [{name: pg, port: 5432, protocol: TCP}]
  endpoints: [{addresses: ["fd00:42::5"], hostname: db-0, conditions: {ready: true}}]
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: idle, namespace: demo}
  spec: {clusterIP: None, ports: [{port: 80}]}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: early, namespace: demo}
  spec: {clusterIP: None, publishNotReadyAddresses: true, ports: [{port: 80}]}
  ---
  apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: early-4, namespace: demo, labels: {kubernetes.io/service-name: early}}
  addressType: IPv4
  ports: [{port: 80, protocol: TCP}]
  endpoints: [{addresses: [10.42.7.9], conditions: {ready: false}}]

  """
  + [
    ("outside", "www.interwebs.test"), ("inside", "web.demo.svc.cluster.local"),
    ("astray", "absent.demo.svc.cluster.local"),
  ].map(external).joined()

private func external(_ name: String, _ target: String) -> String {
  "---\napiVersion: v1\nkind: Service\nmetadata: {name: \(name), namespace: demo}\n"
    + "spec: {type: ExternalName, externalName: \(target)}\n"
}

/// An API server takes no such name; whoever reads manifests may meet one.
private let underscored = external("port", "_http._tcp.web.demo.svc.cluster.local")
private let rulesOfServer = rules.filter { !$0.name.hasPrefix("port.") }

/// `bind` gives the zone's name server an address: BIND takes no zone without one.
private let corefile = """
  .:5300 {
    errors
    kubernetes cluster.local clusterset.local in-addr.arpa ip6.arpa {
      pods insecure
      ttl 30
      multicluster clusterset.local
    }
    transfer cluster.local {
      to *
    }
    bind 127.0.0.1
    reload 2s
  }

  """

extension TestNode {
  func dig(_ port: Int, _ arguments: [String]) -> Output {
    exec(["dig", "@127.0.0.1", "-p", "\(port)", "+time=5", "+tries=2"] + arguments, seconds: 60)
  }

  /// Asks every rule of one server over one transport.
  fileprivate func check(_ port: Int, _ rules: [Rule], _ transport: String) {
    let questions = rules.flatMap { [$0.name, $0.type] }
    let out = dig(port, [transport, "+noall", "+comments", "+answer", "+authority"] + questions)
      .standardOutput
    let replies = out.components(separatedBy: "->>HEADER<<-").dropFirst()
    #expect(replies.count == rules.count, "\(out)")
    for (rule, reply) in zip(rules, replies) {
      var records: [String] = []
      var section = ""
      for line in reply.split(separator: "\n") {
        if line.hasPrefix(";; ") { section = String(line) }
        let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        guard !line.hasPrefix(";"), words.count > 4, section.contains("ANSWER SECTION") else { continue }
        records.append(words[4...].joined(separator: " "))
      }
      let place = "\(rule.name) \(rule.type) at port \(port) \(transport): \(reply)"
      #expect(reply.contains("status: \(rule.status)"), "\(place)")
      #expect(records.sorted() == rule.data, "\(place)")
      let isDenied = rule.data.isEmpty || rule.status == "NXDOMAIN"
      if isDenied { #expect(reply.contains("SOA"), "a denial says how long it holds: \(place)") }
    }
    checkRaw(port, rules, transport == "+tcp" ? "tcp" : "udp")
  }

  /// The same with a client that reads every octet of a reply itself.
  private func checkRaw(_ port: Int, _ rules: [Rule], _ transport: String) {
    let script = Project.root.appending(path: "Tests/EndToEnd/Clients/names.py").path()
    let out = exec(
      ["python3", script, "\(port)", transport] + rules.flatMap { [$0.name, $0.type] }, seconds: 120)
    #expect(out.status == 0, "\(out)")
    for (rule, line) in zip(rules, out.lines) {
      let words = line.components(separatedBy: "\t")
      let isDenied = rule.data.isEmpty || rule.status == "NXDOMAIN"
      let place = "\(rule.name) \(rule.type) at port \(port) \(transport): \(line)"
      #expect(words.count > 1 && words[0] == rule.status, "\(place)")
      #expect(words.dropFirst(2).sorted() == rule.data, "\(place)")
      if isDenied { #expect(words.count > 1 && words[1] == "SOA", "\(place)") }
    }
    #expect(out.lines.count == rules.count, "\(out)")
  }

  func answers(
    _ port: Int, _ arguments: String..., within seconds: Double = 30, says text: String
  )
    -> Bool
  {
    eventually(within: seconds) { self.dig(port, arguments).standardOutput.contains(text) } != nil
  }

  func write(_ name: String, _ text: String) throws -> String {
    let path = "\(dataFolder)/\(name)"
    try FileManager.default.createDirectory(
      atPath: URL(filePath: path).deletingLastPathComponent().path(), withIntermediateDirectories: true)
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }
}

@Suite(.serialized) struct ClusterDNSTests {
  @Test(.timeLimit(.minutes(5)))
  func `the rules hold on manifests, and other servers say the same of the zone they are handed`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let manifests = "\(node.dataFolder)/manifests"
    _ = try node.write("manifests/cluster.yaml", cluster + underscored)
    let path = try node.write("Corefile", corefile)
    let dns = try node.background([Project.weft, "dns", "--manifests", manifests, "--corefile", path])
    defer { dns.terminate() }
    try #require(node.answers(5300, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"))
    for transport in ["+notcp", "+tcp"] { node.check(5300, rules, transport) }

    let zone = node.dig(5300, ["+noall", "+answer", "cluster.local", "AXFR"]).standardOutput
    let lines = zone.split(separator: "\n").filter { !$0.hasPrefix(";") }
    try #require(lines.count > 20, "\(zone)")
    _ = try node.write("zone", lines.dropLast().joined(separator: "\n") + "\n")
    for server in OtherNameServer.allCases {
      let settings = try node.write("\(server).conf", server.settings(node.dataFolder))
      // All its processes go with the first, which is theirs to wait for, whatever signals they were born with blocked.
      let other = try node.background(
        ["unshare", "--pid", "--fork", "--kill-child", "--"] + server.command + [settings])
      defer { if other.isRunning { kill(other.processIdentifier, SIGKILL) } }
      try #require(
        node.answers(5301, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"), "\(server)")
      for transport in ["+notcp", "+tcp"] {
        node.check(5301, rules.filter { $0.isPlain && server.hasReason(for: $0.name) }, transport)
      }
      kill(other.processIdentifier, SIGKILL)
      #expect(eventually(within: 30) { !other.isRunning } != nil, "\(server)")
    }

    // A changed Corefile is taken over, one that cannot be read changes nothing.
    let more = corefile.replacing("errors", with: "hosts {\n    192.0.2.80 extra.test\n  }")
    _ = try node.write("Corefile", more)
    #expect(node.answers(5300, "+short", "extra.test", says: "192.0.2.80"))
    _ = try node.write("Corefile", more.replacing("192.0.2.80", with: "192.0.2.81") + "frobnicate {\n")
    _ = eventually(within: 4) { false }
    #expect(node.answers(5300, "+short", "extra.test", says: "192.0.2.80"))
    node.check(5300, [rules[1]], "+notcp")
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
    let applied = node.kubectl("apply", "-f", try node.write("cluster.yaml", cluster))
    #expect(applied.status == 0, "\(applied)")
    let own = corefile.replacing("pods insecure", with: "pods insecure\n    kubeconfig \(node.kubeconfig)")
    let path = try node.write("Corefile", own)
    let names = "\(node.dataFolder)/dns/last.names"
    let plain = [Project.weft, "dns", "--corefile", path, "--metrics", "127.0.0.1:9153", "--snapshot"]
    let arguments = plain + [names]
    let dns = try node.background(arguments)
    defer { dns.terminate() }
    try #require(node.answers(5300, "+short", "web.demo.svc.cluster.local", says: "10.43.7.20"))
    for transport in ["+notcp", "+tcp"] { node.check(5300, rulesOfServer, transport) }

    // Names of the cluster set are not denied before there is a list of them.
    #expect(node.answers(5300, "far.demo.svc.clusterset.local", says: "status: SERVFAIL"))
    let set = try node.write("set.yaml", clusterSet)
    #expect(node.kubectl("apply", "-f", set).status == 0)
    let far = try node.write("far.yaml", farService)
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
    node.check(5300, rulesOfServer, "+notcp")

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
    node.check(5300, rulesOfServer, "+notcp")
    // What has to be read anew is not denied.
    #expect(node.answers(5300, "far.demo.svc.clusterset.local", says: "status: SERVFAIL"))

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
    let path = try node.write(
      "Corefile",
      """
      .:53 {
        kubernetes cluster.local in-addr.arpa ip6.arpa
        autopath @kubernetes
        hosts {
          192.0.2.80 www.extra.test
        }
      }

      """)
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
    _ = try node.write("manifests/cluster.yaml", cluster + pod)
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
    let good = node.weft("dns", "--check", try node.write("Corefile", corefile))
    #expect(good.status == 0 && good.standardOutput.contains("zone cluster.local"), "\(good)")
    let bad = try node.write("Wrong", corefile.replacing("errors", with: "errors\n  frobnicate all"))
    let wrong = node.weft("dns", "--check", bad)
    #expect(wrong.status == 1, "\(wrong)")
    #expect(wrong.standardError.contains("DNS0010 \(bad):3: frobnicate: there is no plugin"), "\(wrong)")
  }
}

private let clusterSet = """
  apiVersion: apiextensions.k8s.io/v1
  kind: CustomResourceDefinition
  metadata:
    name: serviceimports.multicluster.x-k8s.io
    annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes/enhancements/pull/1748"}
  spec:
    group: multicluster.x-k8s.io
    scope: Namespaced
    names: {plural: serviceimports, singular: serviceimport, kind: ServiceImport}
    versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}

  """

private let farService = """
  apiVersion: multicluster.x-k8s.io/v1alpha1
  kind: ServiceImport
  metadata: {name: far, namespace: demo}
  spec: {type: ClusterSetIP, ips: [10.43.200.7], ports: [{name: http, port: 80, protocol: TCP}]}

  """
