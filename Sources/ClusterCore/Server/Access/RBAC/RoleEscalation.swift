// Nobody gives away what they do not have: whoever writes a role must hold its rules, whoever writes a binding
// must hold the rules of its role. `escalate` on roles and `bind` on a role lift this.

import ClusterClient
import ClusterObjects

/// Looks at every write of a role or binding, after everything else that may change it.
struct RoleEscalation: AdmissionPlugin {
  let name = "RoleEscalation"
  let interest = AdmissionInterest.validating(Self.kinds, [.create, .update])
  let roles: RBACAuthorizer
  /// All authorizers: `escalate` and `bind` may be given by any.
  let access: Access

  static let kinds = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"].map {
    GroupResource(RoleIndex.group, $0)
  }
  private static let fullAuthority: [PolicyRule] = [.everything, .everyPath]

  /// Throws 403 when the writer would give more than they have, 404 when a binding's role is not there.
  func validate(_ request: inout AdmissionRequest) async throws {
    guard let object = request.object, !request.identity.groups.contains(SystemMasters.group) else { return }
    if let old = request.old, Self.isOnlyForCollector(old, object) { return }
    let name = request.name.isEmpty ? object.name : request.name
    switch request.kind.plural {
    case "roles", "clusterroles":
      if await mayEscalate(request) { return }
      try confirm(RoleIndex.rules(object), request, name)
      let gathers = [object, request.old ?? .null].contains { $0["aggregationRule"]?.object != nil }
      guard gathers, !missing(Self.fullAuthority, request).isEmpty else { return }
      throw Failure.forbidden(
        request.kind, name, "must have cluster-admin privileges to use the aggregationRule")
    case "rolebindings", "clusterrolebindings":
      guard let role = RoleIndex.roleKey(object) else { return }
      if await mayBind(role, request) { return }
      guard let rules = roles.snapshot.rules(of: role) else {
        let kind = role.isClusterRole ? "clusterroles" : "roles"
        throw APIStatusError(
          code: 404, reason: "NotFound", message: "\(kind).\(RoleIndex.group) \"\(role.name)\" not found",
          details: ["name": JSON(role.name), "group": JSON(RoleIndex.group), "kind": JSON(kind)])
      }
      try confirm(rules, request, name)
    default: return
    }
  }

  private func confirm(_ rules: [PolicyRule], _ request: AdmissionRequest, _ name: String) throws {
    let lacking = missing(rules, request)
    if lacking.isEmpty { return }
    let texts = Set(PolicyRule.compacted(lacking).map(\.summary)).sorted()
    let identity = request.identity
    throw Failure.forbidden(
      request.kind, name,
      "user \(PolicyRule.quoted(identity.user)) (groups=\(PolicyRule.quoted(identity.groups))) is attempting "
        + "to grant RBAC permissions not currently held:\n" + texts.joined(separator: "\n"))
  }

  private func missing(_ rules: [PolicyRule], _ request: AdmissionRequest) -> [PolicyRule] {
    let held = roles.snapshot.rules(for: request.identity, namespace: request.namespace).rules
    return PolicyRule.missing(rules, held: held)
  }

  private func mayEscalate(_ request: AdmissionRequest) async -> Bool {
    await isAllowed(
      AccessAttributes(
        identity: request.identity, verb: "escalate", group: RoleIndex.group, version: "*",
        resource: request.kind.plural, namespace: request.namespace,
        // A creation is asked about as the request was: without a name.
        name: request.operation == .create ? "" : request.name))
  }

  private func mayBind(_ role: RoleKey, _ request: AdmissionRequest) async -> Bool {
    await isAllowed(
      AccessAttributes(
        identity: request.identity, verb: "bind", group: RoleIndex.group, version: "*",
        resource: role.isClusterRole ? "clusterroles" : "roles", namespace: request.namespace, name: role.name
      ))
  }

  private func isAllowed(_ attributes: AccessAttributes) async -> Bool {
    if case .allow = await access.decide(attributes) { return true }
    return false
  }

  /// Owners and finalizers may be changed by whoever may write: the garbage collector holds no roles.
  private static func isOnlyForCollector(_ old: JSON, _ new: JSON) -> Bool {
    func rest(_ object: JSON) -> JSON {
      var object = object
      for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
        object.set(nil, at: "metadata", field)
      }
      return object
    }
    return rest(old) == rest(new)
  }
}
