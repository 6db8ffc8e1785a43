// Label selectors: the text of `?labelSelector=` and the object of specs, one value for both.

/// Why a selector or a patch cannot be read.
public struct SelectorError: Error, Sendable, Hashable, CustomStringConvertible {
  public var description: String
  public init(_ description: String) { self.description = description }
}

/// A conjunction of requirements on labels. The empty one selects everything.
public struct LabelSelector: Sendable, Hashable, CustomStringConvertible {
  public enum Operator: String, Sendable, Hashable {
    case `in`, notin, exists, absent
    /// Integer comparison.
    case greater, less
  }
  public struct Requirement: Sendable, Hashable {
    public var key: String
    public var `operator`: Operator
    /// Sorted.
    public var values: [String]
    public init(_ key: String, _ operator: Operator, _ values: [String] = []) {
      self.key = key
      self.operator = `operator`
      self.values = values.sorted()
    }

    public func matches(_ labels: [String: String]) -> Bool {
      switch `operator` {
      case .in: labels[key].map(values.contains) ?? false
      // An absent label differs from every value.
      case .notin: labels[key].map { !values.contains($0) } ?? true
      case .exists: labels[key] != nil
      case .absent: labels[key] == nil
      case .greater: compare(labels, >)
      case .less: compare(labels, <)
      }
    }

    private func compare(_ labels: [String: String], _ holds: (Int64, Int64) -> Bool) -> Bool {
      guard let value = labels[key].flatMap({ Int64($0) }), let bound = values.first.flatMap({ Int64($0) })
      else { return false }
      return holds(value, bound)
    }
  }

  public var requirements: [Requirement]
  /// Selects nothing: the absent selector of an object.
  public var isNothing = false

  public init(_ requirements: [Requirement] = []) { self.requirements = requirements }
  public init(matchLabels: [String: String]) {
    requirements = matchLabels.sorted { $0.key < $1.key }.map { Requirement($0.key, .in, [$0.value]) }
  }
  public static let everything = LabelSelector()
  public static let nothing: LabelSelector = {
    var selector = LabelSelector()
    selector.isNothing = true
    return selector
  }()

  public var isEmpty: Bool { requirements.isEmpty && !isNothing }

  public func matches(_ labels: [String: String]) -> Bool {
    !isNothing && requirements.allSatisfy { $0.matches(labels) }
  }

  /// From a `metav1.LabelSelector`. An absent one selects nothing, an empty one everything.
  public init(_ json: JSON?) throws(SelectorError) {
    guard let json, json.object != nil else {
      self = .nothing
      return
    }
    requirements = LabelSelector(matchLabels: json["matchLabels"]?.stringMap ?? [:]).requirements
    for expression in json["matchExpressions"]?.elements ?? [] {
      let key = expression["key"]?.string ?? ""
      let values = expression["values"]?.elements.compactMap(\.string) ?? []
      switch expression["operator"]?.string {
      case "In": requirements.append(Requirement(key, .in, values))
      case "NotIn": requirements.append(Requirement(key, .notin, values))
      case "Exists": requirements.append(Requirement(key, .exists))
      case "DoesNotExist": requirements.append(Requirement(key, .absent))
      case let other: throw SelectorError("\"\(other ?? "")\" is not a valid label selector operator")
      }
    }
  }

  /// From the text of a request: `a=b,c!=d,e in (f,g),h,!i,n>3`.
  public init(parsing text: String) throws(SelectorError) {
    var parser = LabelSelectorParser(text)
    requirements = try parser.requirements()
  }

  /// The text that reads back as the same selector.
  public var description: String {
    requirements.map { requirement in
      let list = requirement.values.joined(separator: ",")
      return switch requirement.operator {
      case .in:
        requirement.values.count == 1 ? "\(requirement.key)=\(list)" : "\(requirement.key) in (\(list))"
      case .notin:
        requirement.values.count == 1 ? "\(requirement.key)!=\(list)" : "\(requirement.key) notin (\(list))"
      case .exists: requirement.key
      case .absent: "!\(requirement.key)"
      case .greater: "\(requirement.key)>\(list)"
      case .less: "\(requirement.key)<\(list)"
      }
    }.joined(separator: ",")
  }
}

