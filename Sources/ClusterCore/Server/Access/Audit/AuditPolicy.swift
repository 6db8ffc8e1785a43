// Which requests are recorded, and how much of them: `Policy` of audit.k8s.io/v1. The first rule that matches
// decides; without one nothing is recorded.

import ClusterClient
import ClusterObjects
import Diagnostics

enum AuditLevel: Int, Sendable, Comparable, CaseIterable {
  case none, metadata, request, requestResponse
  static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  var text: String { ["None", "Metadata", "Request", "RequestResponse"][rawValue] }
  init?(_ text: String) {
    guard let level = Self.allCases.first(where: { $0.text == text }) else { return nil }
    self = level
  }
}

enum AuditStage: String, Sendable, CaseIterable {
  case requestReceived = "RequestReceived"
  /// Headers are sent, the body goes on: watches.
  case responseStarted = "ResponseStarted"
  case responseComplete = "ResponseComplete"
  case panic = "Panic"
}

struct AuditPolicy: Sendable {
  struct Resources: Sendable {
    var group: String
    var resources: [String]
    var names: [String]
  }
  struct Rule: Sendable {
    var level: AuditLevel
    var users: [String]
    var userGroups: [String]
    var verbs: [String]
    var resources: [Resources]
    var namespaces: [String]
    var paths: [String]
    var omitStages: Set<AuditStage>
    var omitManagedFields: Bool?
  }
  /// What is decided for one request.
  struct Decision: Sendable, Equatable {
    var level: AuditLevel
    var omitStages: Set<AuditStage> = []
    var omitManagedFields = false
  }

  var rules: [Rule] = []
  var omitStages: Set<AuditStage> = []
  var omitManagedFields = false

  func decide(_ request: AccessAttributes) -> Decision {
    guard let rule = rules.first(where: { Self.matches($0, request) }) else { return Decision(level: .none) }
    return Decision(
      level: rule.level, omitStages: rule.omitStages.union(omitStages),
      omitManagedFields: rule.omitManagedFields ?? omitManagedFields)
  }

  private static func matches(_ rule: Rule, _ request: AccessAttributes) -> Bool {
    if !rule.users.isEmpty, !rule.users.contains(request.identity.user) { return false }
    if !rule.userGroups.isEmpty, !rule.userGroups.contains(where: request.identity.groups.contains) {
      return false
    }
    if !rule.verbs.isEmpty, !rule.verbs.contains(request.verb) { return false }
    if !rule.namespaces.isEmpty || !rule.resources.isEmpty { return matchesResource(rule, request) }
    if !rule.paths.isEmpty {
      return !request.isResource && rule.paths.contains { matches(path: request.path, $0) }
    }
    return true
  }

  private static func matches(path: String, _ pattern: String) -> Bool {
    if pattern == "*" || pattern == path { return true }
    return pattern.hasSuffix("*") && path.hasPrefix(pattern.dropLast())
  }

  private static func matchesResource(_ rule: Rule, _ request: AccessAttributes) -> Bool {
    guard request.isResource else { return false }
    if !rule.namespaces.isEmpty, !rule.namespaces.contains(request.namespace) { return false }
    if rule.resources.isEmpty { return true }
    let combined =
      request.subresource.isEmpty ? request.resource : "\(request.resource)/\(request.subresource)"
    return rule.resources.contains { wanted in
      guard wanted.group == request.group else { return false }
      if wanted.resources.isEmpty { return true }
      guard wanted.names.isEmpty || wanted.names.contains(request.name) else { return false }
      return wanted.resources.contains { pattern in
        if pattern == "*" || pattern == combined { return true }
        if pattern.hasPrefix("*/") { return pattern.dropFirst(2) == request.subresource }
        return pattern.hasSuffix("/*") && pattern.dropLast(2) == request.resource
      }
    }
  }
}

// MARK: - Reading

extension AuditPolicy {
  /// Rules of one policy.
  static let rulesMax = 10_000

  init(path: String) throws(WeftError) {
    guard let text = try PrivateFile.read(path) else {
      throw WeftError(
        "API0014", object: path, cause: "there is no such file", next: "give the path of an audit policy")
    }
    let tree: JSON
    do throws(DecodeError) { tree = try YAML.tree(Array(text.utf8)) } catch {
      throw Self.refusal(path, [FieldError.invalid("", .null, error.message)])
    }
    try self.init(tree, path: path)
  }

