// `errors { consolidate … }`: failures that look alike are one line when their time is over.

import Logging
import Patterns
import Reactor
import Synchronization

/// Counts failures by pattern. Thread-safe; one for a server.
public final class Consolidation: Sendable {
  /// One line of `consolidate`.
  public struct Rule: Sendable, Hashable {
    var seconds: Double
    /// The duration as it was written.
    var period: String
    var pattern: BytePattern
    var level: Logger.Level = .error
    /// The first failure is said at once.
    var showsFirst = false
  }

  /// What to do with a failure.
  enum Verdict {
    /// No pattern knows it.
    case passed
    /// It is said, and counted where a rule shows the first.
    case said(Logger.Level)
    case counted
  }

  private let counts = Mutex<[Rule: Int]>([:])

  /// Takes a failure in.
  /// - Parameter begin: called for the first of a period: `ended` is to be called when so many seconds are over.
  func take(_ text: String, _ rules: [Rule], begin: (Rule) -> Void) -> Verdict {
    let bytes = Array(text.utf8)
    guard let rule = rules.first(where: { $0.pattern.matches(bytes) }) else { return .passed }
    let isFirst = counts.withLock { counts in
      counts[rule, default: 0] += 1
      return counts[rule] == 1
    }
    guard isFirst else { return .counted }
    begin(rule)
    return rule.showsFirst ? .said(rule.level) : .counted
  }

  /// The line of a period that is over; nil when there is nothing more to say.
  func ended(_ rule: Rule) -> String? {
    let count = counts.withLock { $0.removeValue(forKey: rule) } ?? 0
    guard count > (rule.showsFirst ? 1 : 0) else { return nil }
    return "\(count) errors like '\(rule.pattern.text)' occurred in last \(rule.period)"
  }

  /// Periods that have not ended, when the server does.
  var open: [Rule] { counts.withLock { Array($0.keys) } }
}
