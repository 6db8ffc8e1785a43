// Bytes to tree. RFC 8259, strictly: no comments, no trailing commas, no duplicate names unless they are asked for.
// Bounds on depth and size are checked on the way, so that a stranger's bytes can cost only what they weigh.

/// Why bytes are not JSON. `offset` counts bytes from the start.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
  public var reason: String
  public var offset: Int
  public var description: String { "\(reason) at byte \(offset)" }
  /// Well-formed perhaps, but nested past `JSON.depthMax`.
  public var isTooDeep = false
}

extension JSON {
  /// Nesting that is still read. Kubernetes' decoder stops at 10,000; recursion here is cut far earlier.
  public static var depthMax: Int { 256 }

  /// Reads one JSON value that fills `bytes`. Duplicate names in an object: the last wins, and each is reported to
  /// `onDuplicate` as a path such as `spec.ports[0].name`.
  public init(parsing bytes: [UInt8], onDuplicate: ((String) -> Void)? = nil) throws(JSONError) {
    var failure: JSONError?
    let value: JSON? = bytes.withUnsafeBufferPointer { buffer in
      var parser = JSONParser(bytes: buffer, onDuplicate: onDuplicate)
      do throws(JSONError) {
        return try parser.document()
      } catch {
        failure = error
        return nil
      }
    }
    guard let value else { throw failure ?? JSONError(reason: "no value", offset: 0) }
    self = value
  }

  public init(parsing text: String) throws(JSONError) { try self.init(parsing: Array(text.utf8)) }
}

struct JSONParser: ~Copyable {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var offset = 0
  // Of the objects and arrays that are open.
  private var fields = ScratchStack<JSONObject.Field>(capacity: 32)
  private var elements = ScratchStack<JSON>(capacity: 16)
  private let onDuplicate: ((String) -> Void)?
  private var path: [String] = []

  init(bytes: UnsafeBufferPointer<UInt8>, onDuplicate: ((String) -> Void)?) {
    self.bytes = bytes
    self.onDuplicate = onDuplicate
  }

  mutating func document() throws(JSONError) -> JSON {
    skipBlanks()
    let value = try value(depth: 0)
    skipBlanks()
    guard offset == bytes.count else { throw error("unexpected bytes after the value") }
    return value
  }

  private func error(_ reason: String) -> JSONError { JSONError(reason: reason, offset: offset) }
  private func tooDeep() -> JSONError {
    JSONError(reason: "exceeded max depth of \(JSON.depthMax)", offset: offset, isTooDeep: true)
  }

