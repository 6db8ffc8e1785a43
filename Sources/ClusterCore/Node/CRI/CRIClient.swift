// The container runtime interface as the agent uses it: one connection over a unix socket, a bound on every call, and the
// runtime's own words in every error.

import ClusterObjects
import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf
import SwiftProtobuf

/// Short names for the generated messages.
enum CRI {
  typealias SandboxConfig = Runtime_V1_PodSandboxConfig
  typealias SandboxStatus = Runtime_V1_PodSandboxStatus
  typealias Sandbox = Runtime_V1_PodSandbox
  typealias ContainerConfig = Runtime_V1_ContainerConfig
  typealias ContainerStatus = Runtime_V1_ContainerStatus
  typealias Container = Runtime_V1_Container
  typealias ContainerState = Runtime_V1_ContainerState
  typealias Image = Runtime_V1_Image
}

/// A client of one containerd. Reconnects by itself; a call made while the socket is away waits for it until its own
/// time is up. Safe from any thread.
final class CRIClient: Sendable {
  typealias Transport = HTTP2ClientTransport.Posix

  let socketPath: String
  private let client: GRPCClient<Transport>
  private let runtime: Runtime_V1_RuntimeService.Client<Transport>
  private let images: Runtime_V1_ImageService.Client<Transport>
  private let events: Containerd_Services_Events_V1_Events.Client<Transport>
  private let connections: Task<Void, Never>
  private let latency: MetricFamily<Histogram>

  /// Opens the connection in the background. Throws only when the transport cannot be made at all.
  init(socketPath: String, metrics: Metrics = .shared) throws {
    self.socketPath = socketPath
    client = GRPCClient(transport: try .unixSocket(socketPath))
    runtime = .init(wrapping: client)
    images = .init(wrapping: client)
    events = .init(wrapping: client)
    latency = metrics.histogram(
      "kubelet_runtime_operations_duration_seconds", "Duration of runtime operations by type.",
      labels: ["operation_type"])
    let running = client
    connections = Task { try? await running.runConnections() }
  }

  /// Ends the connection. Calls under way finish.
  func close() { client.beginGracefulShutdown() }

  deinit { client.beginGracefulShutdown() }

