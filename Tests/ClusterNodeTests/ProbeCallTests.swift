// Probes on the wire: kubelet's headers and redirects, HTTPS that nobody vouches for, grpc.health.v1 by hand. Over loopback.

import Addresses
import ClusterObjects
import FuzzLab
import NIOCore
import NIOHPACK
import NIOHTTP1
import NIOPosix
import NIOSSL
import Testing

@testable import ClusterNode

@Suite struct ProbeStepTests {
  private let probe = HTTPProbe(isSecure: false, port: 8080, path: "/a/b?x=1")

  @Test(arguments: [200, 204, 302, 399]) func `up to 399 is success`(status: Int) {
    #expect(planProbeStep(probe, host: "10.0.0.1", status: status, location: nil) == .done)
  }

  @Test(arguments: [100, 400, 404, 500]) func `the rest is not`(status: Int) {
    #expect(
      planProbeStep(probe, host: "10.0.0.1", status: status, location: "/x")
        == .failed("HTTP probe failed with statuscode: \(status)"))
  }

  @Test(arguments: [
    ("/x", HTTPProbe(isSecure: false, port: 8080, path: "/x")),
    ("c", HTTPProbe(isSecure: false, port: 8080, path: "/a/c")),
    ("https://10.0.0.1/y", HTTPProbe(isSecure: true, port: 443, path: "/y")),
    ("http://10.0.0.1:90", HTTPProbe(isSecure: false, port: 90, path: "/")),
    ("//10.0.0.1:91/z?q", HTTPProbe(isSecure: false, port: 91, path: "/z?q")),
  ])
  func `a redirect to the same host is followed`(location: String, next: HTTPProbe) {
    #expect(planProbeStep(probe, host: "10.0.0.1", status: 302, location: location) == .follow(next))
  }

  @Test func `a redirect elsewhere ends the probe well`() {
    #expect(
      planProbeStep(probe, host: "10.0.0.1", status: 301, location: "http://example.com/")
        == .elsewhere("http://example.com/"))
    #expect(
      planProbeStep(probe, host: "fd00::1", status: 301, location: "http://[fd00::1]:80/")
        == .follow(HTTPProbe(isSecure: false, port: 80, path: "/")))
  }

  @Test func `headers are kubelet's unless the probe says others, and no line can be slipped in`() {
    let plain = planProbeHeaders(probe, host: "10.0.0.1")
    #expect(plain["Host"] == ["10.0.0.1:8080"] && plain["User-Agent"] == ["kube-probe/1.37"])
    let own = planProbeHeaders(
      HTTPProbe(
        isSecure: true, port: 443, path: "/",
        headers: [["Host", "web"], ["Accept", ""], ["X-A", "1"], ["X-A", "2"], ["X-B", "1\r\nEvil: 1"]]),
      host: "h")
    #expect(
      own["Host"] == ["web"] && own["Accept"].isEmpty && own["X-A"] == ["1", "2"] && own["X-B"].isEmpty)
  }
}

@Suite struct HealthCallTests {
  private static func frame(_ type: UInt8, _ flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
    [0, 0, UInt8(payload.count), type, flags, 0, 0, 0, 1] + payload
  }

  private static func headers(_ fields: HPACKHeaders, flags: UInt8) -> [UInt8] {
    var buffer = ByteBuffer()
    var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
    try? encoder.encode(headers: fields, to: &buffer)
    return frame(1, flags, Array(buffer.readableBytesView))
  }

  /// SETTINGS, the head, one message and the trailers of a call that went well.
  static func reply(_ status: UInt8) -> [UInt8] {
    frame(4, 0, []) + headers([":status": "200", "content-type": "application/grpc"], flags: 4)
      + frame(0, 0, [0, 0, 0, 0, 2, 8, status]) + headers(["grpc-status": "0"], flags: 5)
  }

