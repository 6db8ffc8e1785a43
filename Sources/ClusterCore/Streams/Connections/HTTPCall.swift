// One HTTP/1.1 request on a connection of its own, whose body, answer and upgrade are all streams. What the API server
// passes on to nodes, pods and Services, and what the node asks of the container runtime.

import Diagnostics
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

public final class HTTPCall: ChannelDuplexHandler, RemovableChannelHandler, @unchecked Sendable {
  public typealias InboundIn = HTTPClientResponsePart
  public typealias OutboundIn = HTTPClientRequestPart
  public typealias OutboundOut = HTTPClientRequestPart

  /// The connection ended before an answer came.
  public struct Closed: Error { public init() {} }

  public static let connectTimeout: TimeAmount = .seconds(10)

  public let channel: any Channel
  private let head: EventLoopPromise<HTTPResponseHead>
  private var context: ChannelHandlerContext?
  private var isHeld = true
  private var hasAnswer = false
  private var readWaits = false
  private var waiting: [ByteBuffer] = []
  private var isEnded = false
  private var isWhole = false
  private var onBody: ((ByteBuffer) -> Void)?
  private var onEnd: ((Bool) -> Void)?
  private var onWritable: (() -> Void)?

  private init(channel: any Channel) {
    self.channel = channel
    head = channel.eventLoop.makePromise()
  }

  /// Where to.
  public enum Place: Sendable {
    case address(String, port: Int)
    /// A connected socket, whose owner the call becomes.
    case socket(Int32)
  }

  /// Connects on `loop`.
  public static func connect(
    _ place: Place, on loop: any EventLoop, tls: (@Sendable () throws -> NIOSSLClientHandler)? = nil
  ) async throws -> HTTPCall {
    let bootstrap = ClientBootstrap(group: loop)
      .connectTimeout(connectTimeout)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.socketOption(.so_keepalive), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          if let tls { try pipeline.addHandler(try tls()) }
          try pipeline.addHandlers(
            HTTPRequestEncoder(),
            ByteToMessageHandler(HTTPResponseDecoder(leftOverBytesStrategy: .forwardBytes)))
          try pipeline.addHandler(HTTPCall(channel: channel))
        }
      }
    let channel =
      switch place {
      case .address(let host, let port): try await bootstrap.connect(host: host, port: port).get()
      case .socket(let descriptor): try await bootstrap.withConnectedSocket(descriptor).get()
      }
    return try await channel.pipeline.handler(type: HTTPCall.self).get()
  }

  /// Sends the head. Follow with `send` and `finish`, or `finish` at once.
  public func begin(_ head: HTTPRequestHead) {
    channel.writeAndFlush(HTTPClientRequestPart.head(head), promise: nil)
  }
  public func send(_ bytes: ByteBuffer) {
    channel.writeAndFlush(HTTPClientRequestPart.body(.byteBuffer(bytes)), promise: nil)
  }
  public func finish() { channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil) }

  public var isWritable: Bool { channel.isWritable }
  /// Called on the event loop when there is room for more of the request's body.
  public func whenWritable(_ body: @escaping () -> Void) { onWritable = body }

  /// The answer's head. Throws `Closed`, or what the connection failed of.
  public func answer() async throws -> HTTPResponseHead { try await head.futureResult.get() }

  /// On the event loop: takes the answer's body. `onEnd` says whether it came whole.
  public func start(onBody: @escaping (ByteBuffer) -> Void, onEnd: @escaping (Bool) -> Void) {
    self.onBody = onBody
    self.onEnd = onEnd
    let early = waiting
    waiting = []
    for bytes in early { onBody(bytes) }
    if isEnded { return onEnd(isWhole) }
    hold(false)
  }

  public func hold(_ isHeld: Bool) {
    self.isHeld = isHeld
    if !isHeld, readWaits {
      readWaits = false
      context?.read()
    }
  }

  /// On the event loop, after an answer with status 101: the connection without HTTP.
  public func takeOver() throws -> EventLoopFuture<ByteLink> {
    let pipeline = channel.pipeline.syncOperations
    let link = ByteLink(channel: channel)
    try pipeline.addHandler(link)
    let removals = [
      pipeline.removeHandler(self),
      try pipeline.removeHandler(pipeline.handler(type: HTTPRequestEncoder.self)),
      try pipeline.removeHandler(pipeline.handler(type: ByteToMessageHandler<HTTPResponseDecoder>.self)),
    ]
    let bound = NIOLoopBound(link, eventLoop: channel.eventLoop)
    // A read that was held here is the link's now.
    if readWaits { channel.read() }
    return EventLoopFuture.andAllSucceed(removals, on: channel.eventLoop).map { bound.value }
  }

  public func close() { channel.close(promise: nil) }

  // MARK: ChannelDuplexHandler

  public func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  public func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    head.fail(Closed())
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let received):
      hasAnswer = true
      head.succeed(received)
    case .body(let bytes): if let onBody { onBody(bytes) } else { waiting.append(bytes) }
    case .end: end(isWhole: true)
    }
  }

  private func end(isWhole: Bool) {
    if isEnded { return }
    isEnded = true
    self.isWhole = isWhole
    onEnd?(isWhole)
    onBody = nil
    onEnd = nil
    onWritable = nil
  }

  public func read(context: ChannelHandlerContext) {
    // The head is always wanted; the body when somebody takes it.
    if isHeld, hasAnswer { readWaits = true } else { context.read() }
  }

  public func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { onWritable?() }
    context.fireChannelWritabilityChanged()
  }

  public func channelInactive(context: ChannelHandlerContext) {
    head.fail(Closed())
    end(isWhole: false)
    context.fireChannelInactive()
  }

  public func errorCaught(context: ChannelHandlerContext, error: any Error) {
    head.fail(error)
    context.close(promise: nil)
  }
}
