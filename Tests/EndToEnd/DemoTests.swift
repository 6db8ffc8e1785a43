// The walking skeleton: kubectl applies the demo, and every door that the README names is tried.
import Foundation
import SoakLab
import Testing

@Suite(.serialized) struct DemoTests {
  /// One cluster's life, in the order a user would live it. The steps share the cluster: each says what it proves.
  @Test(.timeLimit(.minutes(5))) func `the demo comes up, is used, changes, restarts and leaves nothing`()
    async throws
  {
    let node = try TestNode()
    defer { node.remove() }
    try node.start()
    let clock = ContinuousClock()
    var last = clock.now
    func done(_ step: String) {
      print("\(step): \(clock.now - last)")
      last = clock.now
    }
    try apiIsReady(node)
    done("api ready")
    try demoIsReady(node)
    done("demo ready and described")
    try everyDoorAnswers(node)
    done("every door answered")
    try theStrangerIsRefusedAndToldWhy(node)
    done("stranger refused")
    try await replacingAPodFailsNoRequest(node)
    done("pod replaced")
    try restartKeepsObjectsPodsAndRuleset(node)
    done("restarted")
    try interruptLeavesNothing(node)
    done("stopped without a trace")
  }

  func apiIsReady(_ node: TestNode) throws {
    let ready = eventually(within: 60) { node.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(ready != nil, "the API did not become ready:\n\(node.log)")
    let attributes = try FileManager.default.attributesOfItem(atPath: node.kubeconfig)
    #expect((attributes[.posixPermissions] as? Int) == 0o600)
  }

  func demoIsReady(_ node: TestNode) throws {
    let start = Date()
    let applied = node.kubectl("apply", "-f", Project.root.appending(path: "examples/demo.yaml").path())
    try #require(applied.status == 0, "\(applied)")
    let rollout = node.kubectl("rollout", "status", "deployment/web", "-n", "demo", "--timeout=90s")
    #expect(rollout.status == 0, "\(rollout)\n\(node.log.suffix(4000))")
    let waited = node.kubectl("wait", "--for=condition=Ready", "pods", "--all", "-n", "demo", "--timeout=90s")
    let seconds = Date().timeIntervalSince(start)
    try #require(
      waited.status == 0,
      "\(waited)\n\(node.kubectl("get", "pods,events", "-A").standardOutput)\n\(node.log.suffix(6000))")
    // How soon depends on what else the machine does.
    if Soak.isLong { #expect(seconds < 10, "everything was Ready after \(seconds) s") }
    print("demo ready after \(seconds) s")
    let table = node.kubectl("get", "pods", "-n", "demo")
    #expect(
      table.lines.first?.split(separator: " ").map(String.init) == [
        "NAME", "READY", "STATUS", "RESTARTS", "AGE",
      ])
    #expect(table.lines.filter { $0.contains("1/1") && $0.contains("Running") }.count == 4, "\(table)")
    for kind in [
      "deployment/web", "service/web", "ingress/web", "networkpolicy/web-from-client", "pod/client", "node",
    ] {
      let described = node.kubectl("describe", kind, "-n", "demo")
      #expect(described.status == 0 && !described.standardOutput.isEmpty, "\(described)")
    }
  }

  /// The body that the demo's web pods answer with names the pod in its first line.
  private func pods(_ answers: [Output]) -> Set<String> { Set(answers.compactMap(\.lines.first)) }

