// Tokens that others make: ID tokens of OpenID Connect issuers, and those that only a webhook knows.

import ClusterClient
import ClusterObjects
import CryptoExtras
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

@testable import ClusterServer

@Suite(.serialized, .timeLimit(.minutes(10))) struct ForeignTokenTests {
  @Test func `an issuer's tokens are believed by the keys it publishes, also by a key made later`()
    async throws
  {
    try await withFolder { folder in
      let authority = try CertificateAuthority(folder: folder + "/issuer")
      let keys = try IssuerUnderTest.makeKeys()
      let published = Published(VerifyingKeys([keys.old.verifying]))
      let issuer = try await HTTPListener.start(
        host: "127.0.0.1", port: 0,
        certificate: try authority.server(names: ["localhost"], addresses: [[127, 0, 0, 1]]),
        authority: authority.pem, group: MultiThreadedEventLoopGroup.singleton
      ) { request in published.answer(request) }
      let address = "https://127.0.0.1:\(issuer.port)"
      published.address = address
      var settings = OpenIDConnectSettings(issuerURL: address, clientID: "kubectl")
      settings.authorityFile = folder + "/issuer/ca.crt"
      settings.groupsClaim = "groups"
      settings.groupsPrefix = "oidc:"
      settings.requiredClaims = ["tenant": "blue"]
      settings.signingAlgorithms = ["RS256", "ES256"]
      let connect = try OpenIDConnect(settings, audiences: ["api"], now: { 1500 })
      let claims: JSON = [
        "iss": JSON(address), "sub": "frank", "aud": "kubectl", "exp": 2000, "tenant": "blue",
        "groups": ["a", "b"],
      ]
      func whose(_ claims: JSON, _ key: SigningKey) async throws -> TokenIdentity? {
        try await connect.authenticate(try key.token(claims), audiences: ["api"])
      }
      let frank = try await whose(claims, keys.old)
      #expect(frank?.identity.user == "\(address)#frank")
      #expect(frank?.identity.groups == ["oidc:a", "oidc:b"])
      for (name, value) in [
        ("aud", "other"), ("exp", 1000), ("tenant", "red"), ("sub", .null), ("groups", 7),
      ] as [(String, JSON)] {
        var wrong = claims
        wrong[name] = value
        await #expect(throws: TokenProblem.self, "\(name)") { _ = try await whose(wrong, keys.old) }
      }
      var foreign = claims
      foreign["iss"] = "https://elsewhere"
      #expect(try await whose(foreign, keys.old) == nil)
      await #expect(throws: TokenProblem.self) { _ = try await whose(claims, keys.new) }
      // Asked again at most every ten seconds, whatever strangers make up.
      for _ in 0..<20 {
        await #expect(throws: TokenProblem.self) { _ = try await whose(claims, keys.new) }
      }
      #expect(published.asked == 1)
      // A server that knows nothing yet finds the new key at once.
      published.keys = VerifyingKeys([keys.old.verifying, keys.new.verifying])
      let later = try OpenIDConnect(settings, audiences: ["api"], now: { 1500 })
      #expect(
        try await later.authenticate(try keys.new.token(claims), audiences: ["api"])?.identity.user
          == "\(address)#frank")
      await issuer.shutdown(grace: .zero)
    }
  }

  @Test func `another server is asked about tokens that nobody knows, once in a while`() async throws {
    try await withFolder { folder in
      let authority = try CertificateAuthority(folder: folder + "/webhook")
      let asked = Mutex(0)
      let webhook = try await HTTPListener.start(
        host: "127.0.0.1", port: 0,
        certificate: try authority.server(names: ["localhost"], addresses: [[127, 0, 0, 1]]),
        authority: authority.pem, group: MultiThreadedEventLoopGroup.singleton
      ) { request in
        asked.withLock { $0 += 1 }
        let body = (try? JSON(parsing: request.body)) ?? .null
        switch body.at("spec", "token")?.string {
        case "good":
          return Answer.json(
            200,
            [
              "status": [
                "authenticated": true,
                "user": ["username": "heidi", "uid": "9", "groups": ["g"], "extra": ["k": ["v"]]],
              ]
            ])
        case "none": return Answer.json(200, ["status": ["authenticated": false]])
        case "error": return Answer.json(200, ["status": ["error": "expired"]])
        default: return HTTPResponse.text(400, "no")
        }
      }
      try writeText(
        folder + "/config",
        """
        apiVersion: v1
        kind: Config
        clusters: [{name: w, cluster: {server: "https://127.0.0.1:\(webhook.port)/review", \
        certificate-authority: \(folder)/webhook/ca.crt}}]
        contexts: [{name: w, context: {cluster: w, user: ""}}]
        current-context: w
        """)
      let tokens = try WebhookTokens(
        WebhookTokenSettings(configFile: folder + "/config"), audiences: ["api"])
      for _ in 0..<3 {
        let heidi = try await tokens.authenticate("good", audiences: ["api", "x"])
        #expect(heidi?.identity.user == "heidi" && heidi?.identity.extra == ["k": ["v"]])
        #expect(heidi?.audiences == ["api"])
        let none = try await tokens.authenticate("none", audiences: ["api"])
        #expect(none == nil)
      }
      #expect(asked.withLock { $0 } == 2)
      for wrong in ["error", "broken"] {
        await #expect(throws: TokenProblem.self) {
          _ = try await tokens.authenticate(wrong, audiences: ["api"])
        }
      }
      await webhook.shutdown(grace: .zero)
    }
  }

  @Test func `an ID token opens the API, with keys from a file`() async throws {
    let keys = try IssuerUnderTest.makeKeys()
    try await withServer { settings, folder in
      try writeText(folder + "/jwks", VerifyingKeys([keys.new.verifying]).jwks.text)
      var issuer = OpenIDConnectSettings(issuerURL: "https://people.example", clientID: "kubectl")
      issuer.keysFile = folder + "/jwks"
      issuer.usernameClaim = "email"
      settings.authentication.openIDConnect = issuer
    } _: { server, folder in
      var claims: JSON = [
        "iss": "https://people.example", "aud": ["kubectl"], "exp": 4_000_000_000, "email": "g@example",
        "email_verified": true,
      ]
      let token = try keys.new.token(claims)
      #expect(try await user(server, folder, as: .bearer(token))?["username"] == "g@example")
      claims["email_verified"] = false
      #expect(try await user(server, folder, as: .bearer(try keys.new.token(claims))) == nil)
      #expect(try await user(server, folder, as: .bearer(try keys.old.token(claims))) == nil)
    }
  }
}

private enum IssuerUnderTest {
  static func makeKeys() throws -> (old: SigningKey, new: SigningKey) {
    (
      .rsa(try .init(keySize: .bits2048)),
      .rsa(try .init(keySize: .bits2048))
    )
  }
}
