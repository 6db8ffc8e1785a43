// How long a key that failed waits: client-go's four limiters, and the largest of several.
//
//   ItemExponentialFailure   5 ms, 10 ms, 20 ms … up to a maximum, for each key
//   ItemFastSlow             the first attempts of a key soon, later ones slowly
//   Bucket                   so many a second over all keys, with a burst
//   MaxOf                    the longest that any of several says

import Synchronization

/// Says how long each key waits before it is tried again. Thread-safe.
public protocol RateLimiter<Key>: Sendable {
  associatedtype Key: Hashable & Sendable
  /// The wait of a key that has just failed; counts the failure.
  func delay(for key: Key) -> Duration
  /// The key is well again.
  func forget(_ key: Key)
  /// Failures since the key was last forgotten; 0 where failures are not counted by key.
  func failures(of key: Key) -> Int
}

/// Waits that grow with each failure of a key: client-go's `ItemExponentialFailureRateLimiter`.
public final class ItemExponentialFailureRateLimiter<Key: Hashable & Sendable>: RateLimiter {
  private let policy: RetryPolicy
  private let jitter: ClosedRange<Double>
  private let counts = FailureCounts<Key>()

  /// Each wait is multiplied by a factor drawn from `jitter`; upstream's waits are exact.
  public init(_ policy: RetryPolicy, jitter: ClosedRange<Double> = 1...1) {
    self.policy = policy
    self.jitter = jitter
  }
  public func delay(for key: Key) -> Duration {
    let delay = policy.delay(after: counts.increment(key) - 1)
    return jitter == 1...1 ? delay : delay * Double.random(in: jitter)
  }
  public func forget(_ key: Key) { counts.forget(key) }
  public func failures(of key: Key) -> Int { counts[key] }
}

/// `fast` for a key's first `fastAttempts` failures, then `slow`: client-go's `ItemFastSlowRateLimiter`.
public final class ItemFastSlowRateLimiter<Key: Hashable & Sendable>: RateLimiter {
  private let fast: Duration
  private let slow: Duration
  private let fastAttempts: Int
  private let counts = FailureCounts<Key>()

  public init(fast: Duration, slow: Duration, fastAttempts: Int) {
    self.fast = fast
    self.slow = slow
    self.fastAttempts = fastAttempts
  }
  public func delay(for key: Key) -> Duration { counts.increment(key) <= fastAttempts ? fast : slow }
  public func forget(_ key: Key) { counts.forget(key) }
  public func failures(of key: Key) -> Int { counts[key] }
}

/// A token bucket over all keys: client-go's `BucketRateLimiter`. Each failure takes a token; without one it waits
/// until its token comes.
public final class BucketRateLimiter<Key: Hashable & Sendable>: RateLimiter {
  private let perSecond: Double
  private let burst: Double
  private let now: @Sendable () -> ContinuousClock.Instant
  /// Below zero when tokens were given out that have not come yet.
  private let bucket: Mutex<(tokens: Double, at: ContinuousClock.Instant)>

  /// `now` is the clock, for tests.
  public init(
    perSecond: Double, burst: Int,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
  ) {
    precondition(perSecond > 0 && burst > 0, "a bucket that never fills lets nothing through")
    self.perSecond = perSecond
    self.burst = Double(burst)
    self.now = now
    bucket = Mutex((Double(burst), now()))
  }
  public func delay(for key: Key) -> Duration {
    let now = now()
    return bucket.withLock { bucket in
      let elapsed = max(0, (now - bucket.at) / .seconds(1))
      bucket = (min(burst, bucket.tokens + elapsed * perSecond) - 1, max(now, bucket.at))
      return bucket.tokens >= 0 ? .zero : .seconds(-bucket.tokens / perSecond)
    }
  }
  public func forget(_ key: Key) {}
  public func failures(of key: Key) -> Int { 0 }
}

/// The longest wait and the most failures that any of several limiters says: client-go's `MaxOfRateLimiter`.
public final class MaxOfRateLimiter<Key: Hashable & Sendable>: RateLimiter {
  private let limiters: [any RateLimiter<Key>]
  public init(_ limiters: [any RateLimiter<Key>]) { self.limiters = limiters }

  /// client-go's `DefaultTypedControllerRateLimiter`: 5 ms to 1000 s by key, and ten a second over all keys after a
  /// burst of a hundred.
  public static func controllerDefault() -> MaxOfRateLimiter<Key> {
    MaxOfRateLimiter([
      ItemExponentialFailureRateLimiter(RetryPolicy(initial: .milliseconds(5), maximum: .seconds(1000))),
      BucketRateLimiter(perSecond: 10, burst: 100),
    ])
  }

  // Each counts, whichever is the longest.
  public func delay(for key: Key) -> Duration { limiters.map { $0.delay(for: key) }.max() ?? .zero }
  public func forget(_ key: Key) { for limiter in limiters { limiter.forget(key) } }
  public func failures(of key: Key) -> Int { limiters.map { $0.failures(of: key) }.max() ?? 0 }
}

/// Failures by key.
final class FailureCounts<Key: Hashable & Sendable>: Sendable {
  /// A new key past this many is not remembered: each of its failures counts as the first.
  static var keysMax: Int { 200_000 }
  private let counts = Mutex<[Key: Int]>([:])

  /// The failures with this one.
  func increment(_ key: Key) -> Int {
    counts.withLock { counts in
      guard let count = counts[key] else {
        if counts.count < Self.keysMax { counts[key] = 1 }
        return 1
      }
      counts[key] = count + 1
      return count + 1
    }
  }
  func forget(_ key: Key) { counts.withLock { $0[key] = nil } }
  subscript(key: Key) -> Int { counts.withLock { $0[key] ?? 0 } }
}
