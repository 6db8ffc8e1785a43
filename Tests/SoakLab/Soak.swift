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

/// SplitMix64: a run is repeated by its seed.
public struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }
  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}
