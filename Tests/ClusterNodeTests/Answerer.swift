// A server on loopback for tests: pages over HTTP with and without TLS, or the same bytes to whoever says something.

import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

@testable import ClusterNode

/// Answers on loopback for as long as it lives.
final class Answerer: Sendable {
  let channel: any Channel
  var port: Int { channel.localAddress?.port ?? 0 }
  /// Pages that were asked for.
  var answered: Int { tally.pages.withLock { $0 } }
  private let tally: Tally
  private final class Tally: Sendable { let pages = Mutex(0) }

  /// What a page says to a request; nil for nothing at all.
  typealias Page =
    @Sendable (HTTPRequestHead) -> (
      status: HTTPResponseStatus, location: String?, body: String
    )?

  /// HTTP: `/ok` is 200, `/moved` leads to `/ok`, `/round` to itself, `/silent` says nothing, the rest is 500.
  static func http(secure: Bool) async throws -> Answerer {
    try await http(secure: secure) { head in
      if head.uri == "/silent" { return nil }
      let to = ["/moved": "/ok", "/round": "/round"][head.uri]
      return (to != nil ? .found : head.uri == "/ok" ? .ok : .internalServerError, to, "")
    }
  }

  static func http(secure: Bool = false, page: @escaping Page) async throws -> Answerer {
    let certificate = try ServingCertificate(nodeName: "n", addresses: [])
    let tls = try NIOSSLContext(
      configuration: .makeServerConfiguration(
        certificateChain: certificate.chain.map { .certificate($0) }, privateKey: .privateKey(certificate.key)
      ))
    let tally = Tally()
    return try await serve(tally) { channel in
      if secure { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
      try channel.pipeline.syncOperations.configureHTTPServerPipeline()
      try channel.pipeline.syncOperations.addHandler(
        Pages { head in
          tally.pages.withLock { $0 += 1 }
          return page(head)
        })
    }
  }

  static func bytes(_ bytes: [UInt8]) async throws -> Answerer {
    try await serve { try $0.pipeline.syncOperations.addHandler(Canned(bytes)) }
  }

  private static func serve(
    _ tally: Tally = Tally(), _ fill: @escaping @Sendable (any Channel) throws -> Void
  ) async throws -> Answerer {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in channel.eventLoop.makeCompletedFuture { try fill(channel) } }
      .bind(host: "127.0.0.1", port: 0).get()
    return Answerer(channel, tally)
  }

  private init(_ channel: any Channel, _ tally: Tally) {
    self.channel = channel
    self.tally = tally
  }
  deinit { channel.close(promise: nil) }

  private final class Pages: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let page: Page
    init(_ page: @escaping Page) { self.page = page }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      guard case .head(let head) = unwrapInboundIn(data), let answer = page(head) else { return }
      var headers: HTTPHeaders = ["content-length": "\(answer.body.utf8.count)"]
      if let to = answer.location { headers.add(name: "location", value: to) }
      let start = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
      context.write(wrapOutboundOut(.head(start)), promise: nil)
      context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil)
      context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }
  }

  private final class Canned: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }
  }
}
