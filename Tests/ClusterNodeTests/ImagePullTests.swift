// Which pulls run at once, who waits for whom, and who need not; and on a real node, a registry that never answers.

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Synchronization
import Testing

@testable import ClusterNode

/// Pulls that end when they are told to.
private final class SlowRegistry: Sendable {
  private struct State {
    var begun: [String] = []
    var cancelled: [String] = []
    var ends: [String: AsyncStream<Void>.Continuation] = [:]
  }
  private let state = Mutex(State())
  var begun: [String] { state.withLock { $0.begun } }
  var cancelled: [String] { state.withLock { $0.cancelled } }

  func pull(_ name: String) async throws -> String {
    let (stream, end) = AsyncStream.makeStream(of: Void.self)
    state.withLock { state in
      state.begun.append(name)
      state.ends[name] = end
    }
    for await _ in stream { break }
    if Task.isCancelled {
      state.withLock { $0.cancelled.append(name) }
      throw CancellationError()
    }
    return "id of \(name)"
  }

  func end(_ name: String) {
    let end = state.withLock { $0.ends.removeValue(forKey: name) }
    end?.yield()
    end?.finish()
  }
}

@Suite(.timeLimit(.minutes(2))) struct ImagePullTests {
  private let registry = SlowRegistry()
  private let metrics = Metrics()

  private func pulls(_ atOnce: Int?) -> ImagePulls<String> { ImagePulls(atOnceMax: atOnce, metrics: metrics) }

  private func start(_ pulls: ImagePulls<String>, _ name: String) -> Task<ImagePulls<String>.Done, any Error>
  {
    Task { try await pulls.pull(name) { try await registry.pull(name) } }
  }

  private func isWaiting(_ count: Int) async -> Bool {
    await eventually { metrics.text().contains("weft_node_image_pulls_waiting \(count)\n") }
  }

  @Test func `one at a time, in the order in which they came`() async throws {
    let pulls = pulls(1)
    var tasks: [Task<ImagePulls<String>.Done, any Error>] = []
    for (number, name) in ["a", "b", "c"].enumerated() {
      tasks.append(start(pulls, name))
      #expect(await eventually { registry.begun == ["a"] })
      #expect(await isWaiting(number))
    }
    for (task, name) in zip(tasks, ["a", "b", "c"]) {
      #expect(await eventually { registry.begun.last == name })
      registry.end(name)
      #expect(try await task.value.id == "id of \(name)")
    }
    #expect(registry.begun == ["a", "b", "c"])
    #expect(await isWaiting(0))
  }

  @Test func `as many as are allowed, or all`() async throws {
    let two = pulls(2)
    var tasks = ["a", "b", "c"].map { start(two, $0) }
    #expect(await eventually { registry.begun.count == 2 })
    #expect(await isWaiting(1))
    let first = try #require(registry.begun.first)
    registry.end(first)
    #expect(await eventually { registry.begun.count == 3 })
    let all = pulls(nil)
    tasks += (0..<20).map { start(all, "x\($0)") }
    #expect(await eventually { registry.begun.count == 23 })
    for name in registry.begun { registry.end(name) }
    for task in tasks { _ = try await task.value }
  }

  @Test func `who wants the same shares one pull, and its failure`() async throws {
    let pulls = pulls(1)
    let first = start(pulls, "a")
    #expect(await eventually { registry.begun == ["a"] })
    let others = (0..<3).map { _ in start(pulls, "a") }
    let blocker = start(pulls, "b")
    #expect(await isWaiting(1))
    registry.end("a")
    for task in [first] + others { #expect(try await task.value.id == "id of a") }
    #expect(await eventually { registry.begun == ["a", "b"] })
    struct Broken: Error {}
    let broken = (0..<2).map { _ in Task { try await pulls.pull("c") { throw Broken() } } }
    #expect(await isWaiting(1))
    registry.end("b")
    _ = try await blocker.value
    for task in broken { await #expect(throws: Broken.self) { try await task.value } }
  }

  @Test func `who leaves gets away at once, and what nobody waits for makes room`() async throws {
    let pulls = pulls(1)
    let stuck = start(pulls, "stuck")
    #expect(await eventually { registry.begun == ["stuck"] })
    let never = start(pulls, "never")
    #expect(await isWaiting(1))
    let next = start(pulls, "next")
    #expect(await isWaiting(2))
    never.cancel()
    await #expect(throws: CancellationError.self) { try await never.value }
    #expect(await isWaiting(1))
    stuck.cancel()
    await #expect(throws: CancellationError.self) { try await stuck.value }
    #expect(await eventually { registry.begun == ["stuck", "next"] })
    #expect(registry.cancelled == ["stuck"])
    // Two wait for it: one that leaves ends it for nobody.
    let other = start(pulls, "next")
    #expect(await eventually { await pulls.waiters("next") == 2 })
    next.cancel()
    await #expect(throws: CancellationError.self) { try await next.value }
    #expect(await pulls.waiters("next") == 1)
    registry.end("next")
    #expect(try await other.value.id == "id of next")
    #expect(registry.begun == ["stuck", "next"])
    // What was left comes again when somebody wants it.
    let again = start(pulls, "stuck")
    #expect(await eventually { registry.begun.last == "stuck" })
    registry.end("stuck")
    #expect(try await again.value.id == "id of stuck")
  }

  @Test func `what was waited for is told apart from what the pull took`() async throws {
    let pulls = pulls(1)
    let first = start(pulls, "first")
    #expect(await eventually { registry.begun == ["first"] })
    let begin = ContinuousClock.now
    let second = Task { try await pulls.pull("second") { "id" } }
    #expect(await isWaiting(1))
    try await Task.sleep(for: .milliseconds(30))
    registry.end("first")
    _ = try await first.value
    let done = try await second.value
    let whole = ContinuousClock.now - begin
    #expect(whole - done.duration >= .milliseconds(30))
  }

  @Test(
    arguments: [
      (nil, "N/A"), (0, "N/A"), (1, "0-10MB"), (11 << 20, "10MB-100MB"), (200 << 20, "100MB-500MB"),
      (600 << 20, "500MB-1GB"), (2 << 30, "1GB-5GB"), (200 << 30, "GT100GB"),
    ] as [(UInt64?, String)])
  func `a size has kubelet's class`(bytes: UInt64?, name: String) {
    #expect(PullMetrics.sizeClass(bytes) == name)
  }
}

@Suite(.serialized) struct ImagePullLiveTests {
  private let patience: Duration = .seconds(150)

  /// Takes connections and says nothing.
  private static let silence = """
    import socket, sys
    listener = socket.create_server(("127.0.0.1", 5018))
    held = []
    while True: held.append(listener.accept())

    """

  @Test(.timeLimit(.minutes(8)))
  func `an image that does not come keeps nobody from starting, and a pod that waits for it from going`()
    async throws
  {
    var node = LiveNode()
    defer { node.remove() }
    try Files.makeDirectory(node.directory)
    let script = node.directory + "/silence.py"
    try Files.write(script, Self.silence)
    let server = try Subprocess.spawn(
      ["ip", "netns", "exec", node.name, "python3", script], outputPath: node.directory + "/silence.log")
    defer {
      kill(server, SIGKILL)
      _ = waitpid(server, nil, 0)
    }
    // One container at a time may start: a pull that took that place would be seen.
    node.settings.startsMax = 1
    let agent = node.agent()
    let cluster = node.cluster
    try await agent.start()
    func events(_ pod: JSON) -> [String] {
      cluster.events.filter { $0.involved.uid == pod.uid }.map { "\($0.reason): \($0.message)" }
    }
    let stuck = node.pod(
      "stuck", [container("main", "sleep 1000", extra: ["image": "127.0.0.1:5018/team/app:1"])])
    cluster.apply(stuck)
    #expect(
      await eventually(patience) {
        events(stuck).contains("Pulling: Pulling image \"127.0.0.1:5018/team/app:1\"")
      },
      "\(events(stuck))")
    // Nothing listens where its image is: it fails as soon as it is its turn.
    let waiting = node.pod(
      "waiting", [container("main", "sleep 1000", extra: ["image": "127.0.0.1:5019/team/app:1"])])
    cluster.apply(waiting)
    #expect(await eventually(patience) { events(waiting).contains { $0.hasPrefix("Pulling:") } })
    let local = node.pod("local", [container("main", "sleep 1000")])
    cluster.apply(local)
    #expect(
      await eventually(patience) { cluster.status(local.uid)["phase"] == "Running" }, "\(events(local))")
    #expect(!events(waiting).contains { $0.hasPrefix("Failed:") }, "\(events(waiting))")
    #expect(
      cluster.status(waiting.uid)["containerStatuses"]?[0]?.at("state", "waiting", "reason")
        == "ContainerCreating", "\(cluster.status(waiting.uid).prettyText)")
    cluster.delete(stuck.uid, graceSeconds: 0)
    #expect(await eventually(patience) { cluster.isDeleted(stuck.uid) }, "\(events(stuck))")
    #expect(
      await eventually(patience) {
        events(waiting).contains { $0.hasPrefix("Failed: Failed to pull image") && $0.contains("5019") }
      }, "\(events(waiting))")
    await agent.stop(keepPods: false)
  }
}
