// Leader election, events, conditions and conflict retries against an API in memory.

import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterClient

@Suite(.timeLimit(.minutes(10))) struct HelperTests {
  @Test func `one of two leads, and the other follows when it gives the lease back`() async throws {
    let api = MemoryClusterAPI()
    let leading = Names()
    @Sendable func candidate(_ name: String, until: Latch) -> Task<Void, any Error> {
      Task {
        var election = LeaderElection(api: api, lease: ObjectKey("kube-system", "weft"), identity: name)
        election.retryPeriod = .milliseconds(5)
        try await election.run { _ in
          leading.all.withLock { $0.append(name) }
          await until.wait()
        }
      }
    }
    let firstEnds = Latch()
    let secondEnds = Latch()
    let first = candidate("a", until: firstEnds)
    #expect(await eventually { leading.all.withLock { $0 } == ["a"] })
    let second = candidate("b", until: secondEnds)
    var view = LeaderElection.View()
    let third = LeaderElection(
      api: api, lease: ObjectKey("kube-system", "weft"), identity: "c", metrics: Metrics())
    #expect(await third.tryAcquire(&view) == false)
    firstEnds.open()
    try await first.value
    #expect(await eventually { leading.all.withLock { $0 } == ["a", "b"] })
    secondEnds.open()
    try await second.value
  }

  @Test func `a holder renews without reading, and reads again when another has written`() async throws {
    let api = MemoryClusterAPI()
    let metrics = Metrics()
    let key = ObjectKey("kube-system", "weft")
    let election = LeaderElection(api: api, lease: key, identity: "a", metrics: metrics)
    let slow = metrics.counter("leader_election_slowpath_total", "", labels: ["name"]).child("weft")
    var view = LeaderElection.View()
    #expect(await election.tryAcquire(&view))
    let first = try await api.get(.leases, namespace: key.namespace, name: key.name)
    #expect(await election.tryAcquire(&view))
    let second = try await api.get(.leases, namespace: key.namespace, name: key.name)
    #expect(first.resourceVersion != second.resourceVersion)
    #expect(slow.current == 0)
    // Whoever annotates the lease changes its version, not its holder.
    _ = try await api.modify(.leases, key) { current in
      var changed = current
      changed.set("x", at: "metadata", "annotations", "note")
      return changed
    }
    #expect(await election.tryAcquire(&view))
    #expect(slow.current == 1)
    #expect(await election.tryAcquire(&view))
    #expect(slow.current == 1)
    // Another took it: the lease is not taken back before it lapses.
    _ = try await api.modify(.leases, key) { current in
      var changed = current
      changed.set("b", at: "spec", "holderIdentity")
      return changed
    }
    #expect(await election.tryAcquire(&view) == false)
    #expect(slow.current == 2)
    let lease = try await api.get(.leases, namespace: key.namespace, name: key.name)
    #expect(lease.at("spec", "leaseTransitions")?.int == 0)
  }

  @Test func `who leads is shown by its metric`() async throws {
    let api = MemoryClusterAPI()
    let metrics = Metrics()
    let election = LeaderElection(
      api: api, lease: ObjectKey("kube-system", "weft"), identity: "a", metrics: metrics)
    let status = metrics.gauge("leader_election_master_status", "", labels: ["name"]).child("weft")
    let (began, ends) = (Latch(), Latch())
    let task = Task {
      try await election.run { _ in
        began.open()
        await ends.wait()
      }
    }
    await began.wait()
    #expect(status.current == 1)
    ends.open()
    try await task.value
    #expect(status.current == 0)
  }

  @Test func `an event repeated is counted, not written again`() async throws {
    let api = MemoryClusterAPI()
    let recorder = EventRecorder(api: api, component: "test", metrics: Metrics())
    let object = try await api.create(.pods, pod("a"), options: WriteOptions())
    for _ in 0..<3 { recorder.record(object, "Normal", "Reason", "message") }
    recorder.record(object, "Warning", "Other", "message")
    await recorder.stop()
    let events = api.objects(.events)
    #expect(events.count == 2)
    #expect(events.first { $0["reason"] == "Reason" }?["count"] == 3)
    #expect(events.allSatisfy { $0.at("involvedObject", "uid")?.string == object.uid })
  }

  @Test func `a condition's transition time moves only with its status`() {
    var object: JSON = ["metadata": ["name": "x"]]
    object.setCondition("Ready", "True", reason: "A", message: "", now: "t1")
    object.setCondition("Ready", "True", reason: "B", message: "", now: "t2")
    #expect(object.condition("Ready")?["lastTransitionTime"] == "t1")
    let changedAgain = object.setCondition("Ready", "True", reason: "B", message: "", now: "t3")
    #expect(!changedAgain)
    object.setCondition("Ready", "False", reason: "B", message: "", now: "t4")
    #expect(object.condition("Ready")?["lastTransitionTime"] == "t4")
  }

  @Test func `modify starts again from what others wrote`() async throws {
    let api = MemoryClusterAPI()
    _ = try await api.create(.pods, pod("a"), options: WriteOptions())
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          try await api.modify(.pods, ObjectKey("demo", "a"), attempts: 50) { current in
            var changed = current
            changed.set(JSON((current.at("spec", "priority")?.int ?? 0) + 1), at: "spec", "priority")
            return changed
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(api.objects(.pods).first?.at("spec", "priority") == 8)
  }
}

private final class Names: Sendable {
  let all = Mutex<[String]>([])
}
