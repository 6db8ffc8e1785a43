// Text with places for what a question says: `{{ .Name }}`, `{{ .Group.ip }}`, `{{ index .Match 1 }}`, `{{ parseInt .Group.hex 16 8 }}`.

import Patterns

/// A record with places to fill. Of Go's templates what names values, and `parseInt`.
struct TemplateText: Sendable, Hashable {
  private enum Place: Sendable, Hashable {
    case value(String)
    /// Digits of a base as a decimal number of so many bits.
    case number(digits: Operand, base: Int, bits: Int)
  }
  private enum Operand: Sendable, Hashable { case value(String), text(String) }
  private struct Part: Sendable, Hashable {
    var text: String
    var place: Place?
  }

  /// As it was written.
  let source: String
  private var parts: [Part] = []

  /// - Throws: the expression that is not known.
  init(_ text: String, groups: Set<String>, variables: Set<String> = []) throws(BytePatternError) {
    source = text
    var rest = text[...]
    while let open = rest.firstRange(of: "{{") {
      guard let close = rest[open.upperBound...].firstRange(of: "}}") else {
        throw BytePatternError(description: "{{ is not closed")
      }
      var before = rest[..<open.lowerBound]
      var inside = rest[open.upperBound..<close.lowerBound]
      rest = rest[close.upperBound...]
      // A dash beside the braces takes blanks away.
      if inside.hasPrefix("- ") {
        inside = inside.dropFirst()
        while before.last?.isWhitespace == true { before.removeLast() }
      }
      if inside.hasSuffix(" -") {
        inside = inside.dropLast()
        rest = rest.drop(while: \.isWhitespace)
      }
      let words = inside.split(whereSeparator: \.isWhitespace).map(String.init)
      parts.append(
        Part(text: String(before), place: try Self.place(words, Names(groups: groups, variables: variables))))
    }
    parts.append(Part(text: String(rest), place: nil))
  }

  private struct Names {
    var groups: Set<String>
    var variables: Set<String>
  }

  private static func place(_ words: [String], _ names: Names) throws(BytePatternError) -> Place {
    if words.count == 4, words[0] == "parseInt", let base = Int(words[2]), let bits = Int(words[3]),
      (2...36).contains(base), (1...64).contains(bits)
    {
      let operand: Operand =
        words[1].hasPrefix("\"")
        ? .text(words[1].filter { $0 != "\"" }) : .value(try key([words[1]], names))
      return .number(digits: operand, base: base, bits: bits)
    }
    return .value(try key(words, names))
  }

  private static func key(_ words: [String], _ names: Names) throws(BytePatternError) -> String {
    if words.count == 1 {
      switch words[0] {
      case ".Name", ".Zone", ".Type", ".Class", ".Remote", ".Question.Name", ".Question.Qtype",
        ".Question.Qclass":
        return String(words[0].dropFirst())
      case let word where word.hasPrefix(".Group.") && names.groups.contains(String(word.dropFirst(7))):
        return String(word.dropFirst())
      case let word where word.hasPrefix(".Var.") && names.variables.contains(String(word.dropFirst(5))):
        return String(word.dropFirst())
      default: break
      }
    }
    if words.count == 3, words[0] == "index", words[1] == ".Match" || words[1] == ".Group" {
      let name = words[2].filter { $0 != "\"" }
      if let index = Int(name), index >= 0 { return "Match \(index)" }
      if words[1] == ".Group", names.groups.contains(name) { return "Group.\(name)" }
    }
    throw BytePatternError(description: "{{ \(words.joined(separator: " ")) }} is not known")
  }

  /// Nil when a number cannot be read.
  func filled(_ values: [String: String]) -> String? {
    var result = ""
    for part in parts {
      result += part.text
      switch part.place {
      case nil: break
      case .value(let key)?: result += values[key] ?? ""
      case .number(let digits, let base, let bits)?:
        let text: String
        switch digits {
        case .value(let key): text = values[key] ?? ""
        case .text(let fixed): text = fixed
        }
        guard !text.hasPrefix("+"), let number = UInt64(text, radix: base),
          bits == 64 || number >> UInt64(bits) == 0
        else { return nil }
        result += "\(number)"
      }
    }
    return result
  }
}
