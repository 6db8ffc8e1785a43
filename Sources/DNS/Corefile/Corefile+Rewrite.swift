// `rewrite`: which rules a line stands for.

import Addresses
import Diagnostics
import Patterns

extension CorefileReader {
  mutating func readRewrite(_ directive: CorefileDirective) throws(WeftError) {
    var words = Array(directive.arguments)
    var isContinued = false
    if let first = words.first, first == "continue" || first == "stop" {
      isContinued = first == "continue"
      words.removeFirst()
    }
    guard !words.isEmpty else {
      // The block form: one rule made of several lines.
      guard !directive.block.isEmpty else { throw fail(directive, "a rule is needed") }
      var answers: [RewriteRule.AnswerRule] = []
      for line in directive.block where line.name == "answer" { answers += try answerRules(line.words, line) }
      for line in directive.block where line.name != "answer" {
        try addRewrite(line.words, isContinued, line, answers)
      }
      return
    }
    var answers: [RewriteRule.AnswerRule] = []
    for line in directive.block { answers += try answerRules(line.words, line) }
    try addRewrite(words, isContinued, directive, answers)
  }

  private mutating func addRewrite(
    _ words: [String], _ isContinued: Bool, _ directive: CorefileDirective,
    _ answers: [RewriteRule.AnswerRule]
  ) throws(WeftError) {
    var rest = Array(words.dropFirst())
    var answers = answers
    let field: RewriteRule.Field
    switch words[0] {
    case "type":
      guard rest.count == 2, let from = RecordType(rest[0]), let to = RecordType(rest[1]) else {
        throw fail(directive, "rewrite type needs two record types")
      }
      field = .type(from, to)
    case "class":
      guard rest.count == 2 else { throw fail(directive, "rewrite class needs two classes") }
      let classes = ["IN": 1, "CS": 2, "CH": 3, "HS": 4, "ANY": 255] as [String: UInt16]
      guard let from = classes[rest[0].uppercased()], let to = classes[rest[1].uppercased()] else {
        throw fail(directive, "rewrite class needs two classes")
      }
      field = .rrClass(from, to)
    case "name":
      if let at = rest.firstIndex(of: "answer") {
        answers += try answerRules(Array(rest[at...]), directive)
        rest = Array(rest[..<at])
      }
      let (match, to) = try match(&rest, directive, values: 1)
      if case .exact = match, DomainName(to[0]) == nil { throw fail(directive, "\(to[0]) is not a name") }
      if case .suffix(let end) = match,
        answers.contains(where: { if case .auto = $0 { true } else { false } })
      {
        let written = String(decoding: end, as: UTF8.self)
        answers.insert(.suffix(to[0].lowercased(), written), at: 0)
      }
      field = .name(match, to: to[0], answers)
    case "ttl":
      let (match, to) = try match(&rest, directive, values: 1)
      let parts = to[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
      let low = parts[0].isEmpty ? 0 : UInt32(parts[0])
      let high = parts.count == 1 ? low : parts[1].isEmpty ? UInt32(Int32.max) : UInt32(parts[1])
      guard let low, let high, low <= high else {
        throw fail(directive, "\(to[0]) is not a TTL or a range of TTLs")
      }
      field = .ttl(match, from: low, to: high)
    case "cname":
      let (match, to) = try match(&rest, directive, values: 1)
      if case .exact = match, DomainName(to[0]) == nil { throw fail(directive, "\(to[0]) is not a name") }
      field = .cname(match, to: to[0])
    case "rcode":
      let (match, codes) = try match(&rest, directive, values: 2)
      guard let to = ResponseCode(text: codes[1]),
        codes[0].uppercased() == "ANY" || ResponseCode(text: codes[0]) != nil
      else { throw fail(directive, "two response codes such as SERVFAIL are needed") }
      field = .code(match, from: ResponseCode(text: codes[0]), to: to)
    case "edns0": field = .option(try optionRule(rest, directive))
    default:
      throw fail(
        directive, "\(words[0]) cannot be rewritten; name, type, class, ttl, cname, rcode and edns0 can")
    }
    block.rewrites.append(RewriteRule(field: field, isContinued: isContinued))
  }

  /// `[exact|prefix|suffix|substring|regex] FROM TO...`.
  private func match(_ words: inout [String], _ directive: CorefileDirective, values: Int) throws(WeftError)
    -> (RewriteRule.NameMatch, [String])
  {
    let kinds = ["exact", "prefix", "suffix", "substring", "regex"]
    var kind = "exact"
    if words.count == values + 2, kinds.contains(words[0]) { kind = words.removeFirst() }
    guard words.count == values + 1 else { throw fail(directive, "the rule has too many or too few words") }
    let from = words.removeFirst()
    let plain = Array(from.lowercased().utf8)
    let undotted = plain.last == UInt8(ascii: ".") && plain.count > 1 ? Array(plain.dropLast()) : plain
    switch kind {
    case "prefix": return (.prefix(plain), words)
    case "suffix":
      // Both ends lose their closing dot: names are compared without it.
      if words[0].hasSuffix("."), words[0].count > 1 { words[0].removeLast() }
      return (.suffix(undotted), words)
    case "substring": return (.substring(plain), words)
    case "regex": return (.pattern(try pattern(from, directive)), words)
    default:
      guard let name = DomainName(from) else { throw fail(directive, "\(from) is not a name") }
      return (.exact(name.lowercased), words)
    }
  }

  /// `answer auto`, `answer name FROM TO`, `answer value FROM TO`, one after another.
  private func answerRules(_ words: [String], _ directive: CorefileDirective) throws(WeftError)
    -> [RewriteRule.AnswerRule]
  {
    var rules: [RewriteRule.AnswerRule] = []
    var rest = words[...]
    while let word = rest.popFirst() {
      guard word == "answer", let kind = rest.popFirst() else {
        throw fail(directive, "answer auto, name or value is needed")
      }
      switch kind {
      case "auto": rules.append(.auto)
      case "name", "value":
        guard let from = rest.popFirst(), let to = rest.popFirst() else {
          throw fail(directive, "answer \(kind) needs a pattern and a name")
        }
        let pattern = try pattern(from, directive)
        rules.append(kind == "name" ? .name(pattern, to) : .value(pattern, to))
      default:
        guard let to = rest.popFirst() else { throw fail(directive, "answer needs a pattern and a name") }
        rules.append(.name(try pattern(kind, directive), to))
      }
    }
    return rules
  }
}

// MARK: - Options

extension CorefileReader {
  /// `local ACTION CODE [VALUE]`, `nsid ACTION`, `subnet ACTION [BITS BITS]`, and `revert` at the end.
  private func optionRule(_ words: [String], _ directive: CorefileDirective) throws(WeftError) -> OptionRule {
    guard words.count >= 2 else { throw fail(directive, "local, nsid or subnet and what to do are needed") }
    guard let action = OptionRule.Action(rawValue: words[1].lowercased()) else {
      throw fail(directive, "\(words[1]) is none of set, append, replace, unset")
    }
    var values = Array(words.dropFirst(2))
    let isReverted = action != .unset && values.last == "revert"
    if isReverted { values.removeLast() }
    let wanted: Int
    switch words[0].lowercased() {
    case "local": wanted = action == .unset ? 1 : 2
    case "nsid": wanted = 0
    case "subnet": wanted = action == .unset ? 0 : 2
    default: throw fail(directive, "\(words[0]) is none of local, nsid, subnet")
    }
    guard values.count == wanted else {
      throw fail(directive, "\(words[0]) \(words[1]) takes \(wanted) values", at: directive.words.count - 1)
    }
    var rule = OptionRule(action: action, code: 0, value: .octets([]), isReverted: isReverted)
    switch words[0].lowercased() {
    case "nsid": rule.code = EDNSOption.nsid
    case "subnet":
      rule.code = EDNSOption.subnet
      guard !values.isEmpty else { break }
      guard let four = Int(values[0]), (0...32).contains(four) else {
        throw fail(directive, "\(values[0]) is no number of bits from 0 to 32")
      }
      guard let six = Int(values[1]), (0...128).contains(six) else {
        throw fail(directive, "\(values[1]) is no number of bits from 0 to 128")
      }
      rule.value = .subnet(four: four, six: six)
    default:
      guard let code = Self.number(values[0]) else {
        throw fail(directive, "\(values[0]) is no code of an option")
      }
      // These are this server's own affair with its clients and with upstream servers.
      guard ![EDNSOption.cookie, EDNSOption.padding, EDNSOption.extendedError].contains(code) else {
        throw fail(directive, "\(values[0]) is the code of an option that means one hop alone")
      }
      rule.code = code
      if action != .unset { rule.value = try optionValue(values[1], directive) }
    }
    return rule
  }

