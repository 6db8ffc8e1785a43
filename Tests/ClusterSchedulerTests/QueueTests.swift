// Who is next: priorities, ages, back-offs, events.

import ClusterObjects
import Testing

@testable import ClusterScheduler

@Suite struct QueueTests {
  private let zero = ContinuousClock.now
  private let never: (ClusterEvent, String, PodInfo) -> Bool = { _, _, _ in false }
  private let always: (ClusterEvent, String, PodInfo) -> Bool = { _, _, _ in true }

  private func patient() -> SchedulingQueue {
    var settings = SchedulingQueue.Settings()
    settings.popsFromBackoff = false
    return SchedulingQueue(settings)
  }
  private func take(_ queue: inout SchedulingQueue, _ now: ContinuousClock.Instant) throws -> QueuedPod {
    let entry = queue.pop(now: now)
    return try #require(entry)
  }
  private func pod(_ name: String, _ priority: Int = 0) -> PodInfo {
    PodInfo(makePod(name, priority: priority))
  }

  @Test func `higher priority first, of equal ones the older`() {
    var queue = SchedulingQueue()
    queue.add(pod("a"), now: zero)
    queue.add(pod("b", 5), now: zero + .seconds(1))
    queue.add(pod("c", 5), now: zero + .seconds(2))
    queue.add(pod("d", 9), now: zero + .seconds(3))
    let order = (0..<4).compactMap { _ in queue.pop(now: zero + .seconds(4))?.pod.name }
    #expect(order == ["d", "b", "c", "a"])
    #expect(queue.pop(now: zero + .seconds(4)) == nil)
  }

  @Test func `back-off doubles from one second to ten`() throws {
    var queue = patient()
    var now = zero
    queue.add(pod("a"), now: now)
    for seconds in [1, 2, 4, 8, 10, 10] {
      let entry = try take(&queue, now)
      queue.failed(entry, plugins: [], isError: true, now: now, helps: never)
      #expect(queue.nextDeadline == now + .seconds(seconds))
      #expect(queue.pop(now: now + .seconds(seconds) - .milliseconds(1)) == nil)
      now += .seconds(seconds)
    }
    #expect(queue.pop(now: now)?.attempts == 7)
  }

  @Test func `an unschedulable pod waits for an event that may help, and then its back-off`() throws {
    var queue = patient()
    queue.add(pod("a"), now: zero)
    let entry = try take(&queue, zero)
    queue.failed(entry, plugins: ["NodePorts"], now: zero, helps: never)
    #expect(queue.place(of: entry.pod.key) == .unschedulable)
    #expect(queue.happened(.storage, now: zero, helps: never) == 0)
    #expect(queue.pop(now: zero + .seconds(60)) == nil)
    #expect(queue.happened(.storage, now: zero + .milliseconds(1), helps: always) == 1)
    #expect(queue.place(of: entry.pod.key) == .backoff)
    #expect(queue.pop(now: zero + .milliseconds(999)) == nil)
    #expect(queue.pop(now: zero + .seconds(1))?.pod.name == "a")
  }

  @Test func `of back-offs that are cut short the most important pod is first, whenever each would end`()
    throws
  {
    var queue = SchedulingQueue()
    for (index, name) in ["low", "high", "middle"].enumerated() {
      queue.add(pod(name, [1, 50, 20][index]), now: zero + .seconds(index))
      let entry = try take(&queue, zero + .seconds(index))
      queue.failed(entry, plugins: ["NodeResourcesFit"], now: zero + .seconds(index), helps: never)
    }
    // A hundred more turns of one of them leave nothing behind that comes up later.
    for _ in 0..<100 {
      queue.happened(.storage, now: zero + .seconds(2)) { _, _, pod in pod.name == "middle" }
      let entry = try take(&queue, zero + .seconds(2))
      #expect(entry.pod.name == "middle")
      queue.failed(entry, plugins: ["NodeResourcesFit"], now: zero + .seconds(2), helps: never)
    }
    #expect(queue.happened(.storage, now: zero + .milliseconds(2001), helps: always) == 3)
    let order = (0..<4).compactMap { _ in queue.pop(now: zero + .milliseconds(2001))?.pod.name }
    // The back-offs of the first two are over: they are the active queue's.
    #expect(order == ["high", "low", "middle"])
    for (name, priority) in [("a", 1), ("b", 50), ("c", 20)] {
      queue.add(pod(name, priority), now: zero + .seconds(3))
      let entry = try take(&queue, zero + .seconds(3))
      queue.failed(entry, plugins: ["NodeResourcesFit"], now: zero + .seconds(3), helps: never)
    }
    #expect(queue.happened(.storage, now: zero + .seconds(3), helps: always) == 3)
    #expect((0..<4).compactMap { _ in queue.pop(now: zero + .seconds(3))?.pod.name } == ["b", "c", "a"])
  }

