// A node for one test: a network namespace with an outside host beside it, a data directory, and `weft up` in it.
import Foundation

/// Where the tree and the built programs are.
enum Project {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
  static var binaries: String {
    ProcessInfo.processInfo.environment["WEFT_BIN_DIR"] ?? root.appending(path: ".build/release").path()
  }
  static var weft: String { "\(binaries)/weft" }
  static var kubectl: String { root.appending(path: ".tools/bin/kubectl").path() }

  /// The command that serves a folder over HTTP.
  static func files(_ folder: String, at address: String, _ port: String) -> [String] {
    ["python3", root.appending(path: "Tests/EndToEnd/Clients/files.py").path(), address, port, folder]
  }
}

/// A machine made of a network namespace. Everything it makes carries its name and is removed with it.
final class TestNode {
  let name: String
  let outside: String
  let dataFolder: String
  let runFolder: String
  let address = "172.31.99.1"
  let outsideAddress = "172.31.99.2"
  private(set) var weft: Process?
  private(set) var logPath: String
  private var linkedNamespaces: Set<String> = []

  /// Makes the namespaces. Names are short: interface names have fifteen characters.
  init() throws {
    let tag = NodeTag.next()
    name = "weft-e2e-\(tag)"
    outside = "weft-out-\(tag)"
    dataFolder = "/var/tmp/weft-e2e-\(tag)"
    runFolder = "/run/weft-e2e-\(tag)"
    logPath = "\(dataFolder).log"
    for command in [
      ["ip", "netns", "add", name], ["ip", "netns", "add", outside],
      ["ip", "-n", name, "link", "set", "lo", "up"],
      ["ip", "-n", outside, "link", "set", "lo", "up"],
      ["ip", "-n", name, "link", "add", "ext0", "type", "veth", "peer", "name", "eth0", "netns", outside],
      ["ip", "-n", name, "addr", "add", "\(address)/24", "dev", "ext0"],
      ["ip", "-n", outside, "addr", "add", "\(outsideAddress)/24", "dev", "eth0"],
      ["ip", "-n", name, "link", "set", "ext0", "up"], ["ip", "-n", outside, "link", "set", "eth0", "up"],
      ["ip", "-n", name, "route", "add", "default", "via", outsideAddress],
    ] {
      let output = run(command)
      guard output.status == 0 else {
        remove()
        throw CommandFailed(output: output)
      }
    }
  }

  /// Starts `weft up` in the node. Returns at once.
  func start(_ flags: [String] = []) throws {
    _ = FileManager.default.createFile(atPath: logPath, contents: nil)
    let log = try FileHandle(forWritingTo: URL(filePath: logPath))
    try log.seekToEnd()
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/nsenter")
    process.arguments =
      [
        "--net=/run/netns/\(name)", "--", Project.weft, "up", "--data-dir", dataFolder, "--run-dir",
        runFolder,
      ] + flags
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = log
    process.standardError = log
    try process.run()
    weft = process
  }

  /// Sends a signal to `weft up` and waits for its end. Nil when it did not end in time (it is then killed).
  func stop(_ signal: Int32 = SIGINT, seconds: Double = 60) -> Int32? {
    guard let process = weft else { return nil }
    noteNamespaces()
    weft = nil
    kill(process.processIdentifier, signal)
    let ended = eventually(within: seconds) { !process.isRunning } != nil
    if !ended {
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      return nil
    }
    return process.terminationStatus
  }

