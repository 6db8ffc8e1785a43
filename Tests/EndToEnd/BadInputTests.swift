// What a user types wrong, or finds broken: one line that names the object, the cause and the next command, an exit code
// that scripts can trust, and nothing half-done on the machine.
import Foundation
import Testing

@Suite(.serialized) struct BadInputTests {
  // MARK: weft up

  @Test func `a taken API port is named, with the command that shows who has it`() throws {
    try withNode { node in
      try node.whilePortIsTaken(6443) {
        expectRefusal(node.up(), "API0001", exit: 2, names: "6443", "ss -ltnp", "--listen")
      }
      expectNothingIsLeft(node)
    }
  }

  @Test func `a taken ingress port is named, and the flag that chooses another`() throws {
    try withNode { node in
      try node.whilePortIsTaken(80) {
        expectRefusal(node.up(), "NET0012", exit: 2, names: "80", "--http")
      }
      expectNothingIsLeft(node)
    }
  }

  @Test func `a taken health port is named, and the API server is stopped again`() throws {
    try withNode { node in
      try node.whilePortIsTaken(10256) {
        expectRefusal(node.up(), "NET0012", exit: 2, names: "10256", "ss -ltnp", "--healthz")
      }
      expectNothingIsLeft(node)
    }
  }

  @Test func `a disk without room for a new cluster is told before anything starts`() throws {
    try withNode { node in
      try FileManager.default.createDirectory(atPath: node.dataFolder, withIntermediateDirectories: true)
      try #require(run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", node.dataFolder]).status == 0)
      defer { _ = run(["umount", node.dataFolder]) }
      let refused = node.up()
      expectRefusal(refused, "CLI0140", exit: 2, names: node.dataFolder, "needs 32", "--data-dir")
      #expect(refused.standardError.contains(/has [12] MiB free/), "\(refused)")
      expectNothingIsLeft(node)
    }
  }

  @Test func `a Corefile that cannot be read ends the start before anything is made`() throws {
    try withNode { node in
      expectRefusal(
        node.up(["--corefile", "/nowhere/Corefile"]), "CLI0030", exit: 2, names: "/nowhere/Corefile")
      expectNothingIsLeft(node)
      #expect(!FileManager.default.fileExists(atPath: node.dataFolder))
    }
  }

  @Test func `a machine without containerd is told which package to install`() throws {
    try withNode { node in
      let hidden = node.exec([
        "unshare", "-m", "sh", "-c",
        "touch \(node.dataFolder).empty; mount --bind \(node.dataFolder).empty /usr/bin/containerd; exec "
          + node.upCommand().joined(separator: " "),
      ])
      try? FileManager.default.removeItem(atPath: "\(node.dataFolder).empty")
      expectRefusal(hidden, "NOD0001", exit: 2, names: "/usr/bin/containerd", "apt-get install containerd")
      expectNothingIsLeft(node)
      #expect(!FileManager.default.fileExists(atPath: node.dataFolder))
    }
  }

  @Test func `a user who is not root is told so`() throws {
    try withNode { node in
      let refused = node.exec(["setpriv", "--reuid=65534", "--clear-groups"] + node.upCommand())
      expectRefusal(refused, "CLI0001", exit: 2, names: "root", "sudo")
      expectNothingIsLeft(node)
      #expect(!FileManager.default.fileExists(atPath: node.dataFolder))
    }
  }

