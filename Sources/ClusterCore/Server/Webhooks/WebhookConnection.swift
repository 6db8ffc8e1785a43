// One HTTP/1.1 connection to a webhook: one call at a time, kept for the next.

import NIOCore
import NIOHTTP1

/// A call as it goes into the pipeline.
struct WebhookExchange: Sendable {
  var head: HTTPRequestHead
  var body: ByteBuffer
  var answer: EventLoopPromise<WebhookAnswer>
}

struct WebhookAnswer: Sendable {
  var status: Int
  var body: [UInt8]
  var keepsAlive: Bool
}

/// The other side closed before it answered.
struct WebhookConnectionClosed: Error {}
struct WebhookAnswerTooLarge: Error {}

final class WebhookHandler: ChannelDuplexHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundIn = WebhookExchange
  typealias OutboundOut = HTTPClientRequestPart

  private var promise: EventLoopPromise<WebhookAnswer>?
  private var status = 0
  private var keepsAlive = false
  private var body: [UInt8] = []
  private let bytesMax: Int

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let exchange = unwrapOutboundIn(data)
    self.promise = exchange.answer
    status = 0
    body = []
    context.write(wrapOutboundOut(.head(exchange.head)), promise: nil)
    context.write(wrapOutboundOut(.body(.byteBuffer(exchange.body))), promise: nil)
    context.write(wrapOutboundOut(.end(nil)), promise: promise)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      if head.status.code < 200 { return }
      status = Int(head.status.code)
      keepsAlive = head.isKeepAlive
    case .body(let bytes):
      guard body.count + bytes.readableBytes <= bytesMax else {
        fail(WebhookAnswerTooLarge())
        context.close(promise: nil)
        return
      }
      body.append(contentsOf: bytes.readableBytesView)
    case .end:
      guard status != 0 else { return }
      let done = promise
      promise = nil
      done?.succeed(WebhookAnswer(status: status, body: body, keepsAlive: keepsAlive))
      body = []
      if !keepsAlive || done == nil { context.close(promise: nil) }
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    fail(WebhookConnectionClosed())
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    fail(error)
    context.close(promise: nil)
  }

  private func fail(_ error: any Error) {
    let failed = promise
    promise = nil
    failed?.fail(error)
  }
}
