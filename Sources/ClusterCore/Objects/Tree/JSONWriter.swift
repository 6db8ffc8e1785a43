// Tree to bytes: compact, as the API answers; or indented, for people.

extension JSON {
  /// Compact bytes, fields in their order.
  public var bytes: [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(512)
    write(to: &out)
    return out
  }

  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Four blanks a level, as kubectl prints `-o json`.
  public var prettyText: String {
    indentedText(by: 4) + "\n"
  }

  /// With so many blanks a level, without an end of line at the end.
  public func indentedText(by blanks: Int) -> String {
    var out: [UInt8] = []
    writePretty(to: &out, depth: 0, blanks: blanks)
    return String(decoding: out, as: UTF8.self)
  }

  /// Appends compact bytes.
  public func write(to out: inout [UInt8]) {
    switch self {
    case .null: out.append(contentsOf: "null".utf8)
    case .bool(let value): out.append(contentsOf: (value ? "true" : "false").utf8)
    case .integer(let value): Self.write(value, to: &out)
    case .number(let text): out.append(contentsOf: text.utf8)
    case .string(let text): Self.write(text, to: &out)
    case .array(let elements):
      out.append(UInt8(ascii: "["))
      var isFirst = true
      for element in elements {
        if !isFirst { out.append(UInt8(ascii: ",")) }
        isFirst = false
        element.write(to: &out)
      }
      out.append(UInt8(ascii: "]"))
    case .object(let object):
      out.append(UInt8(ascii: "{"))
      var isFirst = true
      for field in object.fields {
        if !isFirst { out.append(UInt8(ascii: ",")) }
        isFirst = false
        Self.write(field.key, to: &out)
        out.append(UInt8(ascii: ":"))
        field.value.write(to: &out)
      }
      out.append(UInt8(ascii: "}"))
    }
  }

  /// The same; says where in `out` the closing brace of the object under `field` is. Nil when there is no such object, or an
  /// empty one.
  public func write(to out: inout [UInt8], endOf field: String) -> Int? {
    guard case .object(let object) = self else {
      write(to: &out)
      return nil
    }
    var end: Int?
    out.append(UInt8(ascii: "{"))
    for (position, entry) in object.fields.enumerated() {
      if position > 0 { out.append(UInt8(ascii: ",")) }
      Self.write(entry.key, to: &out)
      out.append(UInt8(ascii: ":"))
      entry.value.write(to: &out)
      if entry.key == field, case .object(let inner) = entry.value, !inner.isEmpty { end = out.count - 1 }
    }
    out.append(UInt8(ascii: "}"))
    return end
  }

  private func writePretty(to out: inout [UInt8], depth: Int, blanks: Int) {
    func newLine(_ depth: Int) {
      out.append(UInt8(ascii: "\n"))
      out.append(contentsOf: repeatElement(UInt8(ascii: " "), count: depth * blanks))
    }
    switch self {
    case .array(let elements) where !elements.isEmpty:
      out.append(UInt8(ascii: "["))
      for (position, element) in elements.enumerated() {
        if position > 0 { out.append(UInt8(ascii: ",")) }
        newLine(depth + 1)
        element.writePretty(to: &out, depth: depth + 1, blanks: blanks)
      }
      newLine(depth)
      out.append(UInt8(ascii: "]"))
    case .object(let object) where !object.isEmpty:
      out.append(UInt8(ascii: "{"))
      for (position, field) in object.fields.enumerated() {
        if position > 0 { out.append(UInt8(ascii: ",")) }
        newLine(depth + 1)
        Self.write(field.key, to: &out)
        out.append(contentsOf: ": ".utf8)
        field.value.writePretty(to: &out, depth: depth + 1, blanks: blanks)
      }
      newLine(depth)
      out.append(UInt8(ascii: "}"))
    default: write(to: &out)
    }
  }

  private static func write(_ value: Int64, to out: inout [UInt8]) {
    if value < 0 { out.append(UInt8(ascii: "-")) }
    var magnitude = value.magnitude
    let start = out.count
    repeat {
      out.append(48 + UInt8(magnitude % 10))
      magnitude /= 10
    } while magnitude > 0
    out[start...].reverse()
  }

  /// Appends a quoted string. Escapes what RFC 8259 section 7 demands, and no more.
  static func write(_ text: String, to out: inout [UInt8]) {
    out.append(UInt8(ascii: "\""))
    var text = text
    text.withUTF8 { text in
      let bytes = UnsafeRawBufferPointer(text)
      var position = 0
      while true {
        let plain = PlainText.length(bytes, from: position)
        out.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[position..<position + plain]))
        position += plain
        guard position < bytes.count else { return }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""): out.append(contentsOf: "\\\"".utf8)
        case UInt8(ascii: "\\"): out.append(contentsOf: "\\\\".utf8)
        case 0x0a: out.append(contentsOf: "\\n".utf8)
        case 0x0d: out.append(contentsOf: "\\r".utf8)
        case 0x09: out.append(contentsOf: "\\t".utf8)
        default:
          let digits = Array("0123456789abcdef".utf8)
          out.append(contentsOf: "\\u00".utf8)
          out.append(digits[Int(byte >> 4)])
          out.append(digits[Int(byte & 0xf)])
        }
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}
