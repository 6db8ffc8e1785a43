// How fast and how many at once requests leave.

import ClusterObjects
import Diagnostics
import NIOCore
import Synchronization
import Testing

@testable import ClusterClient

@Suite(.timeLimit(.minutes(2))) struct RequestGateTests {
  @Test func `so many are under way at once and no more, and each gets its turn`() async throws {
    let gate = RequestGate(RequestLimits(perSecond: 0, burst: 0, inFlightMax: 2))
    let crowd = Crowd()
    let tasks = (0..<20).map { _ in
      Task {
        _ = try await gate.enter()
        crowd.come()
        await Task.yield()
        crowd.go()
        gate.leave()
      }
    }
    for task in tasks { try await task.value }
    let seen = crowd.seen
    #expect(seen.all == 20 && seen.most <= 2 && seen.now == 0)
  }

  @Test func `who is cancelled while it waits gives its turn to the next`() async throws {
    let gate = RequestGate(RequestLimits(perSecond: 0, burst: 0, inFlightMax: 1))
    _ = try await gate.enter()
    let second = Task { try await gate.enter() }
    second.cancel()
    await #expect(throws: CancellationError.self) { try await second.value }
    let third = Task { try await gate.enter() }
    gate.leave()
    _ = try await third.value
    gate.leave()
    // Before it asked, too.
    let early = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      _ = try await gate.enter()
    }
    await #expect(throws: CancellationError.self) { try await early.value }
    _ = try await gate.enter()
  }

  @Test func `requests of a limited client wait, and their waits and times have the names asked for`()
    async throws
  {
    let api = MemoryClusterAPI()
    let server = try await TestServer.start(api)
    defer { server.channel.close(promise: nil) }
    let metrics = Metrics()
    let client = try RemoteClient(
      kubeconfig: Kubeconfig(server: "http://127.0.0.1:\(server.port)"), metrics: metrics,
      limits: RequestLimits(perSecond: 20, burst: 1, inFlightMax: 1), metricPrefix: "coredns_kubernetes_")
    let began = ContinuousClock.now
    for _ in 0..<4 { _ = try await client.list(.pods, namespace: "", options: ListOptions()) }
    // One at once, then one each twentieth of a second.
    #expect(ContinuousClock.now - began >= .milliseconds(140))
    let page = metrics.text()
    let host = "host=\"127.0.0.1:\(server.port)\"}"
    let prefix = "coredns_kubernetes_rest_client"
    #expect(page.contains("\(prefix)_requests_total{code=\"200\",method=\"GET\",\(host) 4"), "\(page)")
    #expect(page.contains("\(prefix)_request_duration_seconds_count{verb=\"GET\",\(host) 4"), "\(page)")
    #expect(page.contains("\(prefix)_rate_limiter_duration_seconds_count{verb=\"GET\",\(host) 4"), "\(page)")
  }
}

/// Counts who is inside.
private final class Crowd: Sendable {
  private let counts = Mutex((now: 0, most: 0, all: 0))
  var seen: (now: Int, most: Int, all: Int) { counts.withLock { $0 } }
  func come() {
    counts.withLock {
      $0.now += 1
      $0.all += 1
      $0.most = max($0.most, $0.now)
    }
  }
  func go() { counts.withLock { $0.now -= 1 } }
}
