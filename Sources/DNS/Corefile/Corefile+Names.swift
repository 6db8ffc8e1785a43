// Plugins that know names themselves: hosts, file, template, rewrite.

import Addresses
import Diagnostics
import Patterns

extension CorefileReader {
  mutating func readHosts(_ directive: CorefileDirective) throws(WeftError) {
    var words = directive.arguments
    var path = "/etc/hosts"
    if let first = words.first, first.contains("/"), IPPrefix(first) == nil || first.hasPrefix("/") {
      path = self.path(words.removeFirst())
    } else if let first = words.first, DomainName(first) == nil || files(self.path(first)) != nil {
      path = self.path(words.removeFirst())
    }
    var table = HostsTable(zones: try zones(words, directive))
    var inline: [[String]] = []
    for option in directive.block {
      switch option.name {
      case "ttl": table.ttl = try number(option, 1...65535)
      case "no_reverse": table.hasReverse = false
      case "reload": break
      case "fallthrough":
        table.fallthroughZones = option.arguments.isEmpty ? [.root] : try zones(option.arguments, option)
      default:
        guard IPAddress(option.name) != nil, option.words.count > 1 else {
          throw fail(option, "an address and names, or ttl, no_reverse, reload, fallthrough are needed")
        }
        for word in option.arguments where DomainName(word) == nil {
          throw fail(option, "\(word) is not a name")
        }
        inline.append(option.words)
      }
    }
    if let text = files(path) {
      table.add(text)
      table.path = path
    } else if path != "/etc/hosts" {
      throw fail(directive, "\(path) cannot be read")
    }
    for words in inline { table.add(words: words) }
    block.hosts = table
  }

  mutating func readFile(_ directive: CorefileDirective) throws(WeftError) {
    guard let first = directive.arguments.first else { throw fail(directive, "a zone file is needed") }
    let path = path(first)
    guard let text = files(path) else { throw fail(directive, "\(path) cannot be read") }
    var fallthroughZones: [DomainName] = []
    for option in directive.block {
      switch option.name {
      case "reload": _ = try duration(option, 0...86400 * 365)
      case "fallthrough":
        fallthroughZones = option.arguments.isEmpty ? [.root] : try zones(option.arguments, option)
      default: throw fail(option, "reload and fallthrough are all there is")
      }
    }
    for zone in try zones(directive.arguments.dropFirst(), directive) {
      do throws(ZoneTextError) {
        var served = try ServedZone(text, zone: zone)
        served.fallthroughZones = fallthroughZones
        served.path = path
        block.files.append(served)
      } catch {
        throw fail(directive, "\(path):\(error.line): \(error)")
      }
    }
  }

  mutating func readTemplate(_ directive: CorefileDirective) throws(WeftError) {
    let arguments = Array(directive.arguments)
    guard arguments.count >= 2, ["IN", "ANY", "CH"].contains(arguments[0].uppercased()),
      let type = arguments[1].uppercased() == "ANY" ? .some(.any) : RecordType(arguments[1])
    else { throw fail(directive, "a class and a type are needed, such as IN A") }
    var rule = TemplateRule(
      rrClass: arguments[0].uppercased() == "ANY" ? nil : 1, type: type == .any ? nil : type,
      zones: try zones(arguments.dropFirst(2), directive), patterns: [], answers: [], additional: [],
      authority: [],
      code: .noError, fallthroughZones: [])
    for option in directive.block where option.name == "match" {
      for text in option.arguments { rule.patterns.append(try pattern(text, option)) }
    }
    if rule.patterns.isEmpty { rule.patterns = [try pattern(".*", directive)] }
    let groups = rule.patterns.dropFirst().reduce(Set(rule.patterns[0].names.keys)) {
      $0.intersection($1.names.keys)
    }
    for option in directive.block {
      switch option.name {
      case "match": break
      case "answer", "additional", "authority":
        let text = try template(option.arguments.joined(separator: " "), groups, option)
        if option.name == "answer" { rule.answers.append(text) }
        if option.name == "additional" { rule.additional.append(text) }
        if option.name == "authority" { rule.authority.append(text) }
      case "rcode":
        guard let code = option.arguments.first.flatMap(ResponseCode.init(name:)) else {
          throw fail(option, "a response code such as NXDOMAIN is needed")
        }
        rule.code = code
      case "fallthrough":
        rule.fallthroughZones = option.arguments.isEmpty ? [.root] : try zones(option.arguments, option)
      case "upstream", "ederror": warn(option, "template \(option.name)", "this option has no effect here")
      default: throw fail(option, "there is no option of this name")
      }
    }
    block.templates.append(rule)
  }

  private func template(_ text: String, _ groups: Set<String>, _ option: CorefileDirective) throws(WeftError)
    -> TemplateText
  {
    do throws(BytePatternError) {
      let template = try TemplateText(text, groups: groups)
      return template
    } catch {
      throw fail(option, "\(error)")
    }
  }

  // MARK: - Rewrite

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
      let classes = ["IN": 1, "CH": 3, "HS": 4, "ANY": 255] as [String: UInt16]
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
      guard let target = DomainName(to[0]) else { throw fail(directive, "\(to[0]) is not a name") }
      field = .cname(match, to: target)
    case "rcode":
      let (match, codes) = try match(&rest, directive, values: 2)
      guard let to = ResponseCode(name: codes[1]),
        codes[0].uppercased() == "ANY" || ResponseCode(name: codes[0]) != nil
      else { throw fail(directive, "two response codes such as SERVFAIL are needed") }
      field = .code(match, from: ResponseCode(name: codes[0]), to: to)
    case "edns0":
      warn(directive, "rewrite edns0", "options of queries are not sent on; the line has no effect")
      return
    default:
      throw fail(directive, "\(words[0]) cannot be rewritten; name, type, class, ttl, cname and rcode can")
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
