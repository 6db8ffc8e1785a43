// Whoever lost an object to quicker writers twice goes next: compare-and-swap alone lets a slow writer lose for ever
// against a stream of quick ones.

import Synchronization

/// Turns of this process' writers, an object each. Nobody waits unless somebody lost, and never for long: a turn whose
/// holder waits for what others write (a webhook that writes the same object) must not stop them. Writers of other
/// servers know nothing of it; against them every write tries again.
final class WriteTurns: Sendable {
  /// Losses after which a writer takes the turn.
  static let lossesMax = 2
  /// How long a write tries again, as long as upstream's requests live.
  static let timeMax: Duration = .seconds(30)
  /// Milliseconds that one waits for another's turn to end.
  private static let waitsMax = 1000

  private let held = Mutex<Set<String>>([])

  /// Returns when nobody holds the object's turn, or has held it too long. Cost without a holder: one lock.
  func pass(_ key: String) async {
    for _ in 0..<Self.waitsMax {
      guard held.withLock({ $0.contains(key) }) else { return }
      try? await Task.sleep(for: .milliseconds(1))
    }
  }

  /// Waits for the turn; false when it was not to be had. Whoever has it calls `leave`.
  func take(_ key: String) async -> Bool {
    for _ in 0..<Self.waitsMax {
      if held.withLock({ $0.insert(key).inserted }) { return true }
      try? await Task.sleep(for: .milliseconds(1))
    }
    return false
  }

  func leave(_ key: String) { held.withLock { _ = $0.remove(key) } }

  /// One write of one object: its losses, and its turn once it has lost often enough.
  struct Contest: ~Copyable {
    private let turns: WriteTurns
    private let key: String
    private let end = ContinuousClock.now + WriteTurns.timeMax
    private var losses = 0
    private var hasTurn = false

    init(_ turns: WriteTurns, key: String) async {
      self.turns = turns
      self.key = key
      await turns.pass(key)
    }

    deinit { if hasTurn { turns.leave(key) } }

    /// Somebody else wrote first. False when the time for this write is over.
    mutating func lost() async -> Bool {
      losses += 1
      if !hasTurn, losses >= WriteTurns.lossesMax { hasTurn = await turns.take(key) }
      return ContinuousClock.now < end && !Task.isCancelled
    }
  }
}
