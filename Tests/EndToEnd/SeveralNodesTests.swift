// A cluster of two nodes, looked at from a place that is neither: packets and flows of both, a live explanation sent from the pod's
// own node, status and map, and `weft test connectivity` with its scenarios over both.
import Foundation
import Testing

/// A command that runs on, with what it has said so far.
private final class Watched {
  private let process = Process()
  private let path: String

  init(_ namespace: String, _ words: [String], into path: String) throws {
    self.path = path
    _ = FileManager.default.createFile(atPath: "\(path).err", contents: nil)
    process.executableURL = URL(filePath: "/usr/bin/nsenter")
    process.arguments = ["--net=/run/netns/\(namespace)", "--"] + words
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = try FileHandle(forWritingTo: URL(filePath: "\(path).err"))
    try process.run()
  }

  deinit {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    for file in [path, "\(path).err"] { try? FileManager.default.removeItem(atPath: file) }
  }

  var words: String { (try? String(contentsOfFile: "\(path).err", encoding: .utf8)) ?? "" }
  func signal(_ signal: Int32) { kill(process.processIdentifier, signal) }
  /// Nil when it does not end.
  func status(within seconds: Double = 40) -> Int32? {
    eventually(within: seconds) { !process.isRunning } == nil ? nil : process.terminationStatus
  }
}

@Suite(.serialized) struct SeveralNodesTests {
  private static let objects = """
    apiVersion: v1
    kind: Pod
    metadata: { name: client, labels: { app: client } }
    spec:
      nodeSelector: { kubernetes.io/hostname: a }
      terminationGracePeriodSeconds: 0
      containers: [{ name: main, image: "weft.local/demo:1", args: [serve, "8080"] }]
    ---
    apiVersion: v1
    kind: Pod
    metadata: { name: web, labels: { app: web } }
    spec:
      nodeSelector: { kubernetes.io/hostname: b }
      terminationGracePeriodSeconds: 0
      containers: [{ name: main, image: "weft.local/demo:1", args: [serve, "8080"] }]
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: web }
    spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
    ---
    apiVersion: v1
    kind: ServiceAccount
    metadata: { name: nobody }

    """