  @Test func `a damaged store is not written to, and the way out is shown`() throws {
    try withNode { node in
      try FileManager.default.createDirectory(atPath: node.dataFolder, withIntermediateDirectories: true)
      let path = "\(node.dataFolder)/store.db"
      let damaged = Data((0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
      try damaged.write(to: URL(filePath: path))
      expectRefusal(node.up(), "STO0003", exit: 2, names: path, "mv \(path)")
      #expect(try Data(contentsOf: URL(filePath: path)) == damaged)
      expectNothingIsLeft(node)
    }
  }

  @Test(arguments: [0, 4096, 40_000])
  func `bytes overwritten in the store of a real cluster are noticed at start`(
    offset: UInt64
  ) throws {
    try withNode { node in
      try node.start(["--http", "none"])
      let isUp = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
      try #require(isUp != nil, "\(node.log)")
      for number in 0..<6 {
        let big = String(repeating: "\(number)", count: 20_000)
        #expect(
          node.kubectl("create", "configmap", "big-\(number)", "--from-literal=text=\(big)").status == 0)
      }
      #expect(node.stop(SIGINT) == 0)
      let path = "\(node.dataFolder)/store.db"
      let file = try FileHandle(forUpdating: URL(filePath: path))
      try #require(try file.seekToEnd() > offset + 8192)
      try file.seek(toOffset: offset)
      try file.write(contentsOf: Data(repeating: 0xA5, count: 8192))
      try file.close()
      let refused = node.up()
      expectRefusal(refused, "STO0003", exit: 2, names: path, "mv \(path)")
      expectNothingIsLeft(node)
      // The line's own command is the way to an empty cluster, and keeps the damaged one.
      let command = refused.standardError.split(separator: "empty cluster: ").last.map(String.init) ?? "false"
      #expect(run(["sh", "-c", command]).status == 0, "\(command)")
      #expect(FileManager.default.fileExists(atPath: "\(node.dataFolder)/damaged/store.db"))
      try node.start(["--http", "none"])
      let isBack = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
      #expect(isBack != nil, "\(node.log)")
      #expect(node.kubectl("get", "configmap", "big-0").status == 1)
    }
  }

  @Test func `a second up on the same data folder says who uses it, and the first goes on undisturbed`()
    throws
  {
    try withNode { node in
      try node.start()
      let isUp = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
      try #require(isUp != nil, "\(node.log)")
      let pid = node.kubectl("get", "--raw", "/readyz").standardOutput == "ok" ? node.processIdentifier : -1
      expectRefusal(node.up(), "STO0002", exit: 2, names: node.dataFolder, "kill \(pid)")
      let socket = "\(node.runFolder)/containerd.sock"
      #expect(FileManager.default.fileExists(atPath: socket), "the second took the first's containerd away")
      #expect(run(["ctr", "--address", socket, "version"]).status == 0)
      let book = "\(node.dataFolder)/attachments.json"
      let hadBook = FileManager.default.fileExists(atPath: book)
      let elsewhere = node.exec([
        Project.weft, "up", "--data-dir", node.dataFolder, "--run-dir", "\(node.runFolder)-2",
      ])
      expectRefusal(elsewhere, "STO0002", exit: 2, names: node.dataFolder)
      #expect(FileManager.default.fileExists(atPath: book) == hadBook)
      #expect(!FileManager.default.fileExists(atPath: "\(node.runFolder)-2"))
      // Taking down what runs is refused as well.
      expectRefusal(
        node.weft("down", "--data-dir", node.dataFolder, "--run-dir", node.runFolder), "STO0002", exit: 2,
        names: "kill \(pid)")
      #expect(FileManager.default.fileExists(atPath: socket))
      #expect(node.stop(SIGINT) == 0)
      expectNothingIsLeft(node)
    }
  }

  @Test func `a refused restart leaves the pods' containerd and rules of the run before in force`() throws {
    try withNode { node in
      try node.start()
      let isUp = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
      try #require(isUp != nil, "\(node.log)")
      #expect(node.stop(SIGTERM) == 0)
      let before = node.exec("nft", "list", "tables").standardOutput
      #expect(!before.isEmpty)
      try node.whilePortIsTaken(10256) {
        expectRefusal(node.up(), "NET0012", exit: 2, names: "10256")
      }
      #expect(node.exec("nft", "list", "tables").standardOutput == before)
      #expect(run(["ctr", "--address", "\(node.runFolder)/containerd.sock", "version"]).status == 0)
      #expect(node.weft("down", "--data-dir", node.dataFolder, "--run-dir", node.runFolder).status == 0)
      expectNothingIsLeft(node)
    }
  }

  @Test func `flags that make no sense are refused before anything is made`() throws {
    try withNode { node in
      for (flags, code, words) in [
        (["--cluster-cidr", "nonsense"], "CLI0002", ["--cluster-cidr nonsense", "10.42.0.0/16"]),
        (["--cluster-cidr", "10.42.0.0/16", "--service-cidr", "10.42.1.0/24"], "CLI0003", ["overlap"]),
        (["--cluster-cidr", "fd00::/48", "--service-cidr", "fd01::/112"], "CLI0007", ["IPv4"]),
        (["--listen", "nowhere"], "CLI0004", ["--listen nowhere", "0.0.0.0:6443"]),
        (["--http", "8080"], "CLI0004", ["--http 8080", "0.0.0.0:8080"]),
        (["--https", ":8443"], "CLI0004", ["--https :8443", "0.0.0.0:8443"]),
        (["--node-name", "Not_A_Name"], "CLI0008", ["--node-name Not_A_Name"]),
        (["--frobnicate"], "CLI0006", ["--frobnicate", "weft up --help"]),
        (["--listen"], "CLI0006", ["--listen", "weft up --help"]),
      ] {
        let refused = node.up(flags)
        expectRefusal(refused, code, exit: 2)
        for word in words { #expect(refused.standardError.contains(word), "\(refused)") }
      }
      expectNothingIsLeft(node)
      #expect(!FileManager.default.fileExists(atPath: node.dataFolder))
    }
  }

  @Test func `times of leases that would let two lead are refused before anything is made`() throws {
    try withFolder { folder in
      for (flags, words) in [
        (["--leader-elect-lease-duration", "soon"], ["--leader-elect-lease-duration soon", "no duration"]),
        (
          ["--leader-elect-retry-period", "0s"], ["--leader-elect-retry-period 0s", "no duration above zero"]
        ),
        (
          ["--leader-elect-lease-duration", "10s"],
          ["--leader-elect-lease-duration 10s", "not above the renew deadline: two could lead"]
        ),
        (
          ["--leader-elect-renew-deadline", "20s"],
          ["--leader-elect-lease-duration 15s", "not above the renew deadline"]
        ),
        (
          ["--leader-elect-retry-period", "9s"],
          ["--leader-elect-renew-deadline 10s", "not above 1.2 times the retry period"]
        ),
      ] {
        let refused = run([Project.weft, "server", "--data-dir", "\(folder)/data"] + flags)
        expectRefusal(refused, "CLI0052", exit: 2)
        for word in words { #expect(refused.standardError.contains(word), "\(refused)") }
      }
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/data"))
    }
  }

  @Test func `a server of manifests that is none is refused before anything is made`() throws {
    try withFolder { folder in
      for (flags, code, words) in [
        (["--manifest-url", "pods.yaml"], "CLI0180", ["--manifest-url pods.yaml", "http://"]),
        (
          ["--manifest-url", "http://192.0.2.1/", "--manifest-url-header", "word"], "CLI0181",
          ["--manifest-url-header word", "X-Token:word"]
        ),
      ] {
        let refused = run(
          [
            Project.weft, "node", "--kubeconfig", "\(folder)/none", "--data-dir", "\(folder)/data",
            "--run-dir", "\(folder)/run",
          ] + flags)
        expectRefusal(refused, code, exit: 2)
        for word in words { #expect(refused.standardError.contains(word), "\(refused)") }
      }
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/data"))
    }
  }

  @Test func `help and version go to standard output with exit code 0`() {
    let help = run([Project.weft, "up", "--help"])
    #expect(help.status == 0 && help.standardOutput.contains("--cluster-cidr") && help.standardError.isEmpty)
    #expect(run([Project.weft, "--version"]).status == 0)
    expectRefusal(run([Project.weft, "frobnicate"]), "CLI0006", exit: 2, names: "frobnicate", "weft --help")
    expectRefusal(run([Project.weft, "stauts"]), "CLI0006", exit: 2, names: "did you mean weft status?")
  }

  // MARK: weft explain and weft proxy

  @Test func `a kubeconfig that cannot be used is exit code 2, a server that does not answer 3`() throws {
    try withFolder { folder in
      func explain(_ kubeconfig: String) -> Output {
        run([Project.weft, "explain", "demo/a", "demo/b", "--kubeconfig", kubeconfig])
      }
      expectRefusal(explain("\(folder)/missing"), "CLI0100", exit: 2, names: "\(folder)/missing")
      try "{{{\n".write(toFile: "\(folder)/broken", atomically: true, encoding: .utf8)
      expectRefusal(explain("\(folder)/broken"), "CLI0101", exit: 2, names: "\(folder)/broken:")
      try "apiVersion: v1\nkind: Config\n".write(toFile: "\(folder)/empty", atomically: true, encoding: .utf8)
      expectRefusal(explain("\(folder)/empty"), "CLI0102", exit: 2, names: "\(folder)/empty", "--context")
      // Port 1 of loopback: nobody is there.
      try """
      apiVersion: v1
      kind: Config
      current-context: x
      clusters: [{name: x, cluster: {server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}}]
      users: [{name: x, user: {token: x}}]
      contexts: [{name: x, context: {cluster: x, user: x}}]
      """.write(toFile: "\(folder)/dead", atomically: true, encoding: .utf8)
      expectRefusal(explain("\(folder)/dead"), "API0100", exit: 3, names: "127.0.0.1:1", "/readyz")
      // As kubectl reads it: files that are not there are passed over.
      let both = ["KUBECONFIG": "\(folder)/missing:\(folder)/dead"]
      expectRefusal(
        run([Project.weft, "explain", "demo/a", "demo/b"], environment: both), "API0100", exit: 3,
        names: "127.0.0.1:1")
    }
  }

  @Test func `a name without a namespace is of the kubeconfig's context, as with kubectl`() throws {
    try withFolder { folder in
      try """
      apiVersion: v1
      kind: Config
      current-context: x
      clusters: [{name: x, cluster: {server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}}]
      contexts: [{name: x, context: {cluster: x, namespace: shop}}]
      """.write(toFile: "\(folder)/config", atomically: true, encoding: .utf8)
      for (flags, service) in [([], "shop/web"), (["-n", "till"], "till/web")] {
        let asked = run(
          [Project.weft, "rules", "web"] + flags, environment: ["KUBECONFIG": "\(folder)/config"])
        #expect(asked.status == 1 && asked.standardError.contains("\(service) has no rules here"), "\(asked)")
      }
    }
  }

  @Test func `a broken manifest is named with its line`() throws {
    try withFolder { folder in
      func proxy() -> Output { run([Project.weft, "proxy", "--manifests", folder, "--print"]) }
      let path = "\(folder)/web.yaml"
      try "apiVersion: v1\nkind: Service\nmetadata: {name: a\nspec: {}\n".write(
        toFile: path, atomically: true, encoding: .utf8)
      let broken = proxy()
      expectRefusal(broken, "CLI0111", exit: 2, names: path)
      #expect(broken.standardError.contains(/web\.yaml:[45]:\s/), "\(broken)")
      try "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nkind: Service\nmetadata: {name: a}\n"
        .write(
          toFile: path, atomically: true, encoding: .utf8)
      expectRefusal(proxy(), "CLI0112", exit: 2, names: "\(path):", "apiVersion")
      #expect(proxy().standardOutput.isEmpty, "nothing of a ruleset is printed")
      expectRefusal(
        run([Project.weft, "proxy", "--manifests", "\(folder)/missing", "--print"]), "CLI0110", exit: 2,
        names: "\(folder)/missing")
    }
  }

  @Test func `an object that cannot be read is left out of the printed rules, and named`() throws {
    try withFolder { folder in
      try
        "apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {clusterIP: 10.43.0.7, ports: [{port: x}]}\n"
        .write(toFile: "\(folder)/odd.yaml", atomically: true, encoding: .utf8)
      let printed = run([Project.weft, "proxy", "--manifests", folder, "--print"])
      expectRefusal(printed, "PRX0003", exit: 0, names: "Service default/odd", "port", "left out")
      #expect(printed.standardOutput.contains("table ip KUBE-PROXY"), "\(printed)")
      #expect(!printed.standardOutput.contains("10.43.0.7"), "\(printed)")
    }
  }

  // MARK: What a refusal looks like

  /// One line: `CODE object: cause; next command`.
  func expectRefusal(
    _ output: Output, _ code: String, exit: Int32, names words: String...,
    at location: SourceLocation = #_sourceLocation
  ) {
    let lines = output.standardError.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
    #expect(lines.count == 1, "one line is wanted: \(output)", sourceLocation: location)
    #expect(
      output.standardError.contains(/^[A-Z]{3}\d{4} [^:]+.*: .+; .+/), "\(output)", sourceLocation: location)
    #expect(output.standardError.hasPrefix(code), "\(output)", sourceLocation: location)
    #expect(output.status == exit, "\(output)", sourceLocation: location)
    for word in words { #expect(output.standardError.contains(word), "\(output)", sourceLocation: location) }
  }

  /// No pod was ever asked for, so pod namespaces of other clusters on the machine are none of ours.
  func expectNothingIsLeft(_ node: TestNode, at location: SourceLocation = #_sourceLocation) {
    let left = node.leftovers().filter { !$0.hasPrefix("netns ") }
    #expect(left == [], sourceLocation: location)
    #expect(
      !FileManager.default.fileExists(atPath: "\(node.runFolder)/containerd.sock"), sourceLocation: location)
  }

  func withNode(_ body: (TestNode) throws -> Void) throws {
    let node = try TestNode()
    defer { node.remove() }
    try body(node)
  }

  func withFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weft-bad-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder.path())
  }
}

extension TestNode {
  func upCommand(_ flags: [String] = []) -> [String] {
    [Project.weft, "up", "--data-dir", dataFolder, "--run-dir", runFolder] + flags
  }

  /// `weft up` that is expected to end by itself.
  func up(_ flags: [String] = []) -> Output { exec(upCommand(flags), seconds: 15) }

  /// Somebody else listens on a TCP port of the node meanwhile.
  func whilePortIsTaken(_ port: Int, _ body: () throws -> Void) throws {
    let holder = Process()
    holder.executableURL = URL(filePath: "/usr/bin/nsenter")
    holder.arguments = ["--net=/run/netns/\(name)", "--", "busybox", "nc", "-l", "-p", "\(port)"]
    holder.standardInput = FileHandle.nullDevice
    holder.standardOutput = FileHandle.nullDevice
    holder.standardError = FileHandle.nullDevice
    try holder.run()
    defer {
      kill(holder.processIdentifier, SIGKILL)
      holder.waitUntilExit()
    }
    let isTaken = eventually(within: 60) {
      exec("ss", "-Hltn", "sport = :\(port)").standardOutput.contains("LISTEN")
    }
    guard isTaken != nil else { throw CommandFailed(output: exec("ss", "-Hltn")) }
    try body()
  }
}
