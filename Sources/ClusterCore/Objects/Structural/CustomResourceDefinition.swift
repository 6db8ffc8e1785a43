// A CustomResourceDefinition as a view over its tree: names, versions, conditions, the kinds it stands for.

public struct CustomResourceDefinition: Sendable {
  public static let resource = GroupVersionResource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
  public static let gvk = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
  /// Holds a definition back until its objects are gone.
  public static let finalizer = "customresourcecleanup.apiextensions.k8s.io"

  public var tree: JSON

  public init(_ tree: JSON) { self.tree = tree }

  public var name: String { tree.name }
  public var spec: JSON { tree.spec }
  public var group: String { spec["group"]?.string ?? "" }
  public var names: JSON { spec["names"] ?? [:] }
  public var plural: String { names["plural"]?.string ?? "" }
  public var kind: String { names["kind"]?.string ?? "" }
  public var isNamespaced: Bool { spec["scope"]?.string == "Namespaced" }
  public var versions: [JSON] { spec["versions"]?.elements ?? [] }
  public var storageVersion: String {
    versions.first { $0["storage"]?.bool == true }?["name"]?.string ?? ""
  }
  public var isEstablished: Bool { isTrue("Established") }

  public func isTrue(_ condition: String) -> Bool {
    (tree.at("status", "conditions")?.elements ?? []).contains {
      $0["type"]?.string == condition && $0["status"]?.string == "True"
    }
  }

  /// What is told to users of a deprecated version; nil for others.
  func deprecation(_ version: JSON) -> String? {
    guard version["deprecated"]?.bool == true else { return nil }
    if let text = version["deprecationWarning"]?.string { return text }
    let name = version["name"]?.string ?? ""
    let better = versions.filter { $0["served"]?.bool == true && $0["deprecated"]?.bool != true }
      .compactMap { $0["name"]?.string }.sorted { KubeVersion.isPreferred($0, to: $1) }.first
    var text = "\(group)/\(name) \(kind) is deprecated"
    if let better, KubeVersion.isPreferred(better, to: name) { text += "; use \(group)/\(better) \(kind)" }
    return text
  }

  // MARK: Kinds

  /// A kind for each version, served or not, the storage version among them. `formsBefore` are kept where the
  /// schema did not change, so that what was made from them stays good.
  public func kinds(formsBefore: [String: (source: JSON?, form: CustomForm)] = [:]) -> [ResourceKind] {
    var forms: [String: CustomForm] = [:]
    for version in versions {
      let name = version["name"]?.string ?? ""
      let source = version.at("schema", "openAPIV3Schema")
      let gvk = GroupVersionKind(group, name, kind)
      if let before = formsBefore[name], before.source == source, before.form.gvk == gvk {
        forms[name] = before.form
      } else {
        forms[name] = CustomForm(source, gvk: gvk)
      }
    }
    guard let storage = forms[storageVersion] else { return [] }
    let made = forms
    // Versions that nobody converts differ in their names, and in what their schemas keep.
    let conversion = KindVersions(storage: storage.gvk) { object, to in
      var object = object
      object["apiVersion"] = JSON(to.apiVersion)
      return made[to.version]?.read(object) ?? object
    }
    return versions.compactMap { version in
      guard let form = forms[version["name"]?.string ?? ""] else { return nil }
      var kind = resourceKind(version, form, storage)
      if forms.count > 1 { kind.versions = conversion }
      return kind
    }
  }

  private func resourceKind(_ version: JSON, _ form: CustomForm, _ storage: CustomForm) -> ResourceKind {
    let gvk = form.gvk
    func texts(_ field: String) -> [String] { names[field]?.elements.compactMap(\.string) ?? [] }
    let change = ["get", "patch", "update"]
    var subresources: [Subresource] = []
    if version.at("subresources", "scale") != nil {
      subresources.append(
        Subresource(name: "scale", kind: GroupVersionKind("autoscaling", "v1", "Scale"), verbs: change))
    }
    if version.at("subresources", "status") != nil {
      subresources.append(Subresource(name: "status", kind: gvk, verbs: change))
    }
    let singular = names["singular"]?.string ?? ""
    let listKind = names["listKind"]?.string ?? ""
    var kind = ResourceKind(
      gvk: gvk, plural: plural, singular: singular.isEmpty ? gvk.kind.lowercased() : singular,
      shortNames: texts("shortNames"), categories: texts("categories"), isNamespaced: isNamespaced,
      subresources: subresources, schema: form.schema())
    if !listKind.isEmpty { kind.listKind = listKind }
    kind.storageName = "\(group)/\(plural)"
    kind.custom = CustomKind(self, version, form, storedAs: storage)
    return kind
  }

  // MARK: Strategy

  /// What was not said of names and conversion.
  static func applyDefaults(_ spec: inout JSONObject) {
    if var names = spec["names"], let kind = names["kind"]?.string, !kind.isEmpty {
      if (names["singular"]?.string ?? "").isEmpty { names["singular"] = JSON(kind.lowercased()) }
      if (names["listKind"]?.string ?? "").isEmpty { names["listKind"] = JSON(kind + "List") }
      spec["names"] = names
    }
    if !spec.contains("conversion") { spec["conversion"] = ["strategy": "None"] }
  }

