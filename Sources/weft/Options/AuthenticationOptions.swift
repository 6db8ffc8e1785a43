// Flags of who is believed and what is written down: upstream's names and meanings.

import ArgumentParser
import ClusterServer
import Diagnostics

struct AuthenticationOptions: ParsableArguments {
  @Option(help: "Whether requests without a credential are answered as system:anonymous.")
  var anonymousAuth = true
  @Option(help: "Who issues tokens of ServiceAccounts; the first is named in new ones. May be repeated.")
  var serviceAccountIssuer: [String] = []
  @Option(help: "PEM of the private key that signs them. Default: one of our own in the data directory.")
  var serviceAccountSigningKeyFile = ""
  @Option(help: "PEM of more public keys that are believed. May be repeated.")
  var serviceAccountKeyFile: [String] = []
  @Option(help: "The longest life of such a token, such as 24h. Default: as long as is asked for.")
  var serviceAccountMaxTokenExpiration: String?
  @Option(help: "Where others find our public keys. Default: /openid/v1/jwks of this server.")
  var serviceAccountJwksURI = ""
  @Option(help: "Audiences of this server, with commas. Default: the issuers.") var apiAudiences = ""
  @Option(help: "A CSV file of tokens: token,user,uid,\"group1,group2\".") var tokenAuthFile = ""
  @Option(help: "Whether bootstrap tokens of kube-system are believed.") var enableBootstrapTokenAuth = true
  @Option(help: "PEM of more authorities of client certificates.") var clientCAFile = ""

  @Option(help: "PEM of the authorities of proxies that say for whom they speak.")
  var requestheaderClientCAFile = ""
  @Option(help: "Common names of such proxies, with commas. Default: any.") var requestheaderAllowedNames = ""
  @Option(help: "Their headers for the user, with commas.")
  var requestheaderUsernameHeaders = "X-Remote-User"
  @Option(help: "Their headers for the user's uid, with commas.") var requestheaderUIDHeaders = ""
  @Option(help: "Their headers for groups, with commas.")
  var requestheaderGroupHeaders = "X-Remote-Group"
  @Option(help: "Prefixes of their headers for more, with commas.")
  var requestheaderExtraHeadersPrefix = "X-Remote-Extra-"

  @Option(help: "An OpenID Connect issuer whose ID tokens are believed.") var oidcIssuerURL = ""
  @Option(help: "The client that its tokens must be meant for.") var oidcClientID = ""
  @Option(help: "The claim with the user's name.") var oidcUsernameClaim = "sub"
  @Option(help: "What goes before the name; `-` for nothing. Default: the issuer and #.")
  var oidcUsernamePrefix: String?
  @Option(help: "The claim with groups.") var oidcGroupsClaim = ""
  @Option(help: "What goes before each group.") var oidcGroupsPrefix = ""
  @Option(help: "A claim that tokens must have, as key=value. May be repeated.")
  var oidcRequiredClaim: [String] = []
  @Option(help: "Signatures that are believed, with commas.") var oidcSigningAlgs = "RS256"
  @Option(help: "PEM of the authorities of its server. Default: the system's.") var oidcCAFile = ""
  @Option(help: "A file with its keys (JWK set), instead of asking its server.") var oidcJwksFile = ""

  @Option(help: "A kubeconfig of a server that knows tokens; asked with a TokenReview.")
  var authenticationTokenWebhookConfigFile = ""
  @Option(help: "How long its answers are kept.") var authenticationTokenWebhookCacheTTL = "2m0s"

  @Option(help: "The audit policy: which requests are recorded.") var auditPolicyFile = ""
  @Option(help: "Where audit events go; `-` for standard output.") var auditLogPath = ""
  @Option(help: "Megabytes after which the log is turned over.") var auditLogMaxsize = 100
  @Option(help: "Old logs kept; 0 for all.") var auditLogMaxbackup = 0
  @Option(help: "Days that old logs are kept; 0 for ever.") var auditLogMaxage = 0

