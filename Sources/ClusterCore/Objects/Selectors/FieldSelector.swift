// Field selectors: `spec.nodeName=n1,status.phase!=Failed`, and which fields each kind can be selected by.

/// A conjunction of comparisons of fields with texts.
public struct FieldSelector: Sendable, Hashable, CustomStringConvertible {
  public struct Term: Sendable, Hashable {
    public var field: String
    public var value: String
    public var isEqual: Bool
    public init(_ field: String, _ value: String, isEqual: Bool = true) {
      self.field = field
      self.value = value
      self.isEqual = isEqual
    }
  }
  public var terms: [Term]

  public init(_ terms: [Term] = []) { self.terms = terms }
  public static let everything = FieldSelector()
  public var isEmpty: Bool { terms.isEmpty }

  /// From the text of a request. `\` escapes `,`, `=` and itself.
  public init(parsing text: String) throws(SelectorError) {
    terms = []
    var parts: [[Character]] = [[]]
    var isEscaped = false
    for character in text {
      if isEscaped {
        parts[parts.count - 1].append(character)
        isEscaped = false
      } else if character == "\\" {
        parts[parts.count - 1].append(character)
        isEscaped = true
      } else if character == "," {
        parts.append([])
      } else {
        parts[parts.count - 1].append(character)
      }
    }
    for part in parts where !part.isEmpty {
      guard let position = part.firstIndex(of: "="), position > 0 else {
        throw SelectorError("invalid selector: '\(String(part))'; can't understand '\(String(part))'")
      }
      let isDifferent = part[position - 1] == "!"
      guard position > 1 || !isDifferent else {
        throw SelectorError("invalid selector: '\(String(part))'; can't understand '\(String(part))'")
      }
      var value = part[(position + 1)...]
      if !isDifferent, value.first == "=" { value = value.dropFirst() }
      let field = String(part[..<(isDifferent ? position - 1 : position)])
      var plain = ""
      var escaped = false
      for character in value {
        if character == "\\", !escaped {
          escaped = true
        } else {
          plain.append(character)
          escaped = false
        }
      }
      terms.append(Term(field, plain, isEqual: !isDifferent))
    }
  }

  public var description: String {
    terms.map { "\($0.field)\($0.isEqual ? "=" : "!=")\($0.value)" }.joined(separator: ",")
  }

  /// Whether an object's fields satisfy every term. Absent fields read as empty text.
  public func matches(_ object: JSON) -> Bool {
    terms.allSatisfy { (Self.value($0.field, of: object) == $0.value) == $0.isEqual }
  }

  /// The single name that an object must have, when the selector demands one: lists and watches of one
  /// object.
  public var name: String? { terms.first { $0.field == "metadata.name" && $0.isEqual }?.value }

  private static func value(_ field: String, of object: JSON) -> String {
    switch field {
    case "metadata.name": return object.name
    case "metadata.namespace": return object.namespace
    case "source" where object["involvedObject"] != nil:
      return object.at("source", "component")?.string ?? object["reportingComponent"]?.string ?? ""
    case "reason" where object.kind == "Event", "type":
      return object[field]?.string ?? ""
    case "status.successful": return String(object.at("status", "succeeded")?.integer ?? 0)
    case "status.replicas": return String(object.at("status", "replicas")?.integer ?? 0)
    case "status.podIPs":
      return object.at("status", "podIPs")?.elements.compactMap { $0["ip"]?.string }.joined(separator: ",")
        ?? ""
    default: break
    }
    switch object.at(field.split(separator: ".").map(String.init)) {
    case .string(let text): return text
    case .bool(let flag): return flag ? "true" : "false"
    case .integer(let number): return String(number)
    default:
      return booleans.contains(field) ? "false" : ""
    }
  }

  private static let booleans: Set<String> = ["spec.unschedulable", "spec.hostNetwork"]
}

extension ResourceKind {
  /// The fields that lists and watches of the kind can be selected by.
  public var selectableFields: [String] {
    let common = ["metadata.name", "metadata.namespace"]
    if let custom { return common + custom.selectableFields }
    return switch kind {
    case "Pod" where group.isEmpty:
      common + [
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
      ]
    case "Event" where group.isEmpty:
      common + [
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
      ]
    case "Event":
      common + [
        "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
        "regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type",
      ]
    case "Node" where group.isEmpty: common + ["spec.unschedulable"]
    case "Namespace" where group.isEmpty: common + ["status.phase"]
    case "Secret" where group.isEmpty: common + ["type"]
    case "Service" where group.isEmpty: common + ["spec.clusterIP", "spec.type"]
    case "ReplicaSet" where group == "apps": common + ["status.replicas"]
    case "ReplicationController" where group.isEmpty: common + ["status.replicas"]
    case "Job" where group == "batch": common + ["status.successful"]
    default: common
    }
  }

  /// Reads a field selector and checks that the kind can be selected by its fields.
  public func fieldSelector(parsing text: String) throws(SelectorError) -> FieldSelector {
    let selector = try FieldSelector(parsing: text)
    let allowed = selectableFields
    for term in selector.terms where !allowed.contains(term.field) {
      throw SelectorError("field label not supported: \(term.field)")
    }
    return selector
  }
}
