// Bodies of requests: JSON, YAML or protobuf in, normal form out.

import ClusterClient
import ClusterObjects
import NIOHTTP1
import Yams

enum Bodies {
  static let accepted = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]

  static func mediaType(_ request: HTTPRequest) -> String {
    let text = request.headers.first(name: "content-type") ?? "application/json"
    return text.split(separator: ";").first?.trimmed.lowercased() ?? "application/json"
  }

  /// An object of the schema. `registry` finds the schema of what a protobuf envelope names.
  static func object(
    _ request: HTTPRequest, _ schema: Schema, as gvk: GroupVersionKind
  ) throws -> Decoded {
    let asked = request.parameter("fieldValidation") ?? ""
    guard asked.isEmpty || FieldValidation(rawValue: asked) != nil else {
      throw APIStatusError(
        code: 422, reason: "Invalid",
        message:
          "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"\(asked)\": "
          + "supported values: \"Ignore\", \"Strict\", \"Warn\"")
    }
    let validation = FieldValidation(rawValue: asked) ?? .warn
    do throws(DecodeError) {
      switch mediaType(request) {
      case "application/json", "":
        return try schema.decode(json: request.body, as: gvk, validation: validation)
      // Fields of custom resources have no numbers.
      case "application/vnd.kubernetes.protobuf" where schema.custom == nil:
        let envelope = try ProtobufEnvelope(request.body)
        guard envelope.gvk == gvk || envelope.gvk.kind == gvk.kind else {
          throw DecodeError("the object provided is unrecognized (expected \(gvk), got \(envelope.gvk))")
        }
        return try schema.decode(protobuf: envelope)
      case "application/yaml", "text/yaml", "application/x-yaml":
        return try schema.decode(tree: try YAML.tree(request.body), as: gvk, validation: validation)
      default: break
      }
    } catch {
      throw Failure.badRequest(error.message)
    }
    throw Failure.unsupported(mediaType(request), allowed: accepted)
  }

  static func patch(_ request: HTTPRequest) throws -> Patch {
    func tree() throws -> JSON {
      do { return try JSON(parsing: request.body) } catch {
        throw Failure.badRequest("error decoding patch: \(error.description)")
      }
    }
    switch mediaType(request) {
    case "application/json-patch+json": return .json(try tree())
    case "application/merge-patch+json": return .merge(try tree())
    case "application/strategic-merge-patch+json": return .strategicMerge(try tree())
    case "application/apply-patch+yaml":
      let isStrict = request.parameter("fieldValidation") == FieldValidation.strict.rawValue
      do throws(DecodeError) {
        return .apply(try YAML.tree(request.body, refusesDuplicates: isStrict))
      } catch {
        throw Failure.badRequest((isStrict ? "error strict decoding YAML: " : "") + error.message)
      }
    case let other:
      throw Failure.unsupported(
        other,
        allowed: [
          "application/json-patch+json", "application/merge-patch+json",
          "application/strategic-merge-patch+json", "application/apply-patch+yaml",
        ])
    }
  }

  /// `DeleteOptions` from the body, or from the query when there is none.
  static func deleteOptions(_ request: HTTPRequest, _ registry: KindRegistry) throws -> (DeleteOptions, Bool)
  {
    var options = DeleteOptions()
    var dryRun = request.parameter("dryRun") == "All"
    options.propagationPolicy = request.parameter("propagationPolicy")
    options.gracePeriodSeconds = request.parameter("gracePeriodSeconds").flatMap { Int($0) }
    if !request.body.isEmpty {
      let body: JSON
      if mediaType(request) == "application/vnd.kubernetes.protobuf" {
        do throws(DecodeError) {
          let envelope = try ProtobufEnvelope(request.body)
          let gvk = GroupVersionKind("", "v1", "DeleteOptions")
          guard let schema = registry.bodySchema(gvk) ?? registry.bodySchema(envelope.gvk) else {
            throw DecodeError("no schema for \(envelope.gvk)")
          }
          body = try schema.decode(protobuf: envelope).object
        } catch {
          throw Failure.badRequest(error.message)
        }
      } else {
        do { body = try JSON(parsing: request.body) } catch { throw Failure.badRequest(error.description) }
      }
      if let policy = body["propagationPolicy"]?.string { options.propagationPolicy = policy }
      if let grace = body["gracePeriodSeconds"]?.int { options.gracePeriodSeconds = grace }
      options.uid = body.at("preconditions", "uid")?.string
      options.resourceVersion = body.at("preconditions", "resourceVersion")?.string
      if body["dryRun"]?.elements.first?.string == "All" { dryRun = true }
      if body["orphanDependents"]?.bool == true { options.propagationPolicy = "Orphan" }
    }
    if let policy = options.propagationPolicy, !["Orphan", "Foreground", "Background"].contains(policy) {
      throw APIStatusError(
        code: 422, reason: "Invalid",
        message:
          "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"\(policy)\": "
          + "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"")
    }
    return (options, dryRun)
  }
}