  /// Errors: `API0014` with all that is wrong.
  init(_ tree: JSON, path: String) throws(WeftError) {
    var reader = Reader()
    reader.check(tree, "", ["apiVersion", "kind", "metadata", "omitManagedFields", "omitStages", "rules"])
    if tree.apiVersion != "audit.k8s.io/v1" || tree.kind != "Policy" {
      reader.errors.append(
        .invalid("apiVersion", JSON("\(tree.apiVersion) \(tree.kind)"), "must be audit.k8s.io/v1 Policy"))
    }
    omitStages = reader.stages(tree["omitStages"], "omitStages")
    omitManagedFields = tree["omitManagedFields"]?.bool ?? false
    for (index, rule) in (tree["rules"]?.elements ?? []).prefix(Self.rulesMax).enumerated() {
      rules.append(reader.rule(rule, FieldPath("rules[\(index)]")))
    }
    if rules.isEmpty { reader.errors.append(.required("rules", "a policy without rules records nothing")) }
    if !reader.errors.isEmpty { throw Self.refusal(path, reader.errors) }
  }

  private static func refusal(_ path: String, _ errors: [FieldError]) -> WeftError {
    WeftError(
      "API0014", object: path, cause: "is no audit policy: \(FieldError.summary(errors))",
      next: "correct the file; its form is Policy of audit.k8s.io/v1")
  }

  private struct Reader {
    var errors: [FieldError] = []

    mutating func check(_ tree: JSON, _ path: FieldPath, _ known: Set<String>) {
      guard let object = tree.object else {
        errors.append(.invalid(path, tree, "must be an object"))
        return
      }
      for key in object.keys where !known.contains(key) {
        errors.append(.invalid(path.child(key), .string(key), "unknown field"))
      }
    }

    mutating func texts(_ tree: JSON?, _ path: FieldPath) -> [String] {
      guard let tree, !tree.isNull else { return [] }
      guard let list = tree.array else {
        errors.append(.invalid(path, tree, "must be a list"))
        return []
      }
      return list.enumerated().compactMap { index, element in
        if let text = element.string { return text }
        errors.append(.invalid(path.index(index), element, "must be a text"))
        return nil
      }
    }

    mutating func stages(_ tree: JSON?, _ path: FieldPath) -> Set<AuditStage> {
      var stages: Set<AuditStage> = []
      for (index, text) in texts(tree, path).enumerated() {
        if let stage = AuditStage(rawValue: text) {
          stages.insert(stage)
        } else {
          errors.append(.notSupported(path.index(index), JSON(text), AuditStage.allCases.map(\.rawValue)))
        }
      }
      return stages
    }

    mutating func rule(_ tree: JSON, _ path: FieldPath) -> Rule {
      check(
        tree, path,
        [
          "level", "namespaces", "nonResourceURLs", "omitManagedFields", "omitStages", "resources",
          "userGroups", "users", "verbs",
        ])
      let text = tree["level"]?.string ?? ""
      let level = AuditLevel(text)
      if level == nil {
        errors.append(
          text.isEmpty
            ? .required(path.child("level"))
            : .notSupported(path.child("level"), JSON(text), AuditLevel.allCases.map(\.text)))
      }
      var rule = Rule(
        level: level ?? .none, users: texts(tree["users"], path.child("users")),
        userGroups: texts(tree["userGroups"], path.child("userGroups")),
        verbs: texts(tree["verbs"], path.child("verbs")), resources: [],
        namespaces: texts(tree["namespaces"], path.child("namespaces")),
        paths: texts(tree["nonResourceURLs"], path.child("nonResourceURLs")),
        omitStages: stages(tree["omitStages"], path.child("omitStages")),
        omitManagedFields: tree["omitManagedFields"]?.bool)
      for (index, entry) in (tree["resources"]?.elements ?? []).enumerated() {
        let path = path.child("resources").index(index)
        check(entry, path, ["group", "resourceNames", "resources"])
        let wanted = Resources(
          group: entry["group"]?.string ?? "", resources: texts(entry["resources"], path.child("resources")),
          names: texts(entry["resourceNames"], path.child("resourceNames")))
        if wanted.group.contains("/") {
          errors.append(.invalid(path.child("group"), JSON(wanted.group), "a group, without its version"))
        }
        if wanted.resources.isEmpty, !wanted.names.isEmpty {
          errors.append(
            .invalid(
              path.child("resourceNames"), JSON(wanted.names), "using resourceNames requires resources"))
        }
        rule.resources.append(wanted)
      }
      let pathsPath = path.child("nonResourceURLs")
      for (index, text) in rule.paths.enumerated() where text != "*" {
        if !text.hasPrefix("/") || text.dropLast().contains("*") {
          errors.append(
            .invalid(
              pathsPath.index(index), JSON(text),
              "a path begins with '/', and '*' stands alone or at its end"))
        }
      }
      if !rule.paths.isEmpty, !rule.resources.isEmpty || !rule.namespaces.isEmpty {
        errors.append(
          .invalid(
            pathsPath, JSON(rule.paths),
            "rules cannot apply to both regular resources and non-resource URLs"))
      }
      return rule
    }
  }
}
