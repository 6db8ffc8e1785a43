// A real socket and whoever may be at its other end: requests that are none, bodies that are bombs. Whatever comes, the
// next client is answered.

import ClusterObjects
import FuzzLab
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import StoreLab
import Testing

@testable import ClusterServer

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 5))) struct HostileBytesTests {
  private static let heads = [
    "GET /api/v1/namespaces/default/configmaps?labelSelector=a%3Db,c%20in%20(d)&fieldSelector=metadata.name%3Dx&limit=2 "
      + "HTTP/1.1\r\nHost: x\r\nAccept: application/json;as=Table;v=v1;g=meta.k8s.io, */*;q=0.1\r\n"
      + "Accept-Encoding: gzip;q=0.5\r\nConnection: close\r\n\r\n",
    "GET /api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion=0&allowWatchBookmarks=true&sendInitialEvents=true"
      + "&resourceVersionMatch=NotOlderThan HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /apis/apps/v1/deployments?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0&limit=1 HTTP/1.1\r\n"
      + "Host: x\r\nConnection: close\r\n\r\n",
    "POST /api/v1/namespaces/default/configmaps?dryRun=All&fieldManager=m&fieldValidation=Strict HTTP/1.1\r\nHost: x\r\n"
      + "Content-Type: application/yaml; charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      + "1b\r\nkind: ConfigMap\nmetadata: {\r\n8\r\nname: a}\r\n0\r\n\r\n",
    "PATCH /api/v1/namespaces/default?dryRun=All&force=true HTTP/1.1\r\nHost: x\r\nContent-Length: 33\r\n"
      + "Content-Type: application/merge-patch+json\r\nConnection: close\r\n\r\n{\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
    "GET /api/v1/namespaces/default/pods/p/exec?command=a&command=b&stdin=true HTTP/1.1\r\nHost: x\r\nUpgrade: SPDY/3.1\r\n"
      + "Connection: Upgrade\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n",
    "GET /openapi/v3/api/v1?hash=0 HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"\r\nImpersonate-User: u\r\n"
      + "Impersonate-Extra-%zz: v\r\nAuthorization: Bearer a.b.c\r\nConnection: close\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}",
  ]
  private static let words = [
    "%00", "%2e%2e%2f", "%", "/../", "//", "?", "&", "=", "\r\n", "\r\n\r\n", ": ", "\u{0}",
    "Content-Length: 99999999999999999999",
    "Content-Length: -1\r\n", "Transfer-Encoding: identity\r\n", "FFFFFFFFFFFFFFFF\r\n", "HTTP/9.9",
    "limit=-9223372036854775808",
    "timeoutSeconds=99999999999999999999", "resourceVersion=18446744073709551615", "/namespaces/", "/proxy/",
    ";q=nan",
  ]

  @Test func `mutants of requests leave a server that answers`() async throws {
    try await withServer { server, folder in
      let certificates = folder + "/data/certificates"
      var settings = TLSConfiguration.makeClientConfiguration()
      settings.certificateVerification = .none
      settings.certificateChain = try NIOSSLCertificate.fromPEMFile(certificates + "/admin.crt").map {
        .certificate($0)
      }
      settings.privateKey = .privateKey(try NIOSSLPrivateKey(file: certificates + "/admin.key", format: .pem))
      let tls = try NIOSSLContext(configuration: settings)
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      let corpus = [[UInt8]](texts: Self.heads)
      let inputs =
        corpus
        + mutants(of: corpus, words: Self.words, count: Soak.rounds(160, long: 8000), seed: Soak.seed + 20)
      var answered = 0
      for start in stride(from: 0, to: inputs.count, by: 42) {
        answered += try await withThrowingTaskGroup(of: Int.self) { tasks in
          for bytes in inputs[start..<min(start + 42, inputs.count)] {
            tasks.addTask {
              let answer = try await Self.send(bytes, to: server.port, tls, group)
              return answer.starts(with: Array("HTTP/1.1 ".utf8)) ? 1 : 0
            }
          }
          return try await tasks.reduce(0, +)
        }
      }
      // Bytes that are no TLS at all.
      try await withThrowingTaskGroup(of: Void.self) { tasks in
        for bytes in mutants(
          of: [Array("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".utf8) + corpus[0]], count: 12, seed: 22)
        {
          tasks.addTask { _ = try await Self.send(bytes, to: server.port, nil, group) }
        }
        try await tasks.waitForAll()
      }
      #expect(answered > 60, "many mutants still are requests: \(answered)")
      let health = try await ask(server, folder, "/readyz")
      #expect(health.code == 200, "\(health)")
      try await group.shutdownGracefully()
    }
  }

  @Test func `bombs are refused with their code and little memory`() async throws {
    try await withServer { server, folder in
      let maps = "/api/v1/namespaces/default/configmaps"
      func bomb(_ name: String, _ text: String) throws -> String {
        let file = try #require(fopen(folder + "/" + name, "w"))
        fputs(text, file)
        fclose(file)
        return "@\(folder)/\(name)"
      }
      let start = residentBytes()
      let deep = try bomb(
        "deep", String(repeating: #"{"a":"#, count: 10_000) + "1" + String(repeating: "}", count: 10_000))
      var laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
      for level in 1..<10 {
        laughs +=
          "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 9).joined(separator: ", ")
          + "]\n"
      }
      let laughing = try bomb("laughs", laughs)
      let nested = try bomb("nested", String(repeating: "[", count: 100_000))
      let large = try bomb("large", String(repeating: "x", count: 10 << 20))
      let patch = try bomb("patch", #"{"data":{"k":""# + String(repeating: "x", count: 3 << 20) + #""}}"#)
      let gzip = ["-H", "content-encoding: gzip"]
      let cases:
        [(name: String, method: String, path: String, type: String, body: String, more: [String], code: Int)] =
          [
            ("JSON", "POST", maps, "application/json", deep, [], 422),
            ("YAML depth", "POST", maps, "application/yaml", nested, [], 422),
            ("YAML aliases", "POST", maps, "application/yaml", laughing, [], 400),
            (
              "merge patch", "PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", deep, [],
              422
            ),
            (
              "JSON patch", "PATCH", "/api/v1/namespaces/default", "application/json-patch+json", deep, [],
              422
            ),
            (
              "apply", "PATCH", "/api/v1/namespaces/default?fieldManager=m", "application/apply-patch+yaml",
              nested, [], 422
            ),
            ("options", "DELETE", maps + "/x", "application/json", deep, [], 422),
            ("large", "POST", maps, "application/json", large, [], 413),
            (
              "large in chunks", "POST", maps, "application/json", large,
              ["-H", "transfer-encoding: chunked"], 413
            ),
            ("large patch", "PATCH", maps + "/x", "application/merge-patch+json", patch, [], 413),
            // Bodies are never unpacked: a bomb stays the few bytes it is.
            ("gzip", "POST", maps, "application/json", try bomb("gz", "\u{1f}\u{8b}\u{8}\u{0}"), gzip, 400),
            ("CBOR", "POST", maps, "application/cbor", try bomb("cbor", "\u{d9}\u{d9}\u{f7}"), [], 415),
            (
              "CBOR apply", "PATCH", maps + "/x", "application/apply-patch+cbor", try bomb("cbor", "a"), [],
              415
            ),
            (
              "protobuf", "POST", maps, "application/vnd.kubernetes.protobuf",
              try bomb("pb", "k8s\u{0}\u{a}\u{7f}"), [], 400
            ),
          ]
      for one in cases {
        let answer = try await ask(
          server, folder, one.path, one.method, headers: ["content-type: \(one.type)", "expect:"],
          more: ["--data-binary", one.body] + one.more)
        #expect(answer.code == one.code && answer.json["kind"] == "Status", "\(one.name): \(answer)")
      }
      let growth = residentBytes() - start
      #expect(growth < 128 << 20, "\(growth >> 20) MiB more")
      #expect(try await ask(server, folder, "/readyz").code == 200)
    }
  }

  @Test func `continue tokens, paths and tokens of mutants are read or refused`() {
    let corpus = [[UInt8]](texts: [
      ContinueToken(revision: 7, after: "default/a").text, ContinueToken(revision: -1, after: "").text,
      "e30=",
    ])
    for bytes in mutants(of: corpus, words: ["=", "/", "+", "A"], count: 10_000, seed: 23) {
      guard let token = ContinueToken(String(decoding: bytes, as: UTF8.self)) else { continue }
      #expect(ContinueToken(token.text)?.after == token.after)
    }
    let targets = [[UInt8]](texts: Self.heads.map { String($0.split(separator: " ")[1]) })
    for bytes in mutants(of: targets, words: Self.words, count: 10_000, seed: 24) {
      guard let target = HTTPRequest.split(String(decoding: bytes, as: UTF8.self)) else { continue }
      #expect(target.path.allSatisfy { !$0.isEmpty })
      _ = Target(target.path)
    }
  }

  /// Sends bytes and gathers what comes back within half a second or until the server closes.
  private static func send(
    _ bytes: [UInt8], to port: Int, _ tls: NIOSSLContext?, _ group: any EventLoopGroup
  ) async throws -> [UInt8] {
    let answer = group.next().makePromise(of: [UInt8].self)
    let channel = try await ClientBootstrap(group: group).channelInitializer { channel in
      channel.eventLoop.makeCompletedFuture {
        if let tls {
          try channel.pipeline.syncOperations.addHandler(
            try NIOSSLClientHandler(context: tls, serverHostname: nil))
        }
        try channel.pipeline.syncOperations.addHandler(Gatherer(bytes, answer))
      }
    }.connect(host: "127.0.0.1", port: port).get()
    let timer = channel.eventLoop.scheduleTask(in: .milliseconds(500)) { channel.close(promise: nil) }
    let gathered = try await answer.futureResult.get()
    timer.cancel()
    return gathered
  }

  private func residentBytes() -> Int {
    let text = Program.read("/proc/self/statm")
    return (Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
  }
}

private final class Gatherer: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private let bytes: [UInt8]
  private let answer: EventLoopPromise<[UInt8]>
  private var gathered: [UInt8] = []

  init(_ bytes: [UInt8], _ answer: EventLoopPromise<[UInt8]>) {
    self.bytes = bytes
    self.answer = answer
  }

  func channelActive(context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
  }
  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if gathered.count < 1 << 16 { gathered += unwrapInboundIn(data).readableBytesView }
  }
  func channelInactive(context: ChannelHandlerContext) { answer.succeed(gathered) }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
