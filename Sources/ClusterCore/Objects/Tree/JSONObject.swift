// An object's fields, in the order they were written. Most have fewer than a dozen, where a scan beats a hash; large
// ones (the data of a ConfigMap) get an index.

/// The fields of a JSON object: ordered, each name once.
public struct JSONObject: Sendable {
  @usableFromInline var fields: [Field] = []
  /// Position by name, kept only past `scanMax` fields.
  @usableFromInline var index: [String: Int]?

  @usableFromInline struct Field: Sendable, Hashable {
    @usableFromInline var key: String
    @usableFromInline var value: JSON
    @usableFromInline init(key: String, value: JSON) {
      self.key = key
      self.value = value
    }
  }

  /// Fields up to which a look-up scans.
  @usableFromInline static var scanMax: Int { 16 }

  public init() {}

  /// Fields whose names are known to differ.
  init(fields: [Field]) {
    self.fields = fields
    if fields.count > Self.scanMax { index = Self.index(of: fields) }
  }

  /// Room for so many fields.
  init(capacity: Int) { fields.reserveCapacity(capacity) }

  private static func index(of fields: [Field]) -> [String: Int] {
    Dictionary(uniqueKeysWithValues: fields.enumerated().map { ($0.element.key, $0.offset) })
  }

  /// Of names given twice the last wins.
  public init(_ pairs: some Sequence<(String, JSON)>) {
    for (key, value) in pairs { self[key] = value }
  }

  public var count: Int { fields.count }
  public var isEmpty: Bool { fields.isEmpty }
  public var keys: [String] { fields.map(\.key) }

  @usableFromInline func position(of key: String) -> Int? {
    if let index { return index[key] }
    for position in fields.indices where fields[position].key == key { return position }
    return nil
  }

  public subscript(_ key: String) -> JSON? {
    get { position(of: key).map { fields[$0].value } }
    set {
      guard let newValue else {
        removeValue(forKey: key)
        return
      }
      if let position = position(of: key) {
        fields[position].value = newValue
      } else {
        append(key, newValue)
      }
    }
  }

  /// Adds a field whose name is known to be new. The parser checks with `contains`.
  @usableFromInline mutating func append(_ key: String, _ value: JSON) {
    fields.append(Field(key: key, value: value))
    if index != nil {
      index![key] = fields.count - 1
    } else if fields.count > Self.scanMax {
      index = Dictionary(uniqueKeysWithValues: fields.enumerated().map { ($0.element.key, $0.offset) })
    }
  }

  /// Adds a null under a name known to be new; says where.
  mutating func appendNull(_ key: String) -> Int {
    append(key, .null)
    return fields.count - 1
  }

  /// Takes the value at a position out and leaves a null, so that it can be changed in place.
  mutating func take(_ position: Int) -> JSON {
    var value = JSON.null
    swap(&value, &fields[position].value)
    return value
  }

  public func contains(_ key: String) -> Bool { position(of: key) != nil }

  @discardableResult public mutating func removeValue(forKey key: String) -> JSON? {
    guard let position = position(of: key) else { return nil }
    let value = fields.remove(at: position).value
    if index != nil {
      index =
        fields.count > Self.scanMax
        ? Dictionary(uniqueKeysWithValues: fields.enumerated().map { ($0.element.key, $0.offset) }) : nil
    }
    return value
  }

  /// The same fields with names in byte order, for canonical bytes.
  public func sortedByKey() -> JSONObject {
    JSONObject(fields.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
  }

  /// Replaces every value, keeping names and order.
  public func mapValues(_ transform: (JSON) throws -> JSON) rethrows -> JSONObject {
    var copy = self
    for position in copy.fields.indices {
      copy.fields[position].value = try transform(copy.fields[position].value)
    }
    return copy
  }
}

extension JSONObject: Sequence {
  public struct Iterator: IteratorProtocol {
    var base: IndexingIterator<[Field]>
    public mutating func next() -> (key: String, value: JSON)? { base.next().map { ($0.key, $0.value) } }
  }
  public func makeIterator() -> Iterator { Iterator(base: fields.makeIterator()) }
}

/// Equal whatever the order of fields.
extension JSONObject: Hashable {
  public static func == (a: Self, b: Self) -> Bool {
    guard a.count == b.count else { return false }
    for (position, field) in a.fields.enumerated() {
      // The common case: both written in the same order.
      if b.fields[position].key == field.key {
        if b.fields[position].value != field.value { return false }
      } else if b[field.key] != field.value {
        return false
      }
    }
    return true
  }

  public func hash(into hasher: inout Hasher) {
    var sum = 0
    for field in fields { sum &+= field.hashValue }
    hasher.combine(fields.count)
    hasher.combine(sum)
  }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (String, JSON)...) { self.init(elements) }
}