  @Test func `with nothing else to do a back-off is cut short, but not that of an error`() throws {
    var queue = SchedulingQueue()
    queue.add(pod("a"), now: zero)
    let first = try take(&queue, zero)
    queue.failed(first, plugins: ["X"], now: zero, helps: never)
    queue.happened(.storage, now: zero, helps: always)
    let again = try take(&queue, zero)
    #expect(again.attempts == 2)
    queue.failed(again, plugins: [], isError: true, now: zero, helps: never)
    #expect(queue.pop(now: zero) == nil)
    #expect(queue.pop(now: zero + .seconds(2))?.attempts == 3)
  }

  @Test func `what happens while a pod is looked at is not lost`() throws {
    var queue = patient()
    queue.add(pod("a"), now: zero)
    let entry = try take(&queue, zero)
    queue.happened(.storage, now: zero, helps: always)
    queue.failed(entry, plugins: ["X"], now: zero, helps: always)
    #expect(queue.place(of: entry.pod.key) == .backoff)
    // More events than are kept count as help.
    queue.add(pod("b"), now: zero)
    let other = try take(&queue, zero)
    for _ in 0..<3000 { queue.happened(.storage, now: zero, helps: never) }
    queue.failed(other, plugins: ["X"], now: zero, helps: never)
    #expect(queue.place(of: other.pod.key) == .backoff)
  }

  @Test func `after five minutes an unschedulable pod is tried again`() throws {
    var queue = patient()
    queue.add(pod("a"), now: zero)
    let entry = try take(&queue, zero)
    queue.failed(entry, plugins: ["X"], now: zero, helps: never)
    queue.flush(now: zero + .seconds(299))
    #expect(queue.place(of: entry.pod.key) == .unschedulable)
    queue.flush(now: zero + .seconds(300))
    #expect(queue.pop(now: zero + .seconds(300))?.pod.name == "a")
  }

  @Test func `a gated pod waits outside until its gates are gone`() {
    var queue = SchedulingQueue()
    let gated = PodInfo(makePod("a", spec: ["schedulingGates": [["name": "example.com/g"]]]))
    #expect(
      SchedulingGates().preEnqueue(gated)?.reasons == ["waiting for scheduling gates: [example.com/g]"])
    queue.add(gated, isGated: true, now: zero)
    #expect(queue.counts[.gated] == 1 && queue.pop(now: zero) == nil)
    queue.add(pod("a"), now: zero)
    #expect(queue.pop(now: zero)?.pod.name == "a")
  }

  @Test func `a changed spec wakes a pod, a changed status does not`() throws {
    var queue = SchedulingQueue()
    queue.add(pod("a"), now: zero)
    let entry = try take(&queue, zero)
    queue.failed(entry, plugins: ["X"], now: zero, helps: never)
    var status = makePod("a")
    status.set("n1", at: "status", "nominatedNodeName")
    queue.add(PodInfo(status), now: zero)
    #expect(queue.place(of: entry.pod.key) == .unschedulable)
    #expect(queue.pod(entry.pod.key)?.nominatedNodeName == "n1")
    queue.add(PodInfo(makePod("a", spec: ["nodeSelector": ["a": "b"]])), now: zero + .seconds(5))
    #expect(queue.place(of: entry.pod.key) == .active)
  }

  @Test func `a pod that is removed or made anew in flight does not come back as the old one`() throws {
    var queue = SchedulingQueue()
    queue.add(pod("a"), now: zero)
    let gone = try take(&queue, zero)
    queue.remove(gone.pod.key)
    queue.failed(gone, plugins: [], isError: true, now: zero, helps: never)
    #expect(queue.place(of: gone.pod.key) == nil)
    queue.add(pod("b"), now: zero)
    let old = try take(&queue, zero)
    var anew = makePod("b")
    anew.set("other", at: "metadata", "uid")
    queue.add(PodInfo(anew), now: zero)
    queue.failed(old, plugins: ["X"], now: zero, helps: never)
    #expect(queue.pop(now: zero)?.pod.uid == "other")
  }
}
