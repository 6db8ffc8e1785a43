// What an object looks like: the one structure behind decoding, defaults, patches, apply, OpenAPI and
// protobuf. The built-in kinds compile into it from SchemaText; custom resources compile into the same one.

import Synchronization

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
  /// Any JSON whose owners are told apart field by field; its lists are wholes.
  case deduced
  /// The field set of a manager (metav1.FieldsV1).
  case fields
  case list(SchemaType)
  /// An object whose names are free.
  case map(SchemaType)
  case object(Schema)
  /// An object of this schema, or a value of the other type: `items` of a JSON schema is a schema or a list
  /// of them. Protobuf wraps it: the schema is field 1 and the other field 2, but for `bool` the other way.
  case either(Schema, or: SchemaType)

  /// The schema of an object, or of a list's or map's elements.
  public var schema: Schema? {
    switch self {
    case .object(let schema), .either(let schema, _): schema
    case .list(let element), .map(let element): element.schema
    default: nil
    }
  }
}

/// An object type: its fields by name and by protobuf number. Immutable, shared freely.
public final class Schema: Sendable {
  /// The name in OpenAPI, such as `io.k8s.api.core.v1.PodSpec`.
  public let name: String
  private let own: Contents
  private let isStandIn: Bool
  /// The schema of a custom resource as it was declared; nil in built-in kinds and below the root.
  public let custom: CustomForm?

  private struct Contents {
    var doc = ""
    var fields: [SchemaField] = []
    var inlined: [Int: Schema] = [:]
    var isAtomic = false
    /// Of the type, also where a field says otherwise.
    var isDeclaredAtomic = false
    var preservesUnknown = false
    var byName: [String: SchemaEntry] = [:]
    /// Where a number is the index, as far as numbers are small; the others by number.
    var bySmallNumber: [SchemaEntry?] = []
    var byLargeNumber: [Int: SchemaEntry] = [:]
    /// What is written even when it holds nothing.
    var always: [SchemaEntry] = []
    /// Set in a stand-in: where the schema is that it stands for.
    var knot: SchemaKnot?

    mutating func add(_ entry: SchemaEntry) {
      byName[entry.field.name] = entry
      if entry.field.isAlways { always.append(entry) }
      guard let number = entry.field.number else { return }
      if (0..<Schema.smallNumbers).contains(number) {
        while bySmallNumber.count <= number { bySmallNumber.append(nil) }
        bySmallNumber[number] = entry
      } else {
        byLargeNumber[number] = entry
      }
    }
  }
  private static let smallNumbers = 128

  public init(
    name: String, doc: String = "", fields: [SchemaField], inlined: [Int: Schema] = [:],
    isAtomic: Bool = false,
    preservesUnknown: Bool = false, custom: CustomForm? = nil
  ) {
    self.name = name
    let flattened = inlined.sorted { $0.key < $1.key }.flatMap { _, schema in
      schema.fields.map { field in
        var field = field
        field.number = nil  // Its number counts in the inlined message, not here.
        return field
      }
    }
    var contents = Contents(
      doc: doc, fields: fields + flattened, inlined: inlined, isAtomic: isAtomic,
      isDeclaredAtomic: isAtomic, preservesUnknown: preservesUnknown)
    for field in contents.fields { contents.add(SchemaEntry(field)) }
    own = contents
    isStandIn = false
    self.custom = custom
  }

  /// The same schema where each part has an owner of its own.
  func granular() -> Schema {
    guard isAtomic else { return self }
    return Schema(copying: resolved)
  }

  private init(copying schema: Schema) {
    name = schema.name
    var contents = schema.own
    contents.isAtomic = false
    own = contents
    isStandIn = schema.isStandIn
    custom = schema.custom
  }

  /// A stand-in for the schema of this name, which the knot will hold: how a schema refers to itself.
  init(name: String, knot: SchemaKnot) {
    self.name = name
    own = Contents(knot: knot)
    isStandIn = true
    custom = nil
  }

  private var resolved: Schema { own.knot?.schema ?? self }

  public var doc: String { resolved.own.doc }
  /// In declaration order. The fields of inlined messages are among them.
  public var fields: [SchemaField] { resolved.own.fields }
  /// Messages that JSON flattens into this object, by their protobuf number.
  public var inlined: [Int: Schema] { resolved.own.inlined }
  /// One owner for all of it under server-side apply.
  public var isAtomic: Bool { resolved.own.isAtomic }
  /// The same of the type, which OpenAPI tells; a field may have it otherwise (`SchemaField.isGranular`).
  public var isDeclaredAtomic: Bool { resolved.own.isDeclaredAtomic }
  /// Keeps fields that are not declared (custom resources that ask for it).
  public var preservesUnknown: Bool { resolved.own.preservesUnknown }

  public func field(_ name: String) -> SchemaField? { entry(name)?.field }
  public func field(number: Int) -> SchemaField? { entry(number: number)?.field }

  func entry(_ name: String) -> SchemaEntry? { isStandIn ? resolved.own.byName[name] : own.byName[name] }
  func entry(number: Int) -> SchemaEntry? {
    if isStandIn { return resolved.entry(number: number) }
    return own.bySmallNumber.indices.contains(number)
      ? own.bySmallNumber[number] : own.byLargeNumber[number]
  }
  /// The fields that are always written.
  var always: [SchemaEntry] { resolved.own.always }
  var hasInlined: Bool { !resolved.own.inlined.isEmpty }

  /// The field at a path of names; lists and maps are stepped into by any name for maps and none for lists.
  public func type(at path: some Sequence<String>) -> SchemaType? {
    var type = SchemaType.object(self)
    for name in path {
      while case .list(let element) = type { type = element }
      switch type {
      case .object(let schema), .either(let schema, _):
        guard let field = schema.field(name) else { return nil }
        type = field.type
      case .map(let element): type = element
      default: return nil
      }
    }
    return type
  }
}

/// Where a schema that refers to itself is found once it is made. Tied once, read by everyone; the cycle lives as
/// long as the program, which only the built-in schemas may.
final class SchemaKnot: Sendable {
  private let reference = AtomicLazyReference<Schema>()
  var schema: Schema? { reference.load() }
  func tie(_ schema: Schema) { _ = reference.storeIfNil(schema) }
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

/// A field as a look-up gives it: a reference, for copying a field costs more than finding it.
final class SchemaEntry: Sendable {
  let field: SchemaField
  init(_ field: SchemaField) { self.field = field }
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
  /// Here each part has an owner of its own, although the type has one owner elsewhere.
  public var isGranular = false
  public var defaultValue: JSON?
  public var enumeration: [String] = []
  public var doc = ""

  public init(_ name: String, _ type: SchemaType, number: Int? = nil) {
    self.name = name
    self.type = type
    self.number = number
  }
}
