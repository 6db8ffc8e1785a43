// What a label selector selects (metav1.LabelSelector). One place, used by policies, controllers and clients alike.

/// A condition on labels. Empty selects everything; a nil selector, at the places that have one, selects nothing.
public struct LabelSelector: Sendable, Hashable {
  public struct Requirement: Sendable, Hashable {
    public enum Operation: String, Sendable {
      case `in` = "In", notIn = "NotIn", exists = "Exists", doesNotExist = "DoesNotExist"
    }
    public var key: String
    public var operation: Operation
    public var values: Set<String>
    public init(_ key: String, _ operation: Operation, _ values: Set<String> = []) {
      self.key = key
      self.operation = operation
      self.values = values
    }

    public func matches(_ labels: [String: String]) -> Bool {
      switch operation {
      case .in: labels[key].map(values.contains) ?? false
      case .notIn: labels[key].map { !values.contains($0) } ?? true
      case .exists: labels[key] != nil
      case .doesNotExist: labels[key] == nil
      }
    }
  }

  public var requirements: [Requirement]

  public init(_ requirements: [Requirement] = []) { self.requirements = requirements }

  /// Labels that must all be there with these values.
  public init(matchLabels: [String: String]) {
    requirements = matchLabels.sorted { $0.key < $1.key }.map { Requirement($0.key, .in, [$0.value]) }
  }

  /// Reads `{matchLabels, matchExpressions}`. Nil when an operator is unknown or values do not fit it.
  public init?(_ tree: JSON) {
    self.init(matchLabels: tree["matchLabels"]?.stringMap ?? [:])
    for expression in tree["matchExpressions"]?.elements ?? [] {
      guard let key = expression["key"]?.string,
        let operation = expression["operator"]?.string.flatMap(Requirement.Operation.init)
      else { return nil }
      let values = Set((expression["values"]?.elements ?? []).compactMap(\.string))
      switch operation {
      case .in, .notIn: guard !values.isEmpty else { return nil }
      case .exists, .doesNotExist: guard values.isEmpty else { return nil }
      }
      requirements.append(Requirement(key, operation, values))
    }
  }

  public var isEmpty: Bool { requirements.isEmpty }
  public func matches(_ labels: [String: String]) -> Bool { requirements.allSatisfy { $0.matches(labels) } }
}
