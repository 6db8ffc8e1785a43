// `template`: answers made from the question by patterns.

import Patterns

/// One `template` block.
public struct TemplateRule: Sendable {
  /// Nil means any class.
  var rrClass: UInt16?
  /// Nil means any type.
  var type: RecordType?
  var zones: [DomainName]
  var patterns: [BytePattern]
  var answers: [TemplateText]
  var additional: [TemplateText]
  var authority: [TemplateText]
  var code: ResponseCode
  var fallthroughZones: [DomainName]

  /// Nil when the rule has nothing to say: the next one is asked.
  func answer(_ question: Message.Question) -> Message? {
    guard rrClass == nil || rrClass == question.rrClass, type == nil || type == question.type,
      let zone = zones.filter({ question.name.isWithin($0) }).max(by: { $0.wire.count < $1.wire.count })
    else { return nil }
    let name = question.name.description
    let text = Array(name.utf8)
    var match: (pattern: BytePattern, groups: [Range<Int>?])?
    for pattern in patterns {
      if let groups = pattern.match(text) {
        match = (pattern, groups)
        break
      }
    }
    guard let match else {
      if fallthroughZones.contains(where: { question.name.isWithin($0) }) { return nil }
      // CoreDNS answers a name no pattern knows with SERVFAIL unless it falls through.
      return .reply(question, .serverFailure)
    }
    var values = ["Name": name, "Zone": "\(zone)", "Type": "\(question.type)", "Class": "IN"]
    for (index, range) in match.groups.enumerated() {
      let part = range.map { String(decoding: text[$0], as: UTF8.self) } ?? ""
      values["Match \(index)"] = part
      values["Group \(index)"] = part
    }
    for (name, index) in match.pattern.names { values["Group.\(name)"] = values["Match \(index)"] }
    var reply = Message.reply(question, code)
    for (texts, path) in [
      (answers, \Message.answer), (additional, \Message.additional), (authority, \Message.authority),
    ] {
      for text in texts {
        guard let record = try? ZoneText.record(text.filled(values), origin: .root) else {
          return .reply(question, .serverFailure)
        }
        reply[keyPath: path].append(record)
      }
    }
    return reply
  }
}

/// Text with places for what the question says: `{{ .Name }}`, `{{ .Group.ip }}`, `{{ index .Match 1 }}`.
struct TemplateText: Sendable, Hashable {
  private var parts: [(text: String, key: String?)] = []

  /// - Throws: the expression that is not known.
  init(_ text: String, groups: Set<String>) throws(BytePatternError) {
    var rest = text[...]
    while let open = rest.firstRange(of: "{{") {
      guard let close = rest[open.upperBound...].firstRange(of: "}}") else {
        throw BytePatternError(description: "{{ is not closed")
      }
      let words = rest[open.upperBound..<close.lowerBound].split(whereSeparator: \.isWhitespace).map(
        String.init)
      parts.append((String(rest[..<open.lowerBound]), try Self.key(words, groups)))
      rest = rest[close.upperBound...]
    }
    parts.append((String(rest), nil))
  }

  private static func key(_ words: [String], _ groups: Set<String>) throws(BytePatternError) -> String {
    if words.count == 1 {
      switch words[0] {
      case ".Name", ".Zone", ".Type", ".Class": return String(words[0].dropFirst())
      case let word where word.hasPrefix(".Group.") && groups.contains(String(word.dropFirst(7))):
        return String(word.dropFirst())
      default: break
      }
    }
    if words.count == 3, words[0] == "index", words[1] == ".Match" || words[1] == ".Group" {
      if let index = Int(words[2]), index >= 0 { return "Match \(index)" }
      let name = words[2].filter { $0 != "\"" }
      if words[1] == ".Group", groups.contains(name) { return "Group.\(name)" }
    }
    throw BytePatternError(description: "{{ \(words.joined(separator: " ")) }} is not known")
  }

  func filled(_ values: [String: String]) -> String {
    parts.map { $0.text + ($0.key.map { values[$0] ?? "" } ?? "") }.joined()
  }

  static func == (a: Self, b: Self) -> Bool { a.parts.elementsEqual(b.parts) { $0 == $1 } }
  func hash(into hasher: inout Hasher) {
    for part in parts {
      hasher.combine(part.text)
      hasher.combine(part.key)
    }
  }
}
