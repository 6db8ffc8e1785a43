// A control plane and two nodes as network namespaces on one switch: `weft server` beside the switch, `weft node` in each of the two.
import ClusterClient
import ClusterObjects
import Diagnostics
import Foundation

/// Everything it makes carries its name and is removed with it.
final class NodePair {
  let tag = NodeTag.next()
  let network: String
  static let clusterBlocks = "10.42.0.0/16,fd00:42::/56"
  static let serviceBlocks = "10.43.0.0/16,fd00:43::/108"
  static let machines = ["192.0.2.1", "192.0.2.2"]
  private var server: Process?
  private var nodes: [Process?] = [nil, nil]

  var switchName: String { "weft-2n-\(tag)-s" }
  func name(_ node: Int) -> String { ["a", "b"][node] }
  func namespace(_ node: Int) -> String { "weft-2n-\(tag)-\(name(node))" }
  func namespacePath(_ node: Int) -> String { "/run/netns/\(namespace(node))" }
  private func folder(_ part: String) -> String { "/var/tmp/weft-2n-\(tag)-\(part)" }
  private func runFolder(_ node: Int) -> String { "/run/weft-2n-\(tag)-\(name(node))" }
  var kubeconfig: String { "\(folder("s"))/admin.kubeconfig" }
  /// Where a node's device plugins are.
  func pluginFolder(_ node: Int) -> String { "\(folder(name(node)))/device-plugins" }
  func dataFolder(_ node: Int) -> String { folder(name(node)) }

  /// - Parameter network: `--network` of both nodes.
  init(network: String) throws {
    self.network = network
    var commands = [
      "ip netns add \(switchName)", "ip -n \(switchName) link set lo up",
      "ip -n \(switchName) link add br0 type bridge", "ip -n \(switchName) addr add 192.0.2.10/24 dev br0",
      "ip -n \(switchName) link set br0 up",
    ]
    for node in 0..<2 {
      let namespace = namespace(node)
      commands += [
        "ip netns add \(namespace)", "ip -n \(namespace) link set lo up",
        "ip -n \(namespace) link add eth0 type veth peer name port\(node) netns \(switchName)",
        "ip -n \(switchName) link set port\(node) master br0 up",
        "ip -n \(namespace) addr add \(Self.machines[node])/24 dev eth0",
        "ip -n \(namespace) addr add fd00:192::\(node + 1)/64 dev eth0 nodad",
        "ip -n \(namespace) link set eth0 up",
      ]
    }
    for command in commands {
      let output = run(command.split(separator: " ").map(String.init))
      guard output.status == 0 else {
        remove()
        throw CommandFailed(output: output)
      }
    }
  }

  deinit { remove() }

  /// - Parameter more: options of `weft server`.
  func startServer(_ more: [String] = []) throws {
    server = try start(
      switchName,
      [
        "server", "--data-dir", folder("s"), "--listen", "192.0.2.10:6443", "--advertise", "192.0.2.10",
        "--cluster-cidr", Self.clusterBlocks, "--service-cluster-ip-range", Self.serviceBlocks,
      ] + more, log: "s")
  }

  /// - Parameters:
  ///   - kubeconfig: who the node is; the cluster's owner unless said.
  ///   - more: options of `weft node`.
  func startNode(_ node: Int, kubeconfig: String? = nil, _ more: [String] = []) throws {
    nodes[node] = try start(
      namespace(node),
      [
        "node", "--eviction-hard", "memory.available<1Mi", "--kubeconfig", kubeconfig ?? self.kubeconfig,
        "--node-name",
        name(node), "--data-dir", folder(name(node)),
        "--run-dir", runFolder(node), "--network", network, "--cluster-cidr", Self.clusterBlocks,
        "--service-cidr", Self.serviceBlocks, "--metrics", "none", "--healthz", "none",
        "--device-plugin-dir", pluginFolder(node), "--plugin-registry-dir", pluginFolder(node) + "/found",
        "--pod-resources-dir",
        "\(folder(name(node)))/pod-resources",
      ] + more, log: name(node))
  }