  func everyDoorAnswers(_ node: TestNode) throws {
    // By name from the client pod, with the resolver configuration the node agent gave it.
    let wget = node.kubectl("get", "pod", "client", "-n", "demo", "-o", "jsonpath={.status.podIP}").trimmed
    try #require(!wget.isEmpty)
    let resolver = node.containerFile("client", "/etc/resolv.conf")
    #expect(
      resolver.contains("nameserver 10.43.0.10") && resolver.contains("search demo.svc.cluster.local"),
      "\(resolver)")
    let answers = (0..<20).map { _ in
      node.inContainer("client", "timeout", "20", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local")
    }
    #expect(answers.allSatisfy { $0.status == 0 }, "\(answers.first { $0.status != 0 }?.description ?? "")")
    #expect(pods(answers).count == 2, "both replicas answer: \(pods(answers))")

    let vip = node.kubectl("get", "service", "web", "-n", "demo", "-o", "jsonpath={.spec.clusterIP}").trimmed
    let podAddresses = Set(
      node.kubectl("get", "pods", "-n", "demo", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}")
        .trimmed
        .split(separator: " ").map(String.init))
    for place in ["node", "client"] {
      func dig(_ arguments: String...) -> Output {
        let all = ["dig", "+time=10", "+tries=1", "@10.43.0.10"] + arguments
        return place == "node" ? node.exec(all) : node.inPodNetwork("client", all)
      }
      #expect(
        dig("+short", "web.demo.svc.cluster.local").trimmed == vip, "\(dig("web.demo.svc.cluster.local"))")
      #expect(Set(dig("+short", "web-headless.demo.svc.cluster.local").lines) == podAddresses)
      #expect(dig("nothing.demo.svc.cluster.local").standardOutput.contains("status: NXDOMAIN"))
      let noData = dig("web.demo.svc.cluster.local", "AAAA").standardOutput
      #expect(
        noData.contains("status: NOERROR") && noData.contains("ANSWER: 0") && noData.contains("SOA"),
        "\(noData)")
      #expect(dig("+tcp", "+short", "web.demo.svc.cluster.local").trimmed == vip)
    }
    // An entry of a question would stand for half a minute: none was made.
    let tracked = node.exec("conntrack", "-L", "--orig-dst", "10.43.0.10")
    #expect(tracked.status == 0 && !tracked.standardOutput.contains("dport=53 "), "\(tracked)")

    let ingress = node.execOutside(
      "curl", "-s", "-m", "20", "-H", "Host: web.localhost", "http://\(node.address)/")
    #expect(ingress.status == 0 && ingress.standardOutput.contains("web-"), "\(ingress)")
    let unknown = node.execOutside(
      "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "http://\(node.address)/")
    #expect(unknown.standardOutput == "404", "\(unknown)")
    let nodePort = (0..<20).map { _ in
      node.execOutside("curl", "-s", "-m", "20", "http://\(node.address):30080/")
    }
    #expect(nodePort.allSatisfy { $0.status == 0 } && pods(nodePort).count == 2, "\(nodePort[0])")
  }

  func theStrangerIsRefusedAndToldWhy(_ node: TestNode) throws {
    // Dropped, not refused: without our limit it would wait for minutes.
    let refused = node.inContainer(
      "stranger", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local", seconds: 4)
    #expect(refused.status != 0, "\(refused)")
    let explained = node.weft("explain", "demo/stranger", "demo/web", "--kubeconfig", node.kubeconfig)
    #expect(explained.status == 1, "\(explained)")
    #expect(explained.standardOutput.contains("denied by NetworkPolicy demo/web-from-client"), "\(explained)")
    #expect(explained.standardOutput.contains("kernel agrees"), "\(explained)")
    let allowed = node.weft(
      "explain", "demo/client", "demo/web:80", "--kubeconfig", node.kubeconfig, "-o", "json")
    #expect(allowed.status == 0 && allowed.standardOutput.contains("\"verdict\":\"allow\""), "\(allowed)")
    #expect(allowed.standardOutput.contains("\"kernel\":\"agrees\""), "\(allowed)")
  }

  func replacingAPodFailsNoRequest(_ node: TestNode) async throws {
    let before = Set(node.kubectl("get", "pods", "-n", "demo", "-l", "app=web", "-o", "name").lines)
    let victim = try #require(before.sorted().first)
    let vip = node.kubectl("get", "service", "web", "-n", "demo", "-o", "jsonpath={.spec.clusterIP}").trimmed
    // Requests go on all the while; each says when it was made and how it ended.
    let over = "\(node.dataFolder)-over"
    defer { try? FileManager.default.removeItem(atPath: over) }
    let script = """
      n=0; while [ $n -lt 300 ] || [ ! -e \(over) ]; do n=$((n + 1)); t=$(date +%s%N); \
      if curl -s -m 10 -o /dev/null http://\(vip)/; then echo "$t ok"; else echo "$t failed $?"; fi; done
      """
    let namespace =
      node.podNamespace(
        holding: node.kubectl("get", "pod", "client", "-n", "demo", "-o", "jsonpath={.status.podIP}").trimmed)
      ?? ""
    async let requests = Task.detached {
      run(["nsenter", "--net=\(namespace)", "--", "bash", "-c", script], seconds: 200)
    }.value
    let address = node.kubectl("get", victim, "-n", "demo", "-o", "jsonpath={.status.podIP}").trimmed
    let deleted = node.kubectl("delete", victim, "-n", "demo", "--wait=false")
    #expect(deleted.status == 0, "\(deleted)")
    let left = eventually(within: 60) {
      !node.kubectl(
        "get", "endpointslices", "-n", "demo", "-l", "kubernetes.io/service-name=web", "-o",
        "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}"
      )
      .trimmed.split(separator: " ").map(String.init).contains(address)
    }
    let leftAt = Date().timeIntervalSince1970
    #expect(left != nil, "the EndpointSlice still lists \(address)")
    let replaced = eventually(within: 60) {
      let now = Set(node.kubectl("get", "pods", "-n", "demo", "-l", "app=web", "-o", "name").lines)
      return now.count == 2 && !now.contains(victim)
        && node.kubectl(
          "wait", "--for=condition=Ready", "pods", "-l", "app=web", "-n", "demo", "--timeout=60s"
        ).status == 0
    }
    #expect(replaced != nil, "\(node.kubectl("get", "pods", "-n", "demo"))")
    _ = FileManager.default.createFile(atPath: over, contents: nil)
    let lines = await requests.lines
    #expect(lines.count >= 300, "only \(lines.count) requests were made")
    let late = lines.filter { line in
      let parts = line.split(separator: " ")
      return parts[1] == "failed" && (Double(parts[0]) ?? 0) / 1e9 > leftAt
    }
    #expect(late.isEmpty, "failed after the endpoint left: \(late.prefix(3))")
    print(
      "\(lines.count) requests while a pod was replaced, \(lines.filter { $0.contains("failed") }.count) failed in all"
    )
  }

  func restartKeepsObjectsPodsAndRuleset(_ node: TestNode) throws {
    func ruleset() -> String { node.exec("nft", "-a", "list", "ruleset").standardOutput.withoutCounters }
    let pods = node.kubectl(
      "get", "pods", "-n", "demo", "-o",
      "jsonpath={range .items[*]}{.metadata.uid} {.status.podIP} {.status.containerStatuses[0].containerID}{\"\\n\"}{end}"
    ).lines
    #expect(pods.count == 4)
    let before = ruleset()
    #expect(node.stop(SIGTERM) == 0, "\(node.log.suffix(2000))")
    #expect(ruleset() == before, "stopping by SIGTERM leaves the rules in force")
    try node.start()
    try apiIsReady(node)
    let ready = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
    #expect(ready != nil)
    let same = eventually(within: 60) {
      Set(
        node.kubectl(
          "get", "pods", "-n", "demo", "-o",
          "jsonpath={range .items[*]}{.metadata.uid} {.status.podIP} {.status.containerStatuses[0].containerID}{\"\\n\"}{end}"
        ).lines) == Set(pods)
    }
    #expect(
      same != nil, "the same pods and containers: \(node.kubectl("get", "pods", "-n", "demo", "-o", "wide"))")
    let answered = node.inContainer(
      "client", "timeout", "20", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local")
    #expect(answered.status == 0, "\(answered)")
    #expect(ruleset() == before, "the ruleset was rewritten")
  }

  func interruptLeavesNothing(_ node: TestNode) throws {
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(3000))")
    #expect(node.leftovers() == [], "\(node.log.suffix(3000))")
  }
}

extension String {
  /// Counters move with traffic; everything else of a ruleset must stand still.
  var withoutCounters: String { replacing(/packets \d+ bytes \d+/, with: "packets N bytes N") }
}
