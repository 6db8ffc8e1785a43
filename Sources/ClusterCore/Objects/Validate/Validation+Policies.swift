// Admission policies and their bindings: everything but their expressions, which whoever runs them compiles.

extension Validator {
  private static let matchConditionsMax = 64
  private static let auditAnnotationsMax = 20
  private static let auditExpressionBytesMax = 5 * 1024

  static let validatingPolicy = Rules(create: { validator, policy in
    let path: FieldPath = "spec"
    validator.policy(policy.spec, path)
    let validations = policy.spec["validations"]?.elements ?? []
    let annotations = policy.spec["auditAnnotations"]?.elements ?? []
    if validations.isEmpty, annotations.isEmpty {
      for field in ["validations", "auditAnnotations"] {
        validator.add(
          .required(
            path.child(field), "validations or auditAnnotations must contain at least one item"))
      }
    }
    for (position, validation) in validations.enumerated() {
      validator.validation(validation, path.child("validations").index(position))
    }
    validator.auditAnnotations(annotations, path.child("auditAnnotations"), policy.name)
  })

  static let mutatingPolicy = Rules(create: { validator, policy in
    let path: FieldPath = "spec"
    validator.policy(policy.spec, path)
    let mutations = policy.spec["mutations"]?.elements ?? []
    if mutations.isEmpty {
      validator.add(.required(path.child("mutations"), "mutations must contain at least one item"))
    }
    if (policy.spec["reinvocationPolicy"]?.string ?? "").isEmpty {
      validator.add(.required(path.child("reinvocationPolicy")))
    }
    for (position, mutation) in mutations.enumerated() {
      let place = path.child("mutations").index(position)
      for (type, field) in [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")] {
        if mutation["patchType"]?.string == type {
          if isBlank(mutation.at(field, "expression")) {
            validator.add(.required(place.child(field, "expression"), "expression is not specified"))
          }
        } else if mutation[field] != nil {
          validator.add(
            .invalid(
              place.child(field), mutation[field] ?? .null,
              "\(field) must not be specified when patchType is \(mutation["patchType"]?.string ?? "")"))
        }
      }
    }
  })

