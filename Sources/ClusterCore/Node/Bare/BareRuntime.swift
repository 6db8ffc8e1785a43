// Pods by the runtime's calls alone, without an agent: what a pod costs before anybody looks after it.

import ClusterObjects
import Diagnostics
import SwiftProtobuf

/// The peer of a node agent's pod start, for measuring: the same sandbox and the same container by the same three calls. The
/// agent leaves such pods alone, because their sandboxes name no pod.
public struct BareRuntime: Sendable {
  /// A pod that runs.
  public struct Pod: Sendable {
    public var took: Duration
    var sandbox: String
  }
  private let cri: CRIClient
  private let settings: NodeSettings

  /// - Parameters:
  ///   - folder: for logs and the files that every container gets.
  ///   - settings: of the node whose runtime it is.
  public init(_ settings: NodeSettings, folder: String) throws {
    var settings = settings
    settings.dataDirectory = folder
    settings.logDirectory = folder
    self.settings = settings
    cri = try CRIClient(socketPath: settings.containerd.socketPath, metrics: Metrics())
  }

  public func close() { cri.close() }

  /// RunPodSandbox, CreateContainer, StartContainer for the pod's first container. Throws what the runtime answers.
  public func start(_ pod: JSON) async throws -> Pod {
    let spec = PodSpec(pod)
    guard let container = spec.containers.first else {
      throw WeftError("CTL0010", object: "pod \(pod.name)", cause: "it has no container", next: "name one")
    }
    let directory = settings.podDirectory(pod.uid)
    try Files.makeDirectory(directory)
    try Files.write(directory + "/etc-hosts", "127.0.0.1\tlocalhost\n")
    try Files.write(directory + "/message", "", mode: 0o666)
    var sandboxConfig = try planSandbox(spec, attempt: 0, settings: settings, nodeResolver: "")
    try Files.makeDirectory(sandboxConfig.logDirectory)
    sandboxConfig.metadata.uid = ""
    sandboxConfig.labels = [:]
    var config = planContainer(
      container, spec,
      ContainerInputs(
        attempt: 0, environment: [],
        mounts: [
          .with {
            $0.containerPath = "/etc/hosts"
            $0.hostPath = directory + "/etc-hosts"
          },
          .with {
            $0.containerPath = "/dev/termination-log"
            $0.hostPath = directory + "/message"
          },
        ], memoryCapacity: 1 << 32, terminationMessageHostPath: directory + "/message"))
    config.labels = [:]
    let began = ContinuousClock.now
    let sandbox = try await cri.runSandbox(sandboxConfig)
    do {
      let id = try await cri.createContainer(sandbox: sandbox, config, sandboxConfig)
      try await cri.startContainer(id)
    } catch {
      await remove(Pod(took: .zero, sandbox: sandbox))
      throw error
    }
    return Pod(took: ContinuousClock.now - began, sandbox: sandbox)
  }

  public func remove(_ pod: Pod) async {
    try? await ignoringNotFound { try await cri.stopSandbox(pod.sandbox) }
    try? await ignoringNotFound { try await cri.removeSandbox(pod.sandbox) }
  }
}
