// What shows a cluster from outside its objects: `weft status`, `map` and `rules`, the pages of nodes, and the page of the API server.
//
// In `make soak` a browser uses the page (`Page/page.py`; 300 MB of Debian's chromium-headless-shell, which scripts/soak.sh installs),
// and status is timed with 10,000 Services.
import Foundation
import SoakLab
import Testing

@Suite(.serialized) struct PageAndStatusTests {
  private func demo() throws -> TestNode {
    let node = try TestNode()
    try node.start(["--demo"])
    return node
  }

  /// A token of a ServiceAccount that has role `weft:viewer`.
  private func viewerToken(_ node: TestNode) throws -> String {
    let made = node.kubectl("create", "serviceaccount", "looker", "-n", "kube-system")
    try #require(made.status == 0, "\(made)")
    let bound = node.kubectl(
      "create", "clusterrolebinding", "looker", "--clusterrole=weft:viewer",
      "--serviceaccount=kube-system:looker")
    try #require(bound.status == 0, "\(bound)")
    let token = node.kubectl("create", "token", "looker", "-n", "kube-system")
    try #require(token.status == 0, "\(token)")
    return token.trimmed
  }

  @Test(.timeLimit(.minutes(Soak.isLong ? 20 : 5)))
  func `status waits until all is well, and map, rules and the page show what the nodes see`() throws {
    let node = try demo()
    defer { node.remove() }
    let config = ["--kubeconfig", node.kubeconfig]
    func ask(_ words: String...) -> Output { node.exec([Project.weft] + words + config, seconds: 90) }
    // Begun before the API server answers.
    let waited = ask("status", "--wait", "--wait-duration", "60s")
    #expect(waited.status == 0, "\(waited)\n\(node.log.suffix(3000))")
    for part in ["API server", "scheduler", "node agent", "watches", "rules", "dns", "flows", "ingress"] {
      #expect(
        waited.lines.contains { $0.hasPrefix("ok") && $0.dropFirst(5).hasPrefix(part) }, "\(part): \(waited)")
    }
    let ready = node.kubectl(
      "wait", "--for=condition=Ready", "pods", "--all", "-n", "demo", "--timeout=60s", seconds: 70)
    try #require(ready.status == 0, "\(ready)")
    let json = try #require(
      try JSONSerialization.jsonObject(with: Data(ask("status", "-o", "json").standardOutput.utf8))
        as? [String: Any])
    #expect(json["ok"] as? Bool == true && (json["nodes"] as? [[String: Any]])?.count == 1)

    let rules = ask("rules", "demo/web")
    #expect(rules.status == 0 && rules.lines.first == "chain KUBE-LB-TCP-2", "\(rules)")
    #expect(ask("rules", "demo/nobody").status == 1)
    let name = node.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}").trimmed
    #expect(ask("rules", "demo/web", "--node", name).standardOutput == rules.standardOutput)

    let seen = eventually(within: 60, every: 0.5) {
      _ = node.inContainer("client", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local", seconds: 5)
      _ = node.inContainer("stranger", "wget", "-q", "-O-", "http://web.demo.svc.cluster.local", seconds: 2)
      let lines = ask("map").lines
      return lines.contains { $0.contains("demo/stranger") && $0.hasSuffix("demo/web-from-client") }
        && lines.contains { $0.hasPrefix("demo/client ") && $0.contains("demo/web ") }
    }
    #expect(seen != nil, "\(ask("map"))")

    let token = try viewerToken(node)
    func curl(_ path: String, _ more: String...) -> Output {
      node.exec(["curl", "-sk", "-w", "\n%{http_code}", "https://127.0.0.1:6443\(path)"] + more)
    }
    let bearer = "authorization: Bearer \(token)"
    let page = curl("/weft/")
    #expect(
      page.standardOutput.hasPrefix("<!doctype html>") && page.lines.last == "200", "\(page.lines.suffix(1))")
    for (words, expected) in [
      ("dns?service=demo%2Fweb", "web.demo.svc.cluster.local."),
      ("rules?service=demo%2Fweb", "KUBE-LB-TCP-2"),
      ("edges", "web-from-client"), ("check", "\"name\":\"demo/web\""), ("status", "\"part\":\"rules\""),
      ("flows?limit=1&verdict=denied", "\"verdict\":\"denied\""),
    ] {
      let answer = curl("/weft/v1/nodes/\(name)/\(words)", "-H", bearer)
      #expect(answer.lines.last == "200" && answer.standardOutput.contains(expected), "\(answer)")
    }
    for (words, code) in [
      ("flows?limit=x", "400"), ("flows?verdict=maybe", "400"), ("flows?limit=-1", "400"),
      ("rules?service=web", "400"), ("rules", "400"), ("dns?name=..", "400"), ("edges?limit=999999", "400"),
      ("nothing", "404"),
    ] {
      let answer = curl("/weft/v1/nodes/\(name)/\(words)", "-H", bearer)
      #expect(answer.lines.last == code, "\(answer)")
    }
    #expect(curl("/weft/v1/nodes/\(name)/flows").lines.last == "403")
    #expect(curl("/api/v1/nodes/\(name)/proxy/weft/v1/flows", "-H", bearer).lines.last == "403")
    if Soak.isLong {
      try browse(node, name, token)
      try statusWithManyServices(node)
    }

    // What is not well is waited for, and then said.
    node.kubectl("delete", "service", "-n", "demo", "--all")
    let applied = node.kubectl(
      "patch", "node", name, "--subresource=status", "--type=json", "-p",
      #"[{"op":"replace","path":"/status/daemonEndpoints/kubeletEndpoint/Port","value":1}]"#)
    #expect(applied.status == 0, "\(applied)")
    let ill = eventually(within: 60) { ask("status").standardOutput.contains("its parts are not known") }
    if ill != nil {
      let late = ask("status", "--wait", "--wait-duration", "1s")
      #expect(
        late.status == 124 && late.standardError.contains("not well within 1s")
          || late.status == 0, "\(late)")
    }
    #expect(ask("status", "--wait", "--wait-duration", "soon").status == 2)
    #expect(ask("map", "--limit", "0").status == 2)
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(3000))")
    let gone = ask("status", "--wait", "--wait-duration", "1s")
    #expect(gone.status == 124 && gone.standardError.contains("waiting for:"), "\(gone)")
  }

  /// As a person uses it, by keys and clicks; traffic goes on meanwhile.
  private func browse(_ node: TestNode, _ name: String, _ token: String) throws {
    let file = "\(node.dataFolder)-token"
    try token.write(toFile: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(atPath: file) }
    let traffic = try node.background([
      "sh", "-c",
      "while sleep 0.5; do for pod in client stranger; do timeout 2 \(Project.kubectl) --kubeconfig \(node.kubeconfig) exec -n demo $pod"
        + " -- wget -q -O- http://web.demo.svc.cluster.local; done; done >/dev/null 2>&1",
    ])
    defer { traffic.terminate() }
    let script = Project.root.appending(path: "Tests/EndToEnd/Page/page.py").path()
    let output = node.exec(
      ["python3", script, "https://127.0.0.1:6443/weft/", file, name], seconds: 600)
    #expect(output.status == 0 && output.lines.last == "all holds", "\(output)")
    for line in output.lines where line.hasPrefix("    ") { Soak.report("page:\(line.dropFirst(3))") }
  }

  /// The promise is 200 ms.
  private func statusWithManyServices(_ node: TestNode) throws {
    let script = Project.root.appending(path: "Tests/EndToEnd/Page/services.py").path()
    let made = node.exec(["python3", script, node.kubeconfig, "10000"], seconds: 600)
    try #require(made.status == 0, "\(made)")
    let settled = node.exec(
      [Project.weft, "status", "--wait", "--kubeconfig", node.kubeconfig], seconds: 320)
    #expect(settled.status == 0 && settled.standardOutput.contains("100"), "\(settled)")
    var best = Double.infinity
    for _ in 0..<5 {
      let start = Date()
      let output = node.exec([Project.weft, "status", "--kubeconfig", node.kubeconfig])
      best = min(best, Date().timeIntervalSince(start) * 1000)
      #expect(output.status == 0, "\(output)")
    }
    Soak.report("status with 10,000 Services: \(Int(best)) ms")
    #expect(best < 200, "\(best) ms")
  }
}
