// The ingress data plane as a child: it parses strangers' bytes, so it has no credentials and, once it runs, no capabilities.
// We keep its listeners: when it dies, the next one takes them over and no connection attempt is refused meanwhile.

import Addresses
import CLinux
import ClusterView
import Diagnostics
import Glibc
import Ingress
import Logging
import Reactor
import Synchronization

/// One listening address, one child, fed with route tables.
final class IngressProcess: Sendable {
  /// The hidden command under which the child runs. Descriptor 3 listens, 4 brings route tables.
  static let command = "ingress-data-plane"
  /// A child that dies at once is started again after this long.
  private static let restartMilliseconds: UInt32 = 200

  private struct State {
    var feeder: IngressFeeder?
    var pid: pid_t = 0
    var table: RouteTable?
    var isStopping = false
  }

  private let listener: Int32
  private let state = Mutex(State())
  private let log = Logger(label: "ingress")
  private let restarts = Metrics.shared.counter(
    "weft_ingress_restarts_total", "Times the ingress data plane was started anew."
  ).child()

  /// Listens and starts the child. Throws `NET0012` for a port that is taken.
  static func start(_ endpoint: SocketEndpoint) throws(WeftError) -> IngressProcess {
    let process = IngressProcess(listener: try StatusPages.listen(endpoint, "--http"))
    try process.launch()
    process.watch()
    return process
  }

  private init(listener: Int32) { self.listener = listener }

  deinit { close(listener) }

  /// Sends the routes of a view. A table equal to the last one costs nothing.
  func send(_ view: ClusterView) async {
    let table = planRoutes(view: view)
    state.withLock { state in
      guard state.table != table else { return }
      state.table = table
      // A child that just died gets the table when it is replaced.
      _ = try? state.feeder?.send(table)
    }
  }

  /// Lets the child answer what it has begun, at most a few seconds, and ends it.
  func stop() {
    let pid = state.withLock { state in
      state.isStopping = true
      state.feeder?.close()
      state.feeder = nil
      return state.pid
    }
    guard pid > 0 else { return }
    for _ in 0..<300 {
      if state.withLock({ $0.pid }) == 0 { return }
      usleep(10_000)
    }
    kill(pid, SIGKILL)
  }

  private func launch() throws(WeftError) {
    let pair: (feeder: IngressFeeder, child: Int32)
    do {
      pair = try IngressFeeder.pair()
    } catch {
      throw failure("\(error)")
    }
    defer { close(pair.child) }
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(Programs.own), strdup(Self.command), nil]
    defer { for argument in arguments { free(argument) } }
    let descriptors = [listener, pair.child]
    let pid = weft_spawn_child(Programs.own, &arguments, environ, descriptors, Int32(descriptors.count))
    guard pid > 0 else { throw failure(String(cString: strerror(-pid))) }
    state.withLock { state in
      state.feeder = pair.feeder
      state.pid = pid
      if let table = state.table { _ = try? pair.feeder.send(table) }
    }
    log.info("data plane started", metadata: ["pid": "\(pid)"])
  }

  /// A thread that waits for the child and starts the next one.
  private func watch() {
    let thread = Unmanaged.passRetained(self)
    var handle = pthread_t()
    pthread_create(
      &handle, nil,
      { raw in
        guard let raw else { return nil }
        Unmanaged<IngressProcess>.fromOpaque(raw).takeRetainedValue().waitForever()
        return nil
      }, thread.toOpaque())
    pthread_detach(handle)
  }

  private func waitForever() {
    while true {
      let pid = state.withLock { $0.pid }
      var status: Int32 = 0
      while waitpid(pid, &status, 0) < 0, errno == EINTR {}
      let isStopping = state.withLock { state in
        state.pid = 0
        return state.isStopping
      }
      if isStopping { return }
      log.error("data plane ended", metadata: ["pid": "\(pid)", "status": "\(status)"])
      restarts.increment()
      usleep(Self.restartMilliseconds * 1000)
      do throws(WeftError) { try launch() } catch { log.error("\(error)") }
    }
  }

  private func failure(_ cause: String) -> WeftError {
    WeftError(
      "ING0001", object: "ingress data plane", cause: "cannot be started (\(cause))",
      next: "run without it: --http none", exit: .usage)
  }

  /// The child's whole life. Called before any other thread exists: capabilities belong to threads.
  static func runChild() -> Never {
    bootstrapLogging(level: .info)
    do {
      try runIngressDataPlane(
        IngressDataPlaneConfiguration(listeners: [3], status: nil, snapshots: 4, workers: 2))
      exit(0)
    } catch {
      Terminal.complain("\(error)")
      exit(ExitStatus.usage.rawValue)
    }
  }
}
