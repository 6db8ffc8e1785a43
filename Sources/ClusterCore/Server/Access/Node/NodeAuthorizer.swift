// What node agents may do: their own Node and Lease, and what the pods on them need. A node that is taken over
// reads the secrets of its pods and of no other node's.

import ClusterObjects
import ClusterStore
import Synchronization

/// Answers for users `system:node:NAME` in group `system:nodes`; has no opinion on others.
final class NodeAuthorizer: Authorizer {
  let name = "Node"
  private let caches: ObjectCaches
  private let graph = Mutex(NodeGraph())
  private let follower: CacheFollower
  /// What all nodes may do alike.
  private let rules = DefaultRoles.rules("system:node")

  init(caches: ObjectCaches) {
    self.caches = caches
    follower = CacheFollower(caches: caches)
    follow("pods", of: "v1", clear: { $0.removeAllPods() }, set: { $0.setPod($1) }) {
      $0.removePod($1.key)
    }
    follow("persistentvolumes", of: "v1", clear: { $0.removeAllVolumes() }, set: { $0.setVolume($1) }) {
      $0.removeVolume($1.name)
    }
    follow(
      "volumeattachments", of: "storage.k8s.io/", clear: { $0.removeAllAttachments() },
      set: { $0.setAttachment($1.name, node: $1.at("spec", "nodeName")?.string) }
    ) { $0.setAttachment($1.name, node: nil) }
    follow(
      "resourceslices", of: "resource.k8s.io/", clear: { $0.removeAllSlices() },
      set: { $0.setSlice($1.name, node: $1.at("spec", "nodeName")?.string) }
    ) { $0.setSlice($1.name, node: nil) }
  }

  private func follow(
    _ resource: String, of apiVersion: String, clear: @escaping @Sendable (inout NodeGraph) -> Void,
    set: @escaping @Sendable (inout NodeGraph, JSON) -> Void,
    remove: @escaping @Sendable (inout NodeGraph, JSON) -> Void
  ) {
    // A custom resource may bear the same plural in another group.
    @Sendable func isOurs(_ object: CachedObject) -> Bool { object.tree.apiVersion.hasPrefix(apiVersion) }
    follower.follow(resource) { [weak self] change in
      self?.graph.withLock { graph in
        switch change {
        case .begin(let objects):
          clear(&graph)
          for object in objects where isOurs(object) { set(&graph, object.tree) }
        case .set(let object): if isOurs(object) { set(&graph, object.tree) }
        case .removed(let object): if isOurs(object) { remove(&graph, object.tree) }
        }
      }
    }
  }

  /// The node that asks; nil for anybody else. Empty for who is in the group without a node's name.
  static func node(_ identity: Identity) -> String? {
    guard identity.groups.contains("system:nodes") else { return nil }
    let prefix = "system:node:"
    return identity.user.hasPrefix(prefix) ? String(identity.user.dropFirst(prefix.count)) : nil
  }

  func decide(_ attributes: AccessAttributes) async -> AccessDecision {
    guard let node = Self.node(attributes.identity) else { return .noOpinion(reason: "") }
    guard !node.isEmpty else {
      return .noOpinion(reason: "unknown node for user \"\(attributes.identity.user)\"")
    }
    let decision = answer(node, attributes)
    guard case .noOpinion = decision else { return decision }
    // The pod may have come to the node a moment ago.
    await caches.catchUp()
    return answer(node, attributes)
  }

  private func answer(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    guard asked.isResource else { return common(asked) }
    switch (asked.group, asked.resource) {
    case ("", "secrets"): return read(node, .secret, asked)
    case ("", "configmaps"): return read(node, .configMap, asked)
    case ("", "persistentvolumeclaims"):
      if asked.subresource == "status" {
        guard ["update", "patch"].contains(asked.verb) else {
          return .noOpinion(reason: "can only get/update/patch this type")
        }
        return related(node, .claim, asked)
      }
      return getOne(asked) { related(node, .claim, asked) }
    case ("", "persistentvolumes"):
      return getOne(asked) { related(node, asked) { $0.relates(node, toVolume: asked.name) } }
    case ("resource.k8s.io", "resourceclaims"):
      return getOne(asked) { related(node, .resourceClaim, asked) }
    case ("storage.k8s.io", "volumeattachments"):
      return getOne(asked) { related(node, asked) { $0.relates(node, toAttachment: asked.name) } }
    case ("", "serviceaccounts"): return serviceAccount(node, asked)
    case ("coordination.k8s.io", "leases"): return lease(node, asked)
    case ("storage.k8s.io", "csinodes"): return csiNode(node, asked)
    case ("resource.k8s.io", "resourceslices"): return slice(node, asked)
    case ("", "nodes"): return nodeObject(node, asked)
    case ("", "pods"): return pod(node, asked)
    default: return common(asked)
    }
  }

  private func common(_ asked: AccessAttributes) -> AccessDecision {
    let question = RuleQuestion(asked)
    return rules.contains { $0.allows(question) } ? .allow(reason: "") : .noOpinion(reason: "")
  }

  // MARK: By relation

  private func related(
    _ node: String, _ asked: AccessAttributes, _ holds: (NodeGraph) -> Bool
  ) -> AccessDecision {
    if asked.name.isEmpty { return .noOpinion(reason: "No Object name found") }
    if graph.withLock({ holds($0) }) { return .allow(reason: "") }
    return .noOpinion(reason: "no relationship found between node '\(node)' and this object")
  }

