// A tree as YAML that people read and edit, with remarks where they belong.

/// Maps and lists by indentation, scalars as JSON writes them where plain text would be read as something else.
public enum BlockYAML {
  /// - Parameter remarks: lines of comment by the place they stand before: `spec.ingress.0`.
  public static func text(_ tree: JSON, remarks: [String: [String]] = [:]) -> String {
    var writer = Writer(remarks: remarks)
    writer.write(tree, indent: 0, at: "")
    return writer.out
  }

  private struct Writer {
    let remarks: [String: [String]]
    var out = ""

    mutating func write(_ tree: JSON, indent: Int, at path: String) {
      let margin = String(repeating: " ", count: indent)
      switch tree {
      case .object(let object):
        for (key, value) in object {
          let place = path.isEmpty ? key : "\(path).\(key)"
          remark(place, margin)
          out += "\(margin)\(BlockYAML.scalar(.string(key))):"
          writeNested(value, indent: indent, at: place)
        }
      case .array(let elements):
        for (index, element) in elements.enumerated() {
          let place = "\(path).\(index)"
          remark(place, margin)
          if case .object(let object) = element, !object.isEmpty {
            var inner = Writer(remarks: remarks)
            inner.write(element, indent: indent + 2, at: place)
            out += "\(margin)- " + inner.out.dropFirst(indent + 2)
          } else {
            out += "\(margin)-"
            writeNested(element, indent: indent, at: place)
          }
        }
      default: out += "\(margin)\(BlockYAML.scalar(tree))\n"
      }
    }

    private mutating func remark(_ place: String, _ margin: String) {
      for line in remarks[place] ?? [] {
        // What is remarked may come from strangers: it stays on its line.
        out += "\(margin)# \(String(line.map { $0.isNewline ? " " : $0 }))\n"
      }
    }

    private mutating func writeNested(_ value: JSON, indent: Int, at path: String) {
      switch value {
      case .object(let object) where !object.isEmpty:
        out += "\n"
        write(value, indent: indent + 2, at: path)
      case .array(let elements) where !elements.isEmpty:
        out += "\n"
        write(value, indent: indent, at: path)
      case .object: out += " {}\n"
      case .array: out += " []\n"
      default: out += " \(BlockYAML.scalar(value))\n"
      }
    }
  }

  private static func scalar(_ value: JSON) -> String {
    guard case .string(let text) = value else { return String(decoding: value.bytes, as: UTF8.self) }
    let isPlain =
      (text.utf8.first.map { ($0 | 32) >= 97 && ($0 | 32) <= 122 } ?? false)
      && text.utf8.allSatisfy {
        ($0 | 32) >= 97 && ($0 | 32) <= 122 || $0 >= 48 && $0 <= 57 || $0 == 45 || $0 == 46 || $0 == 47
      }
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
    return isPlain && !words.contains(text.lowercased())
      ? text : String(decoding: value.bytes, as: UTF8.self)
  }
}
