// The controllers' clock. What has lasted so long is measured by a clock that nobody sets; what is written down is the time of day.

import Diagnostics

struct ControllerClock: Sendable {
  /// One look at it, in seconds.
  struct Reading: Sendable, Hashable {
    /// Grows by one each second, from the time of day at the start. Never set back or forward.
    var steady: Int64
    /// Since 1970.
    var wall: Int64
  }
  var read: @Sendable () -> Reading

  static let system: ControllerClock = {
    let begin = ContinuousClock.now
    let base = Timestamp.now().seconds
    return ControllerClock {
      Reading(steady: base + (ContinuousClock.now - begin).components.seconds, wall: Timestamp.now().seconds)
    }
  }()
}
