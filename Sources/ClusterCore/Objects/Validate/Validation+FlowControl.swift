// How requests share the server: which ones flow together, and what each priority level may take.

extension Validator {
  private static let precedenceMax: Int64 = 10_000
  private static let queuesMax: Int64 = 10_000_000
  private static let verbs: Set<String> = [
    "get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy",
  ]

  // MARK: - Flow schemas

  static let flowSchema = Rules(create: { validator, schema in
    let spec = schema.spec
    let path: FieldPath = "spec"
    let precedence = spec["matchingPrecedence"]?.integer ?? 0
    let place = path.child("matchingPrecedence")
    if precedence <= 0 { validator.add(.invalid(place, .integer(precedence), "must be a positive value")) }
    if precedence > Validator.precedenceMax {
      validator.add(
        .invalid(place, .integer(precedence), "must not be greater than \(Validator.precedenceMax)"))
    }
    if precedence == 1, schema.name != "exempt" {
      validator.add(
        .invalid(place, 1, "only the schema named 'exempt' may have matchingPrecedence 1"))
    }
    if let method = spec["distinguisherMethod"] {
      validator.oneOf(method["type"], path.child("distinguisherMethod", "type"), ["ByNamespace", "ByUser"])
    }
    let level = path.child("priorityLevelConfiguration", "name")
    let name = spec.at("priorityLevelConfiguration", "name")?.string ?? ""
    if name.isEmpty {
      validator.add(.required(level, "must reference a priority level"))
    } else {
      validator.check(name, at: level, Names.subdomainProblem)
    }
    for (position, rule) in (spec["rules"]?.elements ?? []).enumerated() {
      validator.flowRule(rule, path.child("rules").index(position))
    }
  })