private struct LabelSelectorParser {
  private enum Token: Equatable {
    case word(String)
    case symbol(String)
    case end
  }
  private var tokens: [Token] = []
  private var position = 0
  private let text: String

  init(_ text: String) {
    self.text = text
    var word = ""
    var characters = Array(text.unicodeScalars)[...]
    func flush(_ tokens: inout [Token]) {
      if !word.isEmpty { tokens.append(.word(word)) }
      word = ""
    }
    while let next = characters.popFirst() {
      switch next {
      case " ", "\t", "\r", "\n": flush(&tokens)
      case ",", "(", ")", "<", ">":
        flush(&tokens)
        tokens.append(.symbol(String(next)))
      case "=":
        flush(&tokens)
        if characters.first == "=" { characters.removeFirst() }
        tokens.append(.symbol("="))
      case "!":
        flush(&tokens)
        if characters.first == "=" {
          characters.removeFirst()
          tokens.append(.symbol("!="))
        } else {
          tokens.append(.symbol("!"))
        }
      default: word.unicodeScalars.append(next)
      }
    }
    flush(&tokens)
  }

  private var current: Token { position < tokens.count ? tokens[position] : .end }
  private mutating func take() -> Token {
    defer { position += 1 }
    return current
  }
  private func failure(_ reason: String) -> SelectorError {
    SelectorError("unable to parse requirement: \(reason) in \"\(text)\"")
  }

  mutating func requirements() throws(SelectorError) -> [LabelSelector.Requirement] {
    var result: [LabelSelector.Requirement] = []
    if case .end = current { return [] }
    while true {
      result.append(try requirement())
      switch take() {
      case .end: return result
      case .symbol(","): continue
      default: throw failure("expected ',' or the end")
      }
    }
  }

  private mutating func requirement() throws(SelectorError) -> LabelSelector.Requirement {
    if current == .symbol("!") {
      position += 1
      return LabelSelector.Requirement(try key(), .absent)
    }
    let key = try key()
    switch current {
    case .end, .symbol(","): return LabelSelector.Requirement(key, .exists)
    case .symbol("="):
      position += 1
      return LabelSelector.Requirement(key, .in, [try value()])
    case .symbol("!="):
      position += 1
      return LabelSelector.Requirement(key, .notin, [try value()])
    case .symbol(">"), .symbol("<"):
      let isGreater = take() == .symbol(">")
      let bound = try value()
      guard Int64(bound) != nil else {
        throw failure("for 'Gt', 'Lt' operators, the value must be an integer")
      }
      return LabelSelector.Requirement(key, isGreater ? .greater : .less, [bound])
    case .word("in"):
      position += 1
      return LabelSelector.Requirement(key, .in, try values())
    case .word("notin"):
      position += 1
      return LabelSelector.Requirement(key, .notin, try values())
    default: throw failure("expected an operator after '\(key)'")
    }
  }

  private mutating func key() throws(SelectorError) -> String {
    guard case .word(let key) = take() else { throw failure("expected a label") }
    if let reason = Names.qualifiedNameProblem(key) {
      throw failure("invalid label key \"\(key)\": \(reason)")
    }
    return key
  }

  private mutating func value() throws(SelectorError) -> String {
    switch current {
    case .word(let value):
      position += 1
      if let reason = Names.labelValueProblem(value) {
        throw failure("invalid label value: \"\(value)\": \(reason)")
      }
      return value
    case .end, .symbol(","): return ""
    default: throw failure("expected a value")
    }
  }

  private mutating func values() throws(SelectorError) -> [String] {
    guard take() == .symbol("(") else { throw failure("expected '('") }
    var values: [String] = []
    if current == .symbol(")") {
      position += 1
      return [""]
    }
    while true {
      if case .word(let value) = current {
        position += 1
        if let reason = Names.labelValueProblem(value) {
          throw failure("invalid label value: \"\(value)\": \(reason)")
        }
        values.append(value)
      } else {
        values.append("")
      }
      switch take() {
      case .symbol(","): continue
      case .symbol(")"): return values
      default: throw failure("expected ',' or ')'")
      }
    }
  }
}
