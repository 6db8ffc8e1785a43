// From settings to the ways to say who one is. Files are read here, once.

import ClusterObjects
import Diagnostics

extension AuthenticationSettings {
  /// The tokens of ServiceAccounts. `folder` holds the keys when no file is named.
  func serviceAccountTokens(folder: String, objects: any LiveObjects) throws(WeftError)
    -> ServiceAccountTokens
  {
    guard let issuer = serviceAccountIssuers.first, !issuer.isEmpty else {
      throw WeftError(
        "API0013", object: "--service-account-issuer", cause: "is empty",
        next: "give the address under which tokens are known, such as https://kubernetes.default.svc")
    }
    let signing: SigningKey
    var verifying: [VerifyingKey] = []
    if serviceAccountSigningKeyFile.isEmpty {
      let own = try TokenKeyFolder(folder: folder)
      signing = own.signing
      verifying = own.verifying
    } else {
      signing = try TokenKeyFolder.signingKey(path: serviceAccountSigningKeyFile)
    }
    for path in serviceAccountKeyFiles { verifying += try TokenKeyFolder.publicKeys(path: path) }
    let most: Int64 = 1 << 32
    return ServiceAccountTokens(
      settings: ServiceAccountTokens.Settings(
        issuers: serviceAccountIssuers, audiences: apiAudiences.isEmpty ? [issuer] : apiAudiences,
        secondsMax: serviceAccountMaxTokenSeconds > 0 ? min(Int64(serviceAccountMaxTokenSeconds), most) : most
      ), signing: signing, verifying: verifying, objects: objects)
  }

  /// All ways together. `authority` is the PEM of the cluster's own authority.
  func authentication(
    authority: String, tokens: ServiceAccountTokens, objects: any LiveObjects
  ) throws(WeftError) -> Authentication {
    let audiences = tokens.settings.audiences
    let certificates = ClientCertificates(
      authorities: try Authorities(pem: try clientAuthorities(authority), path: clientAuthorityFile))
    var proxy: FrontProxy?
    if !frontProxyAuthorityFile.isEmpty {
      proxy = FrontProxy(self, authorities: try Authorities(path: frontProxyAuthorityFile))
    }
    var known: [any TokenAuthenticator] = []
    if !tokenFile.isEmpty { known.append(try StaticTokens(path: tokenFile, audiences: audiences)) }
    known.append(tokens)
    if let openIDConnect { known.append(try OpenIDConnect(openIDConnect, audiences: audiences)) }
    if bootstrapTokens { known.append(BootstrapTokens(objects: objects, audiences: audiences)) }
    if let tokenWebhook { known.append(try WebhookTokens(tokenWebhook, audiences: audiences)) }
    return Authentication(
      frontProxy: proxy, certificates: certificates, tokens: known, audiences: audiences)
  }

  /// PEM of the cluster's own authorities, and of those that the settings name.
  func clientAuthorities(_ own: String) throws(WeftError) -> String {
    try clientAuthorityFile.isEmpty ? own : own + Authorities(path: clientAuthorityFile).pem
  }
}
