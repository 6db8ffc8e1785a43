// Acting as somebody else (`kubectl --as`): headers say as whom, authorizers say whether.

import ClusterClient
import ClusterObjects
import NIOHTTP1

enum Impersonation {
  private static let extraPrefix = "impersonate-extra-"
  /// Groups and extra values that one request may ask for; each is a question to the authorizers.
  static let questionsMax = 256

  /// Nil when nobody else is named. Throws 403 when the asker may not, 400 when no user is named.
  static func identity(
    _ request: HTTPRequest, as asker: Identity, decide: (AccessAttributes) async -> AccessDecision
  ) async throws -> Identity? {
    let user = request.headers.first(name: "impersonate-user") ?? ""
    let groups = request.headers["impersonate-group"]
    let uid = request.headers.first(name: "impersonate-uid") ?? ""
    var extra: [String: [String]] = [:]
    for (header, value) in request.headers {
      let lower = header.lowercased()
      guard lower.hasPrefix(extraPrefix), lower.count > extraPrefix.count else { continue }
      extra[HeaderKey.decode(lower.dropFirst(extraPrefix.count)), default: []].append(value)
    }
    if user.isEmpty, groups.isEmpty, uid.isEmpty, extra.isEmpty { return nil }
    guard !user.isEmpty else {
      throw Failure.badRequest("requested impersonation without impersonating a user name")
    }
    guard groups.count + extra.values.reduce(0, { $0 + $1.count }) < questionsMax else {
      throw Failure.badRequest("more than \(questionsMax) groups and extra values to impersonate")
    }

    func ask(
      _ group: String, _ resource: String, _ name: String, namespace: String = "", subresource: String = ""
    ) async throws {
      let attributes = AccessAttributes(
        identity: asker, verb: "impersonate", group: group, version: "v1", resource: resource,
        subresource: subresource, namespace: namespace, name: name)
      let decision = await decide(attributes)
      if case .allow = decision { return }
      throw refusal(attributes, decision)
    }

    var identity = Identity(user: user, groups: groups, uid: uid, extra: extra)
    if let account = ServiceAccountClaims.split(user: user) {
      try await ask("", "serviceaccounts", account.name, namespace: account.namespace)
      if groups.isEmpty { identity.groups = ServiceAccountClaims.groups(namespace: account.namespace) }
    } else {
      try await ask("", "users", user)
    }
    for group in groups { try await ask("", "groups", group) }
    for (key, values) in extra.sorted(by: { $0.key < $1.key }) {
      for value in values {
        try await ask("authentication.k8s.io", "userextras", value, subresource: key)
      }
    }
    if !uid.isEmpty { try await ask("authentication.k8s.io", "uids", uid) }
    if user == Identity.anonymous.user {
      if !identity.groups.contains("system:unauthenticated") {
        identity.groups.append("system:unauthenticated")
      }
      return identity
    }
    return identity.authenticated
  }

  private static func refusal(_ asked: AccessAttributes, _ decision: AccessDecision) -> APIStatusError {
    let resource = asked.subresource.isEmpty ? asked.resource : "\(asked.resource)/\(asked.subresource)"
    let qualified = asked.group.isEmpty ? asked.resource : "\(asked.resource).\(asked.group)"
    let place =
      asked.namespace.isEmpty ? "at the cluster scope" : "in the namespace \"\(asked.namespace)\""
    var message =
      "\(qualified) \"\(asked.name)\" is forbidden: User \"\(asked.identity.user)\" cannot impersonate "
      + "resource \"\(resource)\" in API group \"\(asked.group)\" \(place)"
    switch decision {
    case .deny(let reason), .noOpinion(let reason): if !reason.isEmpty { message += ": \(reason)" }
    case .allow: break
    }
    var details: JSON = ["name": JSON(asked.name), "kind": JSON(asked.resource)]
    if !asked.group.isEmpty { details["group"] = JSON(asked.group) }
    return APIStatusError(code: 403, reason: "Forbidden", message: message, details: details)
  }
}
