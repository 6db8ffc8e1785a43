// client-go's four limiters: waits are computed, never waited for; the bucket's clock is the test's.

import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterClient

@Suite struct RateLimiterTests {
  @Test func `a key's wait doubles up to the maximum, each key by itself, until it is forgotten`() {
    let limiter = ItemExponentialFailureRateLimiter<String>(
      RetryPolicy(initial: .milliseconds(1), maximum: .milliseconds(10)))
    let waits = (0..<6).map { _ in limiter.delay(for: "a") }
    #expect(waits == [1, 2, 4, 8, 10, 10].map { .milliseconds($0) })
    #expect(limiter.delay(for: "b") == .milliseconds(1))
    #expect(limiter.failures(of: "a") == 6)
    limiter.forget("a")
    #expect(limiter.failures(of: "a") == 0)
    #expect(limiter.failures(of: "b") == 1)
    #expect(limiter.delay(for: "a") == .milliseconds(1))
  }

  @Test func `jitter moves a wait within its range only`() {
    let limiter = ItemExponentialFailureRateLimiter<Int>(
      RetryPolicy(initial: .milliseconds(100), maximum: .seconds(1)), jitter: 0.75...1.25)
    for key in 0..<200 {
      let wait = limiter.delay(for: key)
      #expect(wait >= .milliseconds(75) && wait <= .milliseconds(125))
    }
  }

  @Test func `the first attempts of a key are fast and later ones slow`() {
    let limiter = ItemFastSlowRateLimiter<String>(
      fast: .milliseconds(5), slow: .seconds(10), fastAttempts: 3)
    let waits = (0..<5).map { _ in limiter.delay(for: "a") }
    #expect(waits == [.milliseconds(5), .milliseconds(5), .milliseconds(5), .seconds(10), .seconds(10)])
    #expect(limiter.failures(of: "a") == 5)
    limiter.forget("a")
    #expect(limiter.delay(for: "a") == .milliseconds(5))
  }

  @Test func `a bucket lets a burst through at once and then so many a second`() {
    let clock = Mutex(ContinuousClock.now)
    let limiter = BucketRateLimiter<Int>(perSecond: 10, burst: 3) { clock.withLock { $0 } }
    #expect((0..<3).map { limiter.delay(for: $0) } == [.zero, .zero, .zero])
    // Tokens not there yet are given out in turn.
    for (wait, key) in [(100, 3), (200, 4), (300, 5)] {
      let difference = limiter.delay(for: key) - .milliseconds(wait)
      #expect(difference < .microseconds(1) && difference > .microseconds(-1))
    }
    clock.withLock { $0 += .milliseconds(400) }
    #expect(limiter.delay(for: 6) == .zero)
    // An hour fills the bucket, and no more than the bucket.
    clock.withLock { $0 += .seconds(3600) }
    #expect((0..<3).map { limiter.delay(for: $0) } == [.zero, .zero, .zero])
    #expect(limiter.delay(for: 7) > .zero)
    #expect(limiter.failures(of: 7) == 0)
  }

  @Test func `of several limiters the longest wait counts and all count the failure`() {
    let slow = ItemFastSlowRateLimiter<String>(fast: .zero, slow: .seconds(3), fastAttempts: 2)
    let growing = ItemExponentialFailureRateLimiter<String>(
      RetryPolicy(initial: .milliseconds(5), maximum: .seconds(1000)))
    let limiter = MaxOfRateLimiter<String>([growing, slow])
    let waits = (0..<4).map { _ in limiter.delay(for: "a") }
    #expect(waits == [.milliseconds(5), .milliseconds(10), .seconds(3), .seconds(3)])
    #expect(limiter.failures(of: "a") == 4)
    limiter.forget("a")
    #expect(slow.failures(of: "a") == 0 && growing.failures(of: "a") == 0)
  }

  @Test func `upstream's default lets a hundred failures through before it slows all down`() {
    let limiter = MaxOfRateLimiter<Int>.controllerDefault()
    for key in 0..<100 { #expect(limiter.delay(for: key) == .milliseconds(5)) }
    // The bucket is empty: later keys wait for their token, however seldom they failed.
    let later = (100..<300).map { limiter.delay(for: $0) }
    #expect(later.max() ?? .zero > .seconds(1))
  }

  @Test func `a queue waits as its limiter says`() async {
    let queue = WorkQueue<String>(
      name: "test", limiter: ItemFastSlowRateLimiter(fast: .zero, slow: .seconds(3600), fastAttempts: 1),
      metrics: Metrics())
    queue.retry("a")
    #expect(queue.count == 1)
    #expect(await queue.next() == "a")
    queue.done("a")
    queue.retry("a")
    #expect(queue.count == 0)
    #expect(!queue.isIdle)
    #expect(queue.failures(of: "a") == 2)
    queue.shutDown()
  }

  @Test func `a key that is worked on shows in the metrics before it is done`() async {
    let metrics = Metrics()
    // A retry that came due meanwhile would count as an addition.
    let hour = ItemFastSlowRateLimiter<String>(fast: .seconds(3600), slow: .seconds(3600), fastAttempts: 0)
    let queue = WorkQueue<String>(name: "slow", limiter: hour, metrics: metrics)
    func value(_ name: String) -> Double {
      _ = metrics.text()
      return metrics.gauge(name, "", labels: ["name"]).child("slow").current
    }
    queue.add("a")
    queue.add("b")
    #expect(value("workqueue_unfinished_work_seconds") == 0)
    #expect(value("workqueue_depth") == 2)
    _ = await queue.next()
    _ = await queue.next()
    #expect(value("workqueue_depth") == 0)
    let longest = value("workqueue_longest_running_processor_seconds")
    #expect(longest > 0)
    // Two keys together have taken longer than the longer one.
    #expect(value("workqueue_unfinished_work_seconds") > longest)
    queue.retry("a")
    for key in ["a", "b"] { queue.done(key) }
    #expect(value("workqueue_longest_running_processor_seconds") == 0)
    #expect(value("workqueue_unfinished_work_seconds") == 0)
    let text = metrics.text()
    for line in [
      "workqueue_adds_total{name=\"slow\"} 2", "workqueue_retries_total{name=\"slow\"} 1",
      "workqueue_queue_duration_seconds_count{name=\"slow\"} 2",
      "workqueue_work_duration_seconds_count{name=\"slow\"} 2",
      "workqueue_work_duration_seconds_bucket{name=\"slow\",le=\"1000\"} 2",
    ] { #expect(text.contains(line + "\n"), "\(line)") }
    queue.shutDown()
  }
}