  @Test(arguments: [
    (UInt8(1), String?.none), (2, "service unhealthy (responded with \"NOT_SERVING\")"),
    (3, "service unhealthy (responded with \"SERVICE_UNKNOWN\")"),
  ])
  func `a reply is read to its end`(status: UInt8, words: String?) {
    let bytes = Self.reply(status)
    let reply = HealthCall.read(bytes)
    #expect(reply.isEnded && reply.status == Int(status) && reply.code == 0)
    #expect(planHealth(reply) == words)
    for count in bytes.indices { #expect(!HealthCall.read(Array(bytes[..<count])).isEnded) }
  }

  @Test func `a server without the protocol is told apart from a service it does not know`() {
    let without = HealthCall.read(
      Self.headers([":status": "200", "grpc-status": "12", "grpc-message": "unknown service"], flags: 5))
    #expect(
      planHealth(without) == "error: this server does not implement the grpc health protocol "
        + "(grpc.health.v1.Health): unknown service")
    let unknown = HealthCall.read(Self.headers([":status": "200", "grpc-status": "5"], flags: 5))
    #expect(planHealth(unknown) == "error: health rpc failed: rpc error: code = NotFound desc = ")
    #expect(planHealth(HealthReply()) == "error: health rpc failed: the answer is no health check")
  }

  @Test func `a request is what a server expects`() throws {
    let bytes = HealthCall.request(authority: "h:1", service: "liveness")
    #expect(bytes.starts(with: Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)))
    // 00, the length, then field 1 with eight letters.
    #expect(bytes.suffix(15) == [0, 0, 0, 0, 10, 0x0a, 8] + Array("liveness".utf8))
    #expect(HealthCall.request(authority: "h:1", service: "").suffix(5) == [0, 0, 0, 0, 0])
  }

  @Test func `no bytes of a server's end the agent`() {
    for bytes in mutants(of: [Self.reply(1), Self.reply(2)], count: 3000, seed: 11) {
      _ = planHealth(HealthCall.read(bytes))
    }
  }
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct ProbeCallTests {
  private func get(_ server: Answerer, _ path: String, secure: Bool, milliseconds: Int = 20_000) async
    -> HTTPProbing.Result
  {
    await HTTPProbing.run(
      HTTPProbe(isSecure: secure, port: server.port, path: path), host: "127.0.0.1", netnsPath: nil,
      timeoutMilliseconds: milliseconds)
  }

  @Test(arguments: [false, true]) func `pages are asked for with TLS and without`(secure: Bool) async throws {
    let server = try await Answerer.http(secure: secure)
    #expect(await get(server, "/ok", secure: secure) == .success)
    #expect(await get(server, "/moved", secure: secure) == .success)
    #expect(await get(server, "/bad", secure: secure) == .failure("HTTP probe failed with statuscode: 500"))
    let address = "\(secure ? "https" : "http")://127.0.0.1:\(server.port)"
    #expect(
      await get(server, "/round", secure: secure)
        == .failure("Get \"\(address)/round\": stopped after 10 redirects"))
    let start = ContinuousClock.now
    #expect(
      await get(server, "/silent", secure: secure, milliseconds: 1500)
        == .failure(
          "Get \"\(address)/silent\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ))
    // Without the five seconds in which TLS awaits a goodbye.
    #expect(ContinuousClock.now - start < .milliseconds(6400))
  }

  @Test func `a port on which nobody listens refuses in everybody's words`() async throws {
    let server = try await Answerer.bytes([])
    let port = server.port
    try await server.channel.close().get()
    let probe = HTTPProbe(isSecure: false, port: port, path: "/")
    #expect(
      await HTTPProbing.run(probe, host: "127.0.0.1", netnsPath: nil, timeoutMilliseconds: 20_000)
        == .failure(
          "Get \"http://127.0.0.1:\(port)/\": dial tcp 127.0.0.1:\(port): connect: connection refused"))
  }

  @Test func `a health service is asked over HTTP 2`() async throws {
    let good = try await Answerer.bytes(HealthCallTests.reply(1))
    let bad = try await Answerer.bytes(HealthCallTests.reply(2))
    let none = try await Answerer.bytes([])
    func ask(_ server: Answerer, _ milliseconds: Int = 20_000) async -> String? {
      let port = server.port
      return await NetnsThread.run(nil) {
        HealthCall.run("127.0.0.1", port: port, service: "x", timeoutMilliseconds: milliseconds)
      } ?? "no thread"
    }
    #expect(await ask(good) == nil)
    #expect(await ask(bad) == "service unhealthy (responded with \"NOT_SERVING\")")
    #expect(await ask(none, 1000) == "timeout: health rpc did not complete within 1s")
  }
}