  private func related(
    _ node: String, _ kind: NodeReference.Kind, _ asked: AccessAttributes
  ) -> AccessDecision {
    let reference = NodeReference(kind: kind, namespace: asked.namespace, name: asked.name)
    return related(node, asked) { $0.relates(node, to: reference) }
  }

  private func getOne(_ asked: AccessAttributes, _ then: () -> AccessDecision) -> AccessDecision {
    if asked.verb != "get" { return .noOpinion(reason: "can only get individual resources of this type") }
    if !asked.subresource.isEmpty { return .noOpinion(reason: "cannot get subresource") }
    return then()
  }

  /// Secrets and ConfigMaps: one at a time, also by a watch of one name.
  private func read(
    _ node: String, _ kind: NodeReference.Kind, _ asked: AccessAttributes
  ) -> AccessDecision {
    guard ["get", "list", "watch"].contains(asked.verb) else {
      return .noOpinion(reason: "can only read resources of this type")
    }
    if !asked.subresource.isEmpty { return .noOpinion(reason: "cannot read subresource") }
    if asked.namespace.isEmpty {
      return .noOpinion(reason: "can only read namespaced object of this type")
    }
    return related(node, kind, asked)
  }

  private func serviceAccount(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    if asked.verb == "get", asked.subresource.isEmpty { return related(node, .serviceAccount, asked) }
    guard asked.verb == "create", !asked.name.isEmpty else {
      return .noOpinion(reason: "can only create tokens for individual service accounts")
    }
    guard asked.subresource == "token" else {
      return .noOpinion(reason: "can only create token subresource of serviceaccount")
    }
    return related(node, .serviceAccount, asked)
  }

  // MARK: By name

  private static let ownVerbs = ["get", "create", "update", "patch", "delete"]

  private func lease(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    guard Self.ownVerbs.contains(asked.verb) else {
      return .noOpinion(reason: "can only get, create, update, patch, or delete a node lease")
    }
    guard asked.namespace == "kube-node-lease" else {
      return .noOpinion(reason: "can only access leases in the \"kube-node-lease\" system namespace")
    }
    // A creation's name is in its body: admission looks at it.
    guard asked.verb == "create" || asked.name == node else {
      return .noOpinion(reason: "can only access node lease with the same name as the requesting node")
    }
    return .allow(reason: "")
  }

  private func csiNode(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    guard Self.ownVerbs.contains(asked.verb) else {
      return .noOpinion(reason: "can only get, create, update, patch, or delete a CSINode")
    }
    if !asked.subresource.isEmpty { return .noOpinion(reason: "cannot authorize CSINode subresources") }
    guard asked.verb == "create" || asked.name == node else {
      return .noOpinion(reason: "can only access CSINode with the same name as the requesting node")
    }
    return .allow(reason: "")
  }

  private func slice(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    if !asked.subresource.isEmpty { return .noOpinion(reason: "cannot authorize ResourceSlice subresources") }
    switch asked.verb {
    case "create": return .allow(reason: "")
    case "get", "update", "patch", "delete":
      return related(node, asked) { $0.relates(node, toSlice: asked.name) }
    case "list", "watch", "deletecollection":
      if asked.selects("spec.nodeName", node) || asked.selects("nodeName", node) { return .allow(reason: "") }
      return .noOpinion(
        reason: "can only list/watch/deletecollection resourceslices with nodeName field selector")
    default:
      return .noOpinion(
        reason: "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, "
          + "patch, delete, deletecollection")
    }
  }

  private func nodeObject(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    switch (asked.subresource, asked.verb) {
    // Admission keeps a node to its own object.
    case ("", "create"), ("", "update"), ("", "patch"), ("status", "update"), ("status", "patch"):
      return .allow(reason: "")
    case ("", "get"), ("", "list"), ("", "watch"):
      if asked.name == node { return .allow(reason: "") }
      return .noOpinion(
        reason: asked.name.isEmpty
          ? "node '\(node)' cannot read all nodes, only its own Node object"
          : "node '\(node)' cannot read '\(asked.name)', only its own Node object")
    default: return .noOpinion(reason: "")
    }
  }

  private func pod(_ node: String, _ asked: AccessAttributes) -> AccessDecision {
    switch (asked.subresource, asked.verb) {
    case ("", "get"): return related(node, .pod, asked)
    case ("", "list"), ("", "watch"):
      if asked.selects("spec.nodeName", node) { return .allow(reason: "") }
      if !asked.name.isEmpty { return related(node, .pod, asked) }
      return .noOpinion(reason: "can only list/watch pods with spec.nodeName field selector")
    // Admission keeps a node to pods that are on it.
    case ("", "create"), ("", "delete"), ("status", "update"), ("status", "patch"), ("eviction", "create"):
      return .allow(reason: "")
    default: return .noOpinion(reason: "")
    }
  }
}

extension NodeAuthorizer: RuleResolver {
  func rules(for identity: Identity, namespace: String) -> (rules: [PolicyRule], error: String) {
    let isNode = Self.node(identity) != nil
    return ([], isNode ? "node authorizer does not support user rule resolution" : "")
  }
}

extension AccessAttributes {
  /// Whether what is asked for is narrowed to one value of a field.
  func selects(_ field: String, _ value: String) -> Bool {
    fieldSelector?.terms.contains { $0.field == field && $0.isEqual && $0.value == value } ?? false
  }
}
