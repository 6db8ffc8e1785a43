// The schema of a custom resource (openAPIV3Schema), compiled: what pruning, defaults and validation walk.
// Structural means that types and fields are said outside of allOf, anyOf, oneOf and not, which only check.

/// One place in a custom resource. Immutable, shared freely.
public final class StructuralSchema: Sendable {
  public enum Kind: String, Sendable {
    case object, array, string, integer, number, boolean
  }

  /// What an object may hold beside its properties.
  public enum Additional: Sendable {
    case none
    case anything
    case schema(StructuralSchema)
  }

  public let kind: Kind?
  public let isNullable: Bool
  public let isIntOrString: Bool
  /// A Kubernetes object within the object.
  public let isEmbedded: Bool
  public let preservesUnknown: Bool
  /// In the order in which they were declared.
  public let properties: [(name: String, schema: StructuralSchema)]
  public let additional: Additional
  public let items: StructuralSchema?
  public let defaultValue: JSON?
  public let listType: SchemaListType?
  /// `x-kubernetes-map-type: atomic`.
  public let isAtomicMap: Bool
  let rules: ValueRules
  let allOf: [StructuralSchema]
  let anyOf: [StructuralSchema]
  let oneOf: [StructuralSchema]
  let not: StructuralSchema?
  /// Some place at or below this one has a default.
  let hasDefaults: Bool
  /// Some place at or below this one has CEL rules.
  public let hasExpressions: Bool
  /// Some place below this one is a Kubernetes object.
  let holdsEmbedded: Bool

  private let positionByName: [String: Int]

  /// What is checked of one value without looking at its parts.
  struct ValueRules: Sendable {
    var format = ""
    var enumeration: [JSON]?
    var pattern: Pattern?
    var patternText = ""
    var minimum: Double?
    var maximum: Double?
    var excludesMinimum = false
    var excludesMaximum = false
    var minimumText = ""
    var maximumText = ""
    var multipleOf: Double?
    var multipleOfText = ""
    var lengthLeast: Int?
    var lengthMost: Int?
    var itemsLeast: Int?
    var itemsMost: Int?
    var propertiesLeast: Int?
    var propertiesMost: Int?
    var hasUniqueItems = false
    var required: [String] = []
  }

  public func property(_ name: String) -> StructuralSchema? {
    positionByName[name].map { properties[$0].schema }
  }

  /// The schema of a field that may be there: a property, or what additional ones are.
  func child(_ name: String) -> StructuralSchema? {
    if let found = property(name) { return found }
    if case .schema(let schema) = additional { return schema }
    return nil
  }

  /// Compiles JSONSchemaProps. What is malformed counts as unsaid: `StructuralCheck` refuses it before.
  public init(_ tree: JSON) {
    kind = tree["type"]?.string.flatMap(Kind.init(rawValue:))
    isNullable = tree["nullable"]?.bool ?? false
    isIntOrString = tree["x-kubernetes-int-or-string"]?.bool ?? false
    isEmbedded = tree["x-kubernetes-embedded-resource"]?.bool ?? false
    preservesUnknown = tree["x-kubernetes-preserve-unknown-fields"]?.bool ?? false
    properties = (tree["properties"]?.object ?? [:]).map { ($0.key, StructuralSchema($0.value)) }
    switch tree["additionalProperties"] {
    case .bool(true)?: additional = .anything
    case .object?: additional = .schema(StructuralSchema(tree["additionalProperties"] ?? [:]))
    default: additional = .none
    }
    items = tree["items"].flatMap { $0.object == nil ? nil : StructuralSchema($0) }
    defaultValue = tree["default"].flatMap { $0.isNull ? nil : $0 }
    switch tree["x-kubernetes-list-type"]?.string {
    case "map"?:
      listType = .map(tree["x-kubernetes-list-map-keys"]?.elements.compactMap(\.string) ?? [])
    case "set"?: listType = .set
    case "atomic"?: listType = .atomic
    default: listType = nil
    }
    isAtomicMap = tree["x-kubernetes-map-type"]?.string == "atomic"
    rules = Self.rules(tree)
    func several(_ name: String) -> [StructuralSchema] {
      (tree[name]?.elements ?? []).map { StructuralSchema($0) }
    }
    allOf = several("allOf")
    anyOf = several("anyOf")
    oneOf = several("oneOf")
    not = tree["not"].flatMap { $0.object == nil ? nil : StructuralSchema($0) }
    var byName: [String: Int] = [:]
    for (position, entry) in properties.enumerated() { byName[entry.name] = position }
    positionByName = byName
    var parts = properties.map(\.schema)
    if case .schema(let schema) = additional { parts.append(schema) }
    if let items { parts.append(items) }
    hasDefaults = parts.contains { $0.defaultValue != nil || $0.hasDefaults }
    holdsEmbedded = parts.contains { $0.isEmbedded || $0.holdsEmbedded }
    hasExpressions =
      !(tree["x-kubernetes-validations"]?.elements ?? []).isEmpty || parts.contains { $0.hasExpressions }
  }

  private static func rules(_ tree: JSON) -> ValueRules {
    var rules = ValueRules()
    func count(_ name: String) -> Int? { tree[name]?.integer.map { Int(clamping: $0) } }
    rules.format = tree["format"]?.string ?? ""
    rules.enumeration = tree["enum"]?.array.flatMap { $0.isEmpty ? nil : $0 }
    if let text = tree["pattern"]?.string, !text.isEmpty {
      rules.patternText = text
      rules.pattern = try? Pattern(text)
    }
    rules.minimum = tree["minimum"]?.double
    rules.maximum = tree["maximum"]?.double
    rules.minimumText = tree["minimum"]?.text ?? ""
    rules.maximumText = tree["maximum"]?.text ?? ""
    rules.excludesMinimum = tree["exclusiveMinimum"]?.bool ?? false
    rules.excludesMaximum = tree["exclusiveMaximum"]?.bool ?? false
    rules.multipleOf = tree["multipleOf"]?.double
    rules.multipleOfText = tree["multipleOf"]?.text ?? ""
    rules.lengthLeast = count("minLength")
    rules.lengthMost = count("maxLength")
    rules.itemsLeast = count("minItems")
    rules.itemsMost = count("maxItems")
    rules.propertiesLeast = count("minProperties")
    rules.propertiesMost = count("maxProperties")
    rules.hasUniqueItems = tree["uniqueItems"]?.bool ?? false
    rules.required = tree["required"]?.elements.compactMap(\.string) ?? []
    return rules
  }
}

extension JSON {
  /// A number of any form; nil for anything else.
  var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let text): Double(text)
    default: nil
    }
  }
}
