// Trees as YAML, for people who read an answer of the API.

import ClusterObjects

extension YAML {
  /// One document in block style, fields in their order, two blanks a level. Texts that YAML could take for something else are
  /// quoted as JSON quotes them, which YAML reads too.
  public static func text(_ tree: JSON) -> String {
    var out = ""
    switch tree {
    case .object(let object) where !object.isEmpty: write(object, 0, isInline: false, &out)
    case .array(let elements) where !elements.isEmpty: write(elements, 0, &out)
    default: out += scalar(tree) + "\n"
    }
    return out
  }

  /// `isInline`: the first field follows a dash on its line.
  private static func write(_ object: JSONObject, _ depth: Int, isInline: Bool, _ out: inout String) {
    var isFirst = isInline
    for (key, value) in object {
      if !isFirst { out += String(repeating: " ", count: depth) }
      isFirst = false
      out += scalar(.string(key)) + ":"
      switch value {
      case .object(let inner) where !inner.isEmpty:
        out += "\n"
        write(inner, depth + 2, isInline: false, &out)
      case .array(let elements) where !elements.isEmpty:
        out += "\n"
        write(elements, depth, &out)
      default: out += " " + scalar(value) + "\n"
      }
    }
  }

  private static func write(_ elements: [JSON], _ depth: Int, _ out: inout String) {
    for element in elements {
      out += String(repeating: " ", count: depth) + "- "
      switch element {
      case .object(let inner) where !inner.isEmpty: write(inner, depth + 2, isInline: true, &out)
      case .array(let inner) where !inner.isEmpty:
        out += "\n"
        write(inner, depth + 2, &out)
      default: out += scalar(element) + "\n"
      }
    }
  }

  private static func scalar(_ value: JSON) -> String {
    guard case .string(let text) = value else { return value.text }
    return isPlain(text) ? text : quoted(value.text)
  }

  /// What YAML does not allow in a text, or takes for the end of a line, in a way to write it that JSON has too.
  private static func quoted(_ json: String) -> String {
    guard json.unicodeScalars.contains(where: isSpecial) else { return json }
    var out = ""
    for scalar in json.unicodeScalars {
      if isSpecial(scalar) {
        let digits = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
      } else {
        out.unicodeScalars.append(scalar)
      }
    }
    return out
  }

  private static func isSpecial(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x7f...0x9f, 0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff: true
    default: false
    }
  }

  /// Letters first, then what cannot end or divide a plain text, and none of the words with a meaning.
  private static func isPlain(_ text: String) -> Bool {
    guard let first = text.utf8.first, isLetter(first), !words.contains(text.lowercased()) else {
      return false
    }
    return text.utf8.allSatisfy { byte in
      isLetter(byte) || (48...57).contains(byte) || "-._/".utf8.contains(byte)
    }
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (65...90).contains(byte) || (97...122).contains(byte)
  }

  private static let words: Set<String> = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan",
  ]
}
