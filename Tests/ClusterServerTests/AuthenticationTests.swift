// The ways to say who one is, over HTTP: who is believed, who is not, and for whom one may act.

import ClusterClient
import ClusterObjects
import Crypto
import CryptoExtras
import Diagnostics
import Glibc
import NIOHTTP1
import NIOPosix
import StoreLab
import SwiftASN1
import Synchronization
import Testing
import X509

@testable import ClusterServer

private let whoAmI: JSON = ["apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"]
private let whoAmIPath = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

/// A server whose settings are made in its folder.
private func withServer(
  _ change: (inout ServerSettings, String) async throws -> Void,
  _ body: (ClusterServer, String) async throws -> Void
) async throws {
  try await withFolder { folder in
    var settings = ServerSettings(dataFolder: folder + "/data")
    settings.port = 0
    try await change(&settings, folder)
    let server = try await ClusterServer.start(settings)
    do {
      try await body(server, folder)
      await server.shutdown()
    } catch {
      await server.shutdown()
      throw error
    }
  }
}

private func write(_ path: String, _ text: String) throws {
  let file = try #require(fopen(path, "w"))
  fputs(text, file)
  fclose(file)
}

/// Whom the server takes the asker for; nil when it answers 401.
private func user(
  _ server: ClusterServer, _ folder: String, as credential: Credential, headers: [String] = []
) async throws -> JSON? {
  let answer = try await ask(
    server, folder, whoAmIPath, "POST", as: credential, body: whoAmI, headers: headers)
  if answer.code == 401 { return nil }
  guard let info = answer.json.at("status", "userInfo") else { throw Failed(text: "\(answer)") }
  return info
}

