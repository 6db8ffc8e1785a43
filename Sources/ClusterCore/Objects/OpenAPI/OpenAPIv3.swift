// OpenAPI v3, one document a group version, as kubectl reads it: `apply` looks for the patch types of a kind and for merge keys,
// `create --validate` for the fieldValidation parameter, `explain` for fields and their texts.

/// The OpenAPI v3 documents of a registry.
public struct OpenAPIv3: Sendable {
  private let registry: KindRegistry

  public init(_ registry: KindRegistry) { self.registry = registry }

  /// `api/v1` or `apis/apps/v1`: a document's place below `/openapi/v3`.
  public static func path(_ groupVersion: String) -> String {
    groupVersion.contains("/") ? "apis/\(groupVersion)" : "api/\(groupVersion)"
  }

  /// The index at `/openapi/v3`. `hash` names a document's content, so that clients may keep it for ever.
  public func index(hash: (String) -> String) -> JSON {
    var paths = JSONObject()
    for groupVersion in registry.groupVersions {
      let path = Self.path(groupVersion)
      paths[path] = ["serverRelativeURL": JSON("/openapi/v3/\(path)?hash=\(hash(groupVersion))")]
    }
    return ["paths": .object(paths)]
  }

  /// The document of a group version; nil when there is none. Costs milliseconds: keep it.
  public func document(groupVersion: String) -> JSON? {
    let kinds = registry.kinds(groupVersion: groupVersion)
    guard !kinds.isEmpty else { return nil }
    var schemas = SchemaCollector()
    for kind in kinds {
      schemas.add(kind.schema, gvk: kind.gvk)
      schemas.mark(kind.schema, selectableBy: kind.custom?.selectableFields ?? [])
    }
    var paths = JSONObject()
    for kind in kinds { add(kind, to: &paths) }
    return [
      "openapi": "3.0.0", "info": ["title": "Kubernetes", "version": "unversioned"], "paths": .object(paths),
      "components": ["schemas": .object(schemas.trees.sortedByKey())],
    ]
  }

  // MARK: - Paths

  private func add(_ kind: ResourceKind, to paths: inout JSONObject) {
    let root = "/\(Self.path(kind.apiVersion))"
    let collection =
      kind.isNamespaced ? "\(root)/namespaces/{namespace}/\(kind.plural)" : "\(root)/\(kind.plural)"
    paths[collection] = [
      "get": operation(kind, "list"), "post": operation(kind, "create"),
      "delete": operation(kind, "deletecollection"),
      "parameters": .array(pathParameters(kind, named: false)),
    ]
    let item: JSON = [
      "get": operation(kind, "get"), "put": operation(kind, "update"), "patch": operation(kind, "patch"),
      "delete": operation(kind, "delete"), "parameters": .array(pathParameters(kind, named: true)),
    ]
    paths["\(collection)/{name}"] = item
    for part in kind.subresources where part.name == "status" || part.name == "scale" {
      paths["\(collection)/{name}/\(part.name)"] = [
        "get": operation(kind, "get", part), "put": operation(kind, "update", part),
        "patch": operation(kind, "patch", part),
        "parameters": .array(pathParameters(kind, named: true)),
      ]
    }
    if kind.isNamespaced { paths["\(root)/\(kind.plural)"] = ["get": operation(kind, "list")] }
  }

  private func operation(_ kind: ResourceKind, _ verb: String, _ part: Subresource? = nil) -> JSON {
    let gvk = part?.kind ?? kind.gvk
    let reference: JSON = ["$ref": JSON("#/components/schemas/\(kind.schema.name)")]
    let scope = kind.isNamespaced ? "Namespaced" : ""
    var tree: JSON = [
      "tags": [JSON(kind.apiVersion)],
      "operationId": JSON(
        "\(verb)\(scope)\(kind.kind)\(part.map { "_\($0.name)" } ?? "")_\(kind.apiVersion)"),
      "x-kubernetes-action": JSON(verb == "create" ? "post" : verb == "update" ? "put" : verb),
      "x-kubernetes-group-version-kind": [
        "group": JSON(gvk.group), "version": JSON(gvk.version), "kind": JSON(gvk.kind),
      ],
      "responses": ["200": ["description": "OK", "content": ["application/json": ["schema": reference]]]],
    ]
    switch verb {
    case "create", "update":
      tree["parameters"] = .array(Self.writeParameters)
      tree["requestBody"] = ["required": true, "content": ["*/*": ["schema": reference]]]
    case "patch":
      tree["parameters"] = .array(Self.writeParameters + [Self.parameter("force", "boolean")])
      let body: JSON = ["schema": ["type": "object"]]
      var content: JSON = [
        "application/apply-patch+yaml": body, "application/json-patch+json": body,
        "application/merge-patch+json": body,
      ]
      // Lists of custom resources have no merge keys; kubectl looks here before it makes such a patch.
      if kind.custom == nil { content["application/strategic-merge-patch+json"] = body }
      tree["requestBody"] = ["required": true, "content": content]
    case "delete", "deletecollection": tree["parameters"] = .array([Self.parameter("dryRun", "string")])
    default: break
    }
    return tree
  }

