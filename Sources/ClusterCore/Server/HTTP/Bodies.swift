// Bodies of requests: JSON, YAML or protobuf in, normal form out.

import ClusterClient
import ClusterObjects
import NIOHTTP1

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
      let options = request.method == .PUT ? "UpdateOptions" : "CreateOptions"
      throw RequestOptions.invalid(
        options, [.notSupported("fieldValidation", JSON(asked), ["Ignore", "Strict", "Warn"])])
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
      throw Failure.unreadable(error)
    }
    throw Failure.unsupported(mediaType(request), allowed: accepted)
  }

  static func patch(_ request: HTTPRequest) throws -> Patch {
    func tree() throws -> JSON {
      do { return try JSON(parsing: request.body) } catch {
        throw Failure.unreadable(
          DecodeError("error decoding patch: \(error.description)", isTooDeep: error.isTooDeep))
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
        if isStrict, !error.isTooDeep {
          throw Failure.badRequest("error strict decoding YAML: " + error.message)
        }
        throw Failure.unreadable(error)
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
    var errors: [FieldError] = []
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
          throw Failure.unreadable(error)
        }
      } else {
        do { body = try JSON(parsing: request.body) } catch {
          throw Failure.unreadable(DecodeError(error.description, isTooDeep: error.isTooDeep))
        }
      }
      if let policy = body["propagationPolicy"]?.string { options.propagationPolicy = policy }
      if let grace = body["gracePeriodSeconds"]?.int { options.gracePeriodSeconds = grace }
      options.uid = body.at("preconditions", "uid")?.string
      options.resourceVersion = body.at("preconditions", "resourceVersion")?.string
      let dryRuns = (body["dryRun"]?.elements ?? []).map { $0.string ?? $0.text }
      errors += RequestOptions.dryRun(dryRuns)
      if !dryRuns.isEmpty { dryRun = true }
      if body["orphanDependents"]?.bool != nil, options.propagationPolicy != nil {
        errors.append(
          .invalid(
            "propagationPolicy", JSON(options.propagationPolicy ?? ""),
            "orphanDependents and deletionPropagation cannot be both set"))
      }
      if body["orphanDependents"]?.bool == true { options.propagationPolicy = "Orphan" }
      if body["orphanDependents"]?.bool == false { options.propagationPolicy = "Background" }
    }
    if let policy = options.propagationPolicy, !["Orphan", "Foreground", "Background"].contains(policy) {
      errors.append(
        FieldError(
          .notSupported, "propagationPolicy", JSON(policy),
          "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""))
    }
    if !errors.isEmpty { throw RequestOptions.invalid("DeleteOptions", errors) }
    return (options, dryRun)
  }
}

extension YAML {
  /// One document of a body, JSON or YAML, with upstream's words for what is neither. In JSON the last of two
  /// equal names counts unless they are refused; in YAML they are an error always.
  static func tree(_ bytes: [UInt8], refusesDuplicates: Bool = false) throws(DecodeError) -> JSON {
    var duplicate: String?
    var json: JSON?
    do throws(JSONError) {
      json = try JSON(
        parsing: bytes, onDuplicate: refusesDuplicates ? { duplicate = duplicate ?? $0 } : nil)
    } catch {
      if error.isTooDeep { throw DecodeError(error.description, isTooDeep: true) }
    }
    if let json {
      guard let duplicate else { return json }
      throw twice("line 1: key \"\(duplicate.split(separator: ".").last ?? "")\" already set in map")
    }
    let documents: [Document]
    do throws(YAMLError) { documents = try parseAll(String(decoding: bytes, as: UTF8.self)) } catch {
      if error.isDuplicate { throw twice("\(error)") }
      throw DecodeError("error converting YAML to JSON: yaml: \(error)", isTooDeep: error.isTooDeep)
    }
    guard let first = documents.first else {
      throw DecodeError("error converting YAML to JSON: empty document")
    }
    return first.value
  }

  /// In the words of Go's YAML reader, which clients look for.
  private static func twice(_ problem: String) -> DecodeError {
    DecodeError("error converting YAML to JSON: yaml: unmarshal errors:\n  \(problem)")
  }
}
