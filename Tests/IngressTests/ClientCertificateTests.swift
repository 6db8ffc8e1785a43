// Certificates of clients (`auth-tls-*`), as curl and openssl show them: what is required, what the endpoint is told, and that neither a
// ticket nor another host's name leads past the question.

import Addresses
import Foundation
import FuzzLab
import Patterns
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct ClientCertificateTests {
  private final class Lab {
    let authority: Authority
    let other: Authority
    let ingress: TestIngress
    let backend: Backend
    let good: (chain: String, key: String)
    let strange: (chain: String, key: String)

    /// `safe.test` asks, `open.test` does not; one certificate serves both.
    init(
      _ change: (inout RouteClientCertificate) throws -> Void = { _ in },
      revoked: (Authority) throws -> [UInt8] = { _ in [] }
    ) throws {
      authority = try Authority()
      other = try Authority()
      backend = try Backend("web")
      good = try authority.files(try authority.issue("alice"))
      strange = try other.files(try other.issue("mallory"))
      let asked = TLSAuthority(
        source: "demo/ca", pem: try authority.rootBytes(), revoked: try revoked(authority))
      var action = RouteAction()
      var required = RouteClientCertificate(authority: asked.id)
      try change(&required)
      action.clientCertificate = required
      let table = RouteTable(
        backends: [
          RouteBackend(
            namespace: "demo", ingress: "web", service: "web", servicePort: "80",
            endpoints: [backend.endpoint])
        ], actions: [action],
        hosts: [
          RouteHost(name: "open.test", paths: [RoutePath(path: "/", kind: .prefix, backend: 0)]),
          RouteHost(name: "safe.test", paths: [RoutePath(path: "/", kind: .prefix, backend: 0, action: 0)]),
        ])
      ingress = try TestIngress(
        try RouteTable(encoded: table.encoded()),
        tls: TLSTable(
          certificates: [try authority.issue("safe.test", "open.test")],
          names: [TLSName("open.test", .certificate(0)), TLSName("safe.test", .certificate(0))],
          authorities: [asked], asks: [TLSAsk("safe.test", 0)]))
    }

    func stop() {
      ingress.stop()
      backend.kill()
    }

    func status(
      _ certificate: (chain: String, key: String)?, _ more: String..., version: String = "--http1.1"
    )
      -> String
    {
      let shown = certificate.map { ["--cert", $0.chain, "--key", $0.key] } ?? []
      return run(
        [
          "curl", "-sS", "-m", "20", version, "--cacert", authority.root, "-o", "/dev/null", "-w",
          "%{http_code} %{redirect_url}", "--resolve", "safe.test:\(ingress.secure.port):127.0.0.1",
        ] + shown + more + ["https://safe.test:\(ingress.secure.port)/"]
      ).text.trimmingCharacters(in: .whitespaces)
    }

    func head(_ certificate: (chain: String, key: String), _ more: String...) -> String {
      run(
        [
          "curl", "-sS", "-m", "20", "--cacert", authority.root, "--resolve",
          "safe.test:\(ingress.secure.port):127.0.0.1", "--cert", certificate.chain, "--key", certificate.key,
        ] + more + ["https://safe.test:\(ingress.secure.port)/head"]
      ).text
    }
  }

  private static let versions = ["--http1.1", "--http2"]

  @Test(arguments: versions) func `a good certificate lets in, none and a stranger's do not`(version: String)
    throws
  {
    let lab = try Lab()
    defer { lab.stop() }
    #expect(lab.status(lab.good, version: version) == "200")
    #expect(lab.status(nil, version: version) == "400")
    #expect(lab.status(lab.strange, version: version) == "400")
    let late = try lab.authority.files(try lab.authority.issue("late", days: -1))
    #expect(lab.status(late, version: version) == "400")
    for protocolVersion in ["--tls-max", "--tlsv1.3"] {
      let words = protocolVersion == "--tls-max" ? ["--tls-max", "1.2"] : ["--tlsv1.3"]
      #expect(lab.status(lab.good, words[0], words.count > 1 ? words[1] : "-s", version: version) == "200")
    }
    #expect(lab.backend.served.load(ordering: .relaxed) == 3)
  }

  @Test func `who is on a list of revoked certificates is not let in, and an old list lets in nobody`() throws
  {
    let kept = Mutex<TLSCertificate?>(nil)
    let lab = try Lab(revoked: { authority in
      let certificate = try authority.issue("bob")
      kept.withLock { $0 = certificate }
      return try authority.revocations(of: certificate)
    })
    defer { lab.stop() }
    let revoked = try lab.authority.files(try #require(kept.withLock { $0 }))
    #expect(lab.status(lab.good) == "200")
    #expect(lab.status(revoked) == "400")
    let old = try Lab(revoked: { try $0.revocations(isOld: true) })
    defer { old.stop() }
    #expect(old.status(old.good) == "400")
    // One that is optional does not make it good.
    let optional = try Lab({ $0.need = .optionalUnknown }, revoked: { try $0.revocations(isOld: true) })
    defer { optional.stop() }
    #expect(optional.status(optional.good) == "400" && optional.status(nil) == "200")
    let none = TLSAuthority(
      source: "", pem: try lab.authority.rootBytes(), revoked: Array("no list".utf8))
    #expect(!none.isUsable)
  }

  @Test func `optional lets in without one, and a stranger's only when that is wanted`() throws {
    for (need, none, strange) in [
      (RouteClientCertificate.Need.optional, "200", "400"), (.optionalUnknown, "200", "200"),
    ] {
      let lab = try Lab { $0.need = need }
      #expect(lab.status(nil) == none && lab.status(lab.strange) == strange && lab.status(lab.good) == "200")
      lab.stop()
    }
  }

  @Test func `a page tells who has none, and a name that is not wanted is 403`() throws {
    let lab = try Lab {
      $0.errorPage = RouteTemplate("https://help.test/cert")
      $0.subject = try BytePattern("CN=(alice|bob)")
    }
    defer { lab.stop() }
    #expect(lab.status(nil) == "302 https://help.test/cert")
    #expect(lab.status(lab.strange) == "302 https://help.test/cert")
    #expect(lab.status(lab.good) == "200")
    let carol = try lab.authority.files(try lab.authority.issue("carol"))
    #expect(lab.status(carol) == "403")
  }

  @Test func `the endpoint is told who it is, and nobody else can say so`() throws {
    let lab = try Lab { $0.passes = true }
    defer { lab.stop() }
    let head = lab.head(lab.good, "-H", "ssl-client-verify: SUCCESS", "-H", "ssl-client-subject-dn: CN=root")
    for line in [
      "ssl-client-verify: SUCCESS", "ssl-client-subject-dn: CN=alice",
      "ssl-client-issuer-dn: CN=weft test root",
    ] {
      #expect(head.contains("\r\n\(line)\r\n"), "\(head)")
    }
    #expect(
      head.contains("\r\nssl-client-cert: -----BEGIN%20CERTIFICATE-----%0A") && !head.contains("CN=root\r\n"))
    #expect(head.components(separatedBy: "ssl-client-verify").count == 2)
  }

  @Test func `who asked for another host has shown nothing for this one`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let port = lab.ingress.secure.port
    // The handshake is for open.test, the request for safe.test; with a good certificate too.
    let output = run([
      "curl", "-sS", "-m", "20", "--cacert", lab.authority.root, "-o", "/dev/null", "-w", "%{http_code}",
      "--resolve", "open.test:\(port):127.0.0.1", "--cert", lab.good.chain, "--key", lab.good.key, "-H",
      "Host: safe.test", "https://open.test:\(port)/",
    ])
    #expect(output.text == "421", "\(output)")
    // Over plain HTTP there is nothing to show.
    #expect(Client(lab.ingress.endpoint).get(host: "safe.test")?.status == 400)
    #expect(Client(lab.ingress.endpoint).get(host: "open.test")?.status == 200)
    #expect(lab.backend.served.load(ordering: .relaxed) == 1)
  }

  @Test(arguments: ["-tls1_2", "-tls1_3"]) func `a ticket of another host does not lead past the question`(
    version: String
  ) throws {
    let lab = try Lab()
    defer { lab.stop() }
    let path = "\(lab.authority.folder)/session"
    func visit(_ name: String, _ flag: String) -> ToolOutput {
      run(
        [
          "openssl", "s_client", "-connect", "127.0.0.1:\(lab.ingress.secure.port)", "-servername", name,
          version,
          "-ign_eof", flag, path,
        ], input: "GET / HTTP/1.1\r\nHost: safe.test\r\nConnection: close\r\n\r\n")
    }
    _ = visit("open.test", "-sess_out")
    let again = visit("open.test", "-sess_in")
    #expect(again.text.contains("Reused, ") && again.text.contains("HTTP/1.1 421"), "\(again)")
    let past = visit("safe.test", "-sess_in")
    #expect(!past.text.contains("Reused, ") && past.text.contains("HTTP/1.1 400"), "\(past)")
  }

  @Test func `a table that asks survives its frames, and damaged ones are refused or harmless`() throws {
    let authority = try Authority()
    let one = TLSAuthority(source: "demo/ca", pem: try authority.rootBytes(), depth: 3)
    let two = TLSAuthority(source: "demo/other", pem: Array("nothing".utf8))
    #expect(one.id != two.id && one.isUsable && !two.isUsable)
    #expect(one.id == TLSAuthority(source: "demo/ca", pem: one.pem, depth: 3).id)
    #expect(one.id != TLSAuthority(source: "demo/ca", pem: one.pem, depth: 2).id)
    let table = TLSTable(authorities: [one, two], asks: [TLSAsk("*.a.test", 0), TLSAsk("b.test", 1)])
    let tables = try loaded(table)
    func asks(_ name: String) -> Bool {
      Array(name.utf8).withUnsafeBytes { tables.authority(for: $0) } != nil
    }
    #expect(asks("x.a.test") && !asks("a.test") && !asks("b.test") && !asks(""))
    let frame = table.frame(ids: [])
    for bytes in mutations(of: frame, count: 2000, seed: 9) {
      var receiver = TLSReceiver()
      _ = try? receiver.take(bytes)
    }
  }
}
