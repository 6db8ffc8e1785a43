// What an object looks like: the one structure behind decoding, defaults, patches, apply, OpenAPI and
// protobuf. The built-in kinds compile into it from SchemaText; custom resources compile into the same one.

/// The type of a value in the tree.
public indirect enum SchemaType: Sendable {
  case string, bool, int32, int64, float
  /// An amount such as `500m` or `2Gi`, kept in canonical form.
  case quantity
  case intOrString
  /// RFC 3339 in whole seconds, UTC.
  case time
  /// RFC 3339 with six decimals, UTC.
  case microTime
  /// A length of time as Go writes it, such as `1h0m0s`.
  case duration
  /// Base64 text.
  case bytes
  /// Any JSON.
  case raw
  /// The field set of a manager (metav1.FieldsV1).
  case fields
  case list(SchemaType)
  /// An object whose names are free.
  case map(SchemaType)
  case object(Schema)

  /// The schema of an object, or of a list's or map's elements.
  public var schema: Schema? {
    switch self {
    case .object(let schema): schema
    case .list(let element), .map(let element): element.schema
    default: nil
    }
  }
}

/// An object type: its fields by name and by protobuf number. Immutable, shared freely.
public final class Schema: Sendable {
  /// The name in OpenAPI, such as `io.k8s.api.core.v1.PodSpec`.
  public let name: String
  public let doc: String
  /// In declaration order. The fields of inlined messages are among them.
  public let fields: [SchemaField]
  /// Messages that JSON flattens into this object, by their protobuf number.
  public let inlined: [Int: Schema]
  /// One owner for all of it under server-side apply.
  public let isAtomic: Bool
  /// Keeps fields that are not declared (custom resources that ask for it).
  public let preservesUnknown: Bool

  private let positionByName: [String: Int]
  private let positionByNumber: [Int: Int]

  public init(
    name: String, doc: String = "", fields: [SchemaField], inlined: [Int: Schema] = [:],
    isAtomic: Bool = false,
    preservesUnknown: Bool = false
  ) {
    self.name = name
    self.doc = doc
    let flattened = inlined.sorted { $0.key < $1.key }.flatMap { _, schema in
      schema.fields.map { field in
        var field = field
        field.number = nil  // Its number counts in the inlined message, not here.
        return field
      }
    }
    self.fields = fields + flattened
    self.inlined = inlined
    self.isAtomic = isAtomic
    self.preservesUnknown = preservesUnknown
    var byName: [String: Int] = [:]
    var byNumber: [Int: Int] = [:]
    for (position, field) in self.fields.enumerated() {
      byName[field.name] = position
      if let number = field.number { byNumber[number] = position }
    }
    positionByName = byName
    positionByNumber = byNumber
  }

  public func field(_ name: String) -> SchemaField? { positionByName[name].map { fields[$0] } }
  public func field(number: Int) -> SchemaField? { positionByNumber[number].map { fields[$0] } }

  /// The field at a path of names; lists and maps are stepped into by any name for maps and none for lists.
  public func type(at path: some Sequence<String>) -> SchemaType? {
    var type = SchemaType.object(self)
    for name in path {
      while case .list(let element) = type { type = element }
      switch type {
      case .object(let schema):
        guard let field = schema.field(name) else { return nil }
        type = field.type
      case .map(let element): type = element
      default: return nil
      }
    }
    return type
  }
}

/// How a list's elements are told apart under server-side apply.
public enum SchemaListType: Sendable, Hashable {
  /// One value: whoever sets it owns all of it.
  case atomic
  /// Scalars, each once.
  case set
  /// Objects told apart by these fields.
  case map([String])
}

/// How a strategic merge patch treats a field.
public struct SchemaPatch: Sendable, Hashable {
  /// Elements are merged by `mergeKey`, or united when they are scalars.
  public var isMerge = false
  /// Fields that the patch does not name are dropped (`$retainKeys`).
  public var retainsKeys = false
  public var mergeKey: String?
  public init(isMerge: Bool = false, retainsKeys: Bool = false, mergeKey: String? = nil) {
    self.isMerge = isMerge
    self.retainsKeys = retainsKeys
    self.mergeKey = mergeKey
  }
}

/// A field of an object.
public struct SchemaField: Sendable {
  public var name: String
  public var type: SchemaType
  /// Protobuf number; nil for what protobuf carries elsewhere.
  public var number: Int?
  /// Presence counts: zero differs from absent.
  public var hasPresence = false
  /// Written even when it holds nothing.
  public var isAlways = false
  /// Clients may not leave it out.
  public var isRequired = false
  public var patch = SchemaPatch()
  public var listType: SchemaListType?
  /// A map or object with one owner.
  public var isAtomic = false
  public var defaultValue: JSON?
  public var enumeration: [String] = []
  public var doc = ""

  public init(_ name: String, _ type: SchemaType, number: Int? = nil) {
    self.name = name
    self.type = type
    self.number = number
  }
}