  private func call<Result>(
    _ operation: String, seconds: Int = 30, _ body: (CallOptions) async throws -> Result
  ) async throws -> Result {
    var options = CallOptions.defaults
    options.timeout = .seconds(seconds)
    options.waitForReady = true
    options.maxResponseMessageBytes = 32 << 20
    let start = ContinuousClock.now
    defer { latency.child(operation).observe(ContinuousClock.now - start) }
    while true {
      do {
        return try await body(options)
      } catch let error as RPCError
        where error.message.contains("server is not initialized yet")
        && ContinuousClock.now - start < .seconds(seconds)
      {
        // containerd listens before it has read back its pods.
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }
}

// MARK: - The runtime

extension CRIClient {
  func version() async throws -> Runtime_V1_VersionResponse {
    try await call("version", seconds: 5) {
      try await runtime.version(.with { $0.version = "v1" }, options: $0)
    }
  }

  func runtimeConditions() async throws -> [Runtime_V1_RuntimeCondition] {
    try await call("status", seconds: 5) {
      try await runtime.status(Runtime_V1_StatusRequest(), options: $0).status.conditions
    }
  }

  /// `handler` as a RuntimeClass names it; empty for the runtime's own choice.
  func runSandbox(_ config: CRI.SandboxConfig, handler: String = "") async throws -> String {
    try await call("run_podsandbox", seconds: 120) {
      try await runtime.runPodSandbox(
        .with {
          $0.config = config
          $0.runtimeHandler = handler
        }, options: $0
      ).podSandboxID
    }
  }

  func stopSandbox(_ id: String) async throws {
    try await call("stop_podsandbox", seconds: 120) {
      _ = try await runtime.stopPodSandbox(.with { $0.podSandboxID = id }, options: $0)
    }
  }

  func removeSandbox(_ id: String) async throws {
    try await call("remove_podsandbox", seconds: 60) {
      _ = try await runtime.removePodSandbox(.with { $0.podSandboxID = id }, options: $0)
    }
  }

  func sandboxStatus(_ id: String) async throws -> CRI.SandboxStatus {
    try await call("podsandbox_status") {
      try await runtime.podSandboxStatus(.with { $0.podSandboxID = id }, options: $0).status
    }
  }

  /// All sandboxes, or those whose labels match.
  func listSandboxes(labels: [String: String] = [:]) async throws -> [CRI.Sandbox] {
    try await call("list_podsandbox") {
      try await runtime.listPodSandbox(
        .with { $0.filter = .with { $0.labelSelector = labels } }, options: $0
      ).items
    }
  }

  func createContainer(sandbox: String, _ config: CRI.ContainerConfig, _ sandboxConfig: CRI.SandboxConfig)
    async throws -> String
  {
    try await call("create_container", seconds: 60) {
      try await runtime.createContainer(
        .with {
          $0.podSandboxID = sandbox
          $0.config = config
          $0.sandboxConfig = sandboxConfig
        }, options: $0
      ).containerID
    }
  }

  func startContainer(_ id: String) async throws {
    try await call("start_container", seconds: 60) {
      _ = try await runtime.startContainer(.with { $0.containerID = id }, options: $0)
    }
  }

  /// SIGTERM (or the image's stop signal), then SIGKILL after `graceSeconds`; at once when they are 0.
  func stopContainer(_ id: String, graceSeconds: Int) async throws {
    try await call("stop_container", seconds: graceSeconds + 30) {
      _ = try await runtime.stopContainer(
        .with {
          $0.containerID = id
          $0.timeout = Int64(graceSeconds)
        }, options: $0)
    }
  }

  func removeContainer(_ id: String) async throws {
    try await call("remove_container") {
      _ = try await runtime.removeContainer(.with { $0.containerID = id }, options: $0)
    }
  }

  func listContainers(labels: [String: String] = [:]) async throws -> [CRI.Container] {
    try await call("list_containers") {
      try await runtime.listContainers(
        .with { $0.filter = .with { $0.labelSelector = labels } }, options: $0
      ).containers
    }
  }

  func containerStatus(_ id: String) async throws -> CRI.ContainerStatus {
    try await call("container_status") {
      try await runtime.containerStatus(.with { $0.containerID = id }, options: $0).status
    }
  }

  /// With what only this runtime says (`info`).
  func verboseStatus(_ id: String) async throws -> Runtime_V1_ContainerStatusResponse {
    try await call("container_status") {
      try await runtime.containerStatus(
        .with {
          $0.containerID = id
          $0.verbose = true
        }, options: $0)
    }
  }

  func execSync(_ id: String, _ command: [String], timeoutSeconds: Int) async throws
    -> Runtime_V1_ExecSyncResponse
  {
    try await call("exec_sync", seconds: timeoutSeconds + 5) {
      try await runtime.execSync(
        .with {
          $0.containerID = id
          $0.cmd = command
          $0.timeout = Int64(timeoutSeconds)
        }, options: $0)
    }
  }

  /// What each container wrote, by its id; the runtime looks every ten seconds.
  func writableLayers() async throws -> [String: DiskUsage] {
    let stats = try await call("list_container_stats", seconds: 10) {
      try await runtime.listContainerStats(Runtime_V1_ListContainerStatsRequest(), options: $0).stats
    }
    let pairs = stats.filter(\.hasWritableLayer).map {
      (
        $0.attributes.id,
        DiskUsage(bytes: $0.writableLayer.usedBytes.value, inodes: $0.writableLayer.inodesUsed.value)
      )
    }
    return Dictionary(pairs, uniquingKeysWith: { $1 })
  }

  /// The runtime writes on in a new file; the old one was moved away.
  func reopenLog(_ id: String) async throws {
    try await call("reopen_container_log", seconds: 10) {
      _ = try await runtime.reopenContainerLog(.with { $0.containerID = id }, options: $0)
    }
  }

  func execURL(_ request: Runtime_V1_ExecRequest) async throws -> String {
    try await call("exec") { try await runtime.exec(request, options: $0).url }
  }

  func attachURL(_ request: Runtime_V1_AttachRequest) async throws -> String {
    try await call("attach") { try await runtime.attach(request, options: $0).url }
  }

  /// Where the sandbox's network namespace is; nil when it has the host's.
  func sandboxNetns(_ id: String) async throws -> String? {
    let info = try await call("podsandbox_status") {
      try await runtime.podSandboxStatus(
        .with {
          $0.podSandboxID = id
          $0.verbose = true
        }, options: $0
      ).info["info"]
    }
    guard let tree = try? JSON(parsing: Array((info ?? "").utf8)) else { return nil }
    let namespaces = tree.at("runtimeSpec", "linux", "namespaces")?.elements ?? []
    return namespaces.first { $0["type"]?.string == "network" }?["path"]?.string
  }
}

// MARK: - Images

extension CRIClient {
  func listImages() async throws -> [CRI.Image] {
    try await call("list_images") {
      try await images.listImages(Runtime_V1_ListImagesRequest(), options: $0).images
    }
  }

  /// The image of this reference; nil when it is not here.
  func image(_ reference: String) async throws -> CRI.Image? {
    let response = try await call("image_status") {
      try await images.imageStatus(.with { $0.image = .with { $0.image = reference } }, options: $0)
    }
    return response.hasImage ? response.image : nil
  }

  /// With `login` when the registry asks for one.
  func pullImage(_ reference: String, login: RegistryLogin?, sandbox: CRI.SandboxConfig) async throws
    -> String
  {
    try await call("pull_image", seconds: 600) {
      try await images.pullImage(
        .with {
          $0.image = .with { $0.image = reference }
          if let login {
            $0.auth = .with {
              $0.username = login.username
              $0.password = login.password
              $0.identityToken = login.identityToken
              $0.registryToken = login.registryToken
            }
          }
          $0.sandboxConfig = sandbox
        }, options: $0
      ).imageRef
    }
  }
}

extension CRIClient {
  func removeImage(_ reference: String) async throws {
    try await call("remove_image", seconds: 60) {
      _ = try await images.removeImage(.with { $0.image = .with { $0.image = reference } }, options: $0)
    }
  }

  /// Bytes of all images together.
  func imageBytes() async throws -> UInt64 {
    try await call("image_fs_info", seconds: 10) {
      try await images.imageFsInfo(Runtime_V1_ImageFsInfoRequest(), options: $0).imageFilesystems
        .reduce(0) { $0 &+ $1.usedBytes.value }
    }
  }
}

// MARK: - Events

/// What the agent reacts to at once.
struct RuntimeEvent: Sendable, Hashable {
  enum Kind: String, Sendable { case start, exit, oom }
  var kind: Kind
  /// A container's or a sandbox's.
  var containerID: String
}

extension CRIClient {
  /// Calls `handle` for every start, exit and out-of-memory kill until containerd goes away (throws) or the task is
  /// cancelled. What happened before the call is not repeated: list once it runs.
  func followEvents(_ handle: @Sendable @escaping (RuntimeEvent) -> Void) async throws {
    var options = CallOptions.defaults
    options.waitForReady = true
    let request = Containerd_Services_Events_V1_SubscribeRequest.with {
      $0.filters = ["namespace==k8s.io,topic~=^/tasks/(start|exit|oom)$"]
    }
    try await events.subscribe(request, options: options) { response in
      for try await envelope in response.messages {
        guard let word = envelope.topic.split(separator: "/").last,
          let kind = RuntimeEvent.Kind(rawValue: String(word))
        else { continue }
        let bytes = envelope.event.value
        var id = ""
        if kind == .exit {
          guard let exit = try? Containerd_Services_Events_V1_TaskExit(serializedBytes: bytes),
            exit.id.isEmpty || exit.id == exit.containerID
          else { continue }
          id = exit.containerID
        } else if let event = try? Containerd_Services_Events_V1_TaskEvent(serializedBytes: bytes) {
          id = event.containerID
        }
        handle(RuntimeEvent(kind: kind, containerID: id))
      }
    }
  }
}

extension RPCError {
  /// The runtime does not know the id: already gone, which is what was wanted.
  var isNotFound: Bool { code == .notFound || message.contains("not found") }
}

/// Runs `body`; what is already gone counts as done.
func ignoringNotFound(_ body: () async throws -> Void) async throws {
  do {
    try await body()
  } catch let error as RPCError where error.isNotFound {
    return
  }
}

/// The runtime's words without the layers around them.
func runtimeMessage(_ error: any Error) -> String {
  (error as? RPCError)?.message ?? (error as? WeftError)?.cause ?? (error as? MissingReference)?.message
    ?? "\(error)"
}
