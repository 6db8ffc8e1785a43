// DNS over TLS and over HTTPS, asked by dig, curl and openssl.

import Addresses
import Diagnostics
import NIOHTTP1
import SoakLab
import Testing

@testable import DNS

/// A server with a port over TLS and one over HTTPS; the ports and the certificate's path.
private func withEncrypted<Result>(
  _ settings: DNSServerSettings = DNSServerSettings(), _ body: (UInt16, UInt16, String) throws -> Result
) throws -> Result {
  let (credentials, folder) = try TestCertificate.make()
  defer { ScratchFolder.remove(folder) }
  let server = DNSServer(settings: settings, zone: Fixture.zone, metrics: Metrics())
  let any = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 0)
  try server.start(
    listen: [any],
    encrypted: [EncryptedPort(any, .tls, credentials), EncryptedPort(any, .https, credentials)])
  defer { server.stop() }
  let ports = server.encryptedEndpoints.map(\.port)
  return try body(ports[0], ports[1], "\(folder)/crt")
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct EncryptedTests {
  @Test func `names are answered over TLS, padded to whole blocks`() throws {
    try withEncrypted { tls, _, certificate in
      let ask = "+tls +tls-ca=\(certificate) +tls-hostname=localhost"
      #expect(dig(tls, "web.demo.svc.cluster.local A +short \(ask)") == "10.43.0.20\n")
      let out = dig(tls, "web.demo.svc.cluster.local A \(ask)")
      #expect(out.contains("PAD") && out.contains("MSG SIZE  rcvd: 468"), "\(out)")
      #expect(out.contains("(TLS)"), "\(out)")
      #expect(dig(tls, "gone.demo.svc.cluster.local A \(ask)").contains("status: NXDOMAIN"))
      #expect(dig(tls, "big.demo.svc.cluster.local A +short \(ask)").split(separator: "\n").count == 100)
    }
  }

  @Test func `names are answered over HTTPS, by POST and by GET, with HTTP/2`() throws {
    try withEncrypted { _, https, certificate in
      let ask = "+tls-ca=\(certificate) +tls-hostname=localhost +short"
      #expect(dig(https, "web.demo.svc.cluster.local A +https \(ask)") == "10.43.0.20\n")
      #expect(dig(https, "web.demo.svc.cluster.local A +https-get \(ask)") == "10.43.0.20\n")
      #expect(dig(https, "big.demo.svc.cluster.local A +https \(ask)").split(separator: "\n").count == 100)
    }
  }

  @Test func `HTTP/1.1 is answered too, and says how long the answer is fresh`() throws {
    try withEncrypted { _, https, certificate in
      // The query of RFC 8484 section 4.1.1's form, for web.demo.svc.cluster.local A.
      let query = base64URL(
        Message(query: DomainName("web.demo.svc.cluster.local") ?? .root, .a, id: 0).encoded)
      func curl(_ words: String) -> String {
        run("curl -sS -i --http1.1 --max-time 20 --cacert \(certificate) \(words) 2>&1 | tr -d '\\0'")
      }
      let url = "https://127.0.0.1:\(https)/dns-query"
      let good = curl("'\(url)?dns=\(query)'").lowercased()
      #expect(good.contains("http/1.1 200"), "\(good)")
      #expect(good.contains("content-type: application/dns-message"))
      #expect(good.contains("cache-control: max-age=30"), "\(good)")
      #expect(curl("'\(url)?dns=\(query)='").contains("400"))
      #expect(curl("'\(url)'").contains("400"))
      #expect(curl("'https://127.0.0.1:\(https)/other?dns=\(query)'").contains("404"))
      #expect(curl("-X PUT --data x '\(url)'").contains("405"))
      #expect(curl("-X POST --data x '\(url)'").contains("415"))
      let long = "head -c 5000 /dev/zero | "
      let out = run(
        long + "curl -sS -i --http1.1 --max-time 20 --cacert \(certificate) -H 'content-type: "
          + "application/dns-message' --data-binary @- '\(url)' 2>&1")
      #expect(out.contains("413"), "\(out)")
    }
  }

  @Test func `what is no TLS, or no query, ends its connection and nothing else`() throws {
    try withEncrypted { tls, https, certificate in
      for port in [tls, https] {
        _ = run(
          "timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/\(port); echo GET / HTTP/1.1 and more than a record needs >&3; cat <&3' 2>&1"
        )
      }
      // A response, and a length that lies.
      for bytes in ["\\0\\14\\0\\0\\200\\0\\0\\0\\0\\0\\0\\0\\0\\0", "\\377\\377\\0\\0", "\\0\\1\\0"] {
        let out = run(
          "printf '\(bytes)' | timeout 20 openssl s_client -quiet -connect 127.0.0.1:\(tls) 2>/dev/null | wc -c"
        )
        #expect(out.contains("0"), "\(bytes): \(out)")
      }
      let ask = "+tls +tls-ca=\(certificate) +tls-hostname=localhost +short"
      #expect(dig(tls, "web.demo.svc.cluster.local A \(ask)") == "10.43.0.20\n")
    }
  }

  @Test func `a name of others is forwarded for an encrypted client as for any`() throws {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    settings.routes = [
      ForwardRoute(upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)])
    ]
    try withEncrypted(settings) { tls, https, certificate in
      let ask = "+tls-ca=\(certificate) +tls-hostname=localhost"
      #expect(dig(tls, "ext.interwebs.test A +short +tls \(ask)") == "1.2.3.4\n")
      #expect(dig(https, "outside.demo.svc.cluster.local A +short +https \(ask)").hasSuffix("1.2.3.4\n"))
      #expect(dig(tls, "ext.interwebs.test A +tls \(ask)").contains("rcvd: 468"))
    }
  }

  @Test func `a certificate without its key is refused with a code`() throws {
    let (credentials, folder) = try TestCertificate.make()
    let (other, second) = try TestCertificate.make()
    defer { for path in [folder, second] { ScratchFolder.remove(path) } }
    let mixed = TLSCredentials(certificate: credentials.certificate, key: other.key)
    let server = DNSServer(settings: DNSServerSettings(), zone: Fixture.zone, metrics: Metrics())
    let (plain, secure) = (try freeEndpoint(), try freeEndpoint())
    let error = #expect(throws: WeftError.self) {
      try server.start(listen: [plain], encrypted: [EncryptedPort(secure, .tls, mixed)])
    }
    #expect(error?.code == "DNS0021")
  }

  @Test func `only whole base64url text is a message`() {
    #expect(HTTPQueries.base64URL("") == [])
    #expect(HTTPQueries.base64URL("_-8") == [0xff, 0xef])
    #expect(HTTPQueries.base64URL("AAECAw") == [0, 1, 2, 3])
    for text in ["A", "AA=", "AB", "+/8", "AAECA", "ä"] {
      #expect(HTTPQueries.base64URL(text) == nil, "\(text)")
    }
  }

  @Test func `no request text stops the reader of HTTPS queries`() {
    var random = SeededRandom(state: 20)
    let corpus = [
      "/dns-query?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB", "/dns-query?a=b&dns=", "/dns-query",
    ]
    for _ in 0..<5000 {
      var text = Array((corpus.randomElement(using: &random) ?? "").utf8)
      for _ in 0..<Int.random(in: 0...4, using: &random) where !text.isEmpty {
        let at = Int.random(in: 0..<text.count, using: &random)
        if Bool.random(using: &random) {
          text[at] = .random(in: 33...126, using: &random)
        } else {
          text.remove(at: at)
        }
      }
      let head = HTTPRequestHead(
        version: .http1_1, method: Bool.random(using: &random) ? .GET : .POST,
        uri: String(decoding: text, as: UTF8.self))
      if case .success(let message) = HTTPQueries.query(head, []) { #expect(message.count >= 12) }
    }
  }
}

/// Octets as base64url without padding.
private func base64URL(_ bytes: [UInt8]) -> String {
  let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
  var text = ""
  var at = 0
  while at < bytes.count {
    let chunk = Array(bytes[at..<min(at + 3, bytes.count)])
    let bits = (0..<3).reduce(0) { $0 << 8 | Int($1 < chunk.count ? chunk[$1] : 0) }
    for index in 0...chunk.count { text.append(letters[bits >> (18 - 6 * index) & 63]) }
    at += 3
  }
  return text
}
