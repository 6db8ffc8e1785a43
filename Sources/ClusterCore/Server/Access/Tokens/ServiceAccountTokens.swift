// Tokens of ServiceAccounts: made here, believed here.
//
// A bound token dies with its ServiceAccount and with the Pod, Secret or Node it is bound to: each request
// asks the watch cache whether they are still there, under the same uid.

import ClusterObjects
import Diagnostics

final class ServiceAccountTokens: TokenAuthenticator {
  struct Settings: Sendable {
    /// The first signs; all are believed.
    var issuers: [String]
    /// Audiences of this API server.
    var audiences: [String]
    var secondsMax: Int64
  }

  let settings: Settings
  let keys: VerifyingKeys
  private let signing: SigningKey
  private let objects: any LiveObjects
  private let now: WallClock
  private let verified = VerifiedTokens<JSONWebToken>()
  private let validTokens = Metrics.shared.counter(
    "serviceaccount_valid_tokens_total", "Valid projected service account tokens used."
  ).child()
  private let secretTokens = Metrics.shared.counter(
    "serviceaccount_legacy_tokens_total", "Tokens of Secrets used."
  ).child()

  init(
    settings: Settings, signing: SigningKey, verifying: [VerifyingKey], objects: any LiveObjects,
    now: @escaping WallClock = { Timestamp.now().seconds }
  ) {
    self.settings = settings
    self.signing = signing
    keys = VerifyingKeys([signing.verifying] + verifying)
    self.objects = objects
    self.now = now
  }

  // MARK: Making

  /// A bound token, and when it ends in seconds since 1970.
  func issue(_ claims: ServiceAccountClaims, audiences: [String], seconds: Int64) throws -> (String, Int64) {
    let start = now()
    let tree = claims.bound(
      issuer: settings.issuers[0], audiences: audiences, now: start, seconds: seconds)
    return (try signing.token(tree), start + seconds)
  }

  /// A token without end, to be kept in a Secret.
  func issueForSecret(_ claims: ServiceAccountClaims) throws -> String { try signing.token(claims.inSecret) }

  // MARK: Believing

  func authenticate(_ text: String, audiences: [String]) async throws(TokenProblem) -> TokenIdentity? {
    guard let token = try verifiedToken(text) else { return nil }
    if token.issuer == ServiceAccountClaims.secretIssuer {
      return try await authenticateSecret(token, text, audiences)
    }
    try token.checkTimes(now: now(), needsExpiry: true)
    let claims = try ServiceAccountClaims(bound: token)
    let meant = token.audiences
    let common = audiences.filter(meant.contains)
    guard !common.isEmpty else {
      throw TokenProblem(
        "token audiences \(JSON(meant).text) is invalid for the target audiences \(JSON(audiences).text)")
    }
    try await checkLiving(claims)
    validTokens.increment()
    return TokenIdentity(identity: claims.identity, audiences: common)
  }

  /// Nil when another authenticator may know the token.
  private func verifiedToken(_ text: String) throws(TokenProblem) -> JSONWebToken? {
    if let known = verified[text] { return known }
    // Who is named as issuer decides whether the token is ours to judge; only then does it matter what is
    // wrong with it.
    guard var token = try? JSONWebToken(text),
      token.issuer == ServiceAccountClaims.secretIssuer || settings.issuers.contains(token.issuer)
    else { return nil }
    try keys.verify(token)
    token.signed = []
    token.signature = []
    verified.remember(text, token)
    return token
  }

  private func checkLiving(_ claims: ServiceAccountClaims) async throws(TokenProblem) {
    try await check(
      "service account", .serviceAccounts, claims.namespace, claims.account,
      mismatch: "service account UID (%) does not match claim (%)")
    if let secret = claims.secret {
      try await check(
        "secret", .secrets, claims.namespace, secret,
        mismatch: "secret UID (%) does not match service account secret ref claim (%)")
    }
    if let pod = claims.pod {
      try await check(
        "pod", .pods, claims.namespace, pod,
        mismatch: "pod UID (%) does not match service account pod ref claim (%)")
    } else if let node = claims.node {
      try await check(
        "node", .nodes, "", node,
        mismatch: "node UID (%) does not match service account node ref claim (%)")
    }
  }

  private func check(
    _ word: String, _ resource: GroupVersionResource, _ namespace: String, _ reference: TokenReference,
    mismatch: String
  ) async throws(TokenProblem) {
    guard let object = await objects.object(resource, namespace: namespace, name: reference.name) else {
      throw TokenProblem("\(word) \"\(reference.name)\" not found")
    }
    guard object.uid == reference.uid else {
      let parts = mismatch.split(separator: "%")
      throw TokenProblem("\(parts[0])\(object.uid)\(parts[1])\(reference.uid)\(parts[2])")
    }
    // Its last moments included: what shuts down in good order may still speak.
    if let text = object.deletionTimestamp, let end = KubeTime(text)?.seconds,
      end < now() - Int64(JSONWebToken.leewaySeconds)
    {
      throw TokenProblem("\(word) has been deleted")
    }
  }

  private func authenticateSecret(
    _ token: JSONWebToken, _ text: String, _ audiences: [String]
  ) async throws(TokenProblem) -> TokenIdentity {
    let claims = try ServiceAccountClaims(ofSecret: token)
    // Such tokens say no audience: they are for the API server alone.
    let common = audiences.filter(settings.audiences.contains)
    guard !common.isEmpty else { throw TokenProblem("a secret's token is for the API server only") }
    let name = claims.secret?.name ?? ""
    guard let secret = await objects.object(.secrets, namespace: claims.namespace, name: name),
      secret.deletionTimestamp == nil
    else { throw TokenProblem("secret \"\(name)\" not found: token has been invalidated") }
    let kept = secret.at("data", "token")?.string.flatMap { Base64.decode($0) } ?? []
    guard ConstantTime.areEqual(kept, Array(text.utf8)) else {
      throw TokenProblem("token does not match server's copy")
    }
    try await check(
      "service account", .serviceAccounts, claims.namespace, claims.account,
      mismatch: "service account UID (%) does not match claim (%)")
    secretTokens.increment()
    return TokenIdentity(identity: claims.identity, audiences: common)
  }
}

enum ConstantTime {
  /// Compares secrets without telling by the time it takes where they differ. Their lengths are no secret.
  static func areEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for index in a.indices { difference |= a[index] ^ b[index] }
    return difference == 0
  }
}