  static let validatingPolicyBinding = Rules(create: { validator, binding in
    validator.policyBinding(binding.spec, "spec")
    let actions = (binding.spec["validationActions"]?.elements ?? []).compactMap(\.string)
    let path: FieldPath = "spec.validationActions"
    if actions.isEmpty { validator.add(.required(path, "at least one validation action is required")) }
    validator.duplicates(actions.map(JSON.string), path)
    if actions.contains("Deny"), actions.contains("Warn") {
      validator.add(
        .invalid(
          path, binding.spec["validationActions"] ?? [],
          "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            + "response and headers serves no purpose)"))
    }
  })

  static let mutatingPolicyBinding = Rules(create: { $0.policyBinding($1.spec, "spec") })

  // MARK: - Parts of both

  private mutating func policy(_ spec: JSON, _ path: FieldPath) {
    if let kind = spec["paramKind"] { paramKind(kind, path.child("paramKind")) }
    let constraints = path.child("matchConstraints")
    if let match = spec["matchConstraints"] {
      matchResources(match, constraints)
      if (match["resourceRules"]?.elements ?? []).isEmpty {
        add(.required(constraints.child("resourceRules")))
      }
    } else {
      add(.required(constraints))
    }
    matchConditions(spec["matchConditions"], path.child("matchConditions"))
    for (position, variable) in (spec["variables"]?.elements ?? []).enumerated() {
      let place = path.child("variables").index(position)
      let name = variable["name"]?.string ?? ""
      if isBlank(variable["name"]) {
        add(.required(place.child("name"), "name is not specified"))
      } else if !isIdentifier(name) {
        add(.invalid(place.child("name"), .string(name), "name is not a valid CEL identifier"))
      }
      if isBlank(variable["expression"]) {
        add(.required(place.child("expression"), "expression is not specified"))
      }
    }
  }

  private mutating func paramKind(_ kind: JSON, _ path: FieldPath) {
    let apiVersion = kind["apiVersion"]?.string ?? ""
    let parts = apiVersion.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    let place = path.child("apiVersion")
    if apiVersion.isEmpty {
      add(.required(place))
    } else if parts.count > 2 {
      add(.invalid(place, .string(apiVersion), "unexpected GroupVersion string: \(apiVersion)"))
    } else {
      if parts.count == 2, !parts[0].isEmpty { check(parts[0], at: place, Names.subdomainProblem) }
      let version = parts.last ?? ""
      if version.isEmpty {
        add(.invalid(place, .string(apiVersion), "version must be specified"))
      } else {
        check(version, at: place, Names.label1035Problem)
      }
    }
    let name = kind["kind"]?.string ?? ""
    if name.isEmpty {
      add(.required(path.child("kind")))
    } else if let problem = Names.label1035Problem(name.lowercased()) {
      add(
        .invalid(
          path.child("kind"), .string(name),
          "may have mixed case, but should otherwise match: \(problem)"))
    }
  }

  private mutating func matchResources(_ match: JSON, _ path: FieldPath) {
    for field in ["namespaceSelector", "objectSelector"] {
      if let selector = match[field] { labelSelector(selector, path.child(field)) }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
      for (position, rule) in (match[field]?.elements ?? []).enumerated() {
        let place = path.child(field).index(position)
        let names = rule["resourceNames"]?.elements ?? []
        for (index, name) in names.enumerated() {
          check(
            name.string ?? "", at: place.child("resourceNames").index(index), Names.pathSegmentProblem)
        }
        duplicates(names, place.child("resourceNames"))
        admissionRule(rule, place)
      }
    }
  }

  mutating func matchConditions(_ conditions: JSON?, _ path: FieldPath) {
    let list = conditions?.elements ?? []
    if list.count > Self.matchConditionsMax { add(.tooMany(path, list.count, Self.matchConditionsMax)) }
    for (position, condition) in list.enumerated() {
      let place = path.index(position)
      if isBlank(condition["expression"]) { add(.required(place.child("expression"))) }
      if let name = condition["name"]?.string, !name.isEmpty {
        check(name, at: place.child("name"), Names.qualifiedNameProblem)
      }
    }
  }

  private mutating func validation(_ validation: JSON, _ path: FieldPath) {
    if isBlank(validation["expression"]) {
      add(.required(path.child("expression"), "expression is not specified"))
    }
    if let text = validation["messageExpression"], text != "", isBlank(text) {
      add(.invalid(path.child("messageExpression"), text, "must be non-empty if specified"))
    }
    if let text = validation["message"]?.string, !text.isEmpty {
      if isBlank(.string(text)) {
        add(
          .invalid(path.child("message"), .string(text), "message must be non-empty if specified"))
      } else if trimmed(text).contains(where: \.isNewline) {
        add(.invalid(path.child("message"), .string(text), "message must not contain line breaks"))
      }
    }
    if let reason = validation["reason"]?.string,
      !["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"].contains(reason)
    {
      add(
        .notSupported(
          path.child("reason"), .string(reason),
          ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"]))
    }
  }

  private mutating func auditAnnotations(_ annotations: [JSON], _ path: FieldPath, _ policy: String) {
    if annotations.count > Self.auditAnnotationsMax {
      add(
        .invalid(
          path, .array(annotations), "must not have more than \(Self.auditAnnotationsMax) auditAnnotations"))
    }
    var seen: Set<String> = []
    for (position, annotation) in annotations.enumerated() {
      let place = path.index(position)
      let key = annotation["key"]?.string ?? ""
      if !policy.isEmpty, let problem = Names.qualifiedNameProblem("\(policy)/\(key)") {
        add(.invalid(place.child("key"), .string("\(policy)/\(key)"), problem))
      }
      if !seen.insert(key).inserted { add(.duplicate(place.child("key"), .string(key))) }
      if isBlank(annotation["valueExpression"]) {
        add(.required(place.child("valueExpression"), "valueExpression is not specified"))
      } else if (annotation["valueExpression"]?.string ?? "").utf8.count > Self.auditExpressionBytesMax {
        add(
          .required(
            place.child("valueExpression"), "must not exceed \(Self.auditExpressionBytesMax) bytes in length")
        )
      }
    }
  }

  private mutating func policyBinding(_ spec: JSON, _ path: FieldPath) {
    let name = spec["policyName"]?.string ?? ""
    if name.isEmpty {
      add(.required(path.child("policyName")))
    } else {
      check(name, at: path.child("policyName"), Names.subdomainProblem)
    }
    if let reference = spec["paramRef"] {
      let place = path.child("paramRef")
      let hasName = !(reference["name"]?.string ?? "").isEmpty
      if hasName {
        check(reference["name"]?.string ?? "", at: place.child("name"), Names.pathSegmentProblem)
      }
      if hasName, reference["selector"] != nil {
        add(.forbidden(place.child("name"), "name and selector are mutually exclusive"))
      } else if !hasName, reference["selector"] == nil {
        add(.required(place, "one of name or selector must be specified"))
      }
      if reference["parameterNotFoundAction"] == nil {
        add(.required(place.child("parameterNotFoundAction")))
      } else {
        oneOf(
          reference["parameterNotFoundAction"], place.child("parameterNotFoundAction"), ["Allow", "Deny"])
      }
    }
    if let match = spec["matchResources"] { matchResources(match, path.child("matchResources")) }
  }

  // MARK: - Which requests

  /// Operations, groups, versions and resources that a webhook or policy is asked about.
  mutating func admissionRule(_ rule: JSON, _ path: FieldPath) {
    for (field, words) in [
      ("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions"),
    ] {
      let values = rule[field]?.elements ?? []
      if values.isEmpty { add(.required(path.child(field))) }
      if values.count > 1, values.contains("*") {
        add(
          .invalid(
            path.child(field), .array(values), "if '*' is present, must not specify other \(words)"))
      }
      if field == "apiVersions" {
        for (position, value) in values.enumerated() where value == "" {
          add(.required(path.child(field).index(position)))
        }
      }
    }
    admissionResources(rule["resources"]?.elements ?? [], path.child("resources"))
  }

  private mutating func admissionResources(_ resources: [JSON], _ path: FieldPath) {
    if resources.isEmpty { add(.required(path)) }
    let texts = resources.map { $0.string ?? "" }
    var wholes: Set<Substring> = []  // `pods/*`
    var anywhere: Set<Substring> = []  // `*/status`
    for (position, text) in texts.enumerated() {
      if text.isEmpty { add(.required(path.index(position))) }
      let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, text != "*/*" else { continue }
      if wholes.contains(parts[0]) {
        add(
          .invalid(
            path.index(position), .string(text),
            "if '\(parts[0])/*' is present, must not specify \(text)"))
      }
      if anywhere.contains(parts[1]) {
        add(
          .invalid(
            path.index(position), .string(text),
            "if '*/\(parts[1])' is present, must not specify \(text)"))
      }
      if parts[1] == "*" { wholes.insert(parts[0]) }
      if parts[0] == "*" { anywhere.insert(parts[1]) }
    }
    if texts.count > 1, texts.contains("*/*") {
      add(
        .invalid(path, .array(resources), "if '*/*' is present, must not specify other resources"))
    }
    if texts.contains("*"), texts.contains(where: { $0 != "*" && !$0.contains("/") }) {
      add(
        .invalid(
          path, .array(resources),
          "if '*' is present, must not specify other resources without subresources"))
    }
  }

  // MARK: - Texts

  private func trimmed(_ text: String) -> Substring {
    var text = text[...]
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return text
  }

  private func isIdentifier(_ name: String) -> Bool {
    let bytes = name.utf8
    func isLetter(_ byte: UInt8) -> Bool {
      (65...90).contains(byte) || (97...122).contains(byte) || byte == UInt8(ascii: "_")
    }
    guard let first = bytes.first, isLetter(first) else { return false }
    return bytes.allSatisfy { isLetter($0) || (48...57).contains($0) }
  }
}

private func isBlank(_ text: JSON?) -> Bool { (text?.string ?? "").allSatisfy(\.isWhitespace) }
