// The work queue's promises: once each, one worker a key, later retries, bounded.

import Diagnostics
import Testing

@testable import ClusterClient

@Suite(.timeLimit(.minutes(10))) struct WorkQueueTests {
  func queue(capacity: Int = 100) -> WorkQueue<String> {
    WorkQueue(
      name: "test", capacity: capacity,
      retry: RetryPolicy(initial: .milliseconds(1), maximum: .milliseconds(8)), metrics: Metrics())
  }

  @Test func `a key added twice comes once`() async {
    let queue = queue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    #expect(await queue.next() == "a")
    #expect(await queue.next() == "b")
    #expect(queue.count == 0)
  }

  @Test func `a key added while worked on comes again after it is done`() async {
    let queue = queue()
    queue.add("a")
    _ = await queue.next()
    queue.add("a")
    #expect(queue.count == 0)
    queue.done("a")
    #expect(queue.count == 1)
    #expect(await queue.next() == "a")
    queue.done("a")
    #expect(queue.isIdle)
  }

  @Test func `a waiting worker gets the next key`() async {
    let queue = queue()
    async let waiting = queue.next()
    queue.add("a")
    #expect(await waiting == "a")
  }

  @Test func `delayed keys come in order of their time and the earliest time counts`() async {
    let queue = queue()
    queue.add("late", after: .milliseconds(60))
    queue.add("early", after: .seconds(60))
    queue.add("early", after: .milliseconds(10))
    #expect(await queue.next() == "early")
    #expect(await queue.next() == "late")
  }

  @Test func `retries are counted until the key is forgotten`() async {
    let queue = queue()
    queue.retry("a")
    queue.retry("a")
    #expect(queue.failures(of: "a") == 2)
    queue.forget("a")
    #expect(queue.failures(of: "a") == 0)
    #expect(await queue.next() == "a")
  }

  @Test func `a full queue refuses and says so once there is room`() async {
    let queue = queue(capacity: 2)
    for key in ["a", "b", "c"] { queue.add(key) }
    #expect(queue.count == 2)
    #expect(!queue.takeOverflow())
    _ = await queue.next()
    _ = await queue.next()
    #expect(queue.takeOverflow())
    #expect(!queue.takeOverflow())
  }

  @Test func `shutting down and cancelling both end a worker`() async {
    let queue = queue()
    let worker = Task { await queue.next() }
    worker.cancel()
    #expect(await worker.value == nil)
    let other = Task { await queue.next() }
    queue.shutDown()
    #expect(await other.value == nil)
  }
}
