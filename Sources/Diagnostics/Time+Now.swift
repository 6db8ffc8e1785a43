// The two clocks: wall time for objects, monotonic time for durations.

import Glibc

extension Timestamp {
  /// Wall-clock seconds and nanoseconds since 1970.
  public static func now() -> (seconds: Int64, nanoseconds: Int64) {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return (Int64(now.tv_sec), Int64(now.tv_nsec))
  }

  /// `metav1.Time`: RFC 3339 with whole seconds.
  public static func nowText() -> String { text(seconds: now().seconds) }

  /// `metav1.MicroTime`: RFC 3339 with six fraction digits.
  public static func nowMicroText() -> String {
    let (seconds, nanoseconds) = now()
    return text(seconds: seconds, nanoseconds: nanoseconds, fractionDigits: 6)
  }
}
