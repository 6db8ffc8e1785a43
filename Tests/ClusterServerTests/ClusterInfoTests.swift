// What a program that has nothing but a bootstrap token is told of the cluster, and how it knows that it is true.

import ClusterClient
import ClusterControllers
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterServer

@Suite(.serialized, .timeLimit(.minutes(5))) struct ClusterInfoTests {
  /// The pair of texts that upstream's own tests of this signature use; the code over them was also made with Python's hmac.
  @Test func `a signature is what other programs make of the same`() {
    #expect(
      DetachedSignature.make(
        "Hello from the other side. I must have called a thousand times.", keyID: "joshua",
        secret: "my voice is my passcode")
        == "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8")
  }

  @Test
  func `what is there keeps its address and gets the present authority, and another's form is left alone`()
    throws
  {
    let first = try #require(ClusterInfo.plan(nil, server: "https://a:1", authority: "one"))
    #expect(ClusterInfo.plan(first, server: "https://b:2", authority: "one") == nil)
    let next = try #require(ClusterInfo.plan(first, server: "https://b:2", authority: "two"))
    #expect(next == ClusterInfo.text(server: "https://a:1", authority: "two"))
    #expect(ClusterInfo.plan("clusters: [", server: "https://b:2", authority: "two") == nil)
    #expect(ClusterInfo.plan("clusters: []", server: "https://b:2", authority: "two") == nil)
    #expect(ClusterInfo.address(host: "fd00::1", port: 6443) == "https://[fd00::1]:6443")
  }

  /// As `kubeadm join --discovery-token` goes about it: without any credential, and believing nothing but the token.
  @Test func `who holds a token finds the cluster without a credential, and knows that it is the one`()
    async throws
  {
    try await withServer { server, _ in
      let informers = SharedInformers(api: server.client(user: "controllers"))
      var settings = ControllerSettings()
      settings.bootstrapSignature = { DetachedSignature.make($0, keyID: $1, secret: $2) }
      let controllers = startControllers(
        api: server.client(user: "controllers"), account: { server.controllerClient($0) },
        informers: informers, settings: settings, metrics: Metrics())
      let token = (id: "abcdef", secret: "0123456789abcdef")
      _ = try await server.client(user: "admin").create(
        .secrets,
        [
          "type": "bootstrap.kubernetes.io/token",
          "metadata": ["name": JSON("bootstrap-token-\(token.id)"), "namespace": "kube-system"],
          "stringData": [
            "token-id": JSON(token.id), "token-secret": JSON(token.secret), "usage-bootstrap-signing": "true",
          ],
        ], options: WriteOptions())
      func ask(_ name: String) async throws -> (code: String, body: JSON?) {
        let output = try await Program.run(
          "/usr/bin/curl",
          [
            "-sk", "-m", "10", "-w", "\n%{http_code}",
            "\(server.address)/api/v1/namespaces/kube-public/configmaps/\(name)",
          ]
        ).output.split(separator: "\n")
        let body = output.dropLast().joined(separator: "\n")
        return (String(output.last ?? ""), try? JSON(parsing: Array(body.utf8)))
      }
      var found: (code: String, body: JSON?) = ("", nil)
      for _ in 0..<400 {
        found = try await ask("cluster-info")
        if found.body?.at("data", "jws-kubeconfig-\(token.id)") != nil { break }
        try await Task.sleep(for: .milliseconds(50))
      }
      #expect(found.code == "200", "\(found)")
      let content = try #require(found.body?.at("data", "kubeconfig")?.string)
      let signature = try #require(found.body?.at("data", "jws-kubeconfig-\(token.id)")?.string)
      #expect(signature == DetachedSignature.make(content, keyID: token.id, secret: token.secret))
      #expect(signature != DetachedSignature.make(content, keyID: token.id, secret: "guessed"))
      let cluster = try #require(try YAML.parse(content)["clusters"]?[0])
      #expect(cluster["name"] == "" && cluster.at("cluster", "server")?.string?.hasPrefix("https://") == true)
      let authority = cluster.at("cluster", "certificate-authority-data")?.string.flatMap {
        Base64.decode($0)
      }
      #expect(authority.map { String(decoding: $0, as: UTF8.self) } == server.authorityPEM)
      // This object and no other.
      #expect(try await ask("kube-root-ca.crt").code == "403")
      #expect(try await ask("").code == "403")
      await controllers.stop()
      await informers.stop()
    }
  }
}
