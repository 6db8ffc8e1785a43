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
    /// The rewritten name becomes the client's again, and names below it likewise.
    case auto
    /// Names with this end get the other: `answer auto` of a suffix.
    case suffix(String, String)
    case name(BytePattern, String)
    case value(BytePattern, String)
  }
  enum Field: Sendable {
    case type(RecordType, RecordType)
    case rrClass(UInt16, UInt16)
    case name(NameMatch, to: String, [AnswerRule])
    case ttl(NameMatch, from: UInt32, to: UInt32)
    /// The target of an alias in the answer.
    case cname(NameMatch, to: String)
    case code(NameMatch, from: ResponseCode?, to: ResponseCode)
    case option(OptionRule)
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
