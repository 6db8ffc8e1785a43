// OpenAPI v2 (Swagger 2.0): one document for everything, which kubectl before 1.27 and some other clients read. It is made
// from the v3 documents, so that the two never disagree.

/// The OpenAPI v2 document of a registry.
public enum OpenAPIv2 {
  /// Joins the v3 documents of all group versions. Costs tens of milliseconds: keep it.
  public static func document(from documents: [JSON]) -> JSON {
    var paths = JSONObject()
    var definitions = JSONObject()
    for document in documents {
      for (path, item) in document["paths"]?.object ?? [:] { paths[path] = pathItem(item) }
      for (name, schema) in document.at("components", "schemas")?.object ?? [:]
      where definitions[name] == nil {
        definitions[name] = Self.definition(schema)
      }
    }
    return [
      "swagger": "2.0", "info": ["title": "Kubernetes", "version": "unversioned"], "paths": .object(paths),
      "definitions": .object(definitions.sortedByKey()),
    ]
  }

  /// A kind that keeps what it does not know says nothing of what it knows: readers of this form would refuse the rest.
  private static func definition(_ schema: JSON) -> JSON {
    let kind = "x-kubernetes-group-version-kind"
    guard let own = schema[kind], schema[preserves] == true else { return Self.schema(schema) }
    var open: JSON = ["type": "object", "x-kubernetes-group-version-kind": own]
    open[SchemaCollector.selectableFields] = schema[SchemaCollector.selectableFields]
    return open
  }

  private static let preserves = "x-kubernetes-preserve-unknown-fields"
  private static let methods: Set<String> = ["get", "put", "post", "patch", "delete"]

  private static func pathItem(_ item: JSON) -> JSON {
    var out = JSONObject()
    for (name, value) in item.object ?? [:] {
      if methods.contains(name) {
        out[name] = operation(value)
      } else if name == "parameters" {
        out[name] = .array(value.elements.map(parameter))
      }
    }
    return .object(out)
  }

  private static func operation(_ operation: JSON) -> JSON {
    var out = operation
    var parameters = (operation["parameters"]?.elements ?? []).map(parameter)
    if let body = operation["requestBody"], let content = body["content"]?.object {
      out["consumes"] = JSON(content.keys)
      let schema = content.keys.first.flatMap { content[$0]?["schema"] } ?? ["type": "object"]
      parameters.insert(
        ["name": "body", "in": "body", "required": true, "schema": Self.schema(schema)], at: 0)
    }
    out["requestBody"] = nil
    out["parameters"] = parameters.isEmpty ? nil : .array(parameters)
    var responses = JSONObject()
    for (code, response) in operation["responses"]?.object ?? [:] {
      let content = response["content"]?.object ?? [:]
      var plain: JSON = ["description": response["description"] ?? "OK"]
      if let type = content.keys.first {
        out["produces"] = JSON(content.keys)
        if let schema = content[type]?["schema"] { plain["schema"] = Self.schema(schema) }
      }
      responses[code] = plain
    }
    out["responses"] = .object(responses)
    return out
  }

  /// Parameters say their type beside their name.
  private static func parameter(_ parameter: JSON) -> JSON {
    var out = parameter
    for (name, value) in parameter["schema"]?.object ?? [:] { out[name] = value }
    out["schema"] = nil
    return out
  }

  private static let referencePrefix = "#/components/schemas/"

  /// A schema without the words that only v3 has: choices become the text they are written as, a wrapped reference stands
  /// alone.
  static func schema(_ schema: JSON) -> JSON {
    guard let fields = schema.object else { return schema }
    var out = JSONObject()
    let isOpen = fields[preserves] == true
    for (name, value) in fields {
      switch name {
      case "properties" where isOpen, "items" where isOpen: break
      case "$ref":
        let target = value.string ?? ""
        out[name] = JSON("#/definitions/\(target.dropFirst(referencePrefix.count))")
      case "allOf":
        for (name, value) in Self.schema(value.elements.first ?? [:]).object ?? [:] { out[name] = value }
      case "oneOf", "anyOf", "not", "nullable":
        if fields["type"] == nil, name == "oneOf" { out["type"] = "string" }
      case "items", "additionalProperties": out[name] = Self.schema(value)
      case "properties":
        var properties = JSONObject()
        for (name, value) in value.object ?? [:] { properties[name] = Self.schema(value) }
        out[name] = .object(properties)
      default: out[name] = value
      }
    }
    return .object(out)
  }
}
