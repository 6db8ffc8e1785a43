// What a `JSONTape` has read, value by value.

/// A value on a tape. Valid inside the closure that was handed it, and nowhere else. Looking up costs the fields of one object and
/// allocates nothing but the text that is asked for.
public struct TapeValue {
  let bytes: UnsafePointer<UInt8>
  let marks: UnsafePointer<JSONTape.Mark>
  let index: Int

  private var mark: JSONTape.Mark { marks[index] }
  private func value(at index: Int) -> TapeValue { TapeValue(bytes: bytes, marks: marks, index: index) }

  public var isNull: Bool { mark.kind == .null }
  public var isObject: Bool { mark.kind == .object }
  public var isArray: Bool { mark.kind == .array }

  public var bool: Bool? {
    switch mark.kind {
    case .yes: true
    case .no: false
    default: nil
    }
  }

  /// A whole number of at most 18 digits without point and exponent.
  public var integer: Int64? {
    let mark = mark
    guard mark.kind == .number else { return nil }
    let isNegative = bytes[Int(mark.start)] == UInt8(ascii: "-")
    let from = Int(mark.start) + (isNegative ? 1 : 0)
    let end = Int(mark.start) + Int(mark.count)
    guard end - from <= 18 else { return nil }
    var number: Int64 = 0
    for at in from..<end {
      guard bytes[at] >= 48, bytes[at] <= 57 else { return nil }
      number = number * 10 + Int64(bytes[at] - 48)
    }
    return isNegative ? -number : number
  }

  /// The text of a string without escapes; nil for any other value.
  public var string: String? {
    let mark = mark
    guard mark.kind == .string, !mark.isEscaped else { return nil }
    return String(
      decoding: UnsafeBufferPointer(start: bytes + Int(mark.start), count: Int(mark.count)), as: UTF8.self)
  }

  /// Whether this is a string without escapes with just these bytes.
  public func isString(_ text: StaticString) -> Bool {
    mark.kind == .string && !mark.isEscaped && holds(mark, text)
  }

  /// Whether this is a string without escapes with just this text.
  public func isString(_ text: String) -> Bool {
    let mark = mark
    guard mark.kind == .string, !mark.isEscaped, text.utf8.count == Int(mark.count) else { return false }
    var at = Int(mark.start)
    for byte in text.utf8 {
      if bytes[at] != byte { return false }
      at += 1
    }
    return true
  }

  private func holds(_ mark: JSONTape.Mark, _ text: StaticString) -> Bool {
    guard Int(mark.count) == text.utf8CodeUnitCount else { return false }
    let own = bytes + Int(mark.start)
    for index in 0..<text.utf8CodeUnitCount where own[index] != text.utf8Start[index] { return false }
    return true
  }

  /// The field of an object; of two with one name the last, as in a tree. Nil when absent, null, or when this is no object.
  public subscript(_ name: StaticString) -> TapeValue? {
    let end = Int(mark.next)
    guard mark.kind == .object else { return nil }
    var found = 0
    var at = index + 1
    while at < end {
      if holds(marks[at], name) { found = at + 1 }
      at = Int(marks[at + 1].next)
    }
    guard found > 0, marks[found].kind != .null else { return nil }
    return value(at: found)
  }

  /// Calls `body` for each element of an array, or for nothing.
  public func forEach<Failure: Error>(_ body: (TapeValue) throws(Failure) -> Void) throws(Failure) {
    guard mark.kind == .array else { return }
    let end = Int(mark.next)
    var at = index + 1
    while at < end {
      try body(value(at: at))
      at = Int(marks[at].next)
    }
  }

  /// Whether nothing stands inside an object or an array; true for everything else.
  public var isEmpty: Bool { Int(mark.next) == index + 1 }

  /// The elements of an array. Costs them.
  public var count: Int {
    var count = 0
    forEach { _ in count += 1 }
    return count
  }

  /// The first element of an array, unless it is null.
  public var first: TapeValue? {
    guard mark.kind == .array, !isEmpty, marks[index + 1].kind != .null else { return nil }
    return value(at: index + 1)
  }

  /// Calls `body` for each field of an object, or for nothing; names as they stand, also twice.
  public func forEachField<Failure: Error>(_ body: (String, TapeValue) throws(Failure) -> Void)
    throws(Failure)
  {
    guard mark.kind == .object else { return }
    let end = Int(mark.next)
    var at = index + 1
    while at < end {
      try body(value(at: at).string ?? "", value(at: at + 1))
      at = Int(marks[at + 1].next)
    }
  }

  /// The tree of an object or an array; nil for any other value.
  public var tree: JSON? {
    let mark = mark
    guard mark.kind == .object || mark.kind == .array else { return nil }
    let own = UnsafeBufferPointer(start: bytes + Int(mark.start), count: Int(mark.count))
    return try? JSON(parsing: Array(own))
  }

  /// `metadata.namespace` and `metadata.name`, absent text as empty; nil when either is no plain string.
  public var key: ObjectKey? {
    guard let metadata = self["metadata"] else { return nil }
    var (namespace, name) = ("", "")
    if let field = metadata["namespace"] {
      guard let text = field.string else { return nil }
      namespace = text
    }
    if let field = metadata["name"] {
      guard let text = field.string else { return nil }
      name = text
    }
    return ObjectKey(namespace, name)
  }
}
