// Many small frames of one HTTP/2 connection, sent together: an event for a thousand watches becomes a few records of TLS and
// one write to the socket instead of thousands.
//
//   streams ─► NIOHTTP2Handler ─► FrameSplice ─► WriteGatherer ─► NIOSSLServerHandler ─► socket

import NIOCore

/// Copies small writes into one buffer and passes them on with one flush, after whatever runs on the event loop now.
final class WriteGatherer: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// Gathered bytes that are passed on at once, so that the connection can say that it is full.
  static let gatheredMax = 64 << 10
  /// Writes from here on travel as they are: copying them would cost more than records of their own, of TLS, for the frame's
  /// head and its bytes. A record holds as much.
  static let smallMax = 16 << 10

  private let load: ConnectionLoad
  private var gathered = ByteBuffer()
  private var promise: EventLoopPromise<Void>?
  /// Bytes since the last flush.
  private var unflushed = 0
  private var isScheduled = false
  private var context: ChannelHandlerContext?

  init(load: ConnectionLoad) { self.load = load }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  /// A frame of its own, between those that are written here. It is on its way after whatever runs on the event loop now.
  func append(_ head: FrameHead, _ payload: ByteBuffer) {
    guard let context else { return }
    head.write(to: &gathered)
    gathered.writeImmutableBuffer(payload)
    unflushed += FrameHead.size + payload.readableBytes
    if unflushed > Self.gatheredMax {
      unflushed = 0
      passOn(context)
      context.flush()
    } else {
      flush(context: context)
    }
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    var part = unwrapOutboundIn(data)
    unflushed += part.readableBytes
    if part.readableBytes > Self.smallMax {
      passOn(context)
      write(context, part, promise)
    } else {
      gathered.writeBuffer(&part)
      if let promise {
        if let first = self.promise {
          first.futureResult.cascade(to: promise)
        } else {
          self.promise = promise
        }
      }
    }
    if unflushed > Self.gatheredMax {
      unflushed = 0
      passOn(context)
      context.flush()
    }
  }

  func flush(context: ChannelHandlerContext) {
    if isScheduled { return }
    isScheduled = true
    context.eventLoop.assumeIsolated().execute {
      self.isScheduled = false
      self.unflushed = 0
      guard context.channel.isActive else { return }
      self.passOn(context)
      context.flush()
    }
  }

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    passOn(context)
    context.flush()
    context.close(mode: mode, promise: promise)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    promise?.fail(ChannelError.ioOnClosedChannel)
    promise = nil
  }

  private func passOn(_ context: ChannelHandlerContext) {
    guard gathered.readableBytes > 0 else { return }
    let bytes = gathered
    let promise = promise
    // An idle connection keeps no buffer.
    gathered = ByteBuffer()
    self.promise = nil
    write(context, bytes, promise)
  }

  private func write(
    _ context: ChannelHandlerContext, _ bytes: ByteBuffer, _ promise: EventLoopPromise<Void>?
  ) {
    let count = bytes.readableBytes
    let written = promise ?? context.eventLoop.makePromise()
    load.began(count)
    written.futureResult.assumeIsolated().whenComplete { [load] _ in load.ended(count) }
    context.write(wrapOutboundOut(bytes), promise: written)
  }
}
