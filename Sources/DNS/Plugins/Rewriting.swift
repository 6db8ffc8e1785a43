// What rules of `rewrite` make of one question, and of its reply on the way back.

import Patterns

/// What was done to a question, so that it can be undone to the reply.
struct Rewriting {
  var question: Message.Question
  private(set) var options: QueryOptions
  private let original: Message.Question
  private var answers: [(from: DomainName, to: DomainName, rules: [RewriteRule.AnswerRule])] = []
  private var ttls: [(from: UInt32, to: UInt32)] = []
  private var codes: [(from: ResponseCode?, to: ResponseCode)] = []
  private var targets: [(match: RewriteRule.NameMatch, to: String)] = []
  /// No rule fitted that the reply is to hear of.
  private(set) var isEmpty = true

  /// - Parameter options: the client's, where the rules change options.
  init(
    _ question: Message.Question, _ rules: [RewriteRule], _ client: Client, _ options: [EDNSValue]
  ) {
    original = question
    self.question = question
    self.options = rules.isEmpty ? QueryOptions() : QueryOptions(options, rules)
    for rule in rules where apply(rule, client) && !rule.isContinued { break }
  }

  private mutating func apply(_ rule: RewriteRule, _ client: Client) -> Bool {
    switch rule.field {
    case .type(let from, let to):
      guard question.type == from else { return false }
      question.type = to
    case .rrClass(let from, let to):
      guard question.rrClass == from else { return false }
      question.rrClass = to
    case .name(let match, let to, let rules):
      guard let text = match.replaced(question.name, to), let name = DomainName(text) else { return false }
      answers.append((name, question.name, rules))
      question.name = name
    case .ttl(let match, let from, let to):
      guard match.matches(question.name) else { return false }
      ttls.append((from, to))
    case .cname(let match, let to): targets.append((match, to))
    case .code(let match, let from, let to):
      guard match.matches(question.name) else { return false }
      codes.append((from, to))
    case .option(let rule): return options.apply(rule, question, client)
    }
    isEmpty = false
    return true
  }

  /// The reply up to an alias that a rule leads elsewhere, and where to; nil when there is none.
  func turned(_ reply: Message) -> (reply: Message, target: DomainName)? {
    guard !targets.isEmpty else { return nil }
    for (index, record) in reply.answer.enumerated() {
      guard case .cname(let old) = record.data else { continue }
      for (match, to) in targets {
        guard let text = match.replaced(old, to), let target = DomainName(text), target != old else {
          continue
        }
        var reply = reply
        reply.answer = reply.answer[..<index].filter { $0.data.type == .cname }
        var alias = record
        alias.data = .cname(target)
        reply.answer.append(alias)
        return (reply, target)
      }
    }
    return nil
  }

  /// The reply as the client is to see it.
  func undone(_ reply: Message) -> Message {
    var reply = reply
    reply.question = original
    for (from, to, rules) in answers.reversed() {
      for path in [\Message.answer, \Message.authority, \Message.additional] {
        reply[keyPath: path] = reply[keyPath: path].map { record in
          var record = record
          if record.owner == from { record.owner = to }
          for rule in rules { Self.change(&record, rule, from, to) }
          return record
        }
      }
    }
    for (from, to) in ttls {
      reply.answer = reply.answer.map { record in
        var record = record
        record.ttl = min(max(record.ttl, from), to)
        return record
      }
    }
    for (from, to) in codes where from == nil || from == reply.code { reply.set(to) }
    return reply
  }

  private static func change(
    _ record: inout ResourceRecord, _ rule: RewriteRule.AnswerRule, _ from: DomainName, _ to: DomainName
  ) {
    if case .value = rule {} else { record.owner = renamed(record.owner, rule, from, to) }
    if case .name = rule { return }
    func changed(_ name: DomainName) -> DomainName { renamed(name, rule, from, to) }
    switch record.data {
    case .cname(let name): record.data = .cname(changed(name))
    case .srv(let priority, let weight, let port, let name):
      record.data = .srv(priority: priority, weight: weight, port: port, changed(name))
    case .mx(let preference, let name): record.data = .mx(preference: preference, changed(name))
    case .ns(let name): record.data = .ns(changed(name))
    case .ptr(let name): record.data = .ptr(changed(name))
    case .soa(var soa):
      soa.primary = changed(soa.primary)
      soa.mailbox = changed(soa.mailbox)
      record.data = .soa(soa)
    default: break
    }
  }

  private static func renamed(
    _ name: DomainName, _ rule: RewriteRule.AnswerRule, _ from: DomainName, _ to: DomainName
  ) -> DomainName {
    switch rule {
    case .auto:
      if name == from { return to }
      guard from != .root, name.isWithin(from) else { return name }
      return DomainName(uncheckedWire: Array(name.wire.dropLast(from.wire.count)) + to.wire).checked ?? name
    case .suffix(let end, let new):
      return RewriteRule.NameMatch.suffix(Array(end.utf8)).replaced(name, new).flatMap { DomainName($0) }
        ?? name
    case .name(let pattern, let text), .value(let pattern, let text):
      let bytes = Array(name.description.utf8)
      guard let groups = pattern.match(bytes) else { return name }
      return DomainName(filled(text, bytes, groups)) ?? name
    }
  }
}

extension DomainName {
  /// Nil when the name is longer than names may be.
  fileprivate var checked: DomainName? { wire.count <= DNSLimits.nameBytesMax ? self : nil }
}
