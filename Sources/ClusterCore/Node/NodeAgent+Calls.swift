// What is asked of a running agent: images, logs, commands in containers, the pods of the node.

import ClusterClient
import ClusterObjects
import Diagnostics
import SwiftProtobuf

extension NodeAgent {
  /// Loads an OCI or Docker archive into containerd. Returns the references it brought.
  public func importImage(_ path: String) async throws -> [String] {
    guard let images else { throw notStarted }
    return try await images.importArchive(path)
  }

  /// The log of a container, in pieces as they come. Throws `APIStatusError` NotFound or BadRequest in kubelet's words.
  public func readLogs(
    namespace: String, pod: String, container: String, options: LogOptions
  ) async throws -> AsyncStream<[UInt8]> {
    guard let cri else { throw notStarted }
    let found = try await cri.listContainers(labels: [
      RuntimeLabels.podNamespace: namespace, RuntimeLabels.podName: pod,
      RuntimeLabels.containerName: container,
    ]).sorted { $0.metadata.attempt > $1.metadata.attempt }
    guard let newest = found.first else {
      throw APIStatusError(
        code: 400, reason: "BadRequest",
        message: "container \"\(container)\" in pod \"\(pod)\" is waiting to start: ContainerCreating")
    }
    let wanted = options.previous ? found.dropFirst().first : newest
    guard let wanted else {
      throw APIStatusError(
        code: 400, reason: "BadRequest",
        message: "previous terminated container \"\(container)\" in pod \"\(pod)\" not found")
    }
    let path = try await cri.containerStatus(wanted.id).logPath
    let id = wanted.id
    return LogReader.read(path, options) {
      (try? await cri.containerStatus(id))?.state == .containerRunning
    }
  }

  /// Runs a command in a container to its end, for tests and probes of people.
  public func exec(
    namespace: String, pod: String, container: String, command: [String], timeoutSeconds: Int = 10
  )
    async throws -> (code: Int, output: [UInt8], errors: [UInt8])
  {
    let id = try await runningContainer(namespace, pod, container)
    guard let cri else { throw notStarted }
    let result = try await cri.execSync(id, command, timeoutSeconds: timeoutSeconds)
    return (Int(result.exitCode), Array(result.stdout), Array(result.stderr))
  }

  /// What a client wants connected when it execs or attaches.
  public struct Streams: Sendable, Hashable {
    public var stdin = false
    public var stdout = true
    public var stderr = true
    public var tty = false
    public init() {}
  }

  /// Where containerd serves one exec session: good once, for a minute, in the node's network namespace on loopback.
  public func execURL(
    namespace: String, pod: String, container: String, command: [String], streams: Streams
  ) async throws -> String {
    let id = try await runningContainer(namespace, pod, container)
    guard let cri else { throw notStarted }
    return try await cri.execURL(
      .with {
        $0.containerID = id
        $0.cmd = command
        $0.stdin = streams.stdin
        $0.stdout = streams.stdout
        $0.stderr = streams.stderr && !streams.tty
        $0.tty = streams.tty
      })
  }

  /// The same for attach.
  public func attachURL(namespace: String, pod: String, container: String, streams: Streams) async throws
    -> String
  {
    let id = try await runningContainer(namespace, pod, container)
    guard let cri else { throw notStarted }
    return try await cri.attachURL(
      .with {
        $0.containerID = id
        $0.stdin = streams.stdin
        $0.stdout = streams.stdout
        $0.stderr = streams.stderr && !streams.tty
        $0.tty = streams.tty
      })
  }

  /// The network namespace of a running pod, for port-forward.
  func forwardingPod(namespace: String, pod: String) async throws -> ForwardedPod {
    guard let cri else { throw notStarted }
    let sandboxes = try await cri.listSandboxes(labels: [
      RuntimeLabels.podNamespace: namespace, RuntimeLabels.podName: pod,
    ])
    guard let sandbox = sandboxes.first(where: { $0.state == .sandboxReady }) else {
      throw APIStatusError(code: 404, reason: "NotFound", message: "pods \"\(pod)\" not found")
    }
    let path = try await cri.sandboxNetns(sandbox.id)
    return ForwardedPod(sandbox: sandbox.id, netnsPath: path ?? settings.netnsPath)
  }

  nonisolated var metricsText: String { metrics.text() }

  /// The pods of this node, as the API server has them.
  func podList() async throws -> JSON {
    var items: [JSON] = []
    if let api {
      var options = ListOptions()
      options.fieldSelector = "spec.nodeName=\(settings.nodeName)"
      items = try await api.list(.pods, namespace: "", options: options).items
    }
    return ["kind": "PodList", "apiVersion": "v1", "metadata": [:], "items": .array(items)]
  }

  private func runningContainer(_ namespace: String, _ pod: String, _ container: String) async throws
    -> String
  {
    guard let cri else { throw notStarted }
    let found = try await cri.listContainers(labels: [
      RuntimeLabels.podNamespace: namespace, RuntimeLabels.podName: pod,
      RuntimeLabels.containerName: container,
    ])
    guard let running = found.first(where: { $0.state == .containerRunning }) else {
      throw APIStatusError(
        code: 404, reason: "NotFound", message: "container not found (\"\(container)\")")
    }
    return running.id
  }

  var notStarted: WeftError {
    WeftError(
      "NOD0009", object: "node \(settings.nodeName)", cause: "the node agent is not running",
      next: "weft up, or weft node --kubeconfig FILE", exit: .unreachable)
  }
}
