// ID tokens of an OpenID Connect issuer: people who signed in elsewhere.

import ClusterObjects
import Diagnostics

final class OpenIDConnect: TokenAuthenticator {
  private let settings: OpenIDConnectSettings
  private let audiences: [String]
  private let keys: OpenIDKeys
  private let prefix: String
  private let now: WallClock

  /// Errors: `API0015` what the settings say.
  init(
    _ settings: OpenIDConnectSettings, audiences: [String],
    now: @escaping WallClock = { Timestamp.now().seconds }
  ) throws(WeftError) {
    self.settings = settings
    self.audiences = audiences
    self.now = now
    func refuse(_ object: String, _ cause: String, _ next: String) -> WeftError {
      WeftError("API0015", object: object, cause: cause, next: next)
    }
    guard settings.issuerURL.hasPrefix("https://"), !settings.issuerURL.contains("?") else {
      throw refuse(
        "--oidc-issuer-url \(settings.issuerURL)", "is no https address",
        "give it as the tokens name it, such as https://accounts.example.com")
    }
    guard !settings.clientID.isEmpty else {
      throw refuse("--oidc-client-id", "is missing", "give the client that tokens must be meant for")
    }
    let known: Set<String> = ["RS256", "ES256", "ES384"]
    guard !settings.signingAlgorithms.isEmpty, known.isSuperset(of: settings.signingAlgorithms) else {
      throw refuse(
        "--oidc-signing-algs \(settings.signingAlgorithms.joined(separator: ","))", "cannot be verified here",
        "choose of \(known.sorted().joined(separator: ","))")
    }
    prefix =
      switch settings.usernamePrefix {
      case "-": ""
      case let given?: given
      case nil: settings.usernameClaim == "email" ? "" : settings.issuerURL + "#"
      }
    if settings.keysFile.isEmpty {
      keys = OpenIDKeys(issuer: settings.issuerURL, authority: try Self.authority(settings))
    } else {
      keys = try OpenIDKeys(file: settings.keysFile)
    }
  }

  private static func authority(_ settings: OpenIDConnectSettings) throws(WeftError) -> [UInt8]? {
    if settings.authorityFile.isEmpty { return nil }
    return Array(try Authorities(path: settings.authorityFile).pem.utf8)
  }

  func authenticate(_ text: String, audiences asked: [String]) async throws(TokenProblem) -> TokenIdentity? {
    guard let token = try? JSONWebToken(text), token.issuer == settings.issuerURL else { return nil }
    let common = asked.filter(audiences.contains)
    guard !common.isEmpty else { return nil }
    guard settings.signingAlgorithms.contains(token.algorithm) else {
      throw TokenProblem("oidc: unexpected signature algorithm \"\(token.algorithm)\"")
    }
    try await keys.verify(token)
    try token.checkTimes(now: now(), needsExpiry: true)
    guard token.audiences.contains(settings.clientID) else {
      throw TokenProblem(
        "oidc: expected audience \"\(settings.clientID)\" got \(JSON(token.audiences).text)")
    }
    for (claim, value) in settings.requiredClaims.sorted(by: { $0.key < $1.key }) {
      guard token.claims[claim]?.string == value else {
        throw TokenProblem("oidc: required claim \(claim) is missing or has another value")
      }
    }
    return TokenIdentity(identity: try identity(token.claims), audiences: common)
  }

  private func identity(_ claims: JSON) throws(TokenProblem) -> Identity {
    guard let name = claims[settings.usernameClaim]?.string, !name.isEmpty else {
      throw TokenProblem("oidc: the claim \(settings.usernameClaim) is no name")
    }
    if settings.usernameClaim == "email", let verified = claims["email_verified"], verified != true {
      throw TokenProblem("oidc: email not verified")
    }
    var groups: [String] = []
    if !settings.groupsClaim.isEmpty, let claim = claims[settings.groupsClaim], !claim.isNull {
      if let one = claim.string {
        groups = [one]
      } else if let list = claim.array, list.allSatisfy({ $0.string != nil }) {
        groups = list.compactMap(\.string)
      } else {
        throw TokenProblem("oidc: the claim \(settings.groupsClaim) is no list of names")
      }
    }
    return Identity(user: prefix + name, groups: groups.map { settings.groupsPrefix + $0 })
  }
}
