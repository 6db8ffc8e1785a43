// `weft flows` on a cluster with its demo: what is refused is seen as it happens, by name; what passes, too; and what was seen becomes
// policies that kubectl takes.
import Foundation
import Testing

@Suite(.serialized) struct FlowsTests {
  @Test(.timeLimit(.minutes(5)))
  func `a refused connection is seen by name while it is tried, and flows become policies`()
    throws
  {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--demo", "--strict-policies"])
    let isReady = eventually(within: 60, every: 0.5) {
      node.kubectl("wait", "--for=condition=Ready", "pods", "--all", "-n", "demo", "--timeout=15s").status
        == 0
        && node.kubectl("get", "pods", "-n", "demo", "-o", "name").lines.count == 4
    }
    try #require(isReady != nil, "\(node.log.suffix(4000))")
    func flows(_ words: String...) -> Output {
      node.exec([Project.weft, "flows", "--run-dir", node.runFolder] + words)
    }

    let seen = "\(node.dataFolder)-denied"
    let saved = "\(node.dataFolder)-flows.json"
    defer { for path in [seen, saved] { try? FileManager.default.removeItem(atPath: path) } }
    let follower = try node.background([
      "sh", "-c",
      "exec \(Project.weft) flows -f --verdict denied --limit 0 --run-dir \(node.runFolder) > \(seen)",
    ])
    defer { follower.terminate() }
    func text() -> String { (try? String(contentsOfFile: seen, encoding: .utf8)) ?? "" }
    // Until the follower listens nobody sees a refusal.
    let denied = eventually(within: 60, every: 0.1) {
      _ = node.inContainer("stranger", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local", seconds: 3)
      return text().contains("no ingress rule of demo/web-from-client allows it")
    }
    try #require(denied != nil, "\(text())\n\(flows())\n\(node.log.suffix(3000))")
    let line = text().split(separator: "\n").first.map(String.init) ?? ""
    #expect(
      line.contains("denied") && line.contains("demo/stranger:")
        && line.contains("→ demo/web-"), "\(line)")

    let allowed = node.inContainer("client", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local")
    #expect(allowed.status == 0, "\(allowed)")
    let passed = eventually(within: 60, every: 0.2) {
      flows("--from", "demo/client", "--verdict", "forwarded", "--service", "demo/web").standardOutput
        .contains("allowed by demo/web-from-client")
    }
    #expect(passed != nil, "\(flows())")
    let table = flows("--verdict", "denied", "-o", "table")
    #expect(
      table.lines.first?.hasPrefix("TIME") == true && table.standardOutput.contains("demo/stranger"),
      "\(table)")

    // Saved and read back, the same flows.
    #expect(flows("--to-file", saved).status == 0)
    let back = flows("--input", saved, "--from", "demo/stranger", "-o", "json")
    #expect(back.lines.count >= 1 && back.lines.allSatisfy { $0.contains("\"pod\":\"stranger\"") }, "\(back)")
    let suggested = node.exec(Project.weft, "policy", "suggest", "--namespace", "demo", "--input", saved)
    #expect(suggested.status == 0 && suggested.standardOutput.contains("kind: NetworkPolicy"), "\(suggested)")
    #expect(!suggested.standardOutput.contains("stranger"), "what was refused is not proposed: \(suggested)")
    let proposal = "\(saved).yaml"
    defer { try? FileManager.default.removeItem(atPath: proposal) }
    try suggested.standardOutput.write(toFile: proposal, atomically: true, encoding: .utf8)
    let taken = node.kubectl("apply", "--dry-run=server", "-f", proposal)
    #expect(taken.status == 0, "\(taken)\n\(suggested.standardOutput)")

    let metrics = node.exec("curl", "-s", "http://127.0.0.1:10249/metrics").standardOutput
    #expect(metrics.contains("weft_service_connections_total{namespace=\"demo\",service=\"web\"}"))
    #expect(
      metrics.contains(
        "weft_policy_verdicts_total{namespace=\"demo\",policy=\"web-from-client\",direction=\"ingress\",verdict=\"denied\"}"
      ))
    let nobody = node.exec(Project.weft, "flows", "--run-dir", "/nonexistent")
    #expect(nobody.status == 3 && nobody.standardError.contains("FLW0005"), "\(nobody)")
    #expect(flows("--verdict", "maybe").status == 2)
    let status = node.weft("diff", "--kubeconfig", node.kubeconfig)
    #expect(status.status == 0, "the rules that tell are as planned: \(status)")
    try aForbiddenConnectionIsCut(node)
  }

  /// The client's open connection is silent once no policy allows it any more, and the node says that it has cut it.
  private func aForbiddenConnectionIsCut(_ node: TestNode) throws {
    func isCut() -> Bool {
      let metrics = node.exec("curl", "-s", "http://127.0.0.1:10249/metrics").standardOutput
      return metrics.split(separator: "\n").contains {
        $0.hasPrefix("weft_policy_cut_connections_total ") && !$0.hasSuffix(" 0")
      }
    }
    #expect(!isCut())
    let address = node.kubectl("get", "pod", "client", "-n", "demo", "-o", "jsonpath={.status.podIP}").trimmed
    let service = node.kubectl("get", "svc", "web", "-n", "demo", "-o", "jsonpath={.spec.clusterIP}").trimmed
    let namespace = try #require(node.podNamespace(holding: address))
    let (answer, go) = ("\(node.dataFolder)-answer", "\(node.dataFolder)-go")
    defer { for path in [answer, go] { try? FileManager.default.removeItem(atPath: path) } }
    let script = """
      import os, socket, time
      s = socket.create_connection(("\(service)", 80), 10)
      open("\(answer)", "w").write("open")
      while not os.path.exists("\(go)"): time.sleep(0.05)
      s.settimeout(3)
      try:
          s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
          said = "alive" if s.recv(1) else "closed"
      except TimeoutError:
          said = "silent"
      open("\(answer)", "w").write(said)
      """
    let client = Process()
    client.executableURL = URL(filePath: "/usr/bin/nsenter")
    client.arguments = ["--net=\(namespace)", "--", "python3", "-c", script]
    try client.run()
    defer { client.terminate() }
    func said() -> String { (try? String(contentsOfFile: answer, encoding: .utf8)) ?? "" }
    try #require(eventually(within: 60) { said() == "open" } != nil)
    let patched = node.kubectl(
      "patch", "networkpolicy", "web-from-client", "-n", "demo", "--type=json", "-p",
      "[{\"op\":\"remove\",\"path\":\"/spec/ingress\"}]")
    try #require(patched.status == 0, "\(patched)")
    #expect(eventually(within: 60) { isCut() } != nil, "\(node.log.suffix(2000))")
    _ = FileManager.default.createFile(atPath: go, contents: nil)
    #expect(eventually(within: 60) { said() == "silent" } != nil, "\(said())")
  }
}
