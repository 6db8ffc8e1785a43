// Roles, who holds them, and requests for certificates.

extension Validator {
  private static let rbac = "rbac.authorization.k8s.io"

  // MARK: - Roles

  static let role = Rules(
    create: { $0.policyRules($1["rules"], isNamespaced: true) }, checksAlways: true)
  static let clusterRole = Rules(
    create: { validator, role in
      validator.policyRules(role["rules"], isNamespaced: false)
      let selectors: FieldPath = "aggregationRule.clusterRoleSelectors"
      guard let aggregation = role["aggregationRule"] else { return }
      let chosen = aggregation["clusterRoleSelectors"]?.elements ?? []
      if chosen.isEmpty {
        validator.add(
          .required(selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
      }
      for (position, selector) in chosen.enumerated() {
        validator.labelSelector(selector, selectors.index(position))
      }
    }, checksAlways: true)

  private mutating func policyRules(_ rules: JSON?, isNamespaced: Bool) {
    for (position, rule) in (rules?.elements ?? []).enumerated() {
      let path = FieldPath("rules").index(position)
      func isEmpty(_ field: String) -> Bool { rule[field]?.elements.isEmpty ?? true }
      if isEmpty("verbs") { add(.required(path.child("verbs"), "verbs must contain at least one value")) }
      if !isEmpty("nonResourceURLs") {
        let urls = rule["nonResourceURLs"] ?? []
        if isNamespaced {
          add(
            .invalid(
              path.child("nonResourceURLs"), urls, "namespaced rules cannot apply to non-resource URLs"))
        }
        if !isEmpty("apiGroups") || !isEmpty("resources") || !isEmpty("resourceNames") {
          add(
            .invalid(
              path.child("nonResourceURLs"), urls,
              "rules cannot apply to both regular resources and non-resource URLs"))
        }
        continue
      }
      if isEmpty("apiGroups") {
        add(.required(path.child("apiGroups"), "resource rules must supply at least one api group"))
      }
      if isEmpty("resources") {
        add(.required(path.child("resources"), "resource rules must supply at least one resource"))
      }
    }
  }

  // MARK: - Bindings

  static let roleBinding = Rules(
    create: { $0.binding($1, roles: ["Role", "ClusterRole"]) }, update: { $0.bindingUpdate($1, $2) },
    checksAlways: true)
  static let clusterRoleBinding = Rules(
    create: { $0.binding($1, roles: ["ClusterRole"]) }, update: { $0.bindingUpdate($1, $2) },
    checksAlways: true)

  private mutating func bindingUpdate(_ new: JSON, _ old: JSON) {
    // Who may change a binding could else give a role away that they do not hold.
    if new["roleRef"] != old["roleRef"] {
      add(.invalid("roleRef", new["roleRef"] ?? .null, "cannot change roleRef"))
    }
  }

  private mutating func binding(_ binding: JSON, roles: [String]) {
    let reference = binding["roleRef"] ?? [:]
    let path: FieldPath = "roleRef"
    let group = reference["apiGroup"]?.string ?? ""
    if group != Self.rbac { add(.notSupported(path.child("apiGroup"), .string(group), [Self.rbac])) }
    oneOf(reference["kind"], path.child("kind"), roles)
    if let name = reference["name"]?.string, !name.isEmpty {
      check(name, at: path.child("name"), Names.pathSegmentProblem)
    }
    for (position, subject) in (binding["subjects"]?.elements ?? []).enumerated() {
      self.subject(
        subject, FieldPath("subjects").index(position), isNamespaced: roles.contains("Role"))
    }
  }

  private mutating func subject(_ subject: JSON, _ path: FieldPath, isNamespaced: Bool) {
    let name = subject["name"]?.string ?? ""
    let group = subject["apiGroup"]?.string ?? ""
    switch subject["kind"]?.string {
    case "ServiceAccount":
      if !name.isEmpty { check(name, at: path.child("name"), Names.subdomainProblem) }
      if !group.isEmpty {
        add(FieldError(.notSupported, path.child("apiGroup"), .string(group), "supported values: \"\""))
      }
      if !isNamespaced, (subject["namespace"]?.string ?? "").isEmpty {
        add(.required(path.child("namespace")))
      }
    case "User", "Group":
      if group != Self.rbac { add(.notSupported(path.child("apiGroup"), .string(group), [Self.rbac])) }
    default: oneOf(subject["kind"], path.child("kind"), ["ServiceAccount", "User", "Group"])
    }
  }

  /// A text that must be one of these, which are told in this order.
  mutating func oneOf(_ value: JSON?, _ path: FieldPath, _ supported: [String]) {
    let text = value?.string ?? ""
    // An absent one that is required was told already.
    if text.isEmpty && errors.contains(where: { $0.kind == .required && $0.field == path.description }) {
      return
    }
    if !supported.contains(text) {
      let list = supported.map { "\"\($0)\"" }.joined(separator: ", ")
      add(FieldError(.notSupported, path, .string(text), "supported values: \(list)"))
    }
  }
}