  private static let writeParameters = [
    parameter("dryRun", "string"), parameter("fieldManager", "string"),
    parameter("fieldValidation", "string"),
  ]

  private static func parameter(_ name: String, _ type: String, in place: String = "query") -> JSON {
    var tree: JSON = [
      "name": JSON(name), "in": JSON(place), "schema": ["type": JSON(type), "uniqueItems": true],
    ]
    if place == "path" { tree["required"] = true }
    return tree
  }

  private func pathParameters(_ kind: ResourceKind, named: Bool) -> [JSON] {
    (named ? [Self.parameter("name", "string", in: "path")] : [])
      + (kind.isNamespaced ? [Self.parameter("namespace", "string", in: "path")] : [])
  }
}

/// Collects a schema and everything it refers to.
struct SchemaCollector {
  private(set) var trees = JSONObject()

  mutating func add(_ schema: Schema, gvk: GroupVersionKind? = nil) {
    if trees[schema.name] != nil, gvk == nil { return }
    if let custom = schema.custom {
      trees[schema.name] = custom.published
      if let metadata = schema.field("metadata")?.type.schema { add(metadata) }
      return
    }
    // Claims the name first: schemas may refer to themselves.
    trees[schema.name] = [:]
    var properties = JSONObject()
    var required: [String] = []
    if gvk != nil {
      properties["apiVersion"] = [
        "type": "string", "description": "APIVersion defines group and version of this object's form.",
      ]
      properties["kind"] = ["type": "string", "description": "What this object is."]
    }
    for field in schema.fields {
      properties[field.name] = tree(of: field)
      if field.isRequired { required.append(field.name) }
    }
    var tree: JSON = ["type": "object"]
    if !schema.doc.isEmpty { tree["description"] = JSON(schema.doc) }
    if !properties.isEmpty { tree["properties"] = .object(properties) }
    if !required.isEmpty { tree["required"] = JSON(required) }
    if schema.isDeclaredAtomic { tree["x-kubernetes-map-type"] = "atomic" }
    if let gvk {
      tree["x-kubernetes-group-version-kind"] = [
        ["group": JSON(gvk.group), "version": JSON(gvk.version), "kind": JSON(gvk.kind)]
      ]
    }
    trees[schema.name] = tree
  }

  /// Tells by which fields, beside name and namespace, lists of a custom kind can be selected.
  mutating func mark(_ schema: Schema, selectableBy fields: [String]) {
    guard !fields.isEmpty, var tree = trees[schema.name] else { return }
    tree[Self.selectableFields] = .array(fields.map { ["fieldPath": JSON($0)] })
    trees[schema.name] = tree
  }

  static let selectableFields = "x-kubernetes-selectable-fields"

  private mutating func tree(of field: SchemaField) -> JSON {
    var tree = tree(of: field.type)
    if !field.doc.isEmpty { tree["description"] = JSON(field.doc) }
    if let value = field.defaultValue, !value.isNull { tree["default"] = value }
    if !field.enumeration.isEmpty { tree["enum"] = JSON(field.enumeration) }
    switch field.listType {
    case .atomic: tree["x-kubernetes-list-type"] = "atomic"
    case .set: tree["x-kubernetes-list-type"] = "set"
    case .map(let keys):
      tree["x-kubernetes-list-type"] = "map"
      tree["x-kubernetes-list-map-keys"] = JSON(keys)
    case nil: break
    }
    if field.isAtomic { tree["x-kubernetes-map-type"] = "atomic" }
    if field.isGranular { tree["x-kubernetes-map-type"] = "granular" }
    if let key = field.patch.mergeKey { tree["x-kubernetes-patch-merge-key"] = JSON(key) }
    var strategy: [String] = []
    if field.patch.isMerge { strategy.append("merge") }
    if field.patch.retainsKeys { strategy.append("retainKeys") }
    if !strategy.isEmpty { tree["x-kubernetes-patch-strategy"] = JSON(strategy.joined(separator: ",")) }
    return tree
  }

  private mutating func tree(of type: SchemaType) -> JSON {
    switch type {
    case .string, .duration: return ["type": "string"]
    case .bool: return ["type": "boolean"]
    case .int32: return ["type": "integer", "format": "int32"]
    case .int64: return ["type": "integer", "format": "int64"]
    case .float: return ["type": "number", "format": "double"]
    case .quantity: return ["oneOf": [["type": "string"], ["type": "number"]]]
    case .intOrString:
      return ["format": "int-or-string", "oneOf": [["type": "integer"], ["type": "string"]]]
    case .time, .microTime: return ["type": "string", "format": "date-time"]
    case .bytes: return ["type": "string", "format": "byte"]
    case .raw, .deduced, .fields: return ["type": "object", "x-kubernetes-preserve-unknown-fields": true]
    case .list(let element): return ["type": "array", "items": tree(of: element)]
    case .map(let element): return ["type": "object", "additionalProperties": tree(of: element)]
    case .either(let schema, _):
      // As upstream says it: in words only, since either form is right.
      add(schema)
      return ["description": "One of two forms."]
    case .object(let schema):
      add(schema)
      // `allOf` around the reference leaves room for a description beside it.
      return ["allOf": [["$ref": JSON("#/components/schemas/\(schema.name)")]]]
    }
  }
}
