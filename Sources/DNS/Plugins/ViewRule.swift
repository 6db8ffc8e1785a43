// `view`: which queries a server block takes, by an expression over the query. Templates have expressions too.

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
  enum Value: Hashable, Sendable, CustomStringConvertible {
    case truth(Bool)
    case text(String)
    case number(Int)

    var description: String {
      switch self {
      case .truth(let value): "\(value)"
      case .text(let value): value
      case .number(let value): "\(value)"
      }
    }
  }

  case constant(Value)
  case list([ViewExpression])
  case call(String)
  case inNetwork(ViewExpression, IPPrefix)
  /// A block of addresses that is worked out too.
  case inNetworkOf(ViewExpression, ViewExpression)
  /// What is known of a match alone: a group of the pattern, a variable, the item of a list (`#`).
  case group(String)
  case variable(String)
  case item
  /// A text with each occurrence of another one replaced.
  case replace(ViewExpression, ViewExpression, ViewExpression)
  /// `any`, `all` or `none` of a list.
  case each(String, [ViewExpression], ViewExpression)
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

  /// What takes a client's address, name and transport, but not its message: what templates may ask for.
  static let callsOfTemplates: Set<String> = [
    "class", "client_ip", "name", "port", "proto", "server_ip", "server_port", "type",
  ]

  /// The expression with the value of what is known by now in its place.
  func knowing(_ known: (ViewExpression) -> Value?) -> ViewExpression {
    func inner(_ expression: ViewExpression) -> ViewExpression { expression.knowing(known) }
    switch self {
    case .constant, .call: return self
    case .group, .variable, .item: return known(self).map { .constant($0) } ?? self
    case .list(let items): return .list(items.map(inner))
    case .inNetwork(let what, let network): return .inNetwork(inner(what), network)
    case .inNetworkOf(let what, let network): return .inNetworkOf(inner(what), inner(network))
    case .not(let what): return .not(inner(what))
    case .both(let a, let b): return .both(inner(a), inner(b))
    case .either(let a, let b): return .either(inner(a), inner(b))
    case .compare(let sign, let a, let b): return .compare(sign, inner(a), inner(b))
    case .member(let what, let list): return .member(inner(what), list.map(inner))
    case .matches(let what, let pattern): return .matches(inner(what), pattern)
    case .replace(let text, let old, let new): return .replace(inner(text), inner(old), inner(new))
    case .each(let word, let list, let holds): return .each(word, list.map(inner), inner(holds))
    }
  }

  private static func isWithin(_ address: Value, _ network: Value) -> Bool {
    guard case .text(let address) = address, case .text(let network) = network,
      let address = IPAddress(address), let network = IPPrefix(network)
    else { return false }
    return network.contains(address)
  }

  func value(_ question: Message.Question, _ client: Client, _ head: borrowing QueryHead) -> Value {
    switch self {
    case .constant(let value): return value
    // Whoever has them puts their values in their place; nobody else can write them.
    case .group, .variable, .item: return .text("")
    case .list: return .truth(false)
    case .inNetworkOf(let what, let network):
      return .truth(Self.isWithin(what.value(question, client, head), network.value(question, client, head)))
    case .replace(let text, let old, let new):
      guard case .text(let text) = text.value(question, client, head),
        case .text(let old) = old.value(question, client, head), !old.isEmpty,
        case .text(let new) = new.value(question, client, head)
      else { return .text("") }
      return .text(text.replacing(old, with: new))
    case .each(let word, let list, let holds):
      var count = 0
      for item in list {
        let value = item.value(question, client, head)
        let one = holds.knowing { if case .item = $0 { value } else { nil } }
        if one.value(question, client, head) == .truth(true) { count += 1 }
      }
      return .truth(word == "any" ? count > 0 : word == "all" ? count == list.count : count == 0)
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