  private func optionValue(_ text: String, _ directive: CorefileDirective) throws(WeftError)
    -> OptionRule.Value
  {
    if text.hasPrefix("{"), text.hasSuffix("}") {
      guard let variable = OptionRule.Variable(rawValue: text) else {
        throw fail(
          directive,
          "\(text) is not known of a query; \(OptionRule.Variable.allCases.map(\.rawValue).joined(separator: " ")) are"
        )
      }
      return .variable(variable)
    }
    var octets = Array(text.utf8)
    if text.hasPrefix("0x") {
      let digits = octets.dropFirst(2).map { Character(UnicodeScalar($0)).hexDigitValue }
      guard digits.count % 2 == 0, !digits.contains(nil) else {
        throw fail(directive, "\(text) is no even number of hexadecimal digits")
      }
      octets = stride(from: 0, to: digits.count, by: 2).map { at in
        UInt8(digits[at] ?? 0) << 4 | UInt8(digits[at + 1] ?? 0)
      }
    }
    guard octets.count <= OptionRule.octetsMax else {
      throw fail(
        directive, "\(text.prefix(20))… has more than \(OptionRule.octetsMax) octets",
        at: directive.words.count - 1)
    }
    return .octets(octets)
  }

  /// `0xffee`, `0177` or `65518`, as Go reads them.
  private static func number(_ text: String) -> UInt16? {
    let plain = text.lowercased()
    if plain.hasPrefix("0x") { return UInt16(plain.dropFirst(2), radix: 16) }
    if plain.hasPrefix("0b") { return UInt16(plain.dropFirst(2), radix: 2) }
    if plain.hasPrefix("0"), plain.count > 1 {
      return UInt16(plain.dropFirst(plain.hasPrefix("0o") ? 2 : 1), radix: 8)
    }
    return UInt16(plain)
  }
}

extension ResponseCode {
  /// Reads `NXDOMAIN`, `BADCOOKIE` or a number from 0 to 23.
  fileprivate init?(text: String) {
    let extended =
      [
        "BADSIG": 16, "BADVERS": 16, "BADKEY": 17, "BADTIME": 18, "BADMODE": 19, "BADNAME": 20, "BADALG": 21,
        "BADTRUNC": 22, "BADCOOKIE": 23,
      ] as [String: UInt16]
    if let number = UInt16(text) {
      guard number < 24 else { return nil }
      self.init(rawValue: number)
    } else if let number = extended[text.uppercased()] {
      self.init(rawValue: number)
    } else {
      self.init(name: text)
    }
  }
}
