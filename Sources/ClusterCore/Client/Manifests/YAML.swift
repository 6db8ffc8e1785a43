// YAML documents as JSON trees, with the types that kubectl gives plain words: `yes` is true, 0o17 and 017
// are 15, a date stays text.

import ClusterObjects
import Yams

/// Why text is no YAML document that JSON can express. `line` counts from one; 0 when unknown.
public struct YAMLError: Error, Sendable, Hashable, CustomStringConvertible {
  public var reason: String
  public var line: Int
  public var description: String { line > 0 ? "line \(line): \(reason)" : reason }
}

public enum YAML {
  /// Values in one text, after aliases are replaced: a text of a few lines must not become a gigabyte.
  public static let nodesMax = 2_000_000

  public struct Document: Sendable {
    public var value: JSON
    /// The line it begins at.
    public var line: Int
  }

  /// One document; null for empty text.
  public static func parse(_ text: String) throws(YAMLError) -> JSON {
    try parseAll(text).first?.value ?? .null
  }

  /// All documents that are not empty. JSON is YAML too.
  public static func parseAll(_ text: String) throws(YAMLError) -> [Document] {
    do {
      let parser = try Parser(yaml: text, resolver: .basic)
      var documents: [Document] = []
      var budget = nodesMax
      while let root = try parser.nextRoot() {
        let value = try convert(root, depth: 0, budget: &budget)
        if !value.isNull { documents.append(Document(value: value, line: root.mark?.line ?? 1)) }
      }
      return documents
    } catch let error as YAMLError {
      throw error
    } catch let error as YamlError {
      throw describe(error)
    } catch { throw YAMLError(reason: "\(error)", line: 0) }
  }

  private static func describe(_ error: YamlError) -> YAMLError {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      YAMLError(reason: problem, line: mark.line)
    case .duplicatedKeysInMapping(let duplicates, let context):
      YAMLError(reason: "field given twice: \(duplicates.joined(separator: ", "))", line: context.mark.line)
    case .reader(let problem, _, _, _): YAMLError(reason: problem, line: 0)
    default: YAMLError(reason: "not readable as YAML", line: 0)
    }
  }

  private static func convert(_ node: Node, depth: Int, budget: inout Int) throws(YAMLError) -> JSON {
    let line = node.mark?.line ?? 0
    budget -= 1
    guard budget > 0 else { throw YAMLError(reason: "more than \(nodesMax) values", line: line) }
    guard depth < JSON.depthMax else { throw YAMLError(reason: "nested too deeply", line: line) }
    switch node {
    case .scalar(let scalar): return try value(of: scalar, line: line)
    case .sequence(let sequence):
      var elements: [JSON] = []
      for element in sequence { elements.append(try convert(element, depth: depth + 1, budget: &budget)) }
      return .array(elements)
    case .mapping(let mapping):
      var object = JSONObject()
      var merged: [JSON] = []
      for (key, child) in mapping {
        guard case .scalar(let name) = key else {
          throw YAMLError(reason: "a field's name must be a plain value", line: key.mark?.line ?? line)
        }
        let converted = try convert(child, depth: depth + 1, budget: &budget)
        if name.string == "<<", name.style == .plain {
          merged += converted.array ?? [converted]
        } else {
          object[name.string] = converted
        }
      }
      for source in merged {
        for (key, value) in source.object ?? [:] where !object.contains(key) { object[key] = value }
      }
      return .object(object)
    case .alias: throw YAMLError(reason: "unknown anchor", line: line)
    }
  }

  private static func value(of scalar: Node.Scalar, line: Int) throws(YAMLError) -> JSON {
    let text = scalar.string
    switch scalar.tag.description {
    case "tag:yaml.org,2002:str" where scalar.style == .plain: break
    case "tag:yaml.org,2002:binary": return .string(String(text.filter { !$0.isWhitespace }))
    default: break
    }
    guard scalar.style == .plain || scalar.style == .any else { return .string(text) }
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": return .bool(true)
    case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": return .bool(false)
    case ".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN":
      throw YAMLError(reason: "\(text) is no number that JSON knows", line: line)
    default: return number(text) ?? .string(text)
    }
  }

  private static func number(_ text: String) -> JSON? {
    guard let first = text.utf8.first, first < 0x3a, first != UInt8(ascii: "/"), text.utf8.count <= 64 else {
      return nil
    }
    let plain = text.filter { $0 != "_" }
    let isNegative = plain.hasPrefix("-")
    let digits = isNegative || plain.hasPrefix("+") ? String(plain.dropFirst()) : plain
    guard let lead = digits.utf8.first, (48...57).contains(lead) || lead == UInt8(ascii: ".") else {
      return nil
    }
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)]
    where digits.hasPrefix(prefix) && digits.utf8.count > prefix.utf8.count {
      if let value = Int64((isNegative ? "-" : "") + digits.dropFirst(prefix.utf8.count), radix: radix) {
        return .integer(value)
      }
    }
    if let value = Int64(plain) { return .integer(value) }
    guard digits.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }), let value = Double(plain),
      value.isFinite
    else { return nil }
    if value == value.rounded(), abs(value) < 9e15 { return .integer(Int64(value)) }
    return .number("\(value)")
  }
}
