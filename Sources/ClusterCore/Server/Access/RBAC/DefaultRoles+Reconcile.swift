// Making the default roles and bindings at each start: what is missing is created, what was taken from them is
// put back, what people added stays. `rbac.authorization.kubernetes.io/autoupdate: "false"` keeps one as it is.

import ClusterClient
import ClusterObjects
import Logging

extension RESTCore {
  private static let roleResources: [String: String] = [
    "ClusterRole": "clusterroles", "Role": "roles", "ClusterRoleBinding": "clusterrolebindings",
    "RoleBinding": "rolebindings",
  ]

  /// Writes at once, so that the store commits them together: a first start costs a commit or two.
  func reconcileDefaultRoles() async throws {
    let combined = RoleAggregation.combine(DefaultRoles.objects)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for object in combined {
        guard let plural = Self.roleResources[object.kind],
          let kind = registry[GroupVersionResource(RoleIndex.group, "v1", plural)]
        else { continue }
        let existing = cache(kind)[Self.key(kind, object.namespace, object.name)]?.tree
        if let existing, DefaultRoles.reconciled(existing, with: object) == nil { continue }
        group.addTask { try await self.reconcile(kind, object) }
      }
      try await group.waitForAll()
    }
    await caches.catchUp()
  }

  private func reconcile(_ kind: ResourceKind, _ wanted: JSON) async throws {
    let api = InProcessClient(core: self, identity: .system)
    let options = WriteOptions(fieldManager: "weft-apiserver")
    // Somebody else may write between the look and the write: a few rounds settle it.
    for _ in 0..<5 {
      do {
        guard let existing = cache(kind)[Self.key(kind, wanted.namespace, wanted.name)]?.tree else {
          _ = try await api.create(kind.gvr, wanted, options: options)
          return
        }
        guard let changed = DefaultRoles.reconciled(existing, with: wanted) else { return }
        if existing["roleRef"] != changed["roleRef"] {
          // What a binding refers to cannot be changed.
          try await api.delete(
            kind.gvr, namespace: existing.namespace, name: existing.name,
            options: DeleteOptions(uid: existing.uid))
        } else {
          _ = try await api.update(kind.gvr, changed, subresource: nil, options: options)
          return
        }
      } catch let error as APIStatusError where error.isConflict || error.isAlreadyExists || error.isNotFound
      {}
      await caches.catchUp()
    }
    log.warning("default role not reconciled", metadata: ["kind": "\(kind.kind)", "name": "\(wanted.name)"])
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
