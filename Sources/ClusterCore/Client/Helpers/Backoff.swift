// Waiting longer after each failure, never in step with others.

/// How retries spread: the first wait, the factor, the longest wait. Each wait is drawn from its upper half.
public struct RetryPolicy: Sendable {
  public var initial: Duration
  public var maximum: Duration
  public var factor: Double
  public init(initial: Duration, maximum: Duration, factor: Double = 2) {
    self.initial = initial
    self.maximum = maximum
    self.factor = factor
  }

  /// The wait after this many failures (0 for the first), without jitter.
  public func delay(after failures: Int) -> Duration {
    var delay = initial
    for _ in 0..<min(failures, 64) {
      delay = delay * factor
      if delay >= maximum { return maximum }
    }
    return min(delay, maximum)
  }
}

/// The state of one series of retries.
public struct Backoff: Sendable {
  public let policy: RetryPolicy
  public private(set) var failures = 0
  public init(_ policy: RetryPolicy) { self.policy = policy }

  /// The next wait, with jitter.
  public mutating func next() -> Duration {
    defer { failures += 1 }
    return policy.delay(after: failures) * Double.random(in: 0.5...1)
  }
  public mutating func reset() { failures = 0 }
  /// Sleeps for the next wait; returns early when cancelled.
  public mutating func wait() async { try? await Task.sleep(for: next()) }
}
