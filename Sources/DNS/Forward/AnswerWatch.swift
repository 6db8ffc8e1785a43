// Somebody who has to know addresses before the client does: rules that let a pod reach a name must be in force when it calls.

import Addresses

/// Sees the addresses of upstream answers. All are called on serving threads and must be quick.
public struct AnswerWatch: Sendable {
  /// Whether any name is watched at all: asked for each query, so that nothing else is done while none is.
  public var isActive: @Sendable () -> Bool
  /// Whether a name (lower case, without the last dot) is watched and none of its addresses is known: a cached answer does not do.
  public var isMissing: @Sendable (_ name: String) -> Bool
  /// Takes the addresses of a name for so many seconds. True: the answer waits until `done` is called, which may be on any thread.
  public var take:
    @Sendable (
      _ name: String, _ addresses: [IPAddress], _ seconds: UInt32, _ done: @escaping @Sendable () -> Void
    ) -> Bool

  public init(
    isActive: @escaping @Sendable () -> Bool, isMissing: @escaping @Sendable (String) -> Bool,
    take: @escaping @Sendable (String, [IPAddress], UInt32, @escaping @Sendable () -> Void) -> Bool
  ) {
    self.isActive = isActive
    self.isMissing = isMissing
    self.take = take
  }

  /// An answer waits so long at most, whatever becomes of the rules.
  static let patienceNanoseconds: UInt64 = 1_000_000_000

  /// A question's name as it is watched.
  static func name(_ question: Message.Question?) -> String? {
    guard let question, question.type == .a || question.type == .aaaa else { return nil }
    var text = question.name.description.lowercased()
    if text.last == "." { text.removeLast() }
    return text
  }

  /// Whether a cached answer to a query does not do.
  func refuses(_ question: Message.Question?) -> Bool { Self.name(question).map(isMissing) ?? false }
}

extension UpstreamAnswer {
  /// The addresses in the answer, whatever aliases lead to them.
  var addresses: [IPAddress] {
    (message(age: 0)?.answer ?? []).compactMap { record in
      switch record.data {
      case .a(let four): .v4(four)
      case .aaaa(let six): .v6(six)
      default: nil
      }
    }
  }
}
