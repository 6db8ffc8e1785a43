// Answers of somebody else, kept for a while: who a token is, what somebody may do.

/// At most `countMax` answers. When full, those whose time is up go, else the one whose time is up first. Pure: the clock is the
/// caller's. Costs a look at all answers when full, else that of a dictionary.
public struct ExpiringAnswers<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private struct Answer: Sendable {
    var value: Value
    var until: ContinuousClock.Instant
  }
  private let countMax: Int
  private var answers: [Key: Answer] = [:]

  public init(countMax: Int) { self.countMax = countMax }

  public var count: Int { answers.count }

  /// Nil when nobody asked, or too long ago.
  public func value(_ key: Key, now: ContinuousClock.Instant = .now) -> Value? {
    answers[key].flatMap { now < $0.until ? $0.value : nil }
  }

  public mutating func keep(
    _ value: Value, for key: Key, _ time: Duration, now: ContinuousClock.Instant = .now
  ) {
    if answers.count >= countMax {
      answers = answers.filter { $0.value.until > now }
      if answers.count >= countMax, let first = answers.min(by: { $0.value.until < $1.value.until }) {
        answers[first.key] = nil
      }
    }
    answers[key] = Answer(value: value, until: now + time)
  }
}
