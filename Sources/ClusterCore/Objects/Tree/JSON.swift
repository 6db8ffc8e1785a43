// The tree in the middle: what every object is between its bytes and its typed views. Unknown fields survive, which
// patches, server-side apply and custom resources need.

/// A JSON value. Integers are kept as numbers, other numbers as their source text, so that nothing is lost on the way
/// through (`1.10` stays `1.10`).
public enum JSON: Sendable, Hashable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// A number that is no 64-bit integer, as it was written.
  case number(String)
  case string(String)
  case array([JSON])
  case object(JSONObject)
}

// MARK: - Reading

extension JSON {
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
  public var int: Int? { integer.map(Int.init) }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
  /// The same as `string != nil`, without a copy.
  var isString: Bool { if case .string = self { true } else { false } }
  public var isNull: Bool { if case .null = self { true } else { false } }

  /// Elements of an array; none for anything else, so that absent lists read as empty.
  public var elements: [JSON] { array ?? [] }

  /// The object's entries whose values are strings: labels, selectors, annotations. Empty for anything else.
  public var stringMap: [String: String] {
    guard let object else { return [:] }
    var result: [String: String] = [:]
    for (key, value) in object { if let text = value.string { result[key] = text } }
    return result
  }

  /// The field of an object; nil when absent or when this is no object. Setting makes an object of a null, and
  /// setting nil removes the field.
  public subscript(_ key: String) -> JSON? {
    get { object?[key] }
    set {
      switch self {
      case .object(var object):
        self = .null  // Give the storage up first, so that the change is made in place.
        object[key] = newValue
        self = .object(object)
      default:
        guard let newValue else { return }
        self = .object([key: newValue])
      }
    }
  }

  public subscript(_ index: Int) -> JSON? {
    guard let array, array.indices.contains(index) else { return nil }
    return array[index]
  }

  /// The value at a path of fields, such as `at("spec", "template", "spec")`.
  public func at(_ path: String...) -> JSON? { at(path) }

  public func at(_ path: some Sequence<String>) -> JSON? {
    var value = self
    for key in path {
      guard let next = value[key] else { return nil }
      value = next
    }
    return value
  }

  /// Sets the value at a path of fields, making the objects on the way. Nil removes the last field.
  public mutating func set(_ value: JSON?, at path: String...) { set(value, at: path[...]) }

  public mutating func set(_ value: JSON?, at path: ArraySlice<String>) {
    guard let key = path.first else {
      self = value ?? .null
      return
    }
    if path.count == 1 {
      self[key] = value
      return
    }
    var child = self[key] ?? .object([:])
    if value == nil, child.object == nil { return }
    self[key] = .null
    child.set(value, at: path.dropFirst())
    self[key] = child
  }
}

extension JSON {
  /// Whether objects and arrays stand in each other more than `levels` times. Looks no deeper than that.
  public func isDeeper(than levels: Int) -> Bool {
    switch self {
    case .object(let object):
      return levels <= 0 || object.contains { $0.value.isDeeper(than: levels - 1) }
    case .array(let elements): return levels <= 0 || elements.contains { $0.isDeeper(than: levels - 1) }
    default: return false
    }
  }
}

// MARK: - Writing trees in code

// Not by `nil`: in `condition ? nil : JSON(x)` the literal would become null instead of absence, and a field that
// should vanish would be written as `null`. Null is written `.null`.
extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSON)...) { self = .object(JSONObject(elements)) }

  public init(_ value: String) { self = .string(value) }
  public init(_ value: some FixedWidthInteger) { self = .integer(Int64(clamping: value)) }
  public init(_ value: Bool) { self = .bool(value) }
  public init(_ value: [String]) { self = .array(value.map(JSON.string)) }
  /// Keys in sorted order, so that equal maps give equal bytes.
  public init(_ value: [String: String]) {
    self = .object(JSONObject(value.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
  }
}