  /// The status a new definition begins with.
  public static func prepareForCreate(_ object: inout JSON) {
    let definition = CustomResourceDefinition(object)
    object["status"] = [
      "conditions": [], "acceptedNames": ["plural": "", "kind": ""],
      "storedVersions": .array(definition.storageVersion.isEmpty ? [] : [JSON(definition.storageVersion)]),
    ]
  }

  /// A changed storage version is one that objects are stored in from now on.
  public static func prepareForUpdate(_ object: inout JSON) {
    let version = CustomResourceDefinition(object).storageVersion
    var stored = object.at("status", "storedVersions")?.elements ?? []
    guard !version.isEmpty, !stored.contains(JSON(version)) else { return }
    stored.append(JSON(version))
    object.set(.array(stored), at: "status", "storedVersions")
  }

  /// Sets a condition; true when something changed.
  public mutating func setCondition(
    _ type: String, _ status: String, reason: String, message: String, now: KubeTime
  ) -> Bool {
    var conditions = tree.at("status", "conditions")?.elements ?? []
    var condition: JSON = [
      "type": JSON(type), "status": JSON(status), "lastTransitionTime": JSON(now.text),
      "reason": JSON(reason), "message": JSON(message),
    ]
    if let index = conditions.firstIndex(where: { $0["type"]?.string == type }) {
      if conditions[index]["status"]?.string == status {
        condition["lastTransitionTime"] = conditions[index]["lastTransitionTime"]
      }
      if conditions[index] == condition { return false }
      conditions[index] = condition
    } else {
      conditions.append(condition)
    }
    tree.set(.array(conditions), at: "status", "conditions")
    return true
  }
}

// MARK: - Names

extension CustomResourceDefinition {
  /// Accepts the names that no other definition of the group has, and says so in the conditions. True when
  /// the status changed. `others` are the accepted names of the group's other definitions.
  public mutating func acceptNames(others: [JSON], now: KubeTime) -> Bool {
    var taken: Set<String> = []
    var takenKinds: Set<String> = []
    for names in others {
      for field in ["plural", "singular"] { taken.insert(names[field]?.string ?? "") }
      for name in names["shortNames"]?.elements ?? [] { taken.insert(name.string ?? "") }
      for field in ["kind", "listKind"] { takenKinds.insert(names[field]?.string ?? "") }
    }
    taken.remove("")
    takenKinds.remove("")
    var accepted = tree.at("status", "acceptedNames") ?? [:]
    var conflict: (reason: String, names: [String])?
    for (field, reason) in [("plural", "PluralConflict"), ("singular", "SingularConflict")] {
      let name = names[field]?.string ?? ""
      if taken.contains(name) {
        conflict = (reason, [name])
      } else {
        accepted[field] = name.isEmpty ? nil : JSON(name)
      }
    }
    let short = names["shortNames"]?.elements.compactMap(\.string) ?? []
    let shortTaken = short.filter { taken.contains($0) }
    if !shortTaken.isEmpty {
      conflict = ("ShortNamesConflict", shortTaken)
    } else {
      accepted["shortNames"] = short.isEmpty ? nil : JSON(short)
    }
    for (field, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
      let name = names[field]?.string ?? ""
      if takenKinds.contains(name) {
        conflict = (reason, [name])
      } else {
        accepted[field] = name.isEmpty ? nil : JSON(name)
      }
    }
    accepted["categories"] = names["categories"]
    var isChanged = accepted != tree.at("status", "acceptedNames")
    tree.set(accepted, at: "status", "acceptedNames")
    if let conflict {
      let listed = conflict.names.map { "\"\($0)\" is already in use" }.joined(separator: ", ")
      isChanged =
        setCondition("NamesAccepted", "False", reason: conflict.reason, message: listed, now: now)
        || isChanged
    } else {
      isChanged =
        setCondition(
          "NamesAccepted", "True", reason: "NoConflicts", message: "no conflicts found", now: now)
        || isChanged
    }
    // Once established it stays so: there are objects.
    if isEstablished { return isChanged }
    if conflict == nil {
      isChanged =
        setCondition(
          "Established", "True", reason: "InitialNamesAccepted",
          message: "the initial names have been accepted", now: now) || isChanged
    } else {
      isChanged =
        setCondition(
          "Established", "False", reason: "NotAccepted", message: "not all names are accepted", now: now)
        || isChanged
    }
    return isChanged
  }
}

extension ResourceKind {
  /// What whoever wrote an object should know.
  public func writeWarnings(_ object: JSON) -> [String] {
    guard gvk == CustomResourceDefinition.gvk else { return [] }
    let hasExpressions = CustomResourceDefinition(object).versions.contains {
      StructuralSchema($0.at("schema", "openAPIV3Schema") ?? [:]).hasExpressions
    }
    return hasExpressions
      ? ["x-kubernetes-validations: the rules are kept, and not evaluated by this server"] : []
  }
}
