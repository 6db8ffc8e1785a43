// What an object holds that its author did not say. Plain defaults are declared with the field in the schema
// texts; those that depend on other fields are here, a function a type.

extension ResourceKind {
  /// Fills defaults in. Expects normal form (`Schema.decode`); a second call changes nothing.
  public func applyDefaults(_ object: inout JSON) { schema.applyDefaults(&object) }
}

extension Schema {
  /// Fills defaults in, parents before children.
  public func applyDefaults(_ object: inout JSON) {
    if let custom { return custom.structural.applyDefaults(&object) }
    guard case .object(var fields) = object else { return }
    object = .null  // Changed in place: the only reference is ours.
    applyDefaults(&fields)
    object = .object(fields)
  }

  private func applyDefaults(_ object: inout JSONObject) {
    Defaults.conditional[name]?(&object)
    for field in self.fields {
      if let value = field.defaultValue, !object.contains(field.name) { object.append(field.name, value) }
      guard field.type.schema != nil, let position = object.position(of: field.name) else { continue }
      Self.applyDefaults(&object.fields[position].value, field.type)
    }
  }

  private static func applyDefaults(_ value: inout JSON, _ type: SchemaType) {
    switch type {
    case .object(let schema): schema.applyDefaults(&value)
    case .either(let schema, let other):
      if value.object != nil { schema.applyDefaults(&value) } else { applyDefaults(&value, other) }
    case .list(let element):
      guard case .array(var elements) = value else { return }
      value = .null
      for index in elements.indices { applyDefaults(&elements[index], element) }
      value = .array(elements)
    case .map(let element):
      guard case .object(var object) = value else { return }
      value = .null
      for index in object.fields.indices { applyDefaults(&object.fields[index].value, element) }
      value = .object(object)
    default: break
    }
  }
}

enum Defaults {
  typealias Rule = @Sendable (inout JSONObject) -> Void

  static let conditional: [String: Rule] = core.merging(workloads) { first, _ in first }
    .merging(others) { first, _ in first }.merging(services) { first, _ in first }

  private static let others: [String: Rule] = [
    "io.k8s.api.networking.v1.NetworkPolicySpec": networkPolicySpec,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionSpec":
      CustomResourceDefinition.applyDefaults,
  ]

  static func setDefault(_ object: inout JSONObject, _ name: String, _ value: JSON) {
    if !object.contains(name) { object.append(name, value) }
  }

  private static func networkPolicySpec(_ spec: inout JSONObject) {
    guard !spec.contains("policyTypes") else { return }
    spec["policyTypes"] = spec.contains("egress") ? ["Ingress", "Egress"] : ["Ingress"]
  }
}