  private func started() throws -> NodePair {
    let pair = try NodePair(network: "host-gw")
    do {
      try pair.startServer()
      let answers = eventually(within: 60) { pair.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
      try #require(answers != nil, "\(pair.logs)")
      for node in 0..<2 { try pair.startNode(node) }
      let made = eventually(within: 60) { pair.kubectl("get", "node", "a", "b").status == 0 }
      try #require(made != nil, "\(pair.logs)")
      let ready = pair.kubectl(
        "wait", "--for=condition=Ready", "node/a", "node/b", "--timeout=90s", seconds: 100)
      try #require(ready.status == 0, "\(ready)\n\(pair.logs)")
    } catch {
      pair.remove()
      throw error
    }
    return pair
  }

  private struct Ground {
    let pair: NodePair
    let client: String
    let service: String
    let folder: String

    /// `weft` beside the control plane, where no node is.
    func weft(_ words: String..., kubeconfig: String? = nil, seconds: Double = 60) -> Output {
      run(
        ["nsenter", "--net=/run/netns/\(pair.switchName)", "--", Project.weft] + words + [
          "--kubeconfig", kubeconfig ?? pair.kubeconfig,
        ], seconds: seconds)
    }

    /// A capture that has begun.
    func capture(_ words: String..., name: String = "web.pcapng") throws -> Watched {
      let file = "\(folder)/\(name)"
      let watched = try Watched(
        pair.switchName,
        [Project.weft, "capture"] + words + ["-w", file, "--kubeconfig", pair.kubeconfig], into: file)
      let begun = eventually(within: 60) { watched.words.contains("capturing at") }
      try #require(begun != nil, "\(watched.words)\n\(pair.logs)")
      return watched
    }

    func talk() -> Output {
      run(
        [
          "nsenter", "--net=\(client)", "--", "curl", "-s", "-m", "5", "--retry", "5", "--retry-all-errors",
          "http://\(service)/",
        ], seconds: 60)
    }

    /// Fields of each packet as tshark reads them.
    func fields(_ file: String, _ names: String..., filter: String = "") -> [[String]] {
      let words = names.flatMap { ["-e", $0] }
      let output = run(
        ["tshark", "-r", "\(folder)/\(file)", "-N", "n", "-T", "fields", "-E", "separator=|"] + words
          + (filter.isEmpty ? [] : ["-Y", filter]), seconds: 60)
      #expect(output.status == 0, "\(output)")
      return output.lines.map {
        $0.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      }
    }
  }

  private func ground(_ pair: NodePair) throws -> Ground {
    let folder = "/var/tmp/weft-2n-\(pair.tag)-seen"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let manifest = "\(folder)/objects.yaml"
    try Self.objects.write(toFile: manifest, atomically: true, encoding: .utf8)
    let applied = eventually(within: 60) { pair.kubectl("apply", "-f", manifest).status == 0 }
    try #require(applied != nil, "\(pair.kubectl("apply", "-f", manifest))")
    let ready = pair.kubectl(
      "wait", "--for=condition=Ready", "pod/client", "pod/web", "--timeout=90s", seconds: 100)
    try #require(ready.status == 0, "\(ready)\n\(pair.kubectl("describe", "pods"))\n\(pair.logs)")
    let address = pair.value("pod", "client", ".status.podIP")
    let client = try #require(pair.podNamespace(0, holding: address))
    let ground = Ground(
      pair: pair, client: client, service: pair.value("service", "web", ".spec.clusterIP"), folder: folder)
    let answered = eventually(within: 60, every: 0.5) { ground.talk().standardOutput.contains("pod: web") }
    try #require(answered != nil, "\(ground.talk())\n\(pair.logs)")
    return ground
  }

  @Test(.timeLimit(.minutes(10)))
  func `packets, flows and explanations of two nodes come to whoever has the right, and to nobody else`()
    throws
  {
    let pair = try started()
    defer { pair.remove() }
    let ground = try ground(pair)
    defer { try? FileManager.default.removeItem(atPath: ground.folder) }
    try bothSidesAreOneCapture(ground)
    try capturesEndWithTheirAsker(ground)
    try rightsAreNeeded(ground)
    try flowsOfBothAreOne(ground)
    try sourcesOfOtherNodesAreTried(ground)
    bothAreShown(ground)
    try deathAndFullDisk(ground)
  }

  /// The client's node translates; the other one sees what is behind it, and its packets say so all the same.
  private func bothSidesAreOneCapture(_ ground: Ground) throws {
    let capture = try ground.capture("client,web", "tcp port 80 or tcp port 8080")
    for _ in 0..<3 { #expect(ground.talk().standardOutput.contains("pod: web")) }
    capture.signal(SIGINT)
    #expect(capture.status() == 0, "\(capture.words)\n\(ground.pair.logs)")
    #expect(
      capture.words.contains("default/client") && capture.words.contains("none lost"), "\(capture.words)")
    let rows = ground.fields(
      "web.pcapng", "frame.interface_name", "ip.src_host", "ip.dst_host", "tcp.dstport", "frame.comment",
      "frame.time_epoch")
    let asked = rows.filter { $0[0] == "default/client" && $0[3] == "80" }
    let served = rows.filter { $0[0] == "default/web" && $0[3] == "8080" }
    #expect(asked.count >= 9 && served.count >= 9, "\(rows)")
    #expect(
      asked.allSatisfy {
        $0[2] == "svc/default/web" && $0[4].hasPrefix("svc/default/web:http → ")
          && $0[4].contains("default/web")
      }, "\(asked)")
    #expect(
      served.allSatisfy {
        $0[1] == "default/client" && $0[2] == "default/web"
          && $0[4].hasPrefix("svc/default/web:http \(ground.service):80; asked by ")
          && $0[4].contains("default/client")
      }, "\(served)")
    let times = rows.map { $0[5] }
    #expect(times == times.sorted(), "\(times)")
    // The Service by its name, every node that it concerns, and lines for the terminal.
    let all = ground.weft("capture", "svc/default/web", "--all-nodes", "--duration", "1s")
    #expect(all.status == 0 && all.standardError.contains("default/web"), "\(all)")
    let links = try ground.capture("node/a,node/b", name: "links.pcapng")
    #expect(links.words.contains("node/a eth0") && links.words.contains("node/b eth0"), "\(links.words)")
    links.signal(SIGTERM)
    #expect(links.status() == 0, "\(links.words)")
  }

  /// Killed, and stopped for a while: the nodes let go, and count what was lost.
  private func capturesEndWithTheirAsker(_ ground: Ground) throws {
    let pair = ground.pair
    // A node runs four captures: as long as one lives, eight in a row do not begin.
    for _ in 0..<4 {
      let killed = try ground.capture("client,web", name: "killed.pcapng")
      killed.signal(SIGKILL)
      _ = killed.status()
    }
    let four = eventually(within: 60, every: 0.5) {
      ground.weft("capture", "client,web", "--duration", "100ms").status == 0
    }
    #expect(four != nil, "\(pair.logs)")
    let slow = try ground.capture("web", "udp", name: "slow.pcapng")
    slow.signal(SIGSTOP)
    // 150 MB within the pod's link: more than all buffers on the way and the ring hold together.
    let address = pair.value("pod", "web", ".status.podIP")
    let flood = run(
      [
        "nsenter", "--net=\(ground.client)", "--", "python3", "-c",
        """
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sent = 0
        for n in range(110000):
            try: sent += s.sendto(b"x" * 1400, ("\(address)", 9)) > 0
            except OSError: pass
        print(sent)
        """,
      ], seconds: 120)
    let sent = Int(flood.trimmed) ?? 0
    #expect(sent > 100_000, "\(flood)")
    slow.signal(SIGCONT)
    slow.signal(SIGINT)
    // Tens of megabytes are still on their way.
    #expect(slow.status(within: 200) == 0, "\(slow.words)\n\(pair.logs)")
    let words = slow.words.split(separator: "\n").last.map(String.init) ?? ""
    let numbers = words.split(separator: " ").compactMap { Int($0) }
    // What was written and what was lost is what came.
    try #require(numbers.count == 2 && words.contains("lost: they came faster"), "\(slow.words)")
    #expect(numbers[1] > 0 && numbers[0] > 0 && numbers[0] + numbers[1] <= sent, "\(words), \(sent) sent")
    #expect(ground.fields("slow.pcapng", "frame.number").count == numbers[0])
  }

  private func rightsAreNeeded(_ ground: Ground) throws {
    let pair = ground.pair
    let token = pair.kubectl("create", "token", "nobody").trimmed
    let path = "\(ground.folder)/nobody.kubeconfig"
    func configure(_ words: String...) -> Output {
      run([Project.kubectl, "--kubeconfig", path, "config"] + words)
    }
    let authority = pair.kubectl(
      "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}"
    ).trimmed
    try Data(base64Encoded: authority)?.write(to: URL(filePath: "\(ground.folder)/ca.crt"))
    _ = configure(
      "set-cluster", "c", "--server", "https://192.0.2.10:6443", "--certificate-authority",
      "\(ground.folder)/ca.crt")
    _ = configure("set-credentials", "nobody", "--token", token)
    _ = configure("set-context", "c", "--cluster", "c", "--user", "nobody")
    _ = configure("use-context", "c")
    func allow(_ name: String, _ words: String...) {
      let made = pair.kubectl(["create", "clusterrole", name] + words)
      #expect(made.status == 0, "\(made)")
      let bound = pair.kubectl(
        "create", "clusterrolebinding", name, "--clusterrole", name, "--serviceaccount", "default:nobody")
      #expect(bound.status == 0, "\(bound)")
    }
    // Reads everything, and may not ask nodes.
    allow(
      "looks", "--verb=get,list",
      "--resource=services,pods,namespaces,nodes,endpointslices.discovery.k8s.io,"
        + "networkpolicies.networking.k8s.io,ingresses.networking.k8s.io,ingressclasses.networking.k8s.io,"
        + "clusternetworkpolicies.policy.networking.k8s.io")
    func asked() -> Output { ground.weft("capture", "web", "--duration", "500ms", kubeconfig: path) }
    let refused = asked()
    #expect(
      refused.status == 2 && refused.standardError.contains("CAP0015 node b: no rights to its packets"),
      "\(refused)")
    #expect(refused.standardError.contains("kubectl auth can-i get nodes --subresource=proxy"), "\(refused)")
    let flows = ground.weft("flows", "--node", "b", kubeconfig: path)
    #expect(flows.status == 1 && flows.standardError.contains("node b does not tell"), "\(flows)")
    let live = ground.weft("explain", "web", "client:8080", "--live", "--no-kernel", kubeconfig: path)
    #expect(live.status == 1 && live.standardError.contains("CLI0185 node b"), "\(live)")
    allow("asks", "--verb=get", "--resource=nodes/proxy")
    let allowed = eventually(within: 60, every: 0.5) { asked().status == 0 }
    #expect(allowed != nil, "\(asked())")
    let nobody = ground.weft("capture", "nothing")
    #expect(nobody.status == 2 && nobody.standardError.contains("CAP0002"), "\(nobody)")
  }

  private func flowsOfBothAreOne(_ ground: Ground) throws {
    let saved = "\(ground.folder)/flows.json"
    let both = eventually(within: 60, every: 0.5) {
      _ = ground.talk()
      let seen = ground.weft("flows", "--all-nodes", "--to", "default/web", "-o", "json").lines
      return ["a", "b"].allSatisfy { node in seen.contains { $0.contains("\"node\":\"\(node)\"") } }
    }
    #expect(both != nil, "\(ground.weft("flows", "--all-nodes", "-o", "json"))")
    let one = ground.weft("flows", "--node", "b", "-o", "json")
    #expect(
      one.status == 0 && !one.lines.isEmpty && one.lines.allSatisfy { $0.contains("\"node\":\"b\"") },
      "\(one)")
    #expect(ground.weft("flows", "--all-nodes", "--limit", "1").lines.count == 1)
    #expect(ground.weft("flows", "--all-nodes", "--to-file", saved).status == 0)
    let service = ground.weft("flows", "--all-nodes", "--service", "default/web")
    #expect(service.status == 0 && service.standardOutput.contains("(default/web:80)"), "\(service)")
    let none = ground.weft("flows", "--node", "nowhere")
    #expect(none.status == 1 && none.standardError.contains("node nowhere does not tell"), "\(none)")
    #expect(ground.weft("flows", "--node", "b", "--verdict", "maybe").status == 2)
    // Followed: what comes is shown as it comes.
    let followed = try Watched(
      ground.pair.switchName,
      [
        "sh", "-c",
        "exec \(Project.weft) flows -f --all-nodes --limit 0 --kubeconfig \(ground.pair.kubeconfig) >&2",
      ], into: "\(ground.folder)/followed")
    let seen = eventually(within: 60, every: 0.5) {
      _ = ground.talk()
      return followed.words.contains("default/client:") && followed.words.contains("default/web:8080")
    }
    #expect(seen != nil, "\(followed.words)")
  }

  private func sourcesOfOtherNodesAreTried(_ ground: Ground) throws {
    for (from, to) in [("client", "svc/default/web"), ("web", "pod/default/client:8080")] {
      let live = ground.weft("explain", from, to, "--live")
      #expect(
        live.status == 0 && live.standardOutput.contains("connected to"), "\(live)\n\(ground.pair.logs)")
      #expect(live.standardOutput.contains("kernel agrees"), "\(live)")
      #expect(live.lines.contains { $0.hasPrefix("√ live") && $0.contains("KUBE-") }, "\(live)")
    }
    let json = ground.weft("explain", "client", "svc/default/web", "--live", "-o", "json")
    #expect(json.standardOutput.contains(#""step":"live""#), "\(json)")
  }

  private func bothAreShown(_ ground: Ground) {
    // After a live explanation a node looks at its tables once more: the trace was a change of the kernel's.
    func missing(_ status: Output) -> [String] {
      ["node agent", "rules", "dns", "flows"].flatMap { part in ["a", "b"].map { (part, $0) } }.filter {
        part, node in !status.lines.contains { $0.hasPrefix("ok   \(part) ") && $0.contains(" \(node) ") }
      }.map { "\($0) \($1)" }
    }
    var status = ground.weft("status")
    let well = eventually(within: 120, every: 1) {
      status = ground.weft("status")
      return status.status == 0 && missing(status).isEmpty
    }
    #expect(well != nil, "\(missing(status)): \(status)\n\(ground.pair.logs)")
    let map = ground.weft("map")
    #expect(map.status == 0 && map.lines.contains { $0.hasPrefix("default/client ") }, "\(map)")
    for node in ["a", "b"] {
      let rules = ground.weft("rules", "default/web", "--node", node)
      #expect(rules.status == 0 && rules.lines.first?.hasPrefix("chain KUBE-LB-TCP-") == true, "\(rules)")
    }
  }

  /// A pod that is deleted ends its capture; a full disk ends it here; files are whole in both cases.
  private func deathAndFullDisk(_ ground: Ground) throws {
    let full = "\(ground.folder)/small"
    try FileManager.default.createDirectory(atPath: full, withIntermediateDirectories: true)
    let mounted = run(["mount", "-t", "tmpfs", "-o", "size=64k", "weft", full])
    try #require(mounted.status == 0, "\(mounted)")
    defer { run(["umount", full]) }
    let capture = try ground.capture("client,web", name: "small/full.pcapng")
    let ended = eventually(within: 60, every: 0.1) {
      _ = ground.talk()
      return capture.words.contains("CAP0009")
    }
    #expect(ended != nil && capture.words.contains("No space left on device; what is there is whole"))
    _ = capture.status()
    #expect(ground.fields("small/full.pcapng", "frame.number").count > 10)

    let dying = try ground.capture("web", name: "dying.pcapng")
    #expect(ground.talk().standardOutput.contains("pod: web"))
    #expect(ground.pair.kubectl("delete", "pod", "web", "--wait=false").status == 0)
    #expect(dying.status() == 1, "\(dying.words)\n\(ground.pair.logs)")
    #expect(dying.words.contains("CAP0010 pod default/web: has gone"), "\(dying.words)")
    #expect(ground.fields("dying.pcapng", "ip.dst_host").contains { $0[0] == "default/web" })
  }

  @Test(.timeLimit(.minutes(8)))
  func `weft test connectivity tries both nodes, and writes what a build server reads`() throws {
    let pair = try started()
    defer { pair.remove() }
    let path = "/var/tmp/weft-2n-\(pair.tag)-junit.xml"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let output = run(
      [
        "nsenter", "--net=/run/netns/\(pair.switchName)", "--", Project.weft, "test", "connectivity",
        "--kubeconfig", pair.kubeconfig, "--junit", path,
      ], seconds: 300)
    #expect(output.status == 0, "\(output)\n\(pair.logs)")
    for title in [
      "pod to pod on another node", "pod of another node to a Service", "node to a NodePort of each node",
      "pod to itself by its Service",
    ] { #expect(output.lines.contains { $0.hasPrefix("√ \(title)") }, "\(title): \(output)") }
    let report = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    #expect(report.contains(#"tests="16" failures="0" skipped="2""#), "\(report)")
    #expect(report.contains(#"name="pod to pod on another node""#), "\(report)")
    #expect(!pair.kubectl("get", "namespaces").standardOutput.contains("weft-test-"))
  }
}
