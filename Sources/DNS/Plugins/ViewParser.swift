// Expressions of `view` and `template` as people write them.

import Addresses
import Patterns

/// Reads expressions: `||`, `&&`, comparison, `!`, calls, lists, `replace`, `any`, `all`, `none`; `and`, `or`, `not` as words.
struct ViewParser {
  /// What expressions of a template have besides, and what they have not.
  struct Template {
    /// Groups of the patterns, and variables worked out before.
    var groups: Set<String>
    var variables: Set<String>
  }

  private enum Token: Hashable {
    case word(String), text(String), number(Int), sign(String)
  }
  private var tokens: [Token] = []
  private var at = 0
  private var depth = 0
  private let template: Template?
  /// Lists whose items are looked at, one inside the other.
  private var lists = 0

  static func parse(_ text: String, template: Template? = nil) throws(BytePatternError) -> ViewExpression {
    var parser = try ViewParser(text, template)
    let expression = try parser.either()
    guard parser.at == parser.tokens.count else {
      throw BytePatternError(description: "the expression goes on after its end")
    }
    return expression
  }

  private init(_ text: String, _ template: Template?) throws(BytePatternError) {
    self.template = template
    let bytes = Array(text.utf8)
    var at = 0
    func string(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
    while at < bytes.count {
      let start = at
      let byte = bytes[at]
      at += 1
      switch byte {
      case 32, 9, 10, 13: continue
      case UInt8(ascii: "'"), UInt8(ascii: "\""):
        while at < bytes.count, bytes[at] != byte { at += 1 }
        guard at < bytes.count else { throw BytePatternError(description: "a quote is not closed") }
        tokens.append(.text(string(start + 1..<at)))
        at += 1
      case 48...57:
        while at < bytes.count, (48...57).contains(bytes[at]) { at += 1 }
        guard let number = Int(string(start..<at)) else {
          throw BytePatternError(description: "a number is too large")
        }
        tokens.append(.number(number))
      case 65...90, 97...122, 95:
        while at < bytes.count,
          bytes[at] == 95 || (48...57).contains(bytes[at]) || (97...122).contains(bytes[at] | 32)
        {
          at += 1
        }
        tokens.append(.word(string(start..<at)))
      default:
        if at < bytes.count, ["==", "!=", "<=", ">=", "&&", "||"].contains(string(start..<at + 1)) {
          at += 1
        }
        tokens.append(.sign(string(start..<at)))
      }
    }
  }

  private mutating func take(_ token: Token) -> Bool {
    guard at < tokens.count, tokens[at] == token else { return false }
    at += 1
    return true
  }

  private mutating func either() throws(BytePatternError) -> ViewExpression {
    depth += 1
    defer { depth -= 1 }
    guard depth < 50 else { throw BytePatternError(description: "the expression is nested too deeply") }
    var left = try both()
    while take(.sign("||")) || take(.word("or")) { left = .either(left, try both()) }
    return left
  }

  private mutating func both() throws(BytePatternError) -> ViewExpression {
    var left = try comparison()
    while take(.sign("&&")) || take(.word("and")) { left = .both(left, try comparison()) }
    return left
  }

  private mutating func comparison() throws(BytePatternError) -> ViewExpression {
    let left = try unary()
    for sign in ["==", "!=", "<=", ">=", "<", ">"] where take(.sign(sign)) {
      return .compare(sign, left, try unary())
    }
    for word in ["startsWith", "endsWith", "contains"] where take(.word(word)) {
      return .compare(word, left, try unary())
    }
    let isNot = at + 1 < tokens.count && tokens[at] == .word("not") && tokens[at + 1] == .word("in")
    if isNot { at += 1 }
    if take(.word("in")) {
      guard case .list(let items) = try unary() else {
        throw BytePatternError(description: "`in` needs a list")
      }
      return isNot ? .not(.member(left, items)) : .member(left, items)
    }
    if take(.word("matches")) {
      guard case .constant(.text(let text)) = try unary() else {
        throw BytePatternError(description: "`matches` needs a text")
      }
      return .matches(left, try BytePattern(text))
    }
    return left
  }

  private mutating func unary() throws(BytePatternError) -> ViewExpression {
    depth += 1
    defer { depth -= 1 }
    guard depth < 50 else { throw BytePatternError(description: "the expression is nested too deeply") }
    if take(.sign("!")) || take(.word("not")) { return .not(try unary()) }
    guard at < tokens.count else { throw BytePatternError(description: "the expression ends too early") }
    let token = tokens[at]
    at += 1
    switch token {
    case .text(let text): return .constant(.text(text))
    case .number(let number): return .constant(.number(number))
    case .sign("("):
      let inner = try either()
      guard take(.sign(")")) else { throw BytePatternError(description: "a parenthesis is not closed") }
      return inner
    case .sign("["):
      var items: [ViewExpression] = []
      while !take(.sign("]")) {
        items.append(try unary())
        guard take(.sign(",")) || (at < tokens.count && tokens[at] == .sign("]")) else {
          throw BytePatternError(description: "a list is not closed")
        }
      }
      return .list(items)
    case .word("true"): return .constant(.truth(true))
    case .word("false"): return .constant(.truth(false))
    case .word("incidr"):
      guard take(.sign("(")) else { throw BytePatternError(description: "incidr needs arguments") }
      let what = try either()
      guard take(.sign(",")) else { throw Self.wrongNetwork }
      let block = try either()
      guard take(.sign(")")) else { throw Self.wrongNetwork }
      guard case .constant(let text) = block else { return .inNetworkOf(what, block) }
      guard let network = IPPrefix(text.description) else { throw Self.wrongNetwork }
      return .inNetwork(what, network)
    case .word("replace"):
      let values = try arguments(3, of: "replace")
      return .replace(values[0], values[1], values[2])
    case .word(let name) where ["any", "all", "none"].contains(name):
      guard take(.sign("(")), case .list(let items) = try unary(), take(.sign(",")) else {
        throw BytePatternError(description: "\(name) needs a list and what is to hold of #")
      }
      lists += 1
      defer { lists -= 1 }
      let holds = try either()
      guard take(.sign(")")) else { throw BytePatternError(description: "a parenthesis is not closed") }
      return .each(name, items, holds)
    case .sign("#") where lists > 0: return .item
    case .word("group") where template != nil: return try group()
    case .word(let name) where template?.variables.contains(name) == true: return .variable(name)
    case .word(let name)
    where template != nil && ViewExpression.calls.subtracting(ViewExpression.callsOfTemplates).contains(name):
      throw BytePatternError(description: "\(name)() is not known in templates")
    case .word(let name) where ViewExpression.calls.contains(name):
      guard take(.sign("(")), take(.sign(")")) else {
        throw BytePatternError(description: "\(name) is written \(name)()")
      }
      return .call(name)
    case .word(let name): throw BytePatternError(description: "\(name) is not known")
    case .sign(let sign): throw BytePatternError(description: "\(sign) is out of place")
    }
  }

  private static let words: Set<String> = [
    "all", "and", "any", "contains", "endsWith", "false", "group", "in", "incidr", "matches", "nil", "none",
    "not", "or", "replace", "startsWith", "true",
  ]

  /// Whether a word is a name that means nothing else.
  static func isFree(_ name: String) -> Bool {
    let octets = Array(name.utf8)
    guard let first = octets.first, !(48...57).contains(first) else { return false }
    return octets.allSatisfy { $0 == 95 || (48...57).contains($0) || (97...122).contains($0 | 32) }
      && !words.contains(name) && !ViewExpression.calls.contains(name)
  }

  private static let wrongNetwork = BytePatternError(
    description: "incidr needs an address and a block of addresses")

  private mutating func arguments(_ count: Int, of name: String) throws(BytePatternError) -> [ViewExpression]
  {
    var values: [ViewExpression] = []
    while values.count < count {
      guard take(.sign(values.isEmpty ? "(" : ",")) else { break }
      values.append(try either())
    }
    guard values.count == count, take(.sign(")")) else {
      throw BytePatternError(description: "\(name) needs \(count) arguments")
    }
    return values
  }

  /// `group('name')` or `group(1)`: a number past the last group, as a name that no pattern has, would never say anything.
  private mutating func group() throws(BytePatternError) -> ViewExpression {
    guard case .constant(let name) = try arguments(1, of: "group")[0] else {
      throw BytePatternError(description: "group needs a name or a number")
    }
    if case .text(let text) = name, template?.groups.contains(text) != true {
      throw BytePatternError(description: "no group is called \(text)")
    }
    return .group(name.description)
  }
}
