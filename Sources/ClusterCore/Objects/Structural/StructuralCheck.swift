// Is a schema structural, and is everything in it understood? Findings with upstream's words, such as
// `spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified
// object fields`.

struct StructuralCheck {
  /// Findings kept of one schema.
  static let errorsMax = 50
  private(set) var errors: [FieldError] = []

  private enum Place { case root, field, item }

  private mutating func add(_ error: FieldError) {
    if errors.count < Self.errorsMax { errors.append(error) }
  }

  /// Findings of a whole openAPIV3Schema.
  static func errors(_ schema: JSON, _ path: FieldPath) -> [FieldError] {
    var check = StructuralCheck()
    check.skeleton(schema, path, .root)
    if check.errors.isEmpty { check.defaults(StructuralSchema(schema), path, isRoot: true) }
    return check.errors
  }

  // MARK: What says types and fields

  private mutating func skeleton(_ schema: JSON, _ path: FieldPath, _ place: Place) {
    keywords(schema, path)
    let type = schema["type"]?.string ?? ""
    let isIntOrString = schema["x-kubernetes-int-or-string"]?.bool == true
    let preserves = schema["x-kubernetes-preserve-unknown-fields"]?.bool == true
    if type.isEmpty, !isIntOrString, !(preserves && place != .root) {
      switch place {
      case .root: add(.required(path.child("type"), "must not be empty at the root"))
      case .field:
        add(.required(path.child("type"), "must not be empty for specified object fields"))
      case .item: add(.required(path.child("type"), "must not be empty for specified array items"))
      }
    } else if place == .root, type != "object" {
      add(.invalid(path.child("type"), JSON(type), "must be object at the root"))
    }
    if isIntOrString {
      if !type.isEmpty {
        add(
          .invalid(
            path.child("type"), JSON(type), "must be empty if x-kubernetes-int-or-string is true"))
      }
      if preserves {
        add(
          .invalid(
            path.child("x-kubernetes-preserve-unknown-fields"), true,
            "must be false if x-kubernetes-int-or-string is true"))
      }
    }
    if schema["x-kubernetes-preserve-unknown-fields"]?.bool == false {
      add(
        .invalid(
          path.child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined"))
    }
    embedded(schema, path, type)
    listAndMap(schema, path, type)
    if place == .root {
      for (name, field) in schema["properties"]?.object ?? [:] where name == "metadata" {
        let known: Set<String> = ["name", "generateName"]
        let place = path.child("properties").key("metadata")
        if field["type"]?.string != "object", field["type"] != nil {
          add(.invalid(place.child("type"), field["type"] ?? "", "must be object"))
        }
        if (field["properties"]?.object ?? [:]).contains(where: { !known.contains($0.key) }) {
          add(
            .forbidden(
              place,
              "must not specify anything other than name and generateName, but metadata is implicitly specified"
            ))
        }
      }
    }
    for (name, child) in schema["properties"]?.object ?? [:] {
      skeleton(child, path.child("properties").key(name), .field)
    }
    switch schema["additionalProperties"] {
    case .object?:
      skeleton(schema["additionalProperties"] ?? [:], path.child("additionalProperties"), .field)
      if !(schema["properties"]?.object?.isEmpty ?? true) {
        add(
          .forbidden(
            path.child("additionalProperties"), "additionalProperties and properties are mutual exclusive"))
      }
    case .bool(false)?:
      add(.forbidden(path.child("additionalProperties"), "additionalProperties cannot be set to false"))
    default: break
    }
    if let items = schema["items"] {
      if items.array != nil {
        add(.forbidden(path.child("items"), "items must be a schema object and not an array"))
      } else {
        skeleton(items, path.child("items"), .item)
      }
    } else if type == "array" {
      add(.required(path.child("items"), "must be specified"))
    }
    for part in ["allOf", "anyOf", "oneOf"] {
      for (index, child) in (schema[part]?.elements ?? []).enumerated() {
        // The one way to say more about an integer or string.
        let isKnown = isIntOrString && (part == "anyOf" || part == "allOf")
        nested(child, path.child(part).index(index), in: schema, path, mayHaveType: isKnown)
      }
    }
    if let not = schema["not"] { nested(not, path.child("not"), in: schema, path, mayHaveType: false) }
  }

  private mutating func embedded(_ schema: JSON, _ path: FieldPath, _ type: String) {
    guard schema["x-kubernetes-embedded-resource"]?.bool == true else { return }
    if type != "object" {
      add(
        .invalid(path.child("type"), JSON(type), "must be object if x-kubernetes-embedded-resource is true"))
    }
    if (schema["properties"]?.object?.isEmpty ?? true),
      schema["x-kubernetes-preserve-unknown-fields"]?.bool != true
    {
      add(
        .required(
          path.child("properties"),
          "must not be empty if x-kubernetes-embedded-resource is true without "
            + "x-kubernetes-preserve-unknown-fields"))
    }
  }

  private mutating func listAndMap(_ schema: JSON, _ path: FieldPath, _ type: String) {
    let keys = schema["x-kubernetes-list-map-keys"]?.elements.compactMap(\.string) ?? []
    if let listType = schema["x-kubernetes-list-type"]?.string {
      let place = path.child("x-kubernetes-list-type")
      if type != "array" {
        add(.invalid(path.child("type"), JSON(type), "must be array if x-kubernetes-list-type is specified"))
      }
      switch listType {
      case "atomic": break
      case "set":
        let items = schema["items"] ?? [:]
        if items["type"]?.string == "object", items["x-kubernetes-map-type"]?.string != "atomic" {
          add(
            .invalid(
              path.child("items").child("x-kubernetes-map-type"),
              items["x-kubernetes-map-type"] ?? .null,
              "must be atomic as item of a list with x-kubernetes-list-type=set"))
        }
      case "map":
        if keys.isEmpty {
          add(
            .required(
              path.child("x-kubernetes-list-map-keys"),
              "must not be empty if x-kubernetes-list-type is map"))
        }
        mapKeys(keys, schema, path)
      default: add(.notSupported(place, JSON(listType), ["atomic", "map", "set"]))
      }
    }
    if !keys.isEmpty, schema["x-kubernetes-list-type"]?.string != "map" {
      add(
        .invalid(
          path.child("x-kubernetes-list-type"), schema["x-kubernetes-list-type"] ?? .null,
          "must be map if x-kubernetes-list-map-keys is non-empty"))
    }
    if let mapType = schema["x-kubernetes-map-type"]?.string {
      if type != "object" {
        add(.invalid(path.child("type"), JSON(type), "must be object if x-kubernetes-map-type is specified"))
      }
      if mapType != "atomic", mapType != "granular" {
        add(.notSupported(path.child("x-kubernetes-map-type"), JSON(mapType), ["atomic", "granular"]))
      }
    }
  }

  private mutating func mapKeys(_ keys: [String], _ schema: JSON, _ path: FieldPath) {
    let items = schema["items"] ?? [:]
    if items["type"]?.string != "object" {
      add(
        .invalid(
          path.child("items").child("type"), items["type"] ?? .null,
          "must be object if parent array's x-kubernetes-list-type is map"))
    }
    let required = items["required"]?.elements.compactMap(\.string) ?? []
    var seen: Set<String> = []
    for (index, key) in keys.enumerated() {
      let place = path.child("x-kubernetes-list-map-keys").index(index)
      guard let property = items["properties"]?[key] else {
        add(.invalid(place, JSON(key), "entries must all be names of item properties"))
        continue
      }
      if !seen.insert(key).inserted { add(.duplicate(place, JSON(key))) }
      let field = path.child("items").child("properties").key(key)
      if ["array", "object"].contains(property["type"]?.string ?? "") {
        add(
          .invalid(
            field.child("type"), property["type"] ?? .null,
            "must be a scalar type if parent array's x-kubernetes-list-type is map"))
      }
      if property["default"] == nil, !required.contains(key) {
        add(
          .required(
            field.child("default"),
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
          ))
      }
    }
  }

  // MARK: What only checks

  private static let mustBeEmpty = ["description", "type", "title", "default", "additionalProperties"]
  private static let mustBeFalse = [
    "nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
  ]

  private mutating func nested(
    _ schema: JSON, _ path: FieldPath, in skeleton: JSON, _ outer: FieldPath, mayHaveType: Bool
  ) {
    keywords(schema, path)
    for name in Self.mustBeEmpty where schema[name] != nil {
      if name == "type", mayHaveType { continue }
      if case .string("")? = schema[name] { continue }
      add(.forbidden(path.child(name), "must be empty to be structural"))
    }
    for name in Self.mustBeFalse where schema[name]?.bool == true {
      add(.forbidden(path.child(name), "must be false to be structural"))
    }
    for name in ["x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"]
    where schema[name] != nil {
      add(.forbidden(path.child(name), "must be undefined to be structural"))
    }
    for (name, child) in schema["properties"]?.object ?? [:] {
      let place = path.child("properties").key(name)
      if let declared = skeleton["properties"]?[name] {
        nested(child, place, in: declared, outer.child("properties").key(name), mayHaveType: false)
      } else if case .object? = skeleton["additionalProperties"] {
        nested(
          child, place, in: skeleton["additionalProperties"] ?? [:], outer.child("additionalProperties"),
          mayHaveType: false)
      } else {
        add(
          .required(outer.child("properties").key(name), "because it is defined in \(place.description)"))
      }
    }
    if let items = schema["items"], items.object != nil {
      if let declared = skeleton["items"] {
        nested(items, path.child("items"), in: declared, outer.child("items"), mayHaveType: false)
      } else {
        add(.required(outer.child("items"), "because it is defined in \(path.child("items").description)"))
      }
    }
    for part in ["allOf", "anyOf", "oneOf"] {
      for (index, child) in (schema[part]?.elements ?? []).enumerated() {
        nested(
          child, path.child(part).index(index), in: skeleton, outer,
          mayHaveType: mayHaveType && part == "anyOf")
      }
    }
    if let not = schema["not"] {
      nested(not, path.child("not"), in: skeleton, outer, mayHaveType: false)
    }
  }

  // MARK: Keywords of every place

  private static let forbidden = [
    "$ref": "$ref is not supported", "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported", "id": "id is not supported",
    "patternProperties": "patternProperties is not supported",
    "additionalItems": "additionalItems is not supported", "$schema": "$schema is not supported",
  ]

  private mutating func keywords(_ schema: JSON, _ path: FieldPath) {
    for (name, text) in Self.forbidden.sorted(by: { $0.key < $1.key }) {
      guard let value = schema[name], value != "" else { continue }
      add(.forbidden(path.child(name), text))
    }
    if schema["uniqueItems"]?.bool == true {
      add(
        .forbidden(
          path.child("uniqueItems"),
          "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"))
    }
    if let type = schema["type"]?.string, !type.isEmpty {
      if type == "null" {
        add(.forbidden(path.child("type"), "type cannot be set to null, use nullable as an alternative"))
      } else if StructuralSchema.Kind(rawValue: type) == nil {
        add(
          .notSupported(
            path.child("type"), JSON(type), ["array", "boolean", "integer", "number", "object", "string"]))
      }
    }
    if let text = schema["pattern"]?.string, !text.isEmpty {
      do { _ = try Pattern(text) } catch {
        add(
          .invalid(
            path.child("pattern"), JSON(text),
            "must be a valid regular expression, but isn't: error parsing regexp: \(error.description)"))
      }
    }
  }

  // MARK: Defaults

  /// A default must be what its own schema allows, without fields that would be dropped.
  private mutating func defaults(_ schema: StructuralSchema, _ path: FieldPath, isRoot: Bool = false) {
    if let fill = schema.defaultValue {
      let place = path.child("default")
      if isRoot {
        add(.forbidden(place, "must not be set"))
      } else {
        var pruned = fill
        schema.prune(&pruned)
        if pruned != fill {
          add(.invalid(place, fill, "must not have unknown fields"))
        } else {
          var filled = fill
          schema.applyDefaults(&filled)
          for error in schema.validate(filled) {
            var error = error
            error.field = error.field.isEmpty ? place.description : "\(place.description).\(error.field)"
            add(error)
          }
        }
      }
    }
    for (name, child) in schema.properties {
      defaults(child, path.child("properties").key(name))
    }
    if case .schema(let child) = schema.additional {
      defaults(child, path.child("additionalProperties"))
    }
    if let items = schema.items { defaults(items, path.child("items")) }
  }
}