  var processIdentifier: Int32 { weft?.processIdentifier ?? 0 }
  var log: String { (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? "" }
  var kubeconfig: String { "\(dataFolder)/admin.kubeconfig" }

  /// Runs a program in the node's network.
  @discardableResult func exec(_ arguments: String..., seconds: Double = 60) -> Output {
    exec(arguments, seconds: seconds)
  }
  @discardableResult func exec(_ arguments: [String], seconds: Double = 60) -> Output {
    run(
      ["nsenter", "--net=/run/netns/\(name)", "--"] + arguments, seconds: seconds,
      environment: ["KUBECONFIG": kubeconfig])
  }

  /// Runs a program in the outside host's network.
  @discardableResult func execOutside(_ arguments: String..., seconds: Double = 60) -> Output {
    run(["nsenter", "--net=/run/netns/\(outside)", "--"] + arguments, seconds: seconds)
  }

  @discardableResult func kubectl(_ arguments: String..., seconds: Double = 100) -> Output {
    kubectl(arguments, seconds: seconds)
  }
  @discardableResult func kubectl(_ arguments: [String], seconds: Double = 100) -> Output {
    exec(
      [Project.kubectl, "--kubeconfig", kubeconfig, "--cache-dir", "\(dataFolder)-cache"] + arguments,
      seconds: seconds)
  }

  @discardableResult func weft(_ arguments: String..., seconds: Double = 60) -> Output {
    exec([Project.weft] + arguments, seconds: seconds)
  }

  /// Runs a program in the network namespace of a pod, with the pod's resolver configuration.
  func inPod(_ pod: String, namespace: String = "demo", _ arguments: String..., seconds: Double = 60)
    -> Output
  {
    let address = kubectl("get", "pod", pod, "-n", namespace, "-o", "jsonpath={.status.podIP}").trimmed
    guard let netns = podNamespace(holding: address) else {
      return Output(
        command: "\(arguments)", status: -1, standardOutput: "",
        standardError: "no namespace holds \(address)")
    }
    return run(["nsenter", "--net=\(netns)", "--"] + arguments, seconds: seconds)
  }

  /// The pod namespace that has an address, among those that this node's links lead to: another cluster on the same machine
  /// may give the same addresses.
  func podNamespace(holding address: String) -> String? {
    guard !address.isEmpty else { return nil }
    let words = run(["ip", "-n", name, "-o", "link", "show", "type", "veth"]).standardOutput
      .split(whereSeparator: { $0 == " " || $0 == "\n" || $0 == "\\" })
    for (mark, name) in zip(words, words.dropFirst()) where mark == "link-netns" && name.hasPrefix("cni-") {
      if run(["ip", "-n", String(name), "-o", "-4", "addr"]).standardOutput.contains(" \(address)/") {
        return "/run/netns/\(name)"
      }
    }
    return nil
  }

  /// What is left of us on this machine: empty after a clean stop.
  func leftovers() -> [String] {
    var found: [String] = []
    let links = exec("ip", "-o", "link").lines.compactMap { $0.split(separator: ":").dropFirst().first }
      .map { $0.trimmingCharacters(in: .whitespaces) }
    found += links.filter { !$0.hasPrefix("lo") && !$0.hasPrefix("ext0") && !["ifb0", "ifb1"].contains($0) }
      .map { "link \($0)" }
    found += exec("nft", "list", "tables").lines.map { "nft \($0)" }
    let mounts = (try? String(contentsOfFile: "/proc/mounts", encoding: .utf8)) ?? ""
    found += mounts.split(separator: "\n").filter { $0.contains(dataFolder) || $0.contains(runFolder) }.map {
      "mount \($0)"
    }
    for process in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    where Int(process) != nil {
      let command = (try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8)) ?? ""
      if command.contains(dataFolder) || command.contains(runFolder) {
        found.append("process \(process) \(command.replacing("\0", with: " "))")
      }
    }
    found += netnsNames().map { "netns \($0)" }
    return found
  }

  /// Pod namespaces of this node alone: another cluster on the machine has its own. Those that its links led to when it was
  /// stopped, and those that its containerd wrote down.
  private func netnsNames() -> [String] {
    let present = (try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")) ?? []
    let ours = linkedNamespaces.union(writtenNamespaces())
    return present.filter { ours.contains($0) }.sorted()
  }

  private func noteNamespaces() {
    let words = run(["ip", "-n", name, "-o", "link", "show", "type", "veth"]).standardOutput
      .split(whereSeparator: { $0 == " " || $0 == "\n" || $0 == "\\" })
    for (mark, name) in zip(words, words.dropFirst()) where mark == "link-netns" && name.hasPrefix("cni-") {
      linkedNamespaces.insert(String(name))
    }
  }

  /// Names of the form `cni-UUID` in containerd's database, which keeps the path of each sandbox's namespace as text.
  private func writtenNamespaces() -> Set<String> {
    let files = FileManager.default.enumerator(atPath: dataFolder)?.compactMap { $0 as? String } ?? []
    var names: Set<String> = []
    for file in files where file.hasSuffix("/meta.db") {
      let found = run([
        "grep", "-aoE", "cni-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "\(dataFolder)/\(file)",
      ])
      names.formUnion(found.lines)
    }
    return names
  }

  /// Stops and removes everything, whatever state it is in.
  func remove() {
    if weft != nil { _ = stop(SIGINT, seconds: 60) }
    if FileManager.default.fileExists(atPath: dataFolder) {
      run(
        [
          "nsenter", "--net=/run/netns/\(name)", "--", Project.weft, "down", "--data-dir", dataFolder,
          "--run-dir", runFolder,
        ], seconds: 60)
    }
    for namespace in [name, outside] { run(["ip", "netns", "del", namespace]) }
    for path in [dataFolder, runFolder, "\(dataFolder)-cache"] {
      try? FileManager.default.removeItem(atPath: path)
    }
    if ProcessInfo.processInfo.environment["WEFT_KEEP_LOGS"] == nil {
      try? FileManager.default.removeItem(atPath: logPath)
    }
  }
}
