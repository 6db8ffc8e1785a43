// How a node's network stands: its last commit, and whether the last try failed. What `weft status` shows.

/// A value; made anew by each try.
public struct NetworkProgress: Sendable {
  /// When the kernel last took a change; nil before the first.
  public private(set) var lastCommit: ContinuousClock.Instant?
  /// Operations of that change.
  public private(set) var operations = 0
  /// Of the last try, when it failed; one line.
  public private(set) var failure: String?
  /// Tries that failed since the start.
  public private(set) var failures: UInt64 = 0
  /// Whether all has been in force once.
  public private(set) var hasSynced = false

  public init() {}

  mutating func succeeded(_ operations: Int) {
    failure = nil
    hasSynced = true
    guard operations > 0 || lastCommit == nil else { return }
    lastCommit = .now
    self.operations = operations
  }

  mutating func failed(_ error: any Error) {
    failure = "\(error)"
    failures += 1
  }
}
