// A request to the node agent, and what it answers: bytes, a body written as it comes, or another protocol.

import ClusterStreams
import NIOCore
import NIOHTTP1

struct NodeRequest: Sendable {
  var method: HTTPMethod
  var target: RequestTarget
  var headers: HTTPHeaders
  /// Nil without a certificate of the cluster's.
  var peer: Peer?
  var channel: any Channel

  /// Who a client is: what its certificate says, or the API server of its token.
  struct Peer: Sendable, Hashable {
    var user: String
    var groups: [String]
    var uid = ""
    var extra: [String: [String]] = [:]
  }

  var path: [String] { target.path }
  func parameter(_ name: String) -> String? { target.query.first { $0.name == name }?.value }
  func flag(_ names: String...) -> Bool { names.contains { ["1", "true"].contains(parameter($0) ?? "") } }
}

enum NodeAnswer: Sendable {
  case bytes(Int, contentType: String, ByteBuffer)
  /// Status 200; the body is what the closure writes until it returns. Cancelled when the client goes away.
  case body(contentType: String, @Sendable (NodeBody) async throws -> Void)
  /// Status 101, then the connection is the closure's, on its event loop.
  case upgrade(HTTPHeaders, @Sendable (ByteLink) -> Void)

  static func text(_ code: Int, _ text: String) -> NodeAnswer {
    .bytes(code, contentType: "text/plain; charset=utf-8", ByteBuffer(string: text))
  }
}

/// Writes as fast as the client reads: each write returns when its bytes have left.
struct NodeBody: Sendable {
  fileprivate let channel: any Channel

  func write(_ bytes: [UInt8]) async throws {
    try await channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: bytes)))).get()
  }
}

/// One connection of the node agent's port. Bodies of requests are not read: nothing it serves has one.
final class NodeHandler: ChannelInboundHandler, RemovableChannelHandler, @unchecked Sendable {
  typealias InboundIn = HTTPServerRequestPart

  private let timer: HeadTimer
  private let streamIdleLimit: TimeAmount
  private let respond: @Sendable (NodeRequest) async -> NodeAnswer
  private let identify: (any Channel) -> NodeRequest.Peer?
  private var head: HTTPRequestHead?
  private var task: Task<Void, Never>?

  init(
    timer: HeadTimer, streamIdleLimit: TimeAmount,
    respond: @escaping @Sendable (NodeRequest) async -> NodeAnswer,
    identify: @escaping (any Channel) -> NodeRequest.Peer?
  ) {
    self.timer = timer
    self.streamIdleLimit = streamIdleLimit
    self.respond = respond
    self.identify = identify
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      timer.headCame()
      self.head = head
    case .body: return
    case .end:
      guard let head else { return }
      self.head = nil
      begin(context.channel, head)
    }
  }

  private func begin(_ channel: any Channel, _ head: HTTPRequestHead) {
    guard let target = RequestTarget(head.uri) else {
      return write(.text(400, "bad request target\n"), to: head, channel)
    }
    let request = NodeRequest(
      method: head.method, target: target, headers: head.headers, peer: identify(channel), channel: channel)
    task = Task { [respond] in
      let answer = await respond(request)
      if case .body(let contentType, let fill) = answer {
        await Self.stream(channel, head, contentType, fill)
      } else {
        channel.eventLoop.execute { self.write(answer, to: head, channel) }
      }
    }
  }

  private static func stream(
    _ channel: any Channel, _ head: HTTPRequestHead, _ contentType: String,
    _ fill: (NodeBody) async throws -> Void
  ) async {
    let headers: HTTPHeaders = ["content-type": contentType, "transfer-encoding": "chunked"]
    let start = HTTPResponseHead(version: head.version, status: .ok, headers: headers)
    do {
      try await channel.writeAndFlush(HTTPServerResponsePart.head(start)).get()
      try await fill(NodeBody(channel: channel))
      try await channel.writeAndFlush(HTTPServerResponsePart.end(nil)).get()
      if !head.isKeepAlive { channel.close(promise: nil) }
    } catch {
      channel.close(promise: nil)
    }
  }

  private func write(_ answer: NodeAnswer, to head: HTTPRequestHead, _ channel: any Channel) {
    guard channel.isActive else { return }
    switch answer {
    case .bytes(let code, let contentType, let bytes):
      // After a request to upgrade the decoder has stopped.
      let isLast = !head.isKeepAlive || head.headers.contains(name: "upgrade")
      var headers: HTTPHeaders = [
        "content-type": contentType, "content-length": String(bytes.readableBytes),
      ]
      if isLast { headers.add(name: "connection", value: "close") }
      let start = HTTPResponseHead(
        version: head.version, status: HTTPResponseStatus(statusCode: code), headers: headers)
      channel.write(HTTPServerResponsePart.head(start), promise: nil)
      if head.method != .HEAD { channel.write(HTTPServerResponsePart.body(.byteBuffer(bytes)), promise: nil) }
      timer.answered()
      channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in
        if isLast { channel.close(promise: nil) }
      }
    case .upgrade(let headers, let attach):
      let start = HTTPResponseHead(version: head.version, status: .switchingProtocols, headers: headers)
      channel.write(HTTPServerResponsePart.head(start), promise: nil)
      channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
      guard let removed = try? HTTPServerCodec.remove(from: channel, self) else {
        return channel.close(promise: nil)
      }
      removed.whenComplete { result in
        guard case .success(let link) = result else { return channel.close(promise: nil) }
        link.closeWhenIdle(after: self.streamIdleLimit)
        attach(link)
      }
    case .body: channel.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    task?.cancel()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
