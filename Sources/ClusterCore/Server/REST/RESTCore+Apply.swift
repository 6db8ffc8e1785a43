// Server-side apply: what a manager wants, merged by who owns which field.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

extension RESTCore {
  /// Applies `intent` to the object; creates what is not there, unless `mayCreate` throws.
  func apply(
    _ kind: ResourceKind, namespace: String, name: String, _ intent: JSON, part: Part, options: WriteOptions,
    identity: Identity, mayCreate: (() async throws -> Void)? = nil
  ) async throws -> Written {
    guard let manager = options.fieldManager, !manager.isEmpty else {
      throw APIStatusError(
        code: 422, reason: "Invalid",
        message: "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: "
          + "is required for apply patch")
    }
    let decoded: Decoded
    do throws(DecodeError) {
      decoded = try kind.schema.decode(tree: intent, as: kind.gvk, validation: .ignore, isIntent: true)
    } catch {
      throw Failure.badRequest(error.message)
    }
    // Who owns a field that the schema does not have? Nobody: an intent with one is refused, whatever its author
    // asked to be validated.
    if !decoded.unknown.isEmpty {
      let lines = decoded.unknown.map { ".\($0): field not declared in schema" }
      let text = lines.count == 1 ? lines[0] : "errors:\n  " + lines.joined(separator: "\n  ")
      throw APIStatusError(
        code: 500, reason: "",
        message:
          "failed to create typed patch object (\(namespace)/\(name); \(kind.gvk.apiVersion.contains("/") ? "" : "/")"
          + "\(kind.gvk.apiVersion), Kind=\(kind.gvk.kind)): \(text)")
    }
    var wanted = decoded.object
    if !wanted.name.isEmpty, wanted.name != name {
      throw Failure.badRequest(
        "the name of the object (\(wanted.name)) does not match the name on the URL (\(name))")
    }
    wanted.set(JSON(name), at: "metadata", "name")
    if kind.isNamespaced { wanted.set(JSON(namespace), at: "metadata", "namespace") }
    let intended = wanted
    func result(over live: JSON?) throws -> JSON {
      let merged: JSON
      do throws(ApplyError) {
        merged = try kind.apply(
          intended, over: live, manager: manager, subresource: part.subresource,
          force: options.force, now: .now)
      } catch {
        throw APIStatusError(
          code: 409, reason: "Conflict", message: error.description,
          details: ["causes": .array(error.conflicts.map(\.cause))])
      }
      var object: JSON
      do throws(DecodeError) { object = try kind.schema.decode(tree: merged, as: kind.gvk).object } catch {
        throw Failure.badRequest(error.message)
      }
      // Only a revision that the applier names is a precondition.
      object.set(intended.at("metadata", "resourceVersion"), at: "metadata", "resourceVersion")
      return object
    }
    for _ in 0..<2 {
      do {
        return try await change(
          kind, namespace: namespace, name: name, part: part, options: options, identity: identity,
          isApply: true
        ) { current in (try result(over: current), []) }
      } catch let error as APIStatusError where error.isNotFound && part == .main {
        try await mayCreate?()
        do {
          return try await create(
            kind, namespace: namespace, try result(over: nil), options: options, identity: identity,
            isApply: true)
        } catch let error as APIStatusError where error.isAlreadyExists {}
      }
    }
    throw Failure.conflict(kind, name)
  }
}
