// One HTTP/1.1 connection, or one HTTP/2 stream: gathers a request, has it answered, writes the answer.
//
// Everything here runs on the connection's event loop. A short answer is one task; a watch is no task at
// all: its writer is filled by the watch cache and drained here.

import NIOCore
import NIOHTTP1
import NIOSSL

typealias Responder = @Sendable (HTTPRequest) async -> HTTPResponse

final class HTTPHandler: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  /// Bytes of a request's body that are read; more is answered with 413.
  static let bodyMax = 3 << 20

  private let respond: Responder
  private let peer: Peer
  private var head: HTTPRequestHead?
  private var body: [UInt8] = []
  private var isTooLarge = false
  private var isBusy = false
  private var waiting: [(HTTPRequestHead, [UInt8], Bool)] = []
  private var writer: StreamWriter?
  /// Requests that one HTTP/1.1 client may send before reading the first answer.
  private static let pipelinedMax = 16

  init(respond: @escaping Responder, peer: Peer) {
    self.respond = respond
    self.peer = peer
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body = []
      isTooLarge = false
      if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > Self.bodyMax {
        isTooLarge = true
      }
    case .body(let part):
      if isTooLarge { return }
      if body.count + part.readableBytes > Self.bodyMax {
        isTooLarge = true
        body = []
        return
      }
      body += part.readableBytesView
    case .end:
      guard let head else { return }
      self.head = nil
      if isBusy {
        guard waiting.count < Self.pipelinedMax else {
          context.close(promise: nil)
          return
        }
        waiting.append((head, body, isTooLarge))
      } else {
        begin(context, head, body, isTooLarge)
      }
      body = []
    }
  }

  private func begin(
    _ context: ChannelHandlerContext, _ head: HTTPRequestHead, _ body: [UInt8], _ isTooLarge: Bool
  ) {
    isBusy = true
    let channel = context.channel
    guard let target = HTTPRequest.split(head.uri) else {
      write(.text(400, "bad request target\n"), to: head, channel)
      return
    }
    if isTooLarge {
      let error = Failure.tooLarge(Self.bodyMax)
      write(Answer.status(error), to: head, channel)
      return
    }
    let request = HTTPRequest(
      method: head.method, path: target.path, rawPath: target.rawPath, query: target.query,
      headers: head.headers, body: body, identity: .anonymous, peer: peer,
      remoteAddress: (channel.parent ?? channel).remoteAddress?.ipAddress ?? "", uri: head.uri)
    let loop = context.eventLoop
    Task { [respond] in
      let response = await respond(request)
      loop.execute { self.write(response, to: head, channel) }
    }
  }

  private func write(_ response: HTTPResponse, to head: HTTPRequestHead, _ channel: any Channel) {
    guard channel.isActive else { return }
    var headers = HTTPHeaders([("content-type", response.contentType)])
    headers.add(contentsOf: response.headers)
    if headers.first(name: "cache-control") == nil {
      headers.add(name: "cache-control", value: "no-cache, private")
    }
    let isHead = head.method == .HEAD
    switch response.body {
    case .bytes(let bytes):
      headers.add(name: "content-length", value: String(bytes.readableBytes))
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      if !isHead, bytes.readableBytes > 0 { send(.body(.byteBuffer(bytes)), channel) }
      finish(head, channel)
    case .stream(let attach):
      if head.version.major == 1 { headers.add(name: "transfer-encoding", value: "chunked") }
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      channel.flush()
      let writer = StreamWriter(loop: channel.eventLoop, isWritable: { channel.isWritable }) {
        [weak self] buffers, isEnd in
        guard let self, channel.isActive else { return }
        for buffer in buffers { self.send(.body(.byteBuffer(buffer)), channel) }
        if isEnd {
          self.writer = nil
          self.finish(head, channel)
        } else {
          channel.flush()
        }
      }
      self.writer = writer
      attach(writer)
    }
  }

  private func send(_ part: HTTPServerResponsePart, _ channel: any Channel) {
    channel.write(part, promise: nil)
  }

  private func finish(_ head: HTTPRequestHead, _ channel: any Channel) {
    isBusy = false
    let keepsAlive = head.version.major > 1 || head.isKeepAlive
    channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in
      if !keepsAlive { channel.close(promise: nil) }
    }
    guard keepsAlive, !waiting.isEmpty else { return }
    let next = waiting.removeFirst()
    if let context = try? channel.pipeline.syncOperations.context(handler: self) {
      begin(context, next.0, next.1, next.2)
    }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { writer?.resume() }
    context.fireChannelWritabilityChanged()
  }

  func channelInactive(context: ChannelHandlerContext) {
    writer?.closed()
    writer = nil
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
