// What a ServiceAccount's token says: whose it is, what it lives and dies with, for whom it is.
//
//   iss sub aud exp iat nbf jti
//   kubernetes.io: namespace, serviceaccount{name uid} and one of pod{name uid} (+ node), secret, node

import ClusterObjects

/// A reference inside a token: the object must still be there under this uid.
struct TokenReference: Sendable, Hashable {
  var name: String
  var uid: String
  init(_ name: String, _ uid: String) {
    self.name = name
    self.uid = uid
  }
  init?(_ tree: JSON?) {
    guard let name = tree?["name"]?.string, !name.isEmpty else { return nil }
    self.init(name, tree?["uid"]?.string ?? "")
  }
  var tree: JSON { uid.isEmpty ? ["name": JSON(name)] : ["name": JSON(name), "uid": JSON(uid)] }
}

struct ServiceAccountClaims: Sendable, Hashable {
  static let userPrefix = "system:serviceaccount:"

  var namespace: String
  var account: TokenReference
  var pod: TokenReference?
  var secret: TokenReference?
  /// What the token is bound to when there is no pod; else where the pod runs.
  var node: TokenReference?
  /// `jti`.
  var credentialID = ""

  init(namespace: String, account: TokenReference) {
    self.namespace = namespace
    self.account = account
  }

  var user: String { "\(Self.userPrefix)\(namespace):\(account.name)" }

  /// Namespace and name of `system:serviceaccount:NAMESPACE:NAME`.
  static func split(user: String) -> (namespace: String, name: String)? {
    guard user.hasPrefix(userPrefix) else { return nil }
    let parts = user.dropFirst(userPrefix.count).split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return nil }
    return (String(parts[0]), String(parts[1]))
  }

  static func groups(namespace: String) -> [String] {
    ["system:serviceaccounts", "system:serviceaccounts:\(namespace)"]
  }

  // MARK: Bound tokens

  init(bound token: JSONWebToken) throws(TokenProblem) {
    guard let part = token.claims["kubernetes.io"], let namespace = part["namespace"]?.string,
      let account = TokenReference(part["serviceaccount"])
    else { throw TokenProblem("token names no service account") }
    self.init(namespace: namespace, account: account)
    pod = TokenReference(part["pod"])
    secret = TokenReference(part["secret"])
    node = TokenReference(part["node"])
    credentialID = token.claims["jti"]?.string ?? ""
    guard token.subject == user else { throw TokenProblem("token's subject is not its service account") }
  }

  func bound(issuer: String, audiences: [String], now: Int64, seconds: Int64) -> JSON {
    var part: JSON = ["namespace": JSON(namespace)]
    if let node { part["node"] = node.tree }
    if let pod { part["pod"] = pod.tree }
    if let secret { part["secret"] = secret.tree }
    part["serviceaccount"] = account.tree
    return [
      "aud": JSON(audiences), "exp": JSON(now + seconds), "iat": JSON(now), "iss": JSON(issuer),
      "jti": JSON(credentialID), "kubernetes.io": part, "nbf": JSON(now), "sub": JSON(user),
    ]
  }

  // MARK: Tokens kept in Secrets

  static let secretIssuer = "kubernetes/serviceaccount"
  private static let prefix = "kubernetes.io/serviceaccount/"

  init(ofSecret token: JSONWebToken) throws(TokenProblem) {
    func claim(_ name: String) -> String { token.claims[Self.prefix + name]?.string ?? "" }
    self.init(
      namespace: claim("namespace"),
      account: TokenReference(claim("service-account.name"), claim("service-account.uid")))
    secret = TokenReference(claim("secret.name"), "")
    guard !namespace.isEmpty, !account.name.isEmpty, !claim("secret.name").isEmpty else {
      throw TokenProblem("token names no service account or secret")
    }
    guard token.subject == user else { throw TokenProblem("token's subject is not its service account") }
  }

  var inSecret: JSON {
    [
      "iss": JSON(Self.secretIssuer), "\(Self.prefix)namespace": JSON(namespace),
      "\(Self.prefix)secret.name": JSON(secret?.name ?? ""),
      "\(Self.prefix)service-account.name": JSON(account.name),
      "\(Self.prefix)service-account.uid": JSON(account.uid), "sub": JSON(user),
    ]
  }

  // MARK: Who it is

  var identity: Identity {
    var extra: [String: [String]] = [:]
    func add(_ name: String, _ value: String?) {
      if let value, !value.isEmpty { extra["authentication.kubernetes.io/" + name] = [value] }
    }
    add("pod-name", pod?.name)
    add("pod-uid", pod?.uid)
    add("node-name", node?.name)
    add("node-uid", node?.uid)
    add("credential-id", credentialID.isEmpty ? nil : "JTI=" + credentialID)
    return Identity(user: user, groups: Self.groups(namespace: namespace), uid: account.uid, extra: extra)
  }
}
