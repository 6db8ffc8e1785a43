// One HTTP/1.1 exchange on a channel: a request goes out, the parts of its response go to a sink. The
// channel carries one exchange at a time and is kept for the next when the server allows it.

import NIOCore
import NIOHTTP1
import Synchronization

/// Where the parts of a response go; called on the channel's event loop, in order, and exactly one of `end`
/// and `failed` comes last.
protocol ResponseSink: Sendable {
  func head(_ head: HTTPResponseHead)
  func body(_ bytes: ByteBuffer)
  func end(keepsAlive: Bool)
  func failed(_ error: any Error)
}

struct HTTPExchange: Sendable {
  var head: HTTPRequestHead
  var body: ByteBuffer?
  var sink: any ResponseSink
}

/// The server closed the connection in the middle of an exchange, or before it began.
struct ConnectionClosed: Error {
  var hadResponse: Bool
}

final class ExchangeHandler: ChannelDuplexHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundIn = HTTPExchange
  typealias OutboundOut = HTTPClientRequestPart

  private var sink: (any ResponseSink)?
  private var hasHead = false
  private var keepsAlive = false

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let exchange = unwrapOutboundIn(data)
    sink = exchange.sink
    hasHead = false
    context.write(wrapOutboundOut(.head(exchange.head)), promise: nil)
    if let body = exchange.body { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
    context.write(wrapOutboundOut(.end(nil)), promise: promise)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      // 1xx answers are only announcements.
      if head.status.code < 200 { return }
      hasHead = true
      keepsAlive = head.isKeepAlive
      sink?.head(head)
    case .body(let bytes): sink?.body(bytes)
    case .end:
      guard hasHead else { return }
      let done = sink
      sink = nil
      done?.end(keepsAlive: keepsAlive)
      if !keepsAlive { context.close(promise: nil) }
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    fail(ConnectionClosed(hadResponse: hasHead))
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    fail(error)
    context.close(promise: nil)
  }

  private func fail(_ error: any Error) {
    let failed = sink
    sink = nil
    failed?.failed(error)
  }
}

/// Collects a whole response, up to a bound.
final class WholeResponse: ResponseSink {
  /// Bytes of one answer; lists are asked for in pages far below this.
  static let bytesMax = 256 << 20
  struct Answer: Sendable {
    var status: Int
    var body: [UInt8]
    var keepsAlive: Bool
  }
  struct TooLarge: Error {}
  private struct State {
    var status = 0
    var body: [UInt8] = []
    var isTooLarge = false
  }
  private let state = Mutex(State())
  private let promise: EventLoopPromise<Answer>
  init(_ promise: EventLoopPromise<Answer>) { self.promise = promise }

  func head(_ head: HTTPResponseHead) { state.withLock { $0.status = Int(head.status.code) } }
  func body(_ bytes: ByteBuffer) {
    state.withLock { state in
      if state.body.count + bytes.readableBytes > Self.bytesMax {
        state.isTooLarge = true
      } else {
        state.body.append(contentsOf: bytes.readableBytesView)
      }
    }
  }
  func end(keepsAlive: Bool) {
    let (answer, isTooLarge) = state.withLock {
      (Answer(status: $0.status, body: $0.body, keepsAlive: keepsAlive), $0.isTooLarge)
    }
    if isTooLarge { promise.fail(TooLarge()) } else { promise.succeed(answer) }
  }
  func failed(_ error: any Error) { promise.fail(error) }
}
