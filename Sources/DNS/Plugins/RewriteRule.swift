// `rewrite`: another question is asked than the client put, and the answer is told under the client's name.

import Patterns

/// One `rewrite` line.
public struct RewriteRule: Sendable {
  enum NameMatch: Sendable {
    case exact(DomainName)
    case prefix([UInt8])
    case suffix([UInt8])
    case substring([UInt8])
    case pattern(BytePattern)
  }
  /// How names in the answer are changed back.
  enum AnswerRule: Sendable {
    /// The rewritten name becomes the client's again, and names that end as it does likewise.
    case auto
    case name(BytePattern, String)
    case value(BytePattern, String)
  }
  enum Field: Sendable {
    case type(RecordType, RecordType)
    case rrClass(UInt16, UInt16)
    case name(NameMatch, to: String, [AnswerRule])
    case ttl(NameMatch, from: UInt32, to: UInt32)
    case cname(NameMatch, to: DomainName)
    case code(NameMatch, from: ResponseCode?, to: ResponseCode)
  }

  var field: Field
  /// Later rules see what this one made; otherwise the first that fits is the last.
  var isContinued: Bool
}

extension RewriteRule.NameMatch {
  /// The name without its closing dot, in lower case.
  private static func text(_ name: DomainName) -> [UInt8] {
    Array(name.lowercased.description.utf8.dropLast())
  }

  func matches(_ name: DomainName) -> Bool { replaced(name, "") != nil || isExact(name) }

  private func isExact(_ name: DomainName) -> Bool {
    if case .exact(let other) = self { return other == name }
    return false
  }

  /// The text of the new name; nil when the rule does not fit.
  func replaced(_ name: DomainName, _ to: String) -> String? {
    let text = Self.text(name)
    func string(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }
    switch self {
    case .exact(let other): return other == name ? to : nil
    case .prefix(let prefix):
      return text.starts(with: prefix) ? to + string(text.dropFirst(prefix.count)) : nil
    case .suffix(let suffix):
      guard text.count >= suffix.count, text.suffix(suffix.count).elementsEqual(suffix) else { return nil }
      return string(text.dropLast(suffix.count)) + to
    case .substring(let part):
      let whole = string(text)
      let piece = string(part)
      return whole.contains(piece) ? whole.replacing(piece, with: to) : nil
    case .pattern(let pattern):
      // Patterns see the closing dot or not, as they are written.
      for candidate in [text + [UInt8(ascii: ".")], text] {
        if let groups = pattern.match(candidate) { return filled(to, candidate, groups) }
      }
      return nil
    }
  }

}

/// Puts groups into `{0}`, `{1}` and so on.
func filled(_ text: String, _ subject: [UInt8], _ groups: [Range<Int>?]) -> String {
  var result = text
  for (index, range) in groups.enumerated() {
    let part = range.map { String(decoding: subject[$0], as: UTF8.self) } ?? ""
    result = result.replacing("{\(index)}", with: part)
  }
  return result
}

/// What was done to a question, so that it can be undone to the reply.
struct Rewriting {
  var question: Message.Question
  private let original: Message.Question
  private var answers: [(from: DomainName, to: DomainName, rules: [RewriteRule.AnswerRule])] = []
  private var ttls: [(from: UInt32, to: UInt32)] = []
  private var codes: [(from: ResponseCode?, to: ResponseCode)] = []
  private(set) var alias: (from: DomainName, to: DomainName)?
  /// No rule fitted.
  private(set) var isEmpty = true

  init(_ question: Message.Question, _ rules: [RewriteRule]) {
    original = question
    self.question = question
    for rule in rules where apply(rule) && !rule.isContinued { break }
  }

  private mutating func apply(_ rule: RewriteRule) -> Bool {
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
    case .cname(let match, let to):
      guard match.matches(question.name), question.name != to else { return false }
      alias = (question.name, to)
      question.name = to
    case .code(let match, let from, let to):
      guard match.matches(question.name) else { return false }
      codes.append((from, to))
    }
    isEmpty = false
    return true
  }

  /// The reply as the client is to see it.
  func undone(_ reply: Message) -> Message {
    var reply = reply
    reply.question = original
    if let alias {
      let ttl = reply.answer.map(\.ttl).min() ?? 5
      let record = ResourceRecord(owner: alias.from, ttl: ttl, data: .cname(alias.to))
      reply.answer.insert(record, at: 0)
    }
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
    func renamed(_ name: DomainName) -> DomainName {
      switch rule {
      case .auto: return name == from ? to : name
      case .name(let pattern, let text), .value(let pattern, let text):
        let bytes = Array(name.description.utf8)
        guard let groups = pattern.match(bytes) else { return name }
        return DomainName(filled(text, bytes, groups)) ?? name
      }
    }
    if case .value = rule {} else { record.owner = renamed(record.owner) }
    if case .name = rule { return }
    switch record.data {
    case .cname(let name): record.data = .cname(renamed(name))
    case .srv(let priority, let weight, let port, let name):
      record.data = .srv(priority: priority, weight: weight, port: port, renamed(name))
    case .mx(let preference, let name): record.data = .mx(preference: preference, renamed(name))
    case .ns(let name): record.data = .ns(renamed(name))
    case .ptr(let name): record.data = .ptr(renamed(name))
    default: break
    }
  }
}
