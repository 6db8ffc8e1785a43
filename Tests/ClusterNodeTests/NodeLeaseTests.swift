// A node's Lease: renewed each ten seconds by a clock of the test's own, whatever becomes of the rest of the node's writes.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterNode

/// Runs as fast as it is waited by: who sleeps is at once where he wanted to be. Stands still at `end`.
private final class QuickClock: Sendable {
  private let state = Mutex(Duration.zero)
  private let begin = ContinuousClock.now
  private let end: Duration
  init(until end: Duration) { self.end = end }

  var elapsed: Duration { state.withLock { $0 } }
  var hasEnded: Bool { elapsed >= end }

  var clock: NodeClock {
    NodeClock(
      now: { self.begin + self.elapsed }, microText: { "second \(self.elapsed.components.seconds)" },
      sleep: { time in
        if self.hasEnded {
          try? await Task.sleep(for: .seconds(3600))
        } else {
          self.state.withLock { $0 += time }
        }
      })
  }
}

@Suite(.timeLimit(.minutes(2))) struct NodeLeaseTests {
  private let api = MemoryClusterAPI()

  private final class Writes: Sendable {
    private let times = Mutex<[(verb: String, at: Duration)]>([])
    func note(_ verb: String, _ time: Duration) { times.withLock { $0.append((verb, time)) } }
    /// Whole seconds since the beginning.
    func seconds(_ verb: String) -> [Int64] {
      times.withLock { $0.filter { $0.verb == verb }.map(\.at.components.seconds) }
    }
  }

  private var lease: JSON? { api.objects(.leases).first { $0.name == "n1" } }

  /// A node that runs until the clock stands still. `fault` sees each call and its time.
  private func run(
    for time: Duration, lease leaseSeconds: Int = 40,
    fault: @escaping @Sendable (_ verb: String, _ resource: GroupVersionResource, _ at: Duration) -> Bool = {
      _, _, _ in false
    }
  ) async throws -> Writes {
    let clock = QuickClock(until: time)
    let writes = Writes()
    api.inject { verb, resource in
      if resource == .leases { writes.note(verb, clock.elapsed) }
      guard fault(verb, resource, clock.elapsed) else { return nil }
      return APIStatusError(code: 503, reason: "ServiceUnavailable", message: "gone")
    }
    var settings = NodeSettings(nodeName: "n1", addresses: [])
    settings.leaseSeconds = leaseSeconds
    settings.leaseInterval = .seconds(leaseSeconds) / 4
    let registrar = NodeRegistrar(api, settings, nil, certificateDigest: nil, clock: clock.clock)
    await registrar.start()
    #expect(await eventually(.seconds(60)) { clock.hasEnded })
    await registrar.stop(leaving: false)
    api.inject(nil)
    return writes
  }

  @Test(arguments: [40, 4]) func `a Lease is renewed four times before it is over, and no oftener`(
    length: Int
  ) async throws {
    let quarter = Int64(length / 4)
    let writes = try await run(for: .seconds(length) + .milliseconds(300), lease: length)
    #expect(writes.seconds("create") == [0])
    // The first says that there is none yet.
    #expect(writes.seconds("patch") == (0...4).map { $0 * quarter })
    let spec = try #require(lease?.spec)
    #expect(spec["leaseDurationSeconds"] == JSON(length) && spec["holderIdentity"] == "n1")
    #expect(spec["renewTime"] == JSON("second \(length)"))
  }

  @Test func `a Lease is its node's, and goes with it`() async throws {
    _ = try await run(for: .seconds(11))
    let node = try #require(api.objects(.nodes).first)
    #expect(
      lease?.at("metadata", "ownerReferences") == [
        ["apiVersion": "v1", "kind": "Node", "name": "n1", "uid": JSON(node.uid)]
      ], "\(String(describing: lease))")
  }

  @Test func `a node whose labels and status cannot be written goes on living`() async throws {
    // Registered at once; from then on nothing of the Node can be read or written.
    let writes = try await run(for: .seconds(200)) { _, resource, at in resource == .nodes && at > .seconds(1)
    }
    let renewals = writes.seconds("patch")
    let pauses = zip(renewals, renewals.dropFirst()).map { $1 - $0 }
    #expect(renewals.count > 9 && (pauses.max() ?? 0) <= 21, "\(renewals)")
  }

  @Test func `an API server that was away for ten minutes hears of the node within ten seconds`() async throws
  {
    let writes = try await run(for: .seconds(700)) { _, _, at in at > .seconds(30) && at < .seconds(630) }
    let renewals = writes.seconds("patch")
    #expect(renewals.filter { (30..<630).contains($0) }.count < 120, "\(renewals)")
    let first = try #require(renewals.first { $0 >= 630 })
    #expect(first <= 641, "\(renewals)")
    #expect((renewals.last ?? 0) >= 690, "\(renewals)")
  }
}
