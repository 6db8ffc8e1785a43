// The ways to say who one is, over HTTP: who is believed, who is not, and for whom one may act.

import ClusterClient
import ClusterObjects
import Crypto
import Diagnostics
import NIOHTTP1
import StoreLab
import SwiftASN1
import Testing
import X509

@testable import ClusterServer

@Suite(.serialized, .timeLimit(.minutes(10))) struct AuthenticationTests {
  @Test func `a token of the file is believed, and anything but it is not`() async throws {
    try await withServer { settings, folder in
      try writeText(
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
      try writeText(folder + "/tokens", "secret,carol,77\n")
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
      peer.keep(.valid(until: Timestamp.now().seconds - 1), of: certificates.authorities.version)
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
}
