// Tokens of ServiceAccounts over HTTP: made by TokenRequest, shown as bearer tokens, dead when what they are
// bound to is gone.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let serviceAccount: JSON = ["metadata": ["name": "robot", "namespace": "default"]]
private let pod: JSON = [
  "metadata": ["name": "p", "namespace": "default"],
  "spec": [
    "serviceAccountName": "robot", "containers": [["name": "c", "image": "x"]], "nodeName": "n1",
  ],
]
private let whoAmI: JSON = ["apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"]
private let whoAmIPath = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
private let issuer = "https://kubernetes.default.svc.cluster.local"

private func withAccount(_ body: (ClusterServer, String, InProcessClient) async throws -> Void) async throws {
  try await withServer { server, folder in
    let api = server.client(user: "test")
    _ = try await api.create(.serviceAccounts, serviceAccount, options: WriteOptions())
    try await body(server, folder, api)
  }
}

/// The claims of a token, read as a client would.
private func claims(_ token: String) throws -> JSON {
  let part = token.split(separator: ".")[1]
  var text = part.replacing("-", with: "+").replacing("_", with: "/")
  while text.count % 4 != 0 { text += "=" }
  return try JSON(parsing: try #require(Base64.decode(String(text))))
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct TokenTests {
  @Test func `a requested token says who its bearer is`() async throws {
    try await withAccount { server, folder, api in
      let token = try await requestToken(server, folder, "robot")
      let answer = try await ask(server, folder, whoAmIPath, "POST", as: .bearer(token), body: whoAmI)
      #expect(answer.code == 201, "\(answer)")
      let info = try #require(answer.json.at("status", "userInfo"))
      #expect(info["username"] == "system:serviceaccount:default:robot")
      #expect(
        info["groups"] == [
          "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated",
        ])
      let account = try await api.get(.serviceAccounts, namespace: "default", name: "robot")
      #expect(info["uid"]?.string == account.uid)
      let credential = info.at("extra", "authentication.kubernetes.io/credential-id")?[0]?.string ?? ""
      #expect(credential.hasPrefix("JTI="))
      let said = try claims(token)
      #expect(credential == "JTI=" + (said["jti"]?.string ?? ""))
      #expect(said["iss"]?.string == issuer)
      #expect(said["aud"] == [JSON(issuer)])
      #expect(said["sub"] == "system:serviceaccount:default:robot")
      #expect((said["exp"]?.integer ?? 0) - (said["iat"]?.integer ?? 0) == 3600)
      #expect(said.at("kubernetes.io", "serviceaccount", "uid")?.string == account.uid)
    }
  }

  @Test func `a token bound to a pod names pod and node, and dies with the pod`() async throws {
    try await withAccount { server, folder, api in
      _ = try await api.create(.nodes, ["metadata": ["name": "n1"]], options: WriteOptions())
      let made = try await api.create(.pods, pod, options: WriteOptions())
      let token = try await requestToken(
        server, folder, "robot",
        spec: [
          "boundObjectRef": ["kind": "Pod", "apiVersion": "v1", "name": "p", "uid": JSON(made.uid)]
        ])
      let path = whoAmIPath
      let alive = try await ask(server, folder, path, "POST", as: .bearer(token), body: whoAmI)
      let extra = try #require(alive.json.at("status", "userInfo", "extra"), "\(alive)")
      #expect(extra["authentication.kubernetes.io/pod-name"] == ["p"])
      #expect(extra["authentication.kubernetes.io/pod-uid"] == [JSON(made.uid)])
      #expect(extra["authentication.kubernetes.io/node-name"] == ["n1"])
      #expect(extra["authentication.kubernetes.io/node-uid"]?[0]?.string?.isEmpty == false)

      try await api.delete(
        .pods, namespace: "default", name: "p", options: DeleteOptions(gracePeriodSeconds: 0))
      let dead = try await ask(server, folder, path, "POST", as: .bearer(token), body: whoAmI)
      #expect(dead.code == 401)
      #expect(dead.json["message"] == "Unauthorized" && dead.json["reason"] == "Unauthorized")
      // A namesake does not bring it back to life.
      _ = try await api.create(.pods, pod, options: WriteOptions())
      #expect(try await ask(server, folder, path, "POST", as: .bearer(token), body: whoAmI).code == 401)
    }
  }

  @Test(arguments: ["serviceaccounts", "secrets", "nodes"])
  func `a token dies with what it is bound to`(resource: String) async throws {
    try await withAccount { server, folder, api in
      let gvr = GroupVersionResource("", "v1", resource)
      var spec: JSON = [:]
      if resource == "secrets" {
        _ = try await api.create(
          gvr, ["metadata": ["name": "robot", "namespace": "default"]], options: WriteOptions())
        spec = ["boundObjectRef": ["kind": "Secret", "apiVersion": "v1", "name": "robot"]]
      } else if resource == "nodes" {
        _ = try await api.create(gvr, ["metadata": ["name": "robot"]], options: WriteOptions())
        spec = ["boundObjectRef": ["kind": "Node", "apiVersion": "v1", "name": "robot"]]
      }
      let token = try await requestToken(server, folder, "robot", spec: spec)
      let call = { try await ask(server, folder, "/api/v1/namespaces", as: .bearer(token)) }
      #expect(try await call().code != 401)
      try await api.delete(
        gvr, namespace: resource == "nodes" ? "" : "default", name: "robot", options: DeleteOptions())
      #expect(try await call().code == 401)
    }
  }

  @Test func `a token for another audience opens nothing here, and a review tells whose it is`() async throws
  {
    try await withAccount { server, folder, _ in
      let token = try await requestToken(server, folder, "robot", spec: ["audiences": ["vault", "other"]])
      #expect(try await ask(server, folder, "/api/v1/pods", as: .bearer(token)).code == 401)
      func review(_ audiences: JSON?) async throws -> JSON {
        var body: JSON = [
          "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
          "spec": ["token": JSON(token)],
        ]
        if let audiences { body.set(audiences, at: "spec", "audiences") }
        let answer = try await ask(
          server, folder, "/apis/authentication.k8s.io/v1/tokenreviews", "POST", body: body)
        #expect(answer.code == 201, "\(answer)")
        return answer.json.status
      }
      let good = try await review(["vault", "unknown"])
      #expect(good["authenticated"] == true)
      #expect(good["audiences"] == ["vault"])
      #expect(good.at("user", "username") == "system:serviceaccount:default:robot")
      let bad = try await review(nil)
      #expect(bad["authenticated"] != true)
      #expect(bad["error"]?.string?.contains("is invalid for the target audiences") == true, "\(bad)")
    }
  }

  @Test(
    arguments: [
      (["expirationSeconds": 599], 422, "may not specify a duration less than 10 minutes"),
      (["expirationSeconds": 4_294_967_297], 422, "may not specify a duration larger than 2^32 seconds"),
      (
        ["boundObjectRef": ["kind": "ConfigMap", "apiVersion": "v1", "name": "x"]], 400,
        "cannot bind token to object of type"
      ),
      (
        ["boundObjectRef": ["kind": "Pod", "apiVersion": "v1", "name": "none"]], 404,
        "pods \\\"none\\\" not found"
      ),
      (
        ["boundObjectRef": ["kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"]], 409,
        "does not match the UID in record"
      ),
      (
        ["boundObjectRef": ["kind": "Pod", "apiVersion": "v1", "name": "alien"]], 400,
        "running with different serviceaccount name"
      ),
    ] as [(JSON, Int, String)])
  func `a request that cannot be met is refused in upstream's words`(spec: JSON, code: Int, text: String)
    async throws
  {
    try await withAccount { server, folder, api in
      _ = try await api.create(.pods, pod, options: WriteOptions())
      var alien = pod
      alien.set("alien", at: "metadata", "name")
      alien.set("other", at: "spec", "serviceAccountName")
      _ = try await api.create(
        .serviceAccounts, ["metadata": ["name": "other", "namespace": "default"]], options: WriteOptions())
      _ = try await api.create(.pods, alien, options: WriteOptions())
      let answer = try await ask(
        server, folder, "/api/v1/namespaces/default/serviceaccounts/robot/token", "POST",
        body: ["apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec])
      #expect(answer.code == code, "\(answer)")
      #expect(answer.body.contains(text), "\(answer)")
    }
  }

  @Test func `wrong tokens are refused, also where strangers may ask`() async throws {
    try await withAccount { server, folder, _ in
      let token = try await requestToken(server, folder, "robot")
      let other = String(token.dropLast(4)) + (token.hasSuffix("AAAA") ? "BBBB" : "AAAA")
      for wrong in [other, "nonsense", "a.b.c", token + "x", "abcdef.0123456789abcdef"] {
        let answer = try await ask(server, folder, "/healthz", as: .bearer(wrong))
        #expect(answer.code == 401, "\(wrong)")
      }
      #expect(try await ask(server, folder, "/healthz", as: .none).code == 200)
    }
  }

  @Test func `tokens stay valid over a restart, and over a new signing key`() async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      var token = ""
      for round in 0..<3 {
        let server = try await ClusterServer.start(settings)
        if round == 0 {
          _ = try await server.client(user: "test").create(
            .serviceAccounts, serviceAccount, options: WriteOptions())
          token = try await requestToken(server, folder, "robot")
        }
        let answer = try await ask(server, folder, whoAmIPath, "POST", as: .bearer(token), body: whoAmI)
        let keys = try await ask(server, folder, "/openid/v1/jwks").json["keys"]?.elements.count
        await server.shutdown()
        #expect(answer.code == 201, "round \(round): \(answer)")
        #expect(keys == (round == 2 ? 2 : 1))
        if round == 1 {
          let path = folder + "/data/certificates/service-account.key"
          let mode = try await Program.run("/usr/bin/stat", ["-c", "%a", path])
          #expect(mode.output == "600\n")
          _ = try await Program.run("/bin/rm", [path])
        }
      }
    }
  }

  @Test func `others find the issuer's configuration and keys`() async throws {
    try await withServer { server, folder in
      let configuration = try await ask(server, folder, "/.well-known/openid-configuration")
      #expect(configuration.code == 200)
      #expect(configuration.json["issuer"]?.string == issuer)
      #expect(configuration.json["jwks_uri"]?.string?.hasSuffix("/openid/v1/jwks") == true)
      #expect(configuration.json["id_token_signing_alg_values_supported"] == ["ES256"])
      let keys = try await ask(server, folder, "/openid/v1/jwks")
      #expect(keys.header("content-type") == "application/jwk-set+json")
      let key = try #require(keys.json["keys"]?[0])
      #expect(key["kty"] == "EC" && key["crv"] == "P-256" && key["alg"] == "ES256" && key["use"] == "sig")
      let token = try await { () async throws -> String in
        _ = try await server.client(user: "test").create(
          .serviceAccounts, serviceAccount, options: WriteOptions())
        return try await requestToken(server, folder, "robot")
      }()
      let header = try JSON(parsing: try #require(Self.decoded(token.split(separator: ".")[0])))
      #expect(header["kid"] == key["kid"])
    }
  }

  private static func decoded(_ part: Substring) -> [UInt8]? {
    var text = part.replacing("-", with: "+").replacing("_", with: "/")
    while text.count % 4 != 0 { text += "=" }
    return Base64.decode(String(text))
  }

  @Test func `kubectl makes a token and says who it is`() async throws {
    try await withAccount { server, folder, _ in
      let kubectl = Kubectl(server: server, cache: folder + "/cache")
      let made = try await kubectl("create token robot --duration 20m --audience \(issuer)")
      #expect(made.status == 0, "\(made.errors)")
      let token = made.output.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
      // Without the kubeconfig: its certificate would be asked first.
      let who = try await Program.run(
        try #require(Kubectl.path),
        [
          "--kubeconfig", "/dev/null", "--server", server.address, "--certificate-authority",
          folder + "/data/certificates/ca.crt", "--token", token, "auth", "whoami", "-o", "json",
        ])
      #expect(who.status == 0, "\(who.errors)")
      let said = try JSON(parsing: who.output)
      #expect(said.at("status", "userInfo", "username") == "system:serviceaccount:default:robot")
      let admin = try await kubectl("auth whoami")
      #expect(admin.output.contains("weft-admin") && admin.output.contains("system:masters"))
      let other = try await kubectl("--as jane --as-group dev --as-uid 7 auth whoami -o json")
      let info = try JSON(parsing: other.output).at("status", "userInfo")
      #expect(info?["username"] == "jane" && info?["uid"] == "7")
      #expect(info?["groups"] == ["dev", "system:authenticated"])
    }
  }
}
