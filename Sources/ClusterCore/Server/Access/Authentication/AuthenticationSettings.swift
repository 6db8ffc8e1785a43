// Who may be believed, as flags say it: upstream's names.

/// Ways to say who one is. Empty texts and lists mean "not that way".
public struct AuthenticationSettings: Sendable {
  /// Requests without a credential are answered as `system:anonymous`; else 401.
  public var anonymous = true

  // ServiceAccounts.
  /// The first is named in new tokens, all are believed.
  public var serviceAccountIssuers = ["https://kubernetes.default.svc.cluster.local"]
  /// A private key (PEM) instead of the one in the data folder.
  public var serviceAccountSigningKeyFile = ""
  /// More public keys (PEM) that are believed.
  public var serviceAccountKeyFiles: [String] = []
  /// A token's longest life; 0 for no limit of its own (2^32 seconds).
  public var serviceAccountMaxTokenSeconds = 0
  /// Where others find our keys. Empty: `https://ADVERTISED/openid/v1/jwks`.
  public var serviceAccountKeysURL = ""
  /// Audiences that tokens for this API server carry. Empty: the issuers.
  public var apiAudiences: [String] = []

  /// A CSV file of tokens: `token,user,uid,"group1,group2"`.
  public var tokenFile = ""
  /// Secrets of type `bootstrap.kubernetes.io/token` in `kube-system`.
  public var bootstrapTokens = true

  /// More authorities whose client certificates are believed (PEM).
  public var clientAuthorityFile = ""
  /// Authorities of proxies that say for whom they speak (PEM). Empty: no proxy is believed.
  public var frontProxyAuthorityFile = ""
  /// Common names such a proxy may have. Empty: any that the authority signed.
  public var frontProxyNames: [String] = []
  public var frontProxyUserHeaders = ["X-Remote-User"]
  public var frontProxyUIDHeaders: [String] = []
  public var frontProxyGroupHeaders = ["X-Remote-Group"]
  public var frontProxyExtraPrefixes = ["X-Remote-Extra-"]

  public var openIDConnect: OpenIDConnectSettings?
  /// Asked last, about tokens that nobody else knows.
  public var tokenWebhook: WebhookTokenSettings?

  public init() {}
}

/// An OpenID Connect issuer whose ID tokens are believed.
public struct OpenIDConnectSettings: Sendable {
  /// `https://…`, exactly as tokens name it.
  public var issuerURL: String
  /// Tokens must be meant for this client.
  public var clientID: String
  public var usernameClaim = "sub"
  /// Nil: `ISSUER#`, unless the claim is `email`. `-`: none.
  public var usernamePrefix: String?
  /// Empty: no groups.
  public var groupsClaim = ""
  public var groupsPrefix = ""
  /// Claims that a token must have, with these values.
  public var requiredClaims: [String: String] = [:]
  public var signingAlgorithms = ["RS256"]
  /// Authorities of the issuer's server (PEM). Empty: the system's.
  public var authorityFile = ""
  /// A JWK set in a file, instead of what the issuer's server tells.
  public var keysFile = ""

  public init(issuerURL: String, clientID: String) {
    self.issuerURL = issuerURL
    self.clientID = clientID
  }
}