@Suite(.serialized) struct AuthenticationTests {
  @Test func `a token of the file is believed, and anything but it is not`() async throws {
    try await withServer { settings, folder in
      try write(
        folder + "/tokens", "# people\nsecret,carol,77,\"dev, ops\"\r\n\nother , dave , 78\n")
      settings.authentication.tokenFile = folder + "/tokens"
    } _: { server, folder in
      let carol = try await user(server, folder, as: .bearer("secret"))
      #expect(
        carol == ["username": "carol", "uid": "77", "groups": ["dev", "ops", "system:authenticated"]])
      #expect(try await user(server, folder, as: .bearer("other"))?["username"] == "dave")
      #expect(try await user(server, folder, as: .bearer("Secret")) == nil)
      #expect(try await user(server, folder, as: .bearer("secre")) == nil)
      // A review tells the same.
      let review = try await ask(
        server, folder, "/apis/authentication.k8s.io/v1/tokenreviews", "POST",
        body: [
          "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": ["token": "secret"],
        ])
      #expect(review.json.at("status", "authenticated") == true)
      #expect(review.json.at("status", "user") == carol)
    }
  }

  @Test(arguments: [
    ("a,b", "has fewer than three fields"), (",b,c", "has no token"),
    ("a,b,c\na,d,e", "has the token of an earlier line"), ("a,\"b,c", "not closed"), ("a,b\"c,d", "within"),
    ("a,\"b\"c,d", "after a closing quotation mark"),
  ])
  func `a file of tokens that cannot be understood is refused with its line`(text: String, cause: String) {
    let error = #expect(throws: WeftError.self) {
      try StaticTokens(csv: text, path: "tokens", audiences: [])
    }
    #expect(error?.code == "API0012" && error?.object.hasPrefix("tokens:") == true)
    #expect(error?.cause.contains(cause) == true, "\(error?.description ?? "")")
  }

  @Test(
    arguments: [
      ([:], true), (["expiration": "2001-01-01T00:00:00Z"], false), (["expiration": "soon"], false),
      (["expiration": "2999-01-01T00:00:00Z"], true), (["usage-bootstrap-authentication": "false"], false),
      (["auth-extra-groups": "system:masters"], false), (["token-id": "zzzzzz"], false),
      (["token-secret": "0123456789abcdee"], false),
      (["auth-extra-groups": "system:bootstrappers:a,system:bootstrappers:b"], true),
    ] as [([String: String], Bool)])
  func `a bootstrap token is believed as its Secret says`(more: [String: String], isGood: Bool) async throws {
    try await withServer { _, _ in
    } _: { server, folder in
      var data = [
        "token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
      ]
      data.merge(more) { $1 }
      _ = try await server.client(user: "test").create(
        .secrets,
        [
          "metadata": ["name": "bootstrap-token-abcdef", "namespace": "kube-system"],
          "type": "bootstrap.kubernetes.io/token",
          "data": JSON(data.mapValues { Base64.encode(Array($0.utf8)) }),
        ], options: WriteOptions())
      let found = try await user(server, folder, as: .bearer("abcdef.0123456789abcdef"))
      guard isGood else {
        #expect(found == nil)
        return
      }
      #expect(found?["username"] == "system:bootstrap:abcdef")
      let groups = found?["groups"]?.elements.compactMap(\.string) ?? []
      #expect(groups.first == "system:bootstrappers" && groups.last == "system:authenticated")
      #expect(groups.contains("system:bootstrappers:b") == (more["auth-extra-groups"] != nil))
    }
  }

  @Test func `a front proxy is believed by its certificate and name, never by headers`() async throws {
    try await withServer { settings, folder in
      let proxies = try CertificateAuthority(folder: folder + "/proxies")
      _ = try proxies.client(file: "front", user: "front-proxy", groups: [])
      _ = try proxies.client(file: "other", user: "somebody", groups: ["system:masters"])
      settings.authentication.frontProxyAuthorityFile = folder + "/proxies/ca.crt"
      settings.authentication.frontProxyNames = ["front-proxy"]
    } _: { server, folder in
      let headers = [
        "X-Remote-User: erin", "X-Remote-Group: a", "X-Remote-Group: b", "X-Remote-Extra-Acme.com%2Fteam: x",
      ]
      let erin = try await user(
        server, folder, as: .certificate(folder + "/proxies/front"), headers: headers)
      #expect(
        erin == [
          "username": "erin", "groups": ["a", "b", "system:authenticated"],
          "extra": ["acme.com/team": ["x"]],
        ])
      // Of the right authority with the wrong name; the right name without headers; no certificate at all.
      let other = Credential.certificate(folder + "/proxies/other")
      #expect(try await user(server, folder, as: other, headers: headers) == nil)
      #expect(try await user(server, folder, as: .certificate(folder + "/proxies/front")) == nil)
      let stranger = try await ask(server, folder, "/api", as: .none, headers: headers)
      #expect(stranger.code == 403)
      // Our own clients are not taken for a proxy.
      #expect(try await user(server, folder, as: .admin, headers: headers)?["username"] == "weft-admin")
    }
  }

  @Test func `a certificate of another authority is refused, a token beside it counts`() async throws {
    try await withServer { settings, folder in
      let others = try CertificateAuthority(folder: folder + "/others")
      _ = try others.client(file: "eve", user: "eve", groups: ["system:masters"])
      try write(folder + "/tokens", "secret,carol,77\n")
      settings.authentication.tokenFile = folder + "/tokens"
    } _: { server, folder in
      let eve = Credential.certificate(folder + "/others/eve")
      #expect(try await user(server, folder, as: eve) == nil)
      let both = try await user(server, folder, as: eve, headers: ["authorization: Bearer secret"])
      #expect(both?["username"] == "carol")
      // A server's certificate is no client's.
      let serving = Credential.certificate(folder + "/data/certificates/server")
      #expect(try await user(server, folder, as: serving) == nil)
    }
  }

  @Test func `without anonymous requests everybody has to say who they are`() async throws {
    try await withServer { settings, _ in
      settings.authentication.anonymous = false
    } _: { server, folder in
      let stranger = try await ask(server, folder, "/healthz", as: .none)
      #expect(stranger.code == 401)
      let admin = try await ask(server, folder, "/healthz")
      #expect(admin.code == 200)
    }
  }

  @Test func `a token comes with a WebSocket's subprotocols too`() async throws {
    var request = HTTPRequest(
      method: .GET, path: [], rawPath: "/", query: [], headers: [:], body: [], identity: .anonymous)
    let coded = Base64URL.encode(Array("secret".utf8))
    request.headers.add(
      name: "sec-websocket-protocol",
      value: "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.\(coded)"
    )
    #expect(BearerToken.of(request) == nil)
    request.headers.add(name: "upgrade", value: "websocket")
    #expect(BearerToken.of(request) == "secret")
    request.headers.add(name: "authorization", value: "bearer  other")
    #expect(BearerToken.of(request) == "other")
  }

  // MARK: Acting as somebody else

  private func impersonate(
    _ headers: [(String, String)], allowing allowed: Set<String>
  ) async throws -> (Identity?, [String]) {
    var request = HTTPRequest(
      method: .GET, path: [], rawPath: "/", query: [], headers: [:], body: [], identity: .anonymous)
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    var asked: [String] = []
    let asker = Identity(user: "alice", groups: ["system:authenticated"])
    let identity = try await Impersonation.identity(request, as: asker) { question in
      let sub = question.subresource.isEmpty ? "" : "/\(question.subresource)"
      let text = "\(question.group):\(question.resource)\(sub):\(question.namespace):\(question.name)"
      asked.append(text)
      #expect(question.verb == "impersonate" && question.identity == asker)
      return allowed.contains(text) ? .allow(reason: "") : .noOpinion(reason: "no rule")
    }
    return (identity, asked)
  }

  @Test func `every part of somebody else is asked for`() async throws {
    let questions: Set = [
      ":users::bob", ":groups::dev", ":groups::ops", "authentication.k8s.io:uids::7",
      "authentication.k8s.io:userextras/acme.com/x::y",
    ]
    let headers = [
      ("Impersonate-User", "bob"), ("Impersonate-Group", "dev"), ("Impersonate-Group", "ops"),
      ("Impersonate-Uid", "7"), ("Impersonate-Extra-Acme.com%2fX", "y"),
    ]
    let (bob, asked) = try await impersonate(headers, allowing: questions)
    #expect(
      bob
        == Identity(
          user: "bob", groups: ["dev", "ops", "system:authenticated"], uid: "7",
          extra: ["acme.com/x": ["y"]]))
    #expect(Set(asked) == questions)
    for missing in questions {
      let error = await #expect(throws: APIStatusError.self) {
        _ = try await impersonate(headers, allowing: questions.subtracting([missing]))
      }
      #expect(error?.code == 403)
      #expect(error?.message.contains("User \"alice\" cannot impersonate resource") == true)
      #expect(error?.message.hasSuffix(": no rule") == true)
    }
  }

  @Test func `a service account brings its groups, and is asked for in its namespace`() async throws {
    let account = [("Impersonate-User", "system:serviceaccount:ns:robot")]
    let (robot, _) = try await impersonate(account, allowing: [":serviceaccounts:ns:robot"])
    #expect(robot?.groups == ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"])
    await #expect(throws: APIStatusError.self) {
      _ = try await impersonate(account, allowing: [":users::system:serviceaccount:ns:robot"])
    }
    let (nobody, _) = try await impersonate(
      [("Impersonate-User", "system:anonymous")], allowing: [":users::system:anonymous"])
    #expect(nobody?.groups == ["system:unauthenticated"])
    let error = await #expect(throws: APIStatusError.self) {
      _ = try await impersonate([("Impersonate-Group", "system:masters")], allowing: [])
    }
    #expect(error?.code == 400)
    #expect(try await impersonate([("X", "y")], allowing: []).0 == nil)
  }

  // MARK: OpenID Connect

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
      try write(
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

  // MARK: Certificates

  /// A certificate of an authority of its own, with these dates, as PEM of both.
  private static func makeCertificate(
    from: Int64, to: Int64, usage: ExtendedKeyUsage.Usage = .clientAuth
  ) throws -> (authority: String, leaf: Certificate) {
    let authorityKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let name = try DistinguishedName { CommonName("authority") }
    let now = Timestamp.now().seconds
    let authority = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: authorityKey.publicKey,
      notValidBefore: CertificateAuthority.date(now - 1_000_000),
      notValidAfter: CertificateAuthority.date(now + 1_000_000), issuer: name, subject: name,
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try .init {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
        Critical(KeyUsage(keyCertSign: true))
      }, issuerPrivateKey: authorityKey)
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let subject = try DistinguishedName([
      .init(type: .RDNAttributeType.commonName, utf8String: "ivan"),
      .init(type: .RDNAttributeType.organizationName, utf8String: "dev"),
      .init(type: ClientCertificates.uidAttribute, utf8String: "42"),
    ])
    let leaf = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: key.publicKey,
      notValidBefore: CertificateAuthority.date(now + from),
      notValidAfter: CertificateAuthority.date(now + to), issuer: name, subject: subject,
      signatureAlgorithm: .ecdsaWithSHA256, extensions: try .init { try ExtendedKeyUsage([usage]) },
      issuerPrivateKey: authorityKey)
    return (try authority.serializeAsPEM().pemString, leaf)
  }

  @Test(
    arguments: [
      (-100, 100, ExtendedKeyUsage.Usage.clientAuth, ""),
      (-100, -1, .clientAuth, "expired or is not yet valid"),
      (100, 200, .clientAuth, "x509"), (-100, 100, .serverAuth, "incompatible key usage"),
    ] as [(Int64, Int64, ExtendedKeyUsage.Usage, String)])
  func `a certificate counts between its dates and for clients`(
    from: Int64, to: Int64, usage: ExtendedKeyUsage.Usage, problem: String
  ) async throws {
    let made = try Self.makeCertificate(from: from, to: to, usage: usage)
    let certificates = ClientCertificates(authorities: try Authorities(pem: made.authority, path: "ca"))
    var serializer = DER.Serializer()
    try serializer.serialize(made.leaf)
    let peer = Peer(shown: [serializer.serializedBytes])
    switch await certificates.identity(peer) {
    case .found(let identity):
      #expect(problem.isEmpty)
      #expect(identity == Identity(user: "ivan", groups: ["dev", "system:authenticated"], uid: "42"))
      // The connection outlives it.
      peer.keep(.valid(until: Timestamp.now().seconds - 1), of: certificates.authorities)
      guard case .wrong = await certificates.identity(peer) else {
        Issue.record("still believed")
        return
      }
    case .wrong(let text): #expect(!problem.isEmpty && text.contains(problem), "\(text)")
    case .notMine: Issue.record("not looked at")
    }
    let strangers = try Authorities(
      pem: try Self.makeCertificate(from: 0, to: 1).authority, path: "ca")
    guard case .invalid = await strangers.verify(Peer(shown: [serializer.serializedBytes])) else {
      Issue.record("believed by another authority")
      return
    }
    guard case .invalid = await strangers.verify(Peer(shown: [[1, 2, 3]])) else {
      Issue.record("no certificate believed")
      return
    }
  }

  @Test func `an ID token opens the API, with keys from a file`() async throws {
    let keys = try IssuerUnderTest.makeKeys()
    try await withServer { settings, folder in
      try write(folder + "/jwks", VerifyingKeys([keys.new.verifying]).jwks.text)
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
