// Limits of time that a route or the client sets for one request, to the millisecond. Those of the data plane itself are
// looked at once a tick (`IngressLimits.tickMilliseconds`).

import Reactor

extension Exchange {
  private static let requestTag = 1
  private static let tryTag = 2
  private static let againTag = 3

  /// Begins the limits of the whole request with its first try, and those of a try with each.
  func beginLimits(_ timeouts: BackendTimeouts) {
    hasLimits = true
    if tries == 0 {
      let route = UInt64(timeouts.request) * 1_000_000
      let limit = route == 0 || clientLimit == 0 ? max(route, clientLimit) : min(route, clientLimit)
      if limit > 0 {
        requestTimer = worker.reactor.setTimer(after: limit, tag: Self.requestTag, handler: self)
      }
    }
    worker.reactor.cancelTimer(tryTimer)
    guard timeouts.backendRequest > 0 else { return }
    tryTimer = worker.reactor.setTimer(
      after: UInt64(timeouts.backendRequest) * 1_000_000, tag: Self.tryTag, handler: self)
  }

  /// Begins the next try after a while.
  func connectLater(_ milliseconds: UInt32, _ failed: UpstreamPool) {
    hasLimits = true
    failedPool = failed
    wait(UInt64(milliseconds) + readMilliseconds)
    worker.reactor.cancelTimer(tryTimer)
    againTimer = worker.reactor.setTimer(
      after: UInt64(milliseconds) * 1_000_000, tag: Self.againTag, handler: self)
  }

  func endLimits() {
    hasLimits = false
    worker.reactor.cancelTimer(requestTimer)
    worker.reactor.cancelTimer(tryTimer)
    worker.reactor.cancelTimer(againTimer)
    (requestTimer, tryTimer, againTimer) = (.none, .none, .none)
    failedPool = nil
  }

  func limitEnded(_ tag: Int) {
    guard hasLimits else { return }
    // An answer that has begun ends with its connection or stream; otherwise 504.
    if tag == Self.requestTag { return fail(504) }
    if tag == Self.againTag {
      let pool = failedPool
      failedPool = nil
      adoptRoutes()
      return connect(avoiding: pool)
    }
    guard status == 0 else { return }
    tryTimedOut()
  }

  /// `grpc-timeout` in nanoseconds: up to eight digits and a unit; 0 when it is none.
  static func grpcTimeout(_ text: UnsafeRawBufferPointer) -> UInt64 {
    guard (2...9).contains(text.count) else { return 0 }
    var value: UInt64 = 0
    for byte in text.dropLast() {
      guard byte &- 48 < 10 else { return 0 }
      value = value * 10 + UInt64(byte - 48)
    }
    let units: [UInt8: UInt64] = [
      72: 3_600_000_000_000, 77: 60_000_000_000, 83: 1_000_000_000, 109: 1_000_000, 117: 1_000, 110: 1,
    ]
    // Hours of eight digits are beyond 64 bits of nanoseconds: as good as none.
    let (limit, isTooLong) = value.multipliedReportingOverflow(by: units[text[text.count - 1]] ?? 0)
    return isTooLong ? 0 : limit
  }
}
