// Roles decide who may: an index in memory, told of every change of a role or binding by the watch caches.

import ClusterObjects
import ClusterStore
import Logging
import Synchronization

/// Answers from the index. May be asked from any task. A decision takes one lock while references are copied.
final class RBACAuthorizer: Authorizer {
  let name = "RBAC"
  private let caches: ObjectCaches
  private let index = Mutex(RoleIndex())
  private let follower: CacheFollower

  /// Follows `roles`, `clusterroles`, `rolebindings` and `clusterrolebindings` from now on.
  init(caches: ObjectCaches) {
    self.caches = caches
    follower = CacheFollower(caches: caches)
    for resource in ["clusterroles", "roles", "clusterrolebindings", "rolebindings"] {
      let isRoles = resource.hasSuffix("roles")
      let isNamespaced = !resource.hasPrefix("cluster")
      follower.follow(resource) { [weak self] change in
        self?.index.withLock { $0.apply(change, roles: isRoles, namespaced: isNamespaced) }
      }
    }
  }

  var snapshot: RoleIndex { index.withLock { $0 } }

  func decide(_ attributes: AccessAttributes) async -> AccessDecision {
    let decision = snapshot.decide(attributes)
    guard case .noOpinion = decision else { return decision }
    // A role that was granted a moment ago counts: whoever granted it was told so.
    await caches.catchUp()
    return snapshot.decide(attributes)
  }
}

extension RoleIndex {
  mutating func apply(_ change: CacheFollower.Change, roles: Bool, namespaced: Bool) {
    switch change {
    case .begin(let objects):
      removeAll(roles: roles, namespaced: namespaced)
      for object in objects { set(object, roles) }
    case .set(let object): set(object, roles)
    case .removed(let object):
      guard Self.isOurs(object) else { return }
      if roles { removeRole(object.tree.key) } else { removeBinding(object.tree.key) }
    }
  }

  /// A custom resource may bear the same plural in another group: it grants nothing.
  static func isOurs(_ object: CachedObject) -> Bool { object.tree.apiVersion.hasPrefix(group + "/") }

  private mutating func set(_ object: CachedObject, _ isRole: Bool) {
    guard Self.isOurs(object) else { return }
    if isRole { setRole(object.tree) } else { setBinding(object.tree) }
  }
}
