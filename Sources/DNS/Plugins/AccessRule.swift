// `acl`: who may ask what.

import Addresses

/// One line of `acl`. The first that fits decides; without one the query is allowed.
public struct AccessRule: Sendable, Hashable {
  public enum Action: String, Sendable, Hashable {
    case allow
    /// REFUSED.
    case block
    /// NOERROR without records.
    case filter
    /// No reply at all.
    case drop
  }
  public var zones: [DomainName]
  public var action: Action
  /// Empty means every type.
  public var types: Set<RecordType>
  /// Empty means everybody.
  public var networks: [IPPrefix]

  func fits(_ question: Message.Question, _ client: IPAddress) -> Bool {
    (types.isEmpty || types.contains(question.type))
      && (networks.isEmpty || networks.contains { $0.contains(client) })
      && zones.contains { question.name.isWithin($0) }
  }
}

extension [AccessRule] {
  /// The rule that decides; nil when none fits, which allows the question.
  func deciding(_ question: Message.Question, _ client: IPAddress) -> Int? {
    firstIndex { $0.fits(question, client) }
  }
}
