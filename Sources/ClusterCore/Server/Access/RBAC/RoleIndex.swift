// All roles and who is bound to them, arranged by whom a question is about:
//
//   user or group ─► grants of the cluster    ─► role ─► rules
//                └─► grants of the namespace  ─► role ─► rules

import ClusterObjects

/// A role by kind, namespace and name. The namespace of a ClusterRole is empty.
struct RoleKey: Sendable, Hashable {
  var namespace: String
  var name: String
  var isClusterRole: Bool { namespace.isEmpty }
}

/// Whom a binding names. A ServiceAccount is the user it authenticates as.
enum RoleSubject: Sendable, Hashable {
  case user(String)
  case group(String)
}

/// One binding as seen from one of its subjects.
struct RoleGrant: Sendable, Hashable {
  /// Namespace and name of the binding.
  var binding: ObjectKey
  var role: RoleKey
  /// What audit and access reviews say of it, made when the binding is read.
  var reason: String
}

/// The index. A value: a decision reads one, whole, while the next one is made.
struct RoleIndex: Sendable {
  private typealias Grants = [RoleSubject: [RoleGrant]]
  private var roles: [RoleKey: [PolicyRule]] = [:]
  private var grants: [String: Grants] = [:]
  /// The subjects of each binding, to take it out again.
  private var subjects: [ObjectKey: [RoleSubject]] = [:]

  static let group = "rbac.authorization.k8s.io"

  var roleCount: Int { roles.count }
  var bindingCount: Int { subjects.count }

  // MARK: Keeping current

  mutating func setRole(_ object: JSON) {
    roles[RoleKey(namespace: object.namespace, name: object.name)] = Self.rules(object)
  }

  mutating func removeRole(_ key: ObjectKey) {
    roles[RoleKey(namespace: key.namespace, name: key.name)] = nil
  }

  static func rules(_ role: JSON) -> [PolicyRule] { (role["rules"]?.elements ?? []).map { PolicyRule($0) } }

  mutating func setBinding(_ object: JSON) {
    let key = object.key
    removeBinding(key)
    guard let role = Self.roleKey(object) else { return }
    let kind = key.namespace.isEmpty ? "ClusterRoleBinding" : "RoleBinding"
    // Upstream puts the name before the namespace here; scripts read it so.
    let shown = key.namespace.isEmpty ? key.name : "\(key.name)/\(key.namespace)"
    let of = role.isClusterRole ? "ClusterRole" : "Role"
    var seen: [RoleSubject] = []
    for subject in object["subjects"]?.elements ?? [] {
      guard let (who, text) = Self.subject(subject, in: key.namespace), !seen.contains(who) else { continue }
      seen.append(who)
      let reason = "RBAC: allowed by \(kind) \"\(shown)\" of \(of) \"\(role.name)\" to \(text)"
      grants[key.namespace, default: [:]][who, default: []].append(
        RoleGrant(binding: key, role: role, reason: reason))
    }
    subjects[key] = seen
  }

  mutating func removeBinding(_ key: ObjectKey) {
    guard let old = subjects.removeValue(forKey: key) else { return }
    for subject in old {
      grants[key.namespace]?[subject]?.removeAll { $0.binding == key }
      if grants[key.namespace]?[subject]?.isEmpty == true { grants[key.namespace]?[subject] = nil }
    }
    if grants[key.namespace]?.isEmpty == true { grants[key.namespace] = nil }
  }

  mutating func removeAll(roles isRoles: Bool, namespaced: Bool) {
    if isRoles {
      roles = roles.filter { $0.key.isClusterRole == namespaced }
    } else {
      for key in Array(subjects.keys) where key.namespace.isEmpty != namespaced { removeBinding(key) }
    }
  }

  /// What a binding's `roleRef` names; nil for what is no role.
  static func roleKey(_ binding: JSON) -> RoleKey? {
    let name = binding.at("roleRef", "name")?.string ?? ""
    switch binding.at("roleRef", "kind")?.string {
    case "ClusterRole": return RoleKey(namespace: "", name: name)
    case "Role" where !binding.namespace.isEmpty: return RoleKey(namespace: binding.namespace, name: name)
    default: return nil
    }
  }

  private static func subject(_ json: JSON, in namespace: String) -> (RoleSubject, String)? {
    let name = json["name"]?.string ?? ""
    switch json["kind"]?.string {
    case "User": return (.user(name), "User \"\(name)\"")
    case "Group": return (.group(name), "Group \"\(name)\"")
    case "ServiceAccount":
      let own = json["namespace"]?.string ?? ""
      let home = own.isEmpty ? namespace : own
      if home.isEmpty { return nil }
      return (.user("system:serviceaccount:\(home):\(name)"), "ServiceAccount \"\(name)/\(home)\"")
    default: return nil
    }
  }

  // MARK: Asking

  /// Calls `body` with each grant that applies, those of the cluster first, until it says false.
  private func forEachGrant(
    _ identity: Identity, namespace: String, _ body: (RoleGrant) -> Bool
  ) {
    for scope in namespace.isEmpty ? 0..<1 : 0..<2 {
      guard let grants = grants[scope == 0 ? "" : namespace] else { continue }
      for grant in grants[.user(identity.user)] ?? [] where !body(grant) { return }
      for group in identity.groups {
        for grant in grants[.group(group)] ?? [] where !body(grant) { return }
      }
    }
  }

  /// Allows with the binding that does, or has no opinion; then the reason names roles that bindings speak of
  /// and nobody made.
  func decide(_ attributes: AccessAttributes) -> AccessDecision {
    let question = RuleQuestion(attributes)
    var allowed: String?
    var absent: [RoleKey] = []
    forEachGrant(attributes.identity, namespace: attributes.namespace) { grant in
      guard let rules = roles[grant.role] else {
        if !absent.contains(grant.role) { absent.append(grant.role) }
        return true
      }
      for rule in rules where rule.allows(question) {
        allowed = grant.reason
        return false
      }
      return true
    }
    if let allowed { return .allow(reason: allowed) }
    return .noOpinion(reason: absent.isEmpty ? "" : "RBAC: \(Self.notFound(absent))")
  }

  private static func notFound(_ roles: [RoleKey]) -> String {
    let texts = roles.map { role in
      "\(role.isClusterRole ? "clusterrole" : "role").\(Self.group) \"\(role.name)\" not found"
    }
    return texts.count == 1 ? texts[0] : "[\(texts.joined(separator: ", "))]"
  }

  /// Everything that somebody may do in a namespace and in the cluster, and what of it could not be found.
  func rules(for identity: Identity, namespace: String) -> (rules: [PolicyRule], error: String) {
    var rules: [PolicyRule] = []
    var absent: [RoleKey] = []
    var seen: Set<RoleKey> = []
    forEachGrant(identity, namespace: namespace) { grant in
      guard seen.insert(grant.role).inserted else { return true }
      if let found = roles[grant.role] { rules += found } else { absent.append(grant.role) }
      return true
    }
    return (rules, absent.isEmpty ? "" : Self.notFound(absent))
  }

  func rules(of role: RoleKey) -> [PolicyRule]? { roles[role] }
}
