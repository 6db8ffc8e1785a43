// The commands that stand beside `weft up`, as a user types them: what they print and the code they end with.
import Foundation
import Testing

@Suite(.serialized) struct CommandTests {
  @Test(.timeLimit(.minutes(3)))
  func `a cluster that is well says so, and mends what somebody else did to the kernel`() throws {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--http", "none"])
    let config = ["--kubeconfig", node.kubeconfig]
    func ask(_ command: String) -> Output { node.exec([Project.weft, command] + config) }
    let well = eventually(within: 60) { ask("status").status == 0 }
    try #require(well != nil, "\(ask("status"))\n\(node.log.suffix(3000))")
    #expect(ask("status").standardOutput.contains("ok   node agent"), "\(ask("status"))")
    #expect(ask("diff").status == 0 && ask("diff").standardOutput.isEmpty, "\(ask("diff"))")

    // A table of another program is no trouble, and nothing is left to be looked at.
    node.exec("nft", "add", "table", "ip", "somebody")
    let beside = ask("status")
    #expect(beside.status == 0 && beside.standardOutput.contains("in force as planned"), "\(beside)")

    // What another program does to our tables is undone, at the latest by asking.
    node.exec("nft", "flush", "map", "ip", "KUBE-PROXY", "svc-id")
    _ = ask("status")
    let map = node.exec("nft", "list", "map", "ip", "KUBE-PROXY", "svc-id").standardOutput
    #expect(map.contains("default/kubernetes:https"), "\(map)\n\(ask("diff"))")
    node.exec("nft", "flush", "map", "ip", "KUBE-PROXY", "svc-id")
    let repaired = eventually(within: 60) {
      node.exec("nft", "list", "map", "ip", "KUBE-PROXY", "svc-id").standardOutput.contains(
        "default/kubernetes:https")
    }
    #expect(repaired != nil, "\(ask("diff"))")
    #expect(ask("diff").status == 0, "\(ask("diff"))")

    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(3000))")
    let gone = ask("status")
    #expect(gone.status == 3 && gone.standardError.contains("API0100"), "\(gone)")
  }

  @Test(.timeLimit(.minutes(3))) func `status and diff see what somebody else did to the kernel`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let listen = ["--listen", "127.0.0.1:6443", "--data-dir", node.dataFolder]
    let server = try node.background([Project.weft, "server"] + listen)
    defer { server.terminate() }
    let ready = eventually(within: 60) { node.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(ready != nil)
    let host = run(["hostname"]).trimmed
    let manifest = "\(node.dataFolder)/node.json"
    try #"{"apiVersion":"v1","kind":"Node","metadata":{"name":"\#(host)"}}"#.write(
      toFile: manifest, atomically: true, encoding: .utf8)
    let made = node.kubectl("create", "-f", manifest)
    #expect(made.status == 0, "\(made)")
    let config = ["--kubeconfig", node.kubeconfig]
    func ask(_ command: String...) -> Output { node.exec([Project.weft] + command + config) }
    let proxy = try node.background([Project.weft, "proxy"] + config)
    defer {
      kill(proxy.processIdentifier, SIGCONT)
      proxy.terminate()
    }
    let same = eventually(within: 60) { ask("diff").status == 0 }
    try #require(same != nil, "\(ask("diff"))")
    #expect(ask("status", "-o", "json").standardOutput.contains("\"state\":\"equal\""), "\(ask("status"))")

    // The proxy would mend it within a second.
    kill(proxy.processIdentifier, SIGSTOP)
    node.exec("nft", "flush", "map", "ip", "KUBE-PROXY", "svc-id")
    let difference = ask("diff")
    #expect(difference.status == 1, "\(difference)")
    #expect(difference.standardOutput.contains("+ add element ip KUBE-PROXY svc-id"), "\(difference)")
    #expect(difference.standardOutput.contains("default/kubernetes:https"), "\(difference)")
    let ill = ask("status", "-o", "json")
    #expect(ill.status == 1 && ill.standardOutput.contains("\"state\":\"differs\""), "\(ill)")
    kill(proxy.processIdentifier, SIGCONT)
    let mended = eventually(within: 60) { ask("diff").status == 0 }
    #expect(mended != nil, "\(ask("diff"))")
  }

  @Test(.timeLimit(.minutes(1))) func `without containerd an image import says what to start`() throws {
    let output = run([
      Project.weft, "image", "import", Project.weft, "--run-dir", "/run/weft-nobody",
    ])
    #expect(output.status == 3 && output.standardError.hasPrefix("NOD0012 "), "\(output)")
  }

  @Test(.timeLimit(.minutes(1))) func `the control plane alone makes pods of a Deployment, and binds none`()
    throws
  {
    let node = try TestNode()
    defer { node.remove() }
    let arguments = ["--listen", "127.0.0.1:6443", "--data-dir", node.dataFolder]
    let server = try node.background([Project.weft, "server"] + arguments)
    defer { server.terminate() }
    let ready = eventually(within: 60) { node.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(ready != nil)
    let created = node.kubectl("create", "deployment", "web", "--image=none/none:1", "--replicas=2")
    #expect(created.status == 0, "\(created)")
    let pending = eventually(within: 60) {
      node.kubectl("get", "pods", "--no-headers").lines.filter { $0.contains("Pending") }.count == 2
    }
    #expect(pending != nil, "\(node.kubectl("get", "all"))")

    let dns = try node.background([
      Project.weft, "dns", "--kubeconfig", node.kubeconfig, "--listen", "127.0.0.1:5300", "--snapshot",
      "none",
    ])
    defer { dns.terminate() }
    let answered = eventually(within: 60) {
      node.exec(
        "dig", "+short", "+time=1", "+tries=1", "@127.0.0.1", "-p", "5300",
        "kubernetes.default.svc.cluster.local"
      ).trimmed == "10.43.0.1"
    }
    #expect(answered != nil)
    server.terminate()
    #expect(eventually(within: 60) { !server.isRunning } != nil)
    #expect(server.terminationStatus == 0)
  }

  @Test(.timeLimit(.minutes(2))) func `a support archive has what there is to see, and no secret`() throws {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--http", "none"])
    // The namespace comes a moment after the API.
    let secret = eventually(within: 60) {
      node.kubectl("create", "secret", "generic", "door", "--from-literal=key=open-sesame").status == 0
    }
    try #require(secret != nil)
    // The rules come later than the API.
    let well = node.weft("status", "--wait", "--wait-duration", "60s", seconds: 90)
    try #require(well.status == 0, "\(well)")
    let archive = "\(node.dataFolder)/support.tar"
    let output = node.exec([Project.weft, "support", "-f", archive, "--kubeconfig", node.kubeconfig])
    #expect(output.status == 0 && output.trimmed == archive, "\(output)")
    let list = run(["tar", "tf", archive]).standardOutput
    for name in [
      "version.txt", "status.txt", "diff.txt", "api/services.json", "api/secrets.json", "api/metrics.txt",
      "kernel/ruleset.nft", "kernel/routes.txt", "cni-check.json", "errors.txt",
    ] { #expect(list.contains("/\(name)\n"), "\(name) is missing: \(list)") }
    let everything = run(["tar", "xOf", archive]).standardOutput
    #expect(everything.contains("\"door\"") && everything.contains("KUBE-PROXY"))
    // As it was given, and as the API shows it.
    for word in ["open-sesame", "b3Blbi1zZXNhbWU"] { #expect(!everything.contains(word)) }
    #expect(run(["stat", "-c", "%a", archive]).trimmed == "600")
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(3000))")

    // Without a cluster the machine's part is written all the same, and what is missing is named.
    let alone = node.exec([
      Project.weft, "support", "-f", archive, "--kubeconfig", "\(node.dataFolder)/none.kubeconfig",
    ])
    #expect(alone.status == 1 && alone.standardError.contains("left out: api:"), "\(alone)")
    #expect(run(["tar", "tf", archive]).standardOutput.contains("/kernel/links.txt\n"))
  }

  @Test(.timeLimit(.minutes(1))) func `kubectl finds the plugin and completes its words`() throws {
    let folder = run(["mktemp", "-d"]).trimmed
    defer { run(["rm", "-r", folder]) }
    let installed = run([Project.weft, "kubectl", "--dir", folder])
    try #require(installed.status == 0, "\(installed)")
    func kubectl(_ words: String...) -> Output {
      run(["env", "PATH=\(folder):/usr/bin:/bin", Project.kubectl] + words)
    }
    #expect(kubectl("plugin", "list").standardOutput.contains("\(folder)/kubectl-weft"))
    #expect(kubectl("weft", "explain", "--help").standardOutput.contains("weft explain"))
    let refused = kubectl("weft", "explain", "--no-such-flag")
    #expect(
      refused.status == 2 && refused.standardError.contains("CLI0006 kubectl weft explain:"), "\(refused)")
    let completed = kubectl("__complete", "weft", "ex")
    #expect(completed.standardOutput.hasPrefix("explain\tFollow a connection"), "\(completed)")
    #expect(kubectl("__complete", "weft", "status", "-o", "").standardOutput.hasPrefix("text\njson\n"))
    // What somebody else put there stays.
    run(["rm", "\(folder)/kubectl-weft"])
    run(["touch", "\(folder)/kubectl-weft"])
    let kept = run([Project.weft, "kubectl", "--dir", folder])
    #expect(kept.status != 0 && kept.standardError.hasPrefix("CLI0122 "), "\(kept)")
  }

  @Test(.timeLimit(.minutes(1))) func `a shell takes the completion, and every command has its page`() throws
  {
    let folder = run(["mktemp", "-d"]).trimmed
    defer { run(["rm", "-r", folder]) }
    let script = run([
      "bash", "-c", "source <('\(Project.weft)' completion bash) && complete -p weft",
    ])
    #expect(script.status == 0 && script.standardOutput.contains("weft"), "\(script)")
    for shell in ["zsh", "fish"] {
      let text = run([Project.weft, "completion", shell]).standardOutput
      #expect(text.contains("explain") && text.contains("node-name"))
    }
    let written = run([Project.weft, "man", "--dir", folder])
    let pages = written.standardOutput.split(separator: "\n").map(String.init)
    #expect(written.status == 0 && pages.contains("\(folder)/weft-cni-check.1"), "\(written)")
    for page in pages {
      let text = try String(contentsOfFile: page, encoding: .utf8)
      #expect(text.hasPrefix(".TH ") && text.contains("\n.SH NAME\n"), "\(page)")
    }
    let one = run([Project.weft, "man", "cni", "check"])
    #expect(one.standardOutput.contains("weft\\-cni\\-check"), "\(one)")
    #expect(run([Project.weft, "man", "nothing"]).standardError.hasPrefix("CLI0120 "))
  }
}

extension TestNode {
  /// A program that runs on in the node's network. Whoever starts it ends it.
  func background(_ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/nsenter")
    process.arguments = ["--net=/run/netns/\(name)", "--"] + arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }
}