  func apply(to settings: inout ServerSettings) throws(WeftError) {
    var authentication = AuthenticationSettings()
    authentication.anonymous = anonymousAuth
    if !serviceAccountIssuer.isEmpty { authentication.serviceAccountIssuers = serviceAccountIssuer }
    authentication.serviceAccountSigningKeyFile = serviceAccountSigningKeyFile
    authentication.serviceAccountKeyFiles = serviceAccountKeyFile
    if let text = serviceAccountMaxTokenExpiration {
      guard let seconds = Self.seconds(text), seconds >= 3600 else {
        throw WeftError(
          "CLI0036", object: "--service-account-max-token-expiration \(text)",
          cause: "is no duration of an hour or more", next: "write it as 24h")
      }
      authentication.serviceAccountMaxTokenSeconds = seconds
    }
    authentication.serviceAccountKeysURL = serviceAccountJwksURI
    authentication.apiAudiences = Self.list(apiAudiences)
    authentication.tokenFile = tokenAuthFile
    authentication.bootstrapTokens = enableBootstrapTokenAuth
    authentication.clientAuthorityFile = clientCAFile
    authentication.frontProxyAuthorityFile = requestheaderClientCAFile
    authentication.frontProxyNames = Self.list(requestheaderAllowedNames)
    authentication.frontProxyUserHeaders = Self.list(requestheaderUsernameHeaders)
    authentication.frontProxyUIDHeaders = Self.list(requestheaderUIDHeaders)
    authentication.frontProxyGroupHeaders = Self.list(requestheaderGroupHeaders)
    authentication.frontProxyExtraPrefixes = Self.list(requestheaderExtraHeadersPrefix)
    if !oidcIssuerURL.isEmpty { authentication.openIDConnect = try openIDConnect() }
    if !authenticationTokenWebhookConfigFile.isEmpty {
      var webhook = WebhookTokenSettings(configFile: authenticationTokenWebhookConfigFile)
      guard let seconds = Self.seconds(authenticationTokenWebhookCacheTTL) else {
        throw WeftError(
          "CLI0036", object: "--authentication-token-webhook-cache-ttl \(authenticationTokenWebhookCacheTTL)",
          cause: "is no duration", next: "write it as 2m")
      }
      webhook.cacheSeconds = seconds
      authentication.tokenWebhook = webhook
    }
    settings.authentication = authentication

    settings.audit.policyFile = auditPolicyFile
    settings.audit.logPath = auditLogPath
    settings.audit.logMaxMegabytes = auditLogMaxsize
    settings.audit.logMaxBackups = auditLogMaxbackup
    settings.audit.logMaxDays = auditLogMaxage
  }

  private func openIDConnect() throws(WeftError) -> OpenIDConnectSettings {
    var issuer = OpenIDConnectSettings(issuerURL: oidcIssuerURL, clientID: oidcClientID)
    issuer.usernameClaim = oidcUsernameClaim
    issuer.usernamePrefix = oidcUsernamePrefix
    issuer.groupsClaim = oidcGroupsClaim
    issuer.groupsPrefix = oidcGroupsPrefix
    for text in oidcRequiredClaim {
      guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
        throw WeftError(
          "CLI0037", object: "--oidc-required-claim \(text)", cause: "is no claim and value",
          next: "write it as key=value")
      }
      issuer.requiredClaims[String(text[..<equals])] = String(text[text.index(after: equals)...])
    }
    issuer.signingAlgorithms = Self.list(oidcSigningAlgs)
    issuer.authorityFile = oidcCAFile
    issuer.keysFile = oidcJwksFile
    return issuer
  }

  private static func list(_ text: String) -> [String] { text.split(separator: ",").map(String.init) }

  /// `90m`, `24h`, `3600s`, and sums of them such as `1h30m`.
  static func seconds(_ text: String) -> Int? {
    var total = 0
    var digits = ""
    for character in text {
      if character.isWholeNumber {
        digits.append(character)
        continue
      }
      let unit = ["s": 1, "m": 60, "h": 3600][character]
      guard let unit, let number = Int(digits), number < 1 << 32 else { return nil }
      total += number * unit
      digits = ""
    }
    return digits.isEmpty && total > 0 ? total : nil
  }
}
