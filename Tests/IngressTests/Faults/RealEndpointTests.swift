// Endpoints that people have behind the ingress, asked by clients that people have: every client gets an answer to each of its requests, in
// each version, from every endpoint, which has seen each request once. (What they count of hostile streams is in DesyncPeerTests.)

import Addresses
import Foundation
import Testing

@testable import Ingress

@Suite(.serialized) struct RealEndpointTests {
  @Test(arguments: ["nginx", "haproxy", "go", "aiohttp", "python"])
  func `curl, wrk, h2load and nghttp get every answer of a server that people have`(name: String) throws {
    let server = try CountingServer.named(name)
    let authority = try Authority()
    let tls = TLSTable(certificates: [try authority.issue("localhost")], defaultCertificate: 0)
    let ingress = try TestIngress(everything(to: [server.endpoint]), tls: tls)
    let body = NSTemporaryDirectory() + "/weft-body-\(UInt64.random(in: 0 ..< .max))"
    defer {
      ingress.stop()
      server.stop()
      try? FileManager.default.removeItem(atPath: body)
    }
    // Of endpoints that answer before they have read it, what a client may send at once: curl 7.88 reads nothing more when it has the
    // whole answer, so that it never hears that it may send on.
    let bytes = ["aiohttp", "python"].contains(name) ? 300_000 : 60_000
    try Data((0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 31) }).write(to: URL(fileURLWithPath: body))
    let plain = "http://127.0.0.1:\(ingress.endpoint.port)"
    let secure = "https://localhost:\(ingress.secure.port)"
    let format = [
      "-sS", "-m", "60", "--cacert", authority.root, "-o", "/dev/null", "-w", "%{http_code} %{http_version};",
    ]
    // Without a body, with one of a known length, with one in chunks or frames: on one connection, but by prior knowledge, where curl
    // takes a second request on its connection for one of HTTP/1.1.
    let asked = [
      [], ["--data-binary", "@\(body)"], ["-T", body, "-X", "POST", "-H", "Content-Length:"], [],
    ]
    for (version, url) in [
      ("--http1.1", plain), ("--http1.1", secure), ("--http2", secure), ("--http2-prior-knowledge", plain),
    ] {
      let words = asked.map { format + [version] + $0 + ["\(url)/1"] }
      let outputs =
        version == "--http2-prior-knowledge"
        ? words.map { run(["curl"] + $0) } : [run(["curl"] + words.joined(separator: ["--next"]))]
      let wanted = String(repeating: "200 \(version == "--http1.1" ? "1.1" : "2");", count: asked.count)
      #expect(outputs.map(\.text).joined() == wanted, "\(name) \(version) \(url) \(outputs)")
      #expect(outputs.allSatisfy { $0.status == 0 }, "\(name) \(version) \(url) \(outputs)")
    }
    let wrk = run(["wrk", "-t", "1", "-c", "16", "-d", "1", "--timeout", "30", plain + "/2"])
    #expect(wrk.status == 0 && wrk.text.contains("requests in"), "\(name) \(wrk)")
    #expect(!wrk.text.contains("Non-2xx") && !wrk.text.contains("Socket errors"), "\(name) \(wrk)")
    let h2load = run(["h2load", "-n", "400", "-c", "4", "-m", "8", "-t", "1", secure + "/3"])
    #expect(h2load.text.contains("status codes: 400 2xx"), "\(name) \(h2load)")
    let nghttp = run(["nghttp", "-ns", "-m", "20", secure + "/4"])
    #expect(
      nghttp.status == 0 && nghttp.text.components(separatedBy: " 200 ").count == 21, "\(name) \(nghttp)")
    #expect(eventually { server.seen()[3] == 400 && server.seen()[4] == 20 }, "\(name) \(server.seen())")
  }
}
