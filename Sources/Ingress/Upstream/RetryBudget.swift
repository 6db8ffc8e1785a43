// What failures cost: how many retries there may be, and which endpoints are passed over. Values, without a clock of their own.

/// Retries that a backend's requests have earned: each request adds a share of one, each retry takes one, and so many a second are
/// free. An endpoint that fails for everybody gets that share more requests, not several times as many.
struct RetryBudget: Hashable {
  /// Earned retries that are kept at most, thousandths.
  private static let savedMax = 100_000
  private let share: Int
  private let free: Int
  private var saved = 0
  private var freeLeft: Int
  private var second: UInt64 = 0

  /// - Parameters:
  ///   - percent: of the requests; 0: without a budget.
  ///   - free: retries a second that need not be earned.
  init(percent: Int, free: Int) {
    share = percent * 10
    self.free = free
    freeLeft = free
  }

  mutating func noteRequest() { if share > 0 { saved = min(saved + share, Self.savedMax) } }

  /// Whether a retry may be made now; then it is taken from the budget.
  mutating func take(now: UInt64) -> Bool {
    guard share > 0 else { return true }
    if now / 1_000_000_000 != second {
      second = now / 1_000_000_000
      freeLeft = free
    }
    if freeLeft > 0 {
      freeLeft -= 1
      return true
    }
    guard saved >= 1000 else { return false }
    saved -= 1000
    return true
  }
}

/// One endpoint's failures, as answers tell them. Several in a row put it out for a while, longer each time.
struct OutlierState: Hashable {
  /// Times that are counted when the time out is made longer.
  private static let timesMax = 10
  private var failures = 0
  private var times = 0
  private(set) var outUntil: UInt64 = 0

  mutating func noteSuccess(now: UInt64) {
    failures = 0
    // Being well for as long as it was out last makes one time forgotten.
    if times > 0, now > outUntil, now - outUntil > 30_000_000_000 {
      times -= 1
      outUntil = now
    }
  }

  /// Whether the endpoint goes out with this failure.
  /// - Parameter mayGo: so many others are out that this one has to stay, if false.
  mutating func noteFailure(_ policy: HealthPolicy, now: UInt64, mayGo: () -> Bool) -> Bool {
    guard policy.failures > 0, now >= outUntil else { return false }
    failures += 1
    guard failures >= Int(policy.failures), mayGo() else { return false }
    failures = 0
    times = min(times + 1, Self.timesMax)
    outUntil = now &+ UInt64(policy.ejection) * 1_000_000 * UInt64(times)
    return true
  }

  func isOut(now: UInt64) -> Bool { now < outUntil }
}
