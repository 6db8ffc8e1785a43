// Patches of every type, and the subresources that are not the object itself.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

extension RESTCore {
  func patch(
    _ kind: ResourceKind, namespace: String, name: String, patch: Patch, part: Part, options: WriteOptions,
    identity: Identity, mayCreate: (() async throws -> Void)? = nil
  ) async throws -> Written {
    let validation = FieldValidation(rawValue: options.fieldValidation ?? "") ?? .warn
    if kind.custom != nil, case .strategicMerge = patch {
      throw Failure.unsupported(
        patch.contentType,
        allowed: [
          "application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml",
        ])
    }
    if case .apply(let intent) = patch {
      return try await apply(
        kind, namespace: namespace, name: name, intent, part: part, options: options, identity: identity,
        mayCreate: mayCreate)
    }
    return try await change(
      kind, namespace: namespace, name: name, part: part, options: options, identity: identity
    ) { current in
      let patched: JSON
      do {
        patched = try Self.applying(patch, to: current, kind.schema)
      } catch let error as PatchError {
        if error.isUnprocessable {
          throw APIStatusError(code: 422, reason: "Invalid", message: error.description)
        }
        throw Failure.badRequest(error.description)
      }
      do throws(DecodeError) {
        let decoded = try kind.schema.decode(tree: patched, as: kind.gvk, validation: validation)
        var object = decoded.object
        // A patch that names no revision asks for no precondition.
        if patched.resourceVersion == current.resourceVersion {
          object.set(nil, at: "metadata", "resourceVersion")
        }
        if object.name != name {
          object.set(JSON(name), at: "metadata", "name")
        }
        return (object, decoded.warnings)
      } catch {
        throw Failure.invalidPatch(patch, patched, error)
      }
    }
  }

  static func applying(_ patch: Patch, to object: JSON, _ schema: Schema) throws -> JSON {
    switch patch {
    case .json(let operations): return try object.applying(jsonPatch: operations)
    case .merge(let changes):
      guard changes.object != nil else { throw PatchError("the patch is no object") }
      return object.applying(mergePatch: changes)
    case .strategicMerge(let changes):
      guard changes.object != nil else { throw PatchError("the patch is no object") }
      return try schema.applying(strategicMergePatch: changes, to: object)
    case .apply:
      throw Failure.unsupported(
        "application/apply-patch+yaml",
        allowed: [
          "application/json-patch+json", "application/merge-patch+json",
          "application/strategic-merge-patch+json",
        ])
    }
  }

  // MARK: Scale

  /// `autoscaling/v1 Scale` of an object with `spec.replicas`, or where its definition says that they are.
  func scale(of object: CachedObject, _ kind: ResourceKind) -> JSON {
    let tree = object.tree
    if let custom = kind.custom?.scale { return custom.scale(of: tree, revision: object.revision) }
    var metadata: JSON = ["name": JSON(tree.name), "namespace": JSON(tree.namespace), "uid": JSON(tree.uid)]
    metadata["resourceVersion"] = JSON(String(object.revision))
    metadata["creationTimestamp"] = JSON(tree.creationTimestamp)
    // A ReplicationController's selector is the labels alone.
    let selected = tree.at("spec", "selector")
    let selector =
      tree.kind == "ReplicationController"
      ? LabelSelector(matchLabels: selected?.stringMap ?? [:]) : (try? LabelSelector(selected)) ?? .everything
    return [
      "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
      "spec": ["replicas": JSON(tree.at("spec", "replicas")?.integer ?? 1)],
      "status": [
        "replicas": JSON(tree.at("status", "replicas")?.integer ?? 0), "selector": JSON(selector.description),
      ],
    ]
  }

  func changeScale(
    _ kind: ResourceKind, namespace: String, name: String, options: WriteOptions, identity: Identity,
    make: (JSON) throws -> JSON
  ) async throws -> CachedObject {
    let replicasPath = kind.custom?.scale?.specReplicas[...] ?? ["spec", "replicas"]
    let view = AdmissionView(subresource: "scale", kind: GroupVersionKind("autoscaling", "v1", "Scale")) {
      self.scale(of: CachedObject(key: "", revision: Revision($0.resourceVersion) ?? 0, tree: $0), kind)
    } take: { scale, object in
      object.set(scale.at("spec", "replicas") ?? 0, at: replicasPath)
    }
    return try await change(
      kind, namespace: namespace, name: name, part: .main, options: options, identity: identity, view: view
    ) { current in
      let scale = try make(
        self.scale(
          of: CachedObject(key: "", revision: Revision(current.resourceVersion) ?? 0, tree: current), kind)
      )
      guard let replicas = scale.at("spec", "replicas")?.integer, replicas >= 0 else {
        throw Failure.invalid(
          kind, name,
          [
            FieldError.invalid(
              "spec.replicas", scale.at("spec", "replicas") ?? .null, "must be greater than or equal to 0")
          ])
      }
      var object = current
      object.set(JSON(replicas), at: replicasPath)
      if scale.resourceVersion == current.resourceVersion {
        object.set(nil, at: "metadata", "resourceVersion")
      } else {
        object.set(JSON(scale.resourceVersion), at: "metadata", "resourceVersion")
      }
      return (object, [])
    }.object
  }

  // MARK: Pods

  /// Puts a pod on a node, once.
  func bind(
    _ kind: ResourceKind, namespace: String, name: String, _ binding: JSON, options: WriteOptions,
    identity: Identity
  ) async throws {
    let node = binding.at("target", "name")?.string ?? ""
    if node.isEmpty { throw Failure.badRequest("target.name is required") }
    _ = try await admitCreate(
      kind, namespace: namespace, name: name, subresource: "binding", binding, options: options,
      identity: identity)
    _ = try await change(
      kind, namespace: namespace, name: name, part: .finalize, options: options, identity: .system
    ) { current in
      if current.isTerminating {
        throw Failure.conflict(kind, name, "pod \(name) is being deleted, cannot be assigned to a host")
      }
      if let placed = current.at("spec", "nodeName")?.string, !placed.isEmpty {
        throw Failure.conflict(kind, name, "pod \(name) is already assigned to node \"\(placed)\"")
      }
      var object = current
      object.set(JSON(node), at: "spec", "nodeName")
      object.set(nil, at: "metadata", "resourceVersion")
      return (object, [])
    }
    if options.dryRun { return }
    _ = try await change(
      kind, namespace: namespace, name: name, part: .status, options: options, identity: .system
    ) { current in
      var object = current
      var conditions = current.at("status", "conditions")?.elements ?? []
      let condition: JSON = [
        "type": "PodScheduled", "status": "True", "lastProbeTime": .null,
        "lastTransitionTime": JSON(Timestamp.nowText()),
      ]
      if let index = conditions.firstIndex(where: { $0["type"]?.string == "PodScheduled" }) {
        if conditions[index]["status"]?.string == "True" { return (object, []) }
        conditions[index] = condition
      } else {
        conditions.append(condition)
      }
      object.set(.array(conditions), at: "status", "conditions")
      object.set(nil, at: "metadata", "resourceVersion")
      return (object, [])
    }
  }
}