  private func start(_ namespace: String, _ arguments: [String], log part: String) throws -> Process {
    let path = "\(folder(part)).log"
    if !FileManager.default.fileExists(atPath: path) {
      _ = FileManager.default.createFile(atPath: path, contents: nil)
    }
    let log = try FileHandle(forWritingTo: URL(filePath: path))
    try log.seekToEnd()
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/nsenter")
    process.arguments = ["--net=/run/netns/\(namespace)", "--", Project.weft] + arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = log
    process.standardError = log
    try process.run()
    return process
  }

  /// Ends a node: SIGINT takes its pods away, SIGTERM leaves them. False when it had to be killed.
  @discardableResult func stopNode(_ node: Int, _ signal: Int32 = SIGINT) -> Bool {
    defer { nodes[node] = nil }
    return stop(nodes[node], signal)
  }

  /// A signal after which the node goes on: SIGSTOP, SIGCONT.
  func signalNode(_ node: Int, _ signal: Int32) {
    if let process = nodes[node], process.isRunning { kill(process.processIdentifier, signal) }
  }

  /// As by the kernel, in the middle of whatever it does. Its pods and its containerd stay.
  func killNode(_ node: Int) {
    signalNode(node, SIGKILL)
    nodes[node]?.waitUntilExit()
  }

  private func stop(_ process: Process?, _ signal: Int32) -> Bool {
    guard let process, process.isRunning else { return true }
    kill(process.processIdentifier, signal)
    // One that was stopped hears of it then.
    kill(process.processIdentifier, SIGCONT)
    if eventually(within: 60, { !process.isRunning }) != nil { return true }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    return false
  }

  @discardableResult func kubectl(_ arguments: String..., seconds: Double = 60) -> Output {
    kubectl(arguments, seconds: seconds)
  }
  @discardableResult func kubectl(_ arguments: [String], seconds: Double = 60) -> Output {
    run(
      [
        "nsenter", "--net=/run/netns/\(switchName)", "--", Project.kubectl, "--kubeconfig", kubeconfig,
        "--cache-dir", folder("cache"),
      ] + arguments, seconds: seconds)
  }

  /// The value at a JSON path.
  func value(_ kind: String, _ name: String, _ path: String) -> String {
    kubectl("get", kind, name, "-o", "jsonpath={\(path)}").trimmed
  }

  func values(_ kind: String, _ name: String, _ path: String) -> [String] {
    value(kind, name, path).split(separator: " ").map(String.init)
  }

  /// Logs of all parts, for a failure's message.
  var logs: String {
    ["s", "a", "b"].map { part in
      let text = (try? String(contentsOfFile: "\(folder(part)).log", encoding: .utf8)) ?? ""
      return "--- \(part)\n\(text.suffix(3000))"
    }.joined(separator: "\n")
  }

  /// The network namespace of a pod on a node, by the address it holds.
  func podNamespace(_ node: Int, holding address: String) -> String? {
    let links = run(["ip", "-n", namespace(node), "-o", "link", "show", "type", "veth"]).standardOutput
      .split(whereSeparator: { $0 == " " || $0 == "\n" || $0 == "\\" })
    for (mark, name) in zip(links, links.dropFirst()) where mark == "link-netns" && name.hasPrefix("cni-") {
      if run(["ip", "-n", String(name), "-o", "addr"]).standardOutput.contains(" \(address)/") {
        return "/run/netns/\(name)"
      }
    }
    return nil
  }

  /// Stops and removes everything, whatever state it is in.
  func remove() {
    for node in 0..<2 {
      let hasEnded = stopNode(node)
      if !hasEnded || FileManager.default.fileExists(atPath: runFolder(node)) {
        run(
          [
            "nsenter", "--net=\(namespacePath(node))", "--", Project.weft, "down", "--data-dir",
            folder(name(node)), "--run-dir", runFolder(node),
          ], seconds: 60)
      }
    }
    _ = stop(server, SIGINT)
    server = nil
    for name in [namespace(0), namespace(1), switchName] { run(["ip", "netns", "del", name]) }
    let keepsLogs = ProcessInfo.processInfo.environment["WEFT_KEEP_LOGS"] != nil
    for part in ["s", "a", "b", "cache"] {
      try? FileManager.default.removeItem(atPath: folder(part))
      if !keepsLogs { try? FileManager.default.removeItem(atPath: "\(folder(part)).log") }
    }
    for node in 0..<2 { try? FileManager.default.removeItem(atPath: runFolder(node)) }
  }
}
