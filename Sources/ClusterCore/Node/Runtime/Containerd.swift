// Our own containerd: started, watched, restarted, adopted after a restart of ours, and stopped without a trace.

import CLinux
import Diagnostics
import Glibc
import KernelSockets
import Logging

/// One containerd, owned by one agent. Its pods outlive it, and it outlives the agent when asked to.
actor Containerd {
  nonisolated let settings: ContainerdSettings
  private let log = Logger(label: "node")
  private var pid: pid_t = 0
  private var supervisor: Task<Void, Never>?
  private var isStopping = false
  private let restarts: Counter

  init(_ settings: ContainerdSettings, metrics: Metrics = .shared) {
    self.settings = settings
    restarts = metrics.counter("weft_containerd_restarts_total", "Times containerd was started anew.").child()
  }

  /// Says what is missing on this machine, before anything is touched.
  nonisolated func checkPrograms() throws(WeftError) {
    for (code, path): (ErrorCode, String) in [
      ("NOD0001", settings.containerdPath), ("NOD0002", settings.runcPath),
    ] where !Files.isExecutable(path) {
      throw WeftError(
        code, object: path, cause: "the program is missing, and pods cannot run without it",
        next: "apt-get install containerd runc")
    }
  }

  /// Adopts the containerd that already serves this socket, or starts one, and waits until its socket answers.
  /// Returns true when it was adopted.
  @discardableResult func start(timeout: Duration = .seconds(20)) async throws -> Bool {
    try checkPrograms()
    for path in [settings.rootDirectory, settings.stateDirectory, settings.cniConfDirectory] {
      try Files.makeDirectory(path, mode: 0o711)
    }
    let config = planContainerdConfig(settings)
    let isSameConfig = Files.readText(settings.configPath) == config
    try Files.write(settings.configPath, config, mode: 0o600)
    var adopted = false
    if let old = recordedProcess() {
      if isSameConfig, socketAnswers() {
        pid = old
        adopted = true
      } else {
        // Settings changed or it hangs: shims and pods do not depend on it, a new one takes over.
        await end(old)
      }
    }
    if !adopted {
      try launch()
      try await waitForSocket(timeout)
    }
    supervisor = Task { await self.supervise() }
    log.info(
      "containerd ready",
      metadata: ["pid": "\(pid)", "adopted": "\(adopted)", "socket": "\(settings.socketPath)"])
    return adopted
  }

  /// Stops watching. With `keepRunning` containerd and the pods stay for the next start to adopt; without, containerd
  /// ends and everything it left is swept away. Stop the pods first.
  func stop(keepRunning: Bool) async {
    isStopping = true
    supervisor?.cancel()
    if keepRunning { return }
    if pid > 0 { await end(pid) }
    pid = 0
    sweep()
  }

  private func launch() throws {
    unlink(settings.socketPath)
    var arguments = [settings.containerdPath, "--config", settings.configPath]
    // Not `ip netns exec`: it makes a mount namespace of its own, where the pods' mounts would be out of our sight.
    if let netns = settings.netnsPath { arguments = ["/usr/bin/nsenter", "--net=\(netns)"] + arguments }
    pid = try Subprocess.spawn(arguments, outputPath: settings.logPath)
    try Files.write(settings.pidPath, "\(pid)\n")
  }

  private func supervise() async {
    var delay = Duration.milliseconds(100)
    while !Task.isCancelled, !isStopping {
      try? await Task.sleep(for: .milliseconds(250))
      guard !isStopping, pid > 0, let code = Subprocess.reap(pid) else { continue }
      restarts.increment()
      log.warning(
        "containerd ended, starting it anew", metadata: ["code": "\(code)", "log": "\(settings.logPath)"])
      let started = ContinuousClock.now
      try? await Task.sleep(for: delay)
      if isStopping { return }
      do {
        try launch()
        try await waitForSocket(.seconds(20))
      } catch {
        log.error("containerd does not start", metadata: ["error": "\(error)"])
      }
      let isHealthy = ContinuousClock.now - started < .seconds(20)
      delay = isHealthy ? .milliseconds(100) : min(delay * 2, .seconds(10))
    }
  }

  private func waitForSocket(_ timeout: Duration) async throws {
    let deadline = ContinuousClock.now + timeout
    while !socketAnswers() {
      if let code = Subprocess.reap(pid) {
        pid = 0
        throw WeftError(
          "NOD0003", object: settings.containerdPath,
          cause: "containerd ended with code \(code): \(lastLogLine())",
          next: "read \(settings.logPath)")
      }
      guard ContinuousClock.now < deadline else {
        throw WeftError(
          "NOD0004", object: settings.socketPath, cause: "containerd does not answer: \(lastLogLine())",
          next: "read \(settings.logPath)", exit: .unreachable)
      }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  private nonisolated func lastLogLine() -> String {
    let lines = (Files.readText(settings.logPath) ?? "").split(separator: "\n")
    return lines.last.map(String.init) ?? "it wrote nothing"
  }

  /// The process of the pid file, if it still is our containerd.
  private nonisolated func recordedProcess() -> pid_t? {
    guard let text = Files.readText(settings.pidPath),
      let pid = pid_t(text.split(separator: "\n").first ?? "")
    else { return nil }
    return Subprocess.commandLine(pid).contains(settings.configPath) ? pid : nil
  }

  private nonisolated func socketAnswers() -> Bool {
    let descriptor = UnixSocket.connect(settings.socketPath)
    guard descriptor >= 0 else { return false }
    close(descriptor)
    return true
  }

  private nonisolated func end(_ pid: pid_t) async {
    kill(pid, SIGTERM)
    for _ in 0..<500 {
      if Subprocess.reap(pid) != nil { return }
      try? await Task.sleep(for: .milliseconds(10))
    }
    kill(pid, SIGKILL)
    for _ in 0..<500 where Subprocess.reap(pid) == nil { try? await Task.sleep(for: .milliseconds(10)) }
  }

  /// What a containerd leaves when pods could not be removed in order: shims, mounts, run-time files.
  private nonisolated func sweep() {
    let shims = Subprocess.find(words: ["-address", settings.socketPath])
    for shim in shims { kill(shim, SIGKILL) }
    let mounts =
      Files.unmountAll(below: settings.stateDirectory) + Files.unmountAll(below: settings.rootDirectory)
    if !shims.isEmpty || mounts > 0 {
      log.warning("swept up after containerd", metadata: ["shims": "\(shims.count)", "mounts": "\(mounts)"])
    }
    Files.removeTree(settings.stateDirectory)
    unlink(settings.socketPath)
    unlink(settings.socketPath + ".ttrpc")
  }
}
