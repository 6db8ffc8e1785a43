// Clients that take their time, on real sockets: those that mean harm are cut off, those that wait for events are not.

import ClusterObjects
import ClusterServer
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import Testing

/// Sends bytes and reports when the server has closed the connection.
private final class Patient: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private let bytes: String
  init(_ bytes: String) { self.bytes = bytes }
  func channelActive(context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: bytes)), promise: nil)
  }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct SlowClientTests {
  /// Whether the server closes a connection that sends `bytes` and no more, within thirty seconds.
  private func isClosed(_ server: ClusterServer, tls: Bool, _ bytes: String) async throws -> Bool {
    var settings = TLSConfiguration.makeClientConfiguration()
    settings.certificateVerification = .none
    settings.applicationProtocols = ["http/1.1"]
    let context = try NIOSSLContext(configuration: settings)
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          if tls {
            try channel.pipeline.syncOperations.addHandler(
              try NIOSSLClientHandler(context: context, serverHostname: nil))
          }
          try channel.pipeline.syncOperations.addHandler(Patient(bytes))
        }
      }.connect(host: "127.0.0.1", port: server.port).get()
    let start = ContinuousClock.now
    let timer = channel.eventLoop.scheduleTask(in: .seconds(30)) { channel.close(promise: nil) }
    try await channel.closeFuture.get()
    timer.cancel()
    return ContinuousClock.now - start < .seconds(30)
  }

  @Test func `a slow handshake, a slow head and a slow body each end with the connection`() async throws {
    try await withServer { settings, _ in
      settings.limits.head = .milliseconds(500)
      settings.limits.body = .milliseconds(500)
    } _: { server, _ in
      let post = "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
      for (tls, bytes) in [
        (false, ""), (true, ""), (true, "GET /version HTTP/1.1\r\nHost: x\r\nX-More: "), (true, post),
      ] {
        let isOver = try await isClosed(server, tls: tls, bytes)
        #expect(isOver, "\(bytes)")
      }
    }
  }

  @Test func `a watch outlives the limits, over HTTP/2 and HTTP/1.1`() async throws {
    try await withServer { settings, _ in
      settings.limits.head = .seconds(3)
      settings.limits.body = .seconds(3)
    } _: { server, folder in
      @Sendable func watched(_ version: String) async throws -> HTTPAnswer {
        let path = "/api/v1/namespaces?watch=true&timeoutSeconds=5"
        var answer = HTTPAnswer(code: 0, body: "", headers: "")
        // A machine that is busy for three seconds loses the connection before it has asked.
        for _ in 0..<3 where answer.code != 200 || answer.headers.contains("curl:") {
          answer = try await ask(server, folder, path, more: [version])
        }
        return answer
      }
      async let first = watched("--http2")
      async let second = watched("--http1.1")
      for answer in try await [first, second] {
        #expect(answer.code == 200 && !answer.headers.contains("curl:"), "\(answer)")
        #expect(answer.body.contains("kube-system"))
      }
    }
  }
}
