// Which images are here, how they come here, and how long to wait before a failed pull is tried again.

import Diagnostics
import GRPCCore
import Logging

/// The images of one node. Pulls of one reference are shared by those who wait for it with the same logins.
actor ImageStore {
  private let cri: CRIClient
  private let settings: ContainerdSettings
  private let log = Logger(label: "node")
  private let pulls: ImagePulls<PullKey>
  private let metrics: PullMetrics
  private var failures: [FailureKey: (delay: Duration, until: ContinuousClock.Instant, message: String)] = [:]
  /// Failures that are remembered; past it all are forgotten, and everybody tries again at once.
  private static let failuresMax = 1024

  /// - Parameter atOnceMax: pulls at the same time; nil for as many as there are.
  init(
    _ cri: CRIClient, _ settings: ContainerdSettings, atOnceMax: Int? = 1, metrics: Metrics = .shared
  ) {
    self.cri = cri
    self.settings = settings
    pulls = ImagePulls(atOnceMax: atOnceMax, metrics: metrics)
    self.metrics = PullMetrics(metrics)
  }

  /// Why a container cannot have its image, in upstream's words.
  struct Refusal: Error {
    var reason: String
    var message: String
    var retryAt: ContinuousClock.Instant?
  }

  struct Ready {
    var imageID: String
    /// Nil when it was here already.
    var pull: (duration: Duration, includingWaiting: Duration)?
    /// As the runtime knows it; nil when it could not be asked.
    var image: CRI.Image?
  }

  /// The image of a container, pulled when its policy says so. Throws `Refusal`.
  /// `logins` is asked only when something is pulled, as is `onPull`.
  func ensure(
    _ reference: String, policy: String, sandbox: CRI.SandboxConfig,
    logins: @Sendable () async -> [RegistryLogin] = { [] }, onPull: @Sendable () async -> Void = {}
  ) async throws -> Ready {
    guard isImageReference(reference) else {
      throw Refusal(
        reason: "InvalidImageName",
        message: "Failed to apply default image tag \"\(reference)\": couldn't parse image name "
          + "\"\(reference)\": invalid reference format")
    }
    if policy != "Always", let image = try await cri.image(reference) {
      return Ready(imageID: image.id, image: image)
    }
    if policy == "Never" {
      throw Refusal(
        reason: "ErrImageNeverPull",
        message: "Container image \"\(reference)\" is not present with pull policy of Never")
    }
    // Of this pod: what another one's secrets could not get, this one's may.
    let own = FailureKey(podUID: sandbox.metadata.uid, reference: reference)
    if let failure = failures[own], ContinuousClock.now < failure.until {
      throw Refusal(
        reason: "ImagePullBackOff",
        message: "Back-off pulling image \"\(reference)\": ErrImagePull: \(failure.message)",
        retryAt: failure.until)
    }
    let start = ContinuousClock.now
    do {
      await onPull()
      let pulled = try await pull(reference, await logins(), sandbox)
      let time = ContinuousClock.now - start
      failures[own] = nil
      let image = try? await cri.image(reference)
      metrics.observe(time, bytes: image?.size)
      return Ready(imageID: pulled.id, pull: (pulled.duration, time), image: image)
    } catch {
      if error is CancellationError || Task.isCancelled { throw error }
      let delay = min((failures[own]?.delay ?? .seconds(5)) * 2, .seconds(300))
      if failures.count >= Self.failuresMax { failures.removeAll() }
      let message = runtimeMessage(error)
      failures[own] = (delay, .now + delay, message)
      throw Refusal(
        reason: "ErrImagePull", message: message, retryAt: .now + delay)
    }
  }

  private func pull(
    _ reference: String, _ logins: [RegistryLogin], _ sandbox: CRI.SandboxConfig
  ) async throws -> ImagePulls<PullKey>.Done {
    // Shared only by those who say the same of themselves: another's login gives nobody an image.
    try await pulls.pull(PullKey(reference: reference, logins: logins)) { [cri] in
      // Each login in turn; without any, as nobody.
      for login in logins.dropLast() {
        if let id = try? await cri.pullImage(reference, login: login, sandbox: sandbox) { return id }
        try Task.checkCancellation()
      }
      return try await cri.pullImage(reference, login: logins.last, sandbox: sandbox)
    }
  }

  private struct PullKey: Hashable {
    var reference: String
    var logins: [RegistryLogin]
  }
  private struct FailureKey: Hashable {
    var podUID: String
    var reference: String
  }

  /// Loads an OCI or Docker archive by containerd's own `ctr`. Returns the references it brought.
  func importArchive(_ path: String) async throws -> [String] {
    let ctr = "/usr/bin/ctr"
    guard Files.isExecutable(ctr) else {
      throw WeftError(
        "NOD0006", object: ctr, cause: "the program is missing, and images are imported by it",
        next: "apt-get install containerd")
    }
    guard Files.exists(path) else {
      throw WeftError(
        "NOD0007", object: path, cause: "there is no such archive", next: "check the path: ls -l \(path)")
    }
    let result = try await Subprocess.run(
      [
        ctr, "--address", settings.socketPath, "--namespace", "k8s.io", "images", "import", "--snapshotter",
        "overlayfs", path,
      ],
      seconds: 300)
    guard result.code == 0 else {
      let last = result.output.split(separator: "\n").last.map(String.init) ?? "code \(result.code)"
      throw WeftError(
        "NOD0008", object: path, cause: "the archive could not be imported: \(last)",
        next: "check that it is an OCI image layout or the output of docker save")
    }
    // `unpacking REFERENCE (DIGEST)...done`
    return result.output.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      return words.count > 1 && words[0] == "unpacking" ? String(words[1]) : nil
    }
  }

  /// Makes and imports those of `DemoImage` that are not here yet. Returns the references made.
  func ensureOwnImages(busyboxPath: String) async throws -> [String] {
    var missing: [String] = []
    for reference in [DemoImage.pauseReference, DemoImage.demoReference]
    where try await cri.image(reference) == nil { missing.append(reference) }
    guard !missing.isEmpty else { return [] }
    for archive in try await DemoImage.archives(busyboxPath: busyboxPath)
    where missing.contains(archive.reference) {
      let path = settings.stateDirectory + "/import.tar"
      defer { Files.removeTree(path) }
      try Files.write(path, archive.bytes, mode: 0o600)
      _ = try await importArchive(path)
    }
    await waitUntilKnown(missing)
    return missing
  }

  /// The runtime interface learns of imported images by events: waits until it names them, two seconds at most.
  func waitUntilKnown(_ references: [String]) async {
    let deadline = ContinuousClock.now + .seconds(2)
    while ContinuousClock.now < deadline {
      var known = true
      for reference in references where (try? await cri.image(reference)) == nil { known = false }
      if known { break }
      try? await Task.sleep(for: .milliseconds(10))
    }
  }
}