/// YAML to the tree, with JSON's types.
enum YAML {
  /// In JSON the last of two equal keys counts unless they are refused; in YAML they are an error always.
  static func tree(_ bytes: [UInt8], refusesDuplicates: Bool = false) throws(DecodeError) -> JSON {
    var duplicate: String?
    if let json = try? JSON(
      parsing: bytes, onDuplicate: refusesDuplicates ? { duplicate = duplicate ?? $0 } : nil)
    {
      guard let duplicate else { return json }
      throw twice(String(duplicate.split(separator: ".").last ?? ""), line: 1)
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch {
      if case .duplicatedKeysInMapping(let keys, let context)? = error as? YamlError, let key = keys.first {
        throw twice(key, line: secondLine(of: key, text, context.mark))
      }
      throw DecodeError("error converting YAML to JSON: \(error)")
    }
    guard let node else { throw DecodeError("error converting YAML to JSON: empty document") }
    return try convert(node, depth: 0)
  }

  /// In the words of Go's YAML reader, which clients look for.
  private static func twice(_ key: String, line: Int) -> DecodeError {
    DecodeError(
      "error converting YAML to JSON: yaml: unmarshal errors:\n  line \(line): key \"\(key)\" already set in map"
    )
  }

  /// Where a key stands again: the next line that has it in the column of the first. Within one line, that line.
  private static func secondLine(of key: String, _ text: String, _ first: Mark) -> Int {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    for number in first.line..<max(first.line, lines.count) {
      let rest = lines[number].dropFirst(first.column - 1)
      let name = rest.drop { $0 == "\"" || $0 == "'" }
      if name.hasPrefix(key), name.dropFirst(key.count).first.map({ ":\"' ".contains($0) }) == true {
        return number + 1
      }
    }
    return first.line
  }

  private static func convert(_ node: Node, depth: Int) throws(DecodeError) -> JSON {
    guard depth < JSON.depthMax else { throw DecodeError("error converting YAML to JSON: nested too deeply") }
    switch node {
    case .mapping(let mapping):
      var object = JSONObject()
      for (key, value) in mapping {
        guard let name = key.scalar?.string else {
          throw DecodeError("error converting YAML to JSON: a key is no text")
        }
        object[name] = try convert(value, depth: depth + 1)
      }
      return .object(object)
    case .sequence(let sequence):
      var elements: [JSON] = []
      for element in sequence { elements.append(try convert(element, depth: depth + 1)) }
      return .array(elements)
    case .scalar(let scalar):
      let text = scalar.string
      guard scalar.style == .plain || scalar.style == .any else { return .string(text) }
      switch text {
      case "", "~", "null", "Null", "NULL": return .null
      case "true", "True", "TRUE": return .bool(true)
      case "false", "False", "FALSE": return .bool(false)
      default: break
      }
      // What reads as a JSON number is one; `0x1f`, times and versions stay text.
      if let number = try? JSON(parsing: text), number.string == nil { return number }
      return .string(text)
    case .alias:
      throw DecodeError("error converting YAML to JSON: aliases are not read")
    }
  }
}
