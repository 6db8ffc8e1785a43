// YAML to trees, with the types that JSON would give: what kubectl does to a manifest before it sends it.

import ClusterObjects
import Yams

/// Why a document cannot be read, and where.
public struct YAMLError: Error, Sendable, Hashable, CustomStringConvertible {
  public var line: Int
  public var reason: String
  public var description: String { "line \(line): \(reason)" }
}

public enum YAML {
  /// Every document of a stream; empty ones are passed over.
  public static func documents(_ text: String) throws(YAMLError) -> [JSON] {
    do {
      var trees: [JSON] = []
      var nodes = try Yams.compose_all(yaml: text)
      while let node = nodes.next() {
        let tree = try tree(node, depth: 0)
        if !tree.isNull { trees.append(tree) }
      }
      // The sequence ends at an error instead of throwing it.
      if let error = nodes.error { throw error }
      return trees
    } catch let error as YAMLError {
      throw error
    } catch let error as YamlError {
      throw YAMLError(line: line(of: error), reason: reason(error))
    } catch {
      throw YAMLError(line: 0, reason: "\(error)")
    }
  }

  /// The only document.
  public static func one(_ text: String) throws(YAMLError) -> JSON {
    let all = try documents(text)
    guard all.count == 1 else {
      throw YAMLError(line: 1, reason: "\(all.count) documents where one is expected")
    }
    return all[0]
  }

  private static func tree(_ node: Node, depth: Int) throws -> JSON {
    guard depth < JSON.depthMax else {
      throw YAMLError(line: node.mark?.line ?? 0, reason: "nested too deeply")
    }
    switch node {
    case .scalar(let scalar): return self.scalar(scalar)
    case .sequence(let sequence): return .array(try sequence.map { try tree($0, depth: depth + 1) })
    case .mapping(let mapping):
      var object = JSONObject()
      for (key, value) in mapping {
        guard case .scalar(let name) = key else {
          throw YAMLError(line: key.mark?.line ?? 0, reason: "a field name is no text")
        }
        guard !object.contains(name.string) else {
          throw YAMLError(line: key.mark?.line ?? 0, reason: "field \"\(name.string)\" is there twice")
        }
        object[name.string] = try tree(value, depth: depth + 1)
      }
      return .object(object)
    case .alias: throw YAMLError(line: node.mark?.line ?? 0, reason: "an alias leads nowhere")
    }
  }

  /// Plain scalars are what they look like (YAML 1.1 words as Kubernetes reads them); quoted ones are text.
  private static func scalar(_ scalar: Node.Scalar) -> JSON {
    let text = scalar.string
    guard scalar.style == .plain || scalar.style == .any else { return .string(text) }
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON": return true
    case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF": return false
    default: break
    }
    guard let first = text.utf8.first, first == 45 || first == 43 || first == 46 || (48...57).contains(first)
    else {
      return .string(text)
    }
    if let integer = Int64(text.hasPrefix("+") ? String(text.dropFirst()) : text) {
      // A leading zero is octal to YAML 1.1; sigs.k8s.io/yaml reads 0644 as 420.
      let digits = text.drop { $0 == "-" || $0 == "+" }
      if digits.count > 1, digits.first == "0" {
        if let octal = Int64(digits, radix: 8) { return .integer(text.hasPrefix("-") ? -octal : octal) }
        return .string(text)
      }
      return .integer(integer)
    }
    if text.hasPrefix("0x"), let hexadecimal = Int64(text.dropFirst(2), radix: 16) {
      return .integer(hexadecimal)
    }
    if text.hasPrefix("0o"), let octal = Int64(text.dropFirst(2), radix: 8) { return .integer(octal) }
    if text.utf8.allSatisfy({ (48...57).contains($0) || [43, 45, 46, 69, 101].contains($0) }),
      let value = Double(text), value.isFinite
    {
      return (try? JSON(parsing: text)) ?? .number("\(value)")
    }
    return .string(text)
  }

  private static func line(of error: YamlError) -> Int {
    switch error {
    case .scanner(_, _, let mark, _), .parser(_, _, let mark, _), .composer(_, _, let mark, _): mark.line
    default: 0
    }
  }

  private static func reason(_ error: YamlError) -> String {
    switch error {
    case .scanner(_, let problem, _, _), .parser(_, let problem, _, _), .composer(_, let problem, _, _):
      problem
    case .duplicatedKeysInMapping(let duplicates, _): "fields are there twice: \(duplicates)"
    default: "\(error)"
    }
  }
}

/// Objects of manifests: documents, and the items of lists among them.
public enum Manifest {
  public static func objects(_ text: String) throws(YAMLError) -> [JSON] {
    try YAML.documents(text).flatMap { tree -> [JSON] in
      tree.kind == "List" || (tree.kind.hasSuffix("List") && tree["items"] != nil)
        ? tree["items"]?.elements ?? [] : [tree]
    }
  }
}