  private mutating func skipBlanks() {
    while offset < bytes.count {
      switch bytes[offset] {
      case 0x20, 0x0a, 0x0d, 0x09: offset += 1
      default: return
      }
    }
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSON {
    guard depth < JSON.depthMax else { throw tooDeep() }
    guard offset < bytes.count else { throw error("unexpected end of input") }
    switch bytes[offset] {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func word(_ text: StaticString, _ value: JSON) throws(JSONError) -> JSON {
    let length = text.utf8CodeUnitCount
    guard offset + length <= bytes.count else { throw error("unexpected end of input") }
    for index in 0..<length where bytes[offset + index] != text.utf8Start[index] {
      throw error("unknown word")
    }
    offset += length
    return value
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSON {
    offset += 1
    skipBlanks()
    if offset < bytes.count, bytes[offset] == UInt8(ascii: "}") {
      offset += 1
      return .object(JSONObject())
    }
    let start = fields.count
    // Once there are so many fields that they need an index.
    var large: JSONObject?
    while true {
      skipBlanks()
      guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else {
        throw error("expected a field name")
      }
      let key = try string()
      skipBlanks()
      guard offset < bytes.count, bytes[offset] == UInt8(ascii: ":") else { throw error("expected ':'") }
      offset += 1
      skipBlanks()
      if onDuplicate != nil { path.append(path.isEmpty ? key : ".\(key)") }
      let value = try value(depth: depth + 1)
      if large != nil {
        if large?.contains(key) ?? false { onDuplicate?(path.joined()) }
        large?[key] = value
      } else if let known = fields.firstIndex(from: start, where: { $0.key == key }) {
        onDuplicate?(path.joined())
        fields.change(known) { $0.value = value }
      } else {
        fields.push(JSONObject.Field(key: key, value: value))
        if fields.count - start > JSONObject.scanMax { large = JSONObject(fields: fields.take(from: start)) }
      }
      if onDuplicate != nil { path.removeLast() }
      skipBlanks()
      guard offset < bytes.count else { throw error("unexpected end of input") }
      let next = bytes[offset]
      offset += 1
      if next == UInt8(ascii: "}") { return .object(large ?? JSONObject(fields: fields.take(from: start))) }
      guard next == UInt8(ascii: ",") else {
        offset -= 1
        throw error("expected ',' or '}'")
      }
    }
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSON {
    offset += 1
    skipBlanks()
    if offset < bytes.count, bytes[offset] == UInt8(ascii: "]") {
      offset += 1
      return .array([])
    }
    let start = elements.count
    while true {
      skipBlanks()
      if onDuplicate != nil { path.append("[\(elements.count - start)]") }
      elements.push(try value(depth: depth + 1))
      if onDuplicate != nil { path.removeLast() }
      skipBlanks()
      guard offset < bytes.count else { throw error("unexpected end of input") }
      let next = bytes[offset]
      offset += 1
      if next == UInt8(ascii: "]") { return .array(elements.take(from: start)) }
      guard next == UInt8(ascii: ",") else {
        offset -= 1
        throw error("expected ',' or ']'")
      }
    }
  }

  private mutating func number() throws(JSONError) -> JSON {
    let start = offset
    if let short = shortInteger() { return .integer(short) }
    let bytes = bytes
    func digit(_ at: Int) -> Bool { at < bytes.count && bytes[at] >= 48 && bytes[at] <= 57 }
    if bytes[offset] == UInt8(ascii: "-") { offset += 1 }
    guard digit(offset) else { throw error("expected a value") }
    if bytes[offset] == UInt8(ascii: "0"), digit(offset + 1) { throw error("a number begins with zero") }
    while digit(offset) { offset += 1 }
    var isInteger = true
    if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
      isInteger = false
      offset += 1
      guard digit(offset) else { throw error("expected a digit") }
      while digit(offset) { offset += 1 }
    }
    if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
      isInteger = false
      offset += 1
      if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
        offset += 1
      }
      guard digit(offset) else { throw error("expected a digit") }
      while digit(offset) { offset += 1 }
    }
    let text = String(decoding: bytes[start..<offset], as: UTF8.self)
    if isInteger, let integer = Int64(text) { return .integer(integer) }
    return .number(text)
  }

  /// Most numbers are integers of a few digits. Leaves the offset where it is when this is none.
  private mutating func shortInteger() -> Int64? {
    var at = offset
    let isNegative = bytes[at] == UInt8(ascii: "-")
    if isNegative { at += 1 }
    let first = at
    var value: Int64 = 0
    while at < bytes.count, at - first < 18, bytes[at] >= 48, bytes[at] <= 57 {
      value = value * 10 + Int64(bytes[at] - 48)
      at += 1
    }
    guard at > first, at - first == 1 || bytes[first] != 48 else { return nil }
    if at < bytes.count {
      switch bytes[at] {
      case 48...57, UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): return nil
      default: break
      }
    }
    offset = at
    return isNegative ? -value : value
  }

  private mutating func string() throws(JSONError) -> String {
    offset += 1
    let start = offset
    // Most strings have no escapes: one scan, one copy.
    offset += PlainText.length(UnsafeRawBufferPointer(bytes), from: start)
    guard offset < bytes.count else { throw error("unexpected end of input") }
    if bytes[offset] == UInt8(ascii: "\\") { return try escapedString(from: start) }
    guard bytes[offset] == UInt8(ascii: "\"") else { throw error("control character in a string") }
    let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<offset]), as: UTF8.self)
    offset += 1
    return text
  }

  private mutating func escapedString(from start: Int) throws(JSONError) -> String {
    var unescaped = Array(bytes[start..<offset])
    while offset < bytes.count {
      let byte = bytes[offset]
      offset += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: unescaped, as: UTF8.self)
      case UInt8(ascii: "\\"):
        guard offset < bytes.count else { throw error("unexpected end of input") }
        let escape = bytes[offset]
        offset += 1
        switch escape {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): unescaped.append(escape)
        case UInt8(ascii: "b"): unescaped.append(0x08)
        case UInt8(ascii: "f"): unescaped.append(0x0c)
        case UInt8(ascii: "n"): unescaped.append(0x0a)
        case UInt8(ascii: "r"): unescaped.append(0x0d)
        case UInt8(ascii: "t"): unescaped.append(0x09)
        case UInt8(ascii: "u"): unescaped.append(contentsOf: Array(String(try unicodeEscape()).utf8))
        default: throw error("unknown escape")
        }
      case 0..<0x20: throw error("control character in a string")
      default: unescaped.append(byte)
      }
    }
    throw error("unexpected end of input")
  }

  /// After `\u`. A lone surrogate becomes U+FFFD, as Go's decoder does.
  private mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
    let replacement: Unicode.Scalar = "\u{fffd}"
    let first = try hex4()
    guard (0xd800...0xdfff).contains(first) else { return Unicode.Scalar(first) ?? replacement }
    guard first < 0xdc00, offset + 1 < bytes.count, bytes[offset] == UInt8(ascii: "\\"),
      bytes[offset + 1] == UInt8(ascii: "u")
    else { return replacement }
    let mark = offset
    offset += 2
    let second = try hex4()
    guard (0xdc00...0xdfff).contains(second) else {
      offset = mark
      return replacement
    }
    return Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00)) ?? replacement
  }

  private mutating func hex4() throws(JSONError) -> UInt32 {
    guard offset + 4 <= bytes.count else { throw error("unexpected end of input") }
    var value: UInt32 = 0
    for _ in 0..<4 {
      let byte = bytes[offset]
      switch byte {
      case 48...57: value = value << 4 | UInt32(byte - 48)
      case 65...70: value = value << 4 | UInt32(byte - 55)
      case 97...102: value = value << 4 | UInt32(byte - 87)
      default: throw error("expected four hexadecimal digits")
      }
      offset += 1
    }
    return value
  }
}
