// The end of a pipeline that carries bytes of no HTTP any more: callbacks in, writes out, reading held while its owner
// cannot take more. Everything happens on the channel's event loop.

import NIOCore

public final class ByteLink: ChannelDuplexHandler, @unchecked Sendable {
  public typealias InboundIn = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  /// Time for what is written to leave, after `close`.
  static let closeTimeout: TimeAmount = .seconds(10)

  public let channel: any Channel
  private var onRead: ((ByteBuffer) -> Void)?
  private var onEnd: (() -> Void)?
  private var onClose: (() -> Void)?
  private var onWritable: (() -> Void)?
  private var waiting: [ByteBuffer] = []
  private var isEnded = false
  private var isClosed = false
  private var isClosing = false
  private var isHeld = true
  private var readWaits = false
  private var context: ChannelHandlerContext?
  private var lastUse = NIODeadline.now()
  private var idleTimer: Scheduled<Void>?

  public init(channel: any Channel) { self.channel = channel }

  public var eventLoop: any EventLoop { channel.eventLoop }
  public var isWritable: Bool { channel.isWritable && !isClosing }
  public var isOpen: Bool { !isClosed && !isClosing }

  /// Begins: bytes that came before are handed on now. `onEnd`: the peer sends no more (only where half-closing is
  /// allowed); `onClose`: it is over, once.
  public func start(
    onRead: @escaping (ByteBuffer) -> Void, onEnd: @escaping () -> Void = {},
    onWritable: @escaping () -> Void = {}, onClose: @escaping () -> Void
  ) {
    self.onRead = onRead
    self.onEnd = onEnd
    self.onWritable = onWritable
    self.onClose = onClose
    hold(false)
    let early = waiting
    waiting = []
    for bytes in early where !isClosing { onRead(bytes) }
    if isEnded { onEnd() }
    if isClosed { finished() }
  }

  /// Stops reading, or goes on. What was read already still comes.
  public func hold(_ isHeld: Bool) {
    self.isHeld = isHeld
    if !isHeld, readWaits {
      readWaits = false
      context?.read()
    }
  }

  public func write(_ bytes: ByteBuffer) {
    guard isOpen, bytes.readableBytes > 0 else { return }
    lastUse = eventLoop.now
    channel.writeAndFlush(bytes, promise: nil)
  }

  /// Closes the connection once nothing has been read or written for `limit`: a client that vanished without a word
  /// would hold a process in a pod for ever.
  public func closeWhenIdle(after limit: TimeAmount) {
    lastUse = eventLoop.now
    watchIdle(limit, in: limit)
  }

  private func watchIdle(_ limit: TimeAmount, in time: TimeAmount) {
    idleTimer = eventLoop.scheduleTask(in: time) { [weak self] in
      guard let self, !isClosed else { return }
      let rest = lastUse + limit - eventLoop.now
      if rest > .zero { watchIdle(limit, in: rest) } else { close() }
    }
  }

  /// No more is sent; the peer may go on.
  public func closeOutput() {
    guard isOpen else { return }
    let channel = channel
    let sent = channel.eventLoop.makePromise(of: Void.self)
    sent.futureResult.whenSuccess { channel.close(mode: .output, promise: nil) }
    channel.writeAndFlush(ByteBuffer(), promise: sent)
  }

  /// Closes after what is written has left, at most `closeTimeout` later.
  public func close() {
    guard !isClosing, !isClosed else { return }
    isClosing = true
    // TLS waits for the peer's farewell, which may stand behind what was not read.
    hold(false)
    let channel = channel
    let timeout = channel.eventLoop.scheduleTask(in: Self.closeTimeout) { channel.close(promise: nil) }
    let sent = channel.eventLoop.makePromise(of: Void.self)
    sent.futureResult.whenComplete { _ in
      timeout.cancel()
      channel.close(promise: nil)
    }
    channel.writeAndFlush(ByteBuffer(), promise: sent)
  }

  /// Closes at once; what waits is lost.
  public func abort() { channel.close(promise: nil) }

  private func finished() {
    let body = onClose
    onRead = nil
    onEnd = nil
    onWritable = nil
    onClose = nil
    body?()
  }

  // MARK: ChannelDuplexHandler

  public func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  public func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = unwrapInboundIn(data)
    lastUse = eventLoop.now
    if isClosing { return }
    if let onRead { onRead(bytes) } else if !isClosed { waiting.append(bytes) }
  }

  public func read(context: ChannelHandlerContext) {
    if isHeld, !isClosing { readWaits = true } else { context.read() }
  }

  public func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { onWritable?() }
    context.fireChannelWritabilityChanged()
  }

  public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .inputClosed = event as? ChannelEvent, !isEnded {
      isEnded = true
      onEnd?()
    }
    context.fireUserInboundEventTriggered(event)
  }

  public func channelInactive(context: ChannelHandlerContext) {
    isClosed = true
    idleTimer?.cancel()
    idleTimer = nil
    if onClose != nil { finished() }
    context.fireChannelInactive()
  }

  public func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

extension ByteLink {
  /// Carries bytes both ways, each as fast as the other side takes them, until either closes. Both on one event loop.
  public static func join(_ left: ByteLink, _ right: ByteLink, onClose: @escaping () -> Void = {}) {
    var isOver = false
    func end() {
      if isOver { return }
      isOver = true
      onClose()
    }
    func carry(_ from: ByteLink, _ to: ByteLink) {
      from.start(
        onRead: { bytes in
          to.write(bytes)
          if !to.isWritable { from.hold(true) }
        }, onWritable: { to.hold(false) },
        onClose: {
          to.close()
          end()
        })
    }
    carry(left, right)
    carry(right, left)
  }
}
