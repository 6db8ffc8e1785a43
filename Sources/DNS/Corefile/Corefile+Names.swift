// Plugins that know names themselves: hosts, file, template.

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
    var reload = 5.0
    for option in directive.block {
      switch option.name {
      case "ttl": table.ttl = try number(option, 1...65535)
      case "no_reverse": table.hasReverse = false
      case "reload": reload = try duration(option, 0...86400 * 365)
      case "fallthrough_unsupported":
        try nothing(option)
        table.passesUnsupported = true
      case "fallthrough":
        table.fallthroughZones = option.arguments.isEmpty ? [.root] : try zones(option.arguments, option)
      default:
        guard IPAddress(option.name) != nil, option.words.count > 1 else {
          throw fail(
            option,
            "an address and names, or ttl, no_reverse, reload, fallthrough, fallthrough_unsupported are needed"
          )
        }
        for word in option.arguments where DomainName(word) == nil {
          throw fail(option, "\(word) is not a name")
        }
        inline.append(option.words)
      }
    }
    if table.passesUnsupported, table.fallthroughZones.isEmpty {
      throw fail(directive, "fallthrough_unsupported needs fallthrough")
    }
    if let text = files(path) {
      table.add(text)
      table.path = path
      lookAtFiles(every: reload)
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
    var reload = 60.0
    for option in directive.block {
      switch option.name {
      case "reload": reload = try duration(option, 0...86400 * 365)
      case "fallthrough":
        fallthroughZones = option.arguments.isEmpty ? [.root] : try zones(option.arguments, option)
      default: throw fail(option, "reload and fallthrough are all there is")
      }
    }
    lookAtFiles(every: reload)
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
    guard arguments.count >= 2, let type = RecordType(arguments[1]) else {
      throw fail(directive, "a class and a type are needed, such as IN A", at: min(2, arguments.count))
    }
    guard ["IN", "ANY"].contains(arguments[0].uppercased()) else {
      throw fail(directive, "\(arguments[0]) is no class that is answered; IN and ANY are")
    }
    var rule = TemplateRule(
      type: type == .any ? nil : type, zones: try zones(arguments.dropFirst(2), directive))
    for option in directive.block where option.name == "match" {
      guard !option.arguments.isEmpty else { throw fail(option, "a pattern is needed") }
      for text in option.arguments { rule.patterns.append(try pattern(text, option)) }
    }
    if rule.patterns.isEmpty { rule.patterns = [try pattern(".*", directive)] }
    let groups = rule.patterns.dropFirst().reduce(Set(rule.patterns[0].names.keys)) {
      $0.intersection($1.names.keys)
    }
    // Records may use variables that stand behind them.
    for option in directive.block where ["var", "expr"].contains(option.name) {
      try readExpression(option, groups, &rule)
    }
    for option in directive.block {
      switch option.name {
      case "match", "var", "expr": break
      case "answer", "additional", "authority":
        guard !option.arguments.isEmpty else { throw fail(option, "a record is needed") }
        // Each word in quotes is a record; without quotes the line is one.
        let isQuoted = option.arguments.contains { $0.contains(" ") }
        for text in isQuoted ? Array(option.arguments) : [option.arguments.joined(separator: " ")] {
          let text = try template(text, groups, Set(rule.variables.map(\.name)), option)
          if option.name == "answer" { rule.answers.append(text) }
          if option.name == "additional" { rule.additional.append(text) }
          if option.name == "authority" { rule.authority.append(text) }
        }
      case "rcode":
        guard option.arguments.count == 1, let code = ResponseCode(name: option.words[1]) else {
          throw fail(option, "a response code such as NXDOMAIN is needed")
        }
        rule.code = code
      case "fallthrough":
        rule.fallthroughZones = option.arguments.isEmpty ? [.root] : try zones(option.arguments, option)
      case "ederror":
        guard (2...3).contains(option.words.count) else {
          throw fail(option, "a number of RFC 8914 is needed, and perhaps a reason in quotes")
        }
        let reason = option.words.count > 2 ? option.words[2] : ""
        guard reason.utf8.count <= ExtendedErrorNote.textBytesMax else {
          throw fail(option, "a reason has \(ExtendedErrorNote.textBytesMax) octets at most", at: 2)
        }
        rule.extendedError = ExtendedErrorNote(code: try number(option, 0...UInt16.max), text: reason)
      // Aliases are always followed, as this asks for.
      case "upstream": break
      default: throw fail(option, "there is no option of this name")
      }
    }
    block.templates.append(rule)
  }

  /// `var NAME EXPRESSION` and `expr EXPRESSION`.
  private func readExpression(
    _ option: CorefileDirective, _ groups: Set<String>, _ rule: inout TemplateRule
  ) throws(WeftError) {
    let isVariable = option.name == "var"
    let words = isVariable ? option.arguments.dropFirst() : option.arguments
    guard !words.isEmpty else {
      throw fail(option, isVariable ? "a name and an expression are needed" : "an expression is needed")
    }
    let text = words.joined(separator: " ")
    let known = ViewParser.Template(groups: groups, variables: Set(rule.variables.map(\.name)))
    let expression: ViewExpression
    do throws(BytePatternError) {
      expression = try ViewParser.parse(text, template: known)
    } catch {
      throw fail(option, "\(text): \(error)")
    }
    guard isVariable else { return rule.conditions.append(expression) }
    let name = option.words[1]
    guard ViewParser.isFree(name), !known.variables.contains(name) else {
      throw fail(option, "\(name) is no name for a variable, or has another meaning", at: 1)
    }
    rule.variables.append(TemplateRule.Variable(name: name, expression: expression))
  }

  private func template(
    _ text: String, _ groups: Set<String>, _ variables: Set<String>, _ option: CorefileDirective
  ) throws(WeftError) -> TemplateText {
    do throws(BytePatternError) {
      let template = try TemplateText(text, groups: groups, variables: variables)
      return template
    } catch {
      throw fail(option, "\(error)")
    }
  }
}
