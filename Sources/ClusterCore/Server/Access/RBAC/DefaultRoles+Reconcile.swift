// Making the default roles and bindings at each start: what is missing is created, what was taken from them is
// put back, what people added stays. `rbac.authorization.kubernetes.io/autoupdate: "false"` keeps one as it is.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging

extension RESTCore {
  private static let roleResources: [String: String] = [
    "ClusterRole": "clusterroles", "Role": "roles", "ClusterRoleBinding": "clusterrolebindings",
    "RoleBinding": "rolebindings",
  ]

  /// Writes at once, so that the store commits them together: a first start costs a commit or two. Straight to
  /// the store: a webhook that does not answer must not keep the server from starting.
  func reconcileDefaultRoles() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for object in RoleAggregation.combine(DefaultRoles.objects) {
        guard let plural = Self.roleResources[object.kind],
          let kind = registry[GroupVersionResource(RoleIndex.group, "v1", plural)]
        else { continue }
        let key = Self.key(kind, object.namespace, object.name)
        if let existing = cache(kind)[key], DefaultRoles.reconciled(existing.tree, with: object) == nil {
          continue
        }
        group.addTask { try await self.reconcile(kind, key, object) }
      }
      try await group.waitForAll()
    }
    await caches.catchUp()
  }

  private func reconcile(_ kind: ResourceKind, _ key: String, _ wanted: JSON) async throws {
    // Somebody else may write between the look and the write: a few rounds settle it.
    for _ in 0..<5 {
      do throws(StoreError) {
        guard let existing = cache(kind)[key] else {
          var object = wanted
          object.set(JSON(Self.uid()), at: "metadata", "uid")
          object.set(JSON(Timestamp.nowText()), at: "metadata", "creationTimestamp")
          _ = try await store.create(key, Self.stored(try normal(object, kind), kind).bytes)
          return
        }
        guard let changed = DefaultRoles.reconciled(existing.tree, with: wanted) else { return }
        if existing.tree["roleRef"] == changed["roleRef"] {
          _ = try await store.update(
            key, Self.stored(try normal(changed, kind), kind).bytes, expecting: existing.revision)
          return
        }
        // What a binding refers to cannot be changed: it is made anew.
        _ = try await store.delete(key, expecting: existing.revision)
      } catch {
        switch error {
        case .exists, .conflict, .notFound: break
        case .failed(let cause): throw cause
        default: throw Failure.store(error)
        }
      }
      await caches.catchUp()
    }
    log.warning("default role not reconciled", metadata: ["kind": "\(kind.kind)", "name": "\(wanted.name)"])
  }

  private func normal(_ object: JSON, _ kind: ResourceKind) throws(StoreError) -> JSON {
    do throws(DecodeError) {
      var normal = try kind.schema.decode(tree: object, as: kind.gvk).object
      kind.applyDefaults(&normal)
      return Self.ordered(normal)
    } catch {
      throw .failed(
        WeftError(
          "API0020", object: "\(object.kind) \(object.name)", cause: error.message,
          next: "this is a mistake in the program: please report it"))
    }
  }
}

extension DefaultRoles {
  /// `existing` with what it lacks of `wanted`; nil when it lacks nothing or is not to be touched.
  static func reconciled(_ existing: JSON, with wanted: JSON) -> JSON? {
    if existing.annotations[autoupdate] == "false" { return nil }
    var object = existing
    for field in ["labels", "annotations"] {
      for (key, value) in wanted.at("metadata", field)?.stringMap.sorted(by: { $0.key < $1.key }) ?? [] {
        if existing.at("metadata", field, key)?.string == nil {
          object.set(JSON(value), at: "metadata", field, key)
        }
      }
    }
    if wanted["roleRef"] != nil {
      object["roleRef"] = wanted["roleRef"]
      let own = existing["subjects"]?.elements ?? []
      let lacking = (wanted["subjects"]?.elements ?? []).filter { !own.contains($0) }
      if !lacking.isEmpty { object["subjects"] = .array(own + lacking) }
    } else if let rule = wanted["aggregationRule"] {
      let own = existing.at("aggregationRule", "clusterRoleSelectors")?.elements ?? []
      let lacking = (rule["clusterRoleSelectors"]?.elements ?? []).filter { !own.contains($0) }
      if !lacking.isEmpty { object["aggregationRule"] = ["clusterRoleSelectors": .array(own + lacking)] }
    } else {
      let lacking = PolicyRule.missing(RoleIndex.rules(wanted), held: RoleIndex.rules(existing))
      if !lacking.isEmpty {
        object["rules"] = .array(
          (existing["rules"]?.elements ?? []) + PolicyRule.compacted(lacking).map(\.json))
      }
    }
    // Not `?:`, whose nil would be JSON's null.
    if object == existing { return nil }
    return object
  }
}
