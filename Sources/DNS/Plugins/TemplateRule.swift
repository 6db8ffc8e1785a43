// `template`: answers made from the question by patterns.

import Addresses
import Patterns

/// One `template` block.
public struct TemplateRule: Sendable {
  /// Nil means any type.
  var type: RecordType?
  var zones: [DomainName]
  var patterns: [BytePattern] = []
  /// `var`, each with what stands before it known, and `expr`: what must hold too.
  var variables: [Variable] = []
  var conditions: [ViewExpression] = []
  var answers: [TemplateText] = []
  var additional: [TemplateText] = []
  var authority: [TemplateText] = []
  var code = ResponseCode.noError
  /// `ederror`.
  var extendedError: ExtendedErrorNote?
  var fallthroughZones: [DomainName] = []

  struct Variable: Sendable {
    var name: String
    var expression: ViewExpression
  }

  /// What became of a question that the rule is for.
  enum Outcome {
    /// No pattern knows the name, and the next rule is asked.
    case passed
    case answered(Message)
    /// A place could not be filled, or what came of it is no record: SERVFAIL.
    case failed(Message, section: String, template: String, isRecord: Bool)
  }

  /// The longest of the rule's zones that a name is in; nil when the rule is not for the question.
  func zone(_ question: Message.Question) -> DomainName? {
    guard type == nil || type == question.type else { return nil }
    return zones.filter { question.name.isWithin($0) }.max { $0.wire.count < $1.wire.count }
  }

  /// - Parameter noteMatch: called when a pattern knows the name.
  func answer(_ question: Message.Question, _ client: Client, zone: DomainName, noteMatch: () -> Void)
    -> Outcome
  {
    // In lower case, as CoreDNS hands it to templates.
    let name = question.name.description.lowercased()
    let text = Array(name.utf8)
    var match: (pattern: BytePattern, groups: [Range<Int>?])?
    for pattern in patterns {
      if let groups = pattern.match(text) {
        match = (pattern, groups)
        break
      }
    }
    guard let match else { return unknown(question) }
    var values = [
      "Name": name, "Zone": "\(zone)", "Type": "\(question.type)", "Class": "IN",
      "Remote": "\(client.endpoint.address)", "Question.Name": "\(question.name)",
      "Question.Qtype": "\(question.type.rawValue)", "Question.Qclass": "1",
    ]
    for (index, range) in match.groups.enumerated() {
      values["Match \(index)"] = range.map { String(decoding: text[$0], as: UTF8.self) } ?? ""
    }
    for (name, index) in match.pattern.names { values["Group.\(name)"] = values["Match \(index)"] }
    guard holds(question, client, &values) else { return unknown(question) }
    noteMatch()
    var reply = Message.reply(question, code)
    reply.extendedError = extendedError
    for (section, texts, path) in [
      ("answer", answers, \Message.answer), ("additional", additional, \Message.additional),
      ("authority", authority, \Message.authority),
    ] {
      for text in texts {
        let filled = text.filled(values)
        guard let record = filled.flatMap({ try? ZoneText.record($0, origin: .root) }) else {
          return .failed(
            .reply(question, .serverFailure), section: section, template: text.source,
            isRecord: filled != nil)
        }
        reply[keyPath: path].append(record)
      }
    }
    return .answered(reply)
  }

  /// A name that no pattern knows, or of which a condition does not hold. CoreDNS answers with SERVFAIL unless it falls through.
  private func unknown(_ question: Message.Question) -> Outcome {
    if fallthroughZones.contains(where: { question.name.isWithin($0) }) { return .passed }
    return .answered(.reply(question, .serverFailure))
  }

  /// Works the variables out, into `values` too, and whether every condition holds.
  private func holds(_ question: Message.Question, _ client: Client, _ values: inout [String: String]) -> Bool
  {
    if variables.isEmpty, conditions.isEmpty { return true }
    var known: [String: ViewExpression.Value] = [:]
    func value(_ expression: ViewExpression) -> ViewExpression.Value {
      let values = values
      let whole = expression.knowing { leaf in
        switch leaf {
        case .group(let name): .text(values["Group.\(name)"] ?? values["Match \(name)"] ?? "")
        case .variable(let name): known[name]
        default: nil
        }
      }
      return whole.value(question, client, QueryHead())
    }
    for variable in variables {
      let result = value(variable.expression)
      known[variable.name] = result
      values["Var.\(variable.name)"] = "\(result)"
    }
    return conditions.allSatisfy { value($0) == .truth(true) }
  }
}
