// May this CustomResourceDefinition be stored? Its names, versions, schemas, columns and paths.

extension Validator {
  static let customResourceDefinition = Rules(
    create: { $0.definition($1) }, update: { $0.definitionUpdate($1, $2) },
    part: { validator, object, old, _ in validator.definitionUpdate(object, old) })

  private mutating func definition(_ object: JSON) {
    let definition = CustomResourceDefinition(object)
    let spec: FieldPath = "spec"
    if definition.name != "\(definition.plural).\(definition.group)" {
      add(.invalid("metadata.name", JSON(definition.name), "must be spec.names.plural+\".\"+spec.group"))
    }
    if definition.group.isEmpty {
      add(.required(spec.child("group")))
    } else if let problem = Names.subdomainProblem(definition.group) {
      add(.invalid(spec.child("group"), JSON(definition.group), problem))
    } else if !definition.group.contains(".") {
      add(.invalid(spec.child("group"), JSON(definition.group), "should be a domain with at least one dot"))
    }
    let scope = definition.spec["scope"] ?? ""
    if scope != "Cluster", scope != "Namespaced" {
      add(.notSupported(spec.child("scope"), scope, ["Cluster", "Namespaced"]))
    }
    if definition.spec["preserveUnknownFields"]?.bool == true {
      add(
        .invalid(
          spec.child("preserveUnknownFields"), true,
          "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        ))
    }
    approval(definition)
    names(definition.names, spec.child("names"))
    versions(definition)
    conversion(definition.spec["conversion"] ?? .null, spec.child("conversion"))
  }

  /// Groups of Kubernetes' own need a word that they are what they say.
  private mutating func approval(_ definition: CustomResourceDefinition) {
    let isProtected = ["k8s.io", "kubernetes.io"].contains { root in
      definition.group == root || definition.group.hasSuffix(".\(root)")
    }
    guard isProtected else { return }
    let name = "api-approved.kubernetes.io"
    let link = "see https://github.com/kubernetes/enhancements/pull/1111"
    let place = FieldPath("metadata").child("annotations").key(name)
    switch definition.tree.annotations[name] {
    case nil:
      add(.required(place, "protected groups must have approval annotation \"\(name)\", \(link)"))
    case let text? where !text.hasPrefix("https://") && !text.hasPrefix("unapproved"):
      add(
        .invalid(
          place, JSON(text),
          "protected groups must have approval annotation \"\(name)\" with either a URL or a reason starting "
            + "with \"unapproved\", \(link)"))
    default: break
    }
  }

  private mutating func names(_ names: JSON, _ path: FieldPath) {
    func text(_ field: String) -> String { names[field]?.string ?? "" }
    for field in ["plural", "singular"] {
      if text(field).isEmpty {
        if field == "plural" { add(.required(path.child(field))) }
      } else {
        check(text(field), at: path.child(field), Names.label1035Problem)
      }
    }
    for field in ["kind", "listKind"] {
      if text(field).isEmpty {
        add(.required(path.child(field)))
      } else if let problem = Names.label1035Problem(text(field).lowercased()) {
        add(
          .invalid(
            path.child(field), JSON(text(field)),
            "may have mixed case, but should otherwise match: \(problem)"))
      }
    }
    for field in ["shortNames", "categories"] {
      for (index, name) in (names[field]?.elements ?? []).enumerated() {
        check(name.string ?? "", at: path.child(field).index(index), Names.label1035Problem)
      }
    }
    if !text("kind").isEmpty, text("kind") == text("listKind") {
      add(.invalid(path.child("listKind"), JSON(text("listKind")), "kind and listKind may not be the same"))
    }
  }

  // MARK: Versions

  private mutating func versions(_ definition: CustomResourceDefinition) {
    let path: FieldPath = "spec.versions"
    let versions = definition.versions
    var seen: Set<String> = []
    var hasUniqueNames = true
    for (index, version) in versions.enumerated() {
      let name = version["name"]?.string ?? ""
      if !seen.insert(name).inserted { hasUniqueNames = false }
      if let problem = Names.label1035Problem(name) {
        add(.invalid(path.index(index).child("name"), JSON(name), problem))
      }
      if version["deprecated"]?.bool != true, version["deprecationWarning"] != nil {
        add(
          .invalid(
            path.index(index).child("deprecationWarning"), version["deprecationWarning"] ?? .null,
            "can only be set for deprecated versions"))
      }
    }
    if !hasUniqueNames {
      add(
        .invalid(path, JSON(versions.map { $0["name"]?.string ?? "" }), "must contain unique version names"))
    }
    if versions.filter({ $0["storage"]?.bool == true }).count != 1 {
      add(
        .invalid(
          path, JSON(versions.map { $0["name"]?.string ?? "" }),
          "must have exactly one version marked as storage version"))
    }
    // What all versions have alike is told once, at the place it had before there were versions.
    func isAlike(_ field: String) -> Bool { Set(versions.map { $0[field] ?? .null }).count == 1 }
    let schemasAlike = isAlike("schema")
    for (index, version) in versions.enumerated() {
      let place = path.index(index)
      if !(schemasAlike && index > 0) {
        schema(version, schemasAlike ? "spec.validation" : place.child("schema"), place)
      }
      if !(isAlike("subresources") && index > 0) {
        let at = isAlike("subresources") ? "spec.subresources" : place.child("subresources")
        scale(version.at("subresources", "scale"), at.child("scale"))
      }
      if !(isAlike("additionalPrinterColumns") && index > 0) {
        columns(
          version["additionalPrinterColumns"]?.elements ?? [],
          isAlike("additionalPrinterColumns")
            ? "spec.additionalPrinterColumns" : place.child("additionalPrinterColumns"))
      }
      selectable(version, place)
    }
  }

  private mutating func schema(_ version: JSON, _ path: FieldPath, _ versionPath: FieldPath) {
    guard let schema = version.at("schema", "openAPIV3Schema") else {
      add(.required(versionPath.child("schema", "openAPIV3Schema"), "schemas are required"))
      return
    }
    for error in StructuralCheck.errors(schema, path.child("openAPIV3Schema")) { add(error) }
  }

  private mutating func scale(_ scale: JSON?, _ path: FieldPath) {
    guard let scale else { return }
    func checkPath(_ field: String, _ roots: [String], isRequired: Bool) {
      let text = scale[field]?.string ?? ""
      let place = path.child(field)
      if text.isEmpty {
        if isRequired { add(.required(place)) }
        return
      }
      guard let names = (try? JSONPath(text))?.names else {
        add(.invalid(place, JSON(text), "is an invalid path: only a dotted path of fields is allowed"))
        return
      }
      if names.count < 2 || !roots.contains(names[0]) {
        add(
          .invalid(
            place, JSON(text),
            "should be a json path under \(roots.map { ".\($0)" }.joined(separator: " or "))"
          ))
      }
    }
    checkPath("specReplicasPath", ["spec"], isRequired: true)
    checkPath("statusReplicasPath", ["status"], isRequired: true)
    checkPath("labelSelectorPath", ["spec", "status"], isRequired: false)
  }

  private mutating func columns(_ columns: [JSON], _ path: FieldPath) {
    for (index, column) in columns.enumerated() {
      let place = path.index(index)
      if (column["name"]?.string ?? "").isEmpty { add(.required(place.child("name"))) }
      let types = ["integer", "number", "string", "boolean", "date"]
      if (column["type"]?.string ?? "").isEmpty {
        add(
          .required(
            place.child("type"),
            "must be one of \(types.sorted().joined(separator: ","))"))
      } else if !types.contains(column["type"]?.string ?? "") {
        add(
          .invalid(
            place.child("type"), column["type"] ?? "",
            "must be one of \(types.sorted().joined(separator: ","))"))
      }
      let text = column["jsonPath"]?.string ?? ""
      if text.isEmpty {
        add(.required(place.child("jsonPath")))
      } else {
        do {
          _ = try JSONPath(text)
          if !text.hasPrefix(".") {
            add(.invalid(place.child("jsonPath"), JSON(text), "must be a simple json path starting with ."))
          }
        } catch {
          add(.invalid(place.child("jsonPath"), JSON(text), "is an invalid jsonPath: \(error.description)"))
        }
      }
    }
  }

  private mutating func selectable(_ version: JSON, _ place: FieldPath) {
    let fields = version["selectableFields"]?.elements ?? []
    let path = place.child("selectableFields")
    if fields.count > 8 {
      add(FieldError(.tooMany, path, JSON(fields.count), "must have at most 8 items"))
    }
    let schema = StructuralSchema(version.at("schema", "openAPIV3Schema") ?? [:])
    var seen: Set<String> = []
    for (index, field) in fields.enumerated() {
      let text = field["jsonPath"]?.string ?? ""
      let at = path.index(index).child("jsonPath")
      guard !text.isEmpty else {
        add(.required(at))
        continue
      }
      guard let names = (try? JSONPath(text))?.names, text.hasPrefix(".") else {
        add(.invalid(at, JSON(text), "is an invalid path: only a dotted path of fields is allowed"))
        continue
      }
      var found: StructuralSchema? = schema
      for name in names { found = found?.property(name) }
      switch found?.kind {
      case .string?, .boolean?, .integer?:
        if names.first == "metadata" {
          add(.invalid(at, JSON(text), "must not point to fields in metadata"))
        }
      case nil where found == nil:
        add(.invalid(at, JSON(text), "is an invalid path: does not refer to a valid field"))
      default:
        add(
          .invalid(
            at, JSON(text),
            "must point to a field of type boolean, integer, or string. Enum string fields "
              + "and strings with formats are allowed."))
      }
      if !seen.insert(text).inserted { add(.duplicate(at, JSON(text))) }
    }
  }

  private mutating func conversion(_ conversion: JSON, _ path: FieldPath) {
    let strategy = conversion["strategy"]?.string ?? ""
    switch strategy {
    case "None":
      if conversion["webhook"] != nil {
        add(.forbidden(path.child("webhook"), "should not be set when strategy is not set to Webhook"))
      }
    case "Webhook":
      let place = path.child("webhook", "clientConfig")
      guard let client = conversion.at("webhook", "clientConfig") else {
        add(.required(place, "required when strategy is set to Webhook"))
        return
      }
      if (client["url"] == nil) == (client["service"] == nil) {
        add(.required(place, "exactly one of url or service is required"))
      }
      if let url = client["url"]?.string, !url.hasPrefix("https://") {
        add(.invalid(place.child("url"), JSON(url), "'https' is the only allowed URL scheme"))
      }
      let reviews = conversion.at("webhook", "conversionReviewVersions")?.elements ?? []
      if reviews.isEmpty {
        add(.required(path.child("webhook", "conversionReviewVersions")))
      } else if !reviews.contains("v1"), !reviews.contains("v1beta1") {
        add(
          .invalid(
            path.child("webhook", "conversionReviewVersions"), .array(reviews),
            "must include at least one of v1, v1beta1"))
      }
    default: add(.notSupported(path.child("strategy"), JSON(strategy), ["None", "Webhook"]))
    }
  }

  // MARK: Updates

  private mutating func definitionUpdate(_ object: JSON, _ old: JSON) {
    let new = CustomResourceDefinition(object)
    let before = CustomResourceDefinition(old)
    immutable(new.spec["group"], before.spec["group"], "spec.group")
    if before.isEstablished {
      immutable(new.spec["scope"], before.spec["scope"], "spec.scope")
      immutable(new.names["kind"], before.names["kind"], "spec.names.kind")
    }
    immutable(new.names["plural"], before.names["plural"], "spec.names.plural")
    let names = new.versions.compactMap { $0["name"]?.string }
    for (index, version) in (object.at("status", "storedVersions")?.elements ?? []).enumerated()
    where !names.contains(version.string ?? "") {
      add(
        .invalid(
          FieldPath("status.storedVersions").index(index), version,
          "missing from spec.versions; "
            + "\(version.string ?? "") was previously a storage version, and must remain in spec.versions until a storage "
            + "migration ensures no data remains persisted in \(version.string ?? "") and removes \(version.string ?? "") "
            + "from status.storedVersions"))
    }
  }
}
