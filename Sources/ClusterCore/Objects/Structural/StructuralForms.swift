// The schema of a custom resource in the forms that other parts read: `Schema` for server-side apply and
// selectors of fields, and the tree that OpenAPI publishes.

extension StructuralSchema {
  /// The type for server-side apply: who owns what is told apart by it.
  func type(_ name: String) -> SchemaType {
    if isIntOrString { return .intOrString }
    switch kind {
    case .string: return .string
    case .boolean: return .bool
    case .integer: return .int64
    case .number: return .float
    case .array: return .list(items?.type(name) ?? .deduced)
    case .object:
      if case .schema(let schema) = additional { return .map(schema.type(name)) }
      if properties.isEmpty, !isEmbedded { return .deduced }
      return .object(schema(name))
    case nil: return .deduced
    }
  }

  private func schema(_ name: String) -> Schema {
    var keeps = preservesUnknown || isEmbedded
    if case .anything = additional { keeps = true }
    return Schema(
      name: name, fields: fields(name), isAtomic: isAtomicMap, preservesUnknown: keeps)
  }

  func fields(_ name: String) -> [SchemaField] {
    properties.map { property, schema in
      var field = SchemaField(property, schema.type("\(name).\(property)"))
      field.hasPresence = true
      field.defaultValue = schema.defaultValue
      if schema.kind == .array { field.listType = schema.listType ?? .atomic }
      field.isAtomic = schema.isAtomicMap
      return field
    }
  }
}

/// What OpenAPI publishes of a custom kind.
enum StructuralOpenAPI {
  static let objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

  /// The schema as it was declared, with what every object has. `source` is openAPIV3Schema; nil for a kind
  /// without one.
  static func tree(_ source: JSON?, gvk: GroupVersionKind) -> JSON {
    var tree = source ?? ["x-kubernetes-preserve-unknown-fields": true]
    tree["type"] = "object"
    var properties: JSON = tree["properties"] ?? [:]
    properties["apiVersion"] = [
      "type": "string", "description": "APIVersion defines group and version of this object's form.",
    ]
    properties["kind"] = ["type": "string", "description": "What this object is."]
    properties["metadata"] = [
      "allOf": [["$ref": JSON("#/components/schemas/\(objectMeta)")]],
      "description": "Names, labels and what the server keeps about the object.",
    ]
    tree["properties"] = withEmbedded(properties)
    tree["x-kubernetes-group-version-kind"] = [
      ["group": JSON(gvk.group), "version": JSON(gvk.version), "kind": JSON(gvk.kind)]
    ]
    return tree
  }

  /// Objects within the object have the fields of objects.
  private static func withEmbedded(_ tree: JSON) -> JSON {
    switch tree {
    case .array(let elements): return .array(elements.map(withEmbedded))
    case .object(let object):
      var result = JSON.object(object.mapValues(withEmbedded))
      if result["x-kubernetes-embedded-resource"]?.bool == true {
        var properties: JSON = result["properties"] ?? [:]
        properties["apiVersion"] = ["type": "string"]
        properties["kind"] = ["type": "string"]
        properties["metadata"] = ["allOf": [["$ref": JSON("#/components/schemas/\(objectMeta)")]]]
        result["properties"] = properties
      }
      return result
    default: return tree
    }
  }

  /// `com.example.stable.v1.CronTab` of `stable.example.com/v1 CronTab`.
  static func name(_ gvk: GroupVersionKind) -> String {
    (gvk.group.split(separator: ".").reversed().map(String.init) + [gvk.version, gvk.kind])
      .joined(separator: ".")
  }
}
