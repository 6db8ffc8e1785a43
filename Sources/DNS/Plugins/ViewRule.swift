// `view`: which queries a server block takes, by an expression over the query.

import Addresses
import Patterns

/// A name and the expressions that must all hold.
public struct ViewRule: Sendable {
  public var name: String
  var conditions: [ViewExpression]

  func takes(_ question: Message.Question, _ client: Client, _ head: borrowing QueryHead) -> Bool {
    for condition in conditions where condition.value(question, client, head) != .truth(true) { return false }
    return true
  }
}

/// An expression: `incidr(client_ip(), '10.0.0.0/8') && type() in ['A', 'AAAA']`.
indirect enum ViewExpression: Sendable {
  enum Value: Hashable, Sendable {
    case truth(Bool)
    case text(String)
    case number(Int)
  }

  case constant(Value)
  case list([ViewExpression])
  case call(String)
  case inNetwork(ViewExpression, IPPrefix)
  case not(ViewExpression)
  case both(ViewExpression, ViewExpression)
  case either(ViewExpression, ViewExpression)
  case compare(String, ViewExpression, ViewExpression)
  case member(ViewExpression, [ViewExpression])
  case matches(ViewExpression, BytePattern)

  /// What takes no arguments and is known of a query.
  static let calls: Set<String> = [
    "bufsize", "class", "client_ip", "do", "id", "name", "opcode", "port", "proto", "server_ip",
    "server_port", "size",
    "type",
  ]

  func value(_ question: Message.Question, _ client: Client, _ head: borrowing QueryHead) -> Value {
    switch self {
    case .constant(let value): return value
    case .list: return .truth(false)
    case .call(let name): return Self.called(name, question, client, head)
    case .inNetwork(let what, let network):
      guard case .text(let text) = what.value(question, client, head), let address = IPAddress(text) else {
        return .truth(false)
      }
      return .truth(network.contains(address))
    case .not(let what): return .truth(what.value(question, client, head) != .truth(true))
    case .both(let a, let b):
      if a.value(question, client, head) != .truth(true) { return .truth(false) }
      return .truth(b.value(question, client, head) == .truth(true))
    case .either(let a, let b):
      if a.value(question, client, head) == .truth(true) { return .truth(true) }
      return .truth(b.value(question, client, head) == .truth(true))
    case .member(let what, let list):
      let value = what.value(question, client, head)
      for item in list where item.value(question, client, head) == value { return .truth(true) }
      return .truth(false)
    case .matches(let what, let pattern):
      guard case .text(let text) = what.value(question, client, head) else { return .truth(false) }
      return .truth(pattern.matches(Array(text.utf8)))
    case .compare(let sign, let a, let b):
      return .truth(Self.compare(sign, a.value(question, client, head), b.value(question, client, head)))
    }
  }

  private static func called(
    _ name: String, _ question: Message.Question, _ client: Client, _ head: borrowing QueryHead
  ) -> Value {
    switch name {
    case "bufsize": .number(head.udpBytesMax)
    case "class": .text(question.rrClass == 3 ? "CH" : "IN")
    case "client_ip": .text("\(client.endpoint.address)")
    case "do": .truth(head.isDNSSECWanted)
    case "id": .number(Int(head.id))
    case "name": .text(question.name.description.lowercased())
    case "opcode": .number(Int(head.flags >> 11 & 15))
    case "port": .text("\(client.endpoint.port)")
    case "proto": .text(client.isTCP ? "tcp" : "udp")
    case "server_ip": .text(client.local.map { "\($0.address)" } ?? "")
    case "server_port": .text(client.local.map { "\($0.port)" } ?? "")
    case "size": .number(head.questionEnd)
    default: .text("\(question.type)")
    }
  }

  private static func compare(_ sign: String, _ a: Value, _ b: Value) -> Bool {
    switch (sign, a, b) {
    case ("==", _, _): a == b
    case ("!=", _, _): a != b
    case ("<", .number(let a), .number(let b)): a < b
    case (">", .number(let a), .number(let b)): a > b
    case ("<=", .number(let a), .number(let b)): a <= b
    case (">=", .number(let a), .number(let b)): a >= b
    case ("startsWith", .text(let a), .text(let b)): a.hasPrefix(b)
    case ("endsWith", .text(let a), .text(let b)): a.hasSuffix(b)
    case ("contains", .text(let a), .text(let b)): a.contains(b)
    default: false
    }
  }
}

/// Reads expressions: `||`, `&&`, comparison, `!`, calls, lists; `and`, `or`, `not` as words.
struct ViewParser {
  private enum Token: Hashable {
    case word(String), text(String), number(Int), sign(String)
  }
  private var tokens: [Token] = []
  private var at = 0
  private var depth = 0

  static func parse(_ text: String) throws(BytePatternError) -> ViewExpression {
    var parser = try ViewParser(text)
    let expression = try parser.either()
    guard parser.at == parser.tokens.count else {
      throw BytePatternError(description: "the expression goes on after its end")
    }
    return expression
  }

  private init(_ text: String) throws(BytePatternError) {
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
      guard take(.sign(",")), case .constant(.text(let text)) = try either(), let network = IPPrefix(text),
        take(.sign(")"))
      else { throw BytePatternError(description: "incidr needs an address and a block of addresses") }
      return .inNetwork(what, network)
    case .word(let name) where ViewExpression.calls.contains(name):
      guard take(.sign("(")), take(.sign(")")) else {
        throw BytePatternError(description: "\(name) is written \(name)()")
      }
      return .call(name)
    case .word(let name): throw BytePatternError(description: "\(name) is not known")
    case .sign(let sign): throw BytePatternError(description: "\(sign) is out of place")
    }
  }
}