  private mutating func flowRule(_ rule: JSON, _ path: FieldPath) {
    let subjects = rule["subjects"]?.elements ?? []
    if subjects.isEmpty {
      add(.required(path.child("subjects"), "subjects must contain at least one value"))
    }
    for (position, subject) in subjects.enumerated() {
      flowSubject(subject, path.child("subjects").index(position))
    }
    let resources = rule["resourceRules"]?.elements ?? []
    let others = rule["nonResourceRules"]?.elements ?? []
    if resources.isEmpty, others.isEmpty {
      add(
        .required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    }
    for (position, rule) in resources.enumerated() {
      let place = path.child("resourceRules").index(position)
      flowVerbs(rule, place)
      flowList(
        rule, "apiGroups", place, "resource rules must supply at least one api group", "api groups")
      flowList(
        rule, "resources", place, "resource rules must supply at least one resource", "resources")
      let namespaces = rule["namespaces"]?.elements ?? []
      if namespaces.isEmpty, rule["clusterScope"]?.bool != true {
        add(
          .required(
            place.child("namespaces"),
            "resource rules that are not cluster scoped must supply at least one namespace"))
      } else if namespaces.contains("*") {
        if namespaces.count > 1 {
          add(
            .invalid(
              place.child("namespaces"), .array(namespaces),
              "if '*' is present, must not specify other namespaces"))
        }
      } else {
        for (index, name) in namespaces.enumerated() {
          check(name.string ?? "", at: place.child("namespaces").index(index)) {
            Names.labelProblem($0).map { "each member of this list must be '*' or a DNS-1123 label; \($0)" }
          }
        }
      }
    }
    for (position, rule) in others.enumerated() {
      let place = path.child("nonResourceRules").index(position)
      flowVerbs(rule, place)
      flowList(
        rule, "nonResourceURLs", place, "nonResourceURLs must contain at least one value",
        "non-resource URLs")
      let urls = rule["nonResourceURLs"]?.elements ?? []
      for (index, url) in urls.enumerated() where !urls.contains("*") {
        check(url.string ?? "", at: place.child("nonResourceURLs").index(index), Self.urlProblem)
      }
    }
  }

  private static func urlProblem(_ path: String) -> String? {
    if path.isEmpty { return "must not be empty" }
    if path == "/" { return nil }
    if !path.hasPrefix("/") { return "must start with slash" }
    if path.contains(" ") { return "must not contain white-space" }
    if path.contains("//") { return "must not contain double slash" }
    let stars = path.utf8.count { $0 == UInt8(ascii: "*") }
    return stars > 1 || stars == 1 && !path.hasSuffix("/*") ? "wildcard can only do suffix matching" : nil
  }

  private mutating func flowVerbs(_ rule: JSON, _ path: FieldPath) {
    flowList(rule, "verbs", path, "verbs must contain at least one value", "verbs")
    let verbs = rule["verbs"]?.elements ?? []
    if !verbs.contains("*"), !Set(verbs.compactMap(\.string)).isSubset(of: Self.verbs) {
      add(.notSupported(path.child("verbs"), .array(verbs), Array(Self.verbs)))
    }
  }

  private mutating func flowList(
    _ rule: JSON, _ field: String, _ path: FieldPath, _ missing: String, _ words: String
  ) {
    let values = rule[field]?.elements ?? []
    if values.isEmpty { add(.required(path.child(field), missing)) }
    if values.count > 1, values.contains("*") {
      add(
        .invalid(
          path.child(field), .array(values), "if '*' is present, must not specify other \(words)"))
    }
  }

  private mutating func flowSubject(_ subject: JSON, _ path: FieldPath) {
    let kinds = [("User", "user"), ("Group", "group"), ("ServiceAccount", "serviceAccount")]
    guard let kind = kinds.first(where: { $0.0 == subject["kind"]?.string }) else {
      return oneOf(subject["kind"], path.child("kind"), ["Group", "ServiceAccount", "User"])
    }
    if subject[kind.1] == nil {
      add(
        .required(path.child(kind.1), "\(kind.1) is required when subject kind is '\(kind.0)'"))
    }
    for other in kinds where other.0 != kind.0 && subject[other.1] != nil {
      add(
        .forbidden(
          path.child(other.1), "\(other.1) is forbidden when subject kind is not '\(other.0)'"))
    }
    guard kind.0 == "ServiceAccount", let account = subject["serviceAccount"] else { return }
    let place = path.child("serviceAccount")
    if let name = account["name"]?.string, !name.isEmpty, name != "*" {
      check(name, at: place.child("name"), Names.subdomainProblem)
    }
    let namespace = account["namespace"]?.string ?? ""
    if namespace.isEmpty {
      add(.required(place.child("namespace"), "must specify namespace for service account"))
    } else {
      check(namespace, at: place.child("namespace"), Names.labelProblem)
    }
  }

  // MARK: - Priority levels

  static let priorityLevel = Rules(create: { validator, level in
    let spec = level.spec
    let path: FieldPath = "spec"
    let type = spec["type"]?.string ?? ""
    if (level.name == "exempt") != (type == "Exempt") {
      validator.add(
        .invalid(
          path.child("type"), .string(type), "type must be 'Exempt' if and only if name is 'exempt'"))
    }
    switch type {
    case "Exempt":
      if spec["limited"] != nil {
        validator.add(.forbidden(path.child("limited"), "must be nil if the type is not Limited"))
      }
    case "Limited":
      if spec["exempt"] != nil {
        validator.add(.forbidden(path.child("exempt"), "must be nil if the type is Limited"))
      }
      guard let limited = spec["limited"] else {
        return validator.add(
          .required(path.child("limited"), "must not be empty when type is Limited"))
      }
      validator.limited(limited, path.child("limited"))
    default: validator.oneOf(spec["type"], path.child("type"), ["Exempt", "Limited"])
    }
  })

  private mutating func limited(_ limited: JSON, _ path: FieldPath) {
    if let shares = limited["nominalConcurrencyShares"]?.integer, shares < 0 {
      add(
        .invalid(path.child("nominalConcurrencyShares"), .integer(shares), "must be a non-negative integer"))
    }
    if let percent = limited["lendablePercent"]?.integer, !(0...100).contains(percent) {
      add(
        .invalid(
          path.child("lendablePercent"), .integer(percent), "must be between 0 and 100, inclusive"))
    }
    if let percent = limited["borrowingLimitPercent"]?.integer, percent < 0 {
      add(
        .invalid(
          path.child("borrowingLimitPercent"), .integer(percent),
          "if specified, must be a non-negative integer"))
    }
    let response = limited["limitResponse"] ?? [:]
    let place = path.child("limitResponse")
    switch response["type"]?.string {
    case "Reject":
      if response["queuing"] != nil {
        add(
          .forbidden(
            place.child("queuing"), "must be nil if limited.limitResponse.type is not Limited"))
      }
    case "Queue":
      guard let queuing = response["queuing"] else {
        return add(
          .required(
            place.child("queuing"), "must not be empty if limited.limitResponse.type is Limited"))
      }
      self.queuing(queuing, place.child("queuing"))
    default: oneOf(response["type"], place.child("type"), ["Queue", "Reject"])
    }
  }

  private mutating func queuing(_ queuing: JSON, _ path: FieldPath) {
    func number(_ field: String) -> Int64 { queuing[field]?.integer ?? 0 }
    for field in ["queueLengthLimit", "queues", "handSize"] where number(field) <= 0 {
      add(.invalid(path.child(field), .integer(number(field)), "must be positive"))
    }
    if number("queues") > Self.queuesMax {
      add(
        .invalid(
          path.child("queues"), .integer(number("queues")),
          "must not be greater than \(Self.queuesMax)"))
    }
    if number("handSize") > number("queues") {
      add(
        .invalid(
          path.child("handSize"), .integer(number("handSize")),
          "should not be greater than queues (\(number("queues")))"))
    }
  }
}
