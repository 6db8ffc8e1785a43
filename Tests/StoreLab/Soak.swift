// How long a test goes on: a short form in each run, a long one in `make soak`.

import Glibc

public enum Soak {
  /// Whether this is `make soak`.
  public static let isLong = getenv("WEFT_SOAK").map { String(cString: $0) } == "1"

  /// Rounds of the short form, and of the long one.
  public static func rounds(_ short: Int, long: Int) -> Int { isLong ? long : short }

  /// What a run is repeated by: 1, or what WEFT_SOAK_SEED says.
  public static let seed: UInt64 = getenv("WEFT_SOAK_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1

  /// A line of the summary that `make soak` prints at its end.
  public static func report(_ line: String) {
    let text = "soak: \(line)\n"
    _ = text.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
  }
}
