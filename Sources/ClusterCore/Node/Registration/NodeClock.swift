// The time that a node's heartbeats go by: a clock that nobody sets for waiting, the time of day for what is written down.

import Diagnostics

struct NodeClock: Sendable {
  var now: @Sendable () -> ContinuousClock.Instant
  /// RFC 3339 with six digits of a second, as Leases have it.
  var microText: @Sendable () -> String
  /// Returns early, without a word, when the task is cancelled.
  var sleep: @Sendable (Duration) async -> Void

  static let system = NodeClock(
    now: { .now }, microText: { Timestamp.nowMicroText() }, sleep: { try? await Task.sleep(for: $0) })
}
