// Many small frames of one HTTP/2 connection, sent together: an event for a thousand watches becomes a few records of TLS and
// one write to the socket instead of thousands.
//
//   streams ─► NIOHTTP2Handler ─► WriteGatherer ─► NIOSSLServerHandler ─► socket

import NIOCore

/// Copies small writes into one buffer and passes them on with one flush, after whatever runs on the event loop now.
final class WriteGatherer: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// Gathered bytes that are passed on at once, so that the connection can say that it is full.
  static let gatheredMax = 64 << 10
  /// Writes from here on travel as they are: copying them would cost more than a record of their own.
  static let smallMax = 4 << 10

  private var gathered = ByteBuffer()
  private var promise: EventLoopPromise<Void>?
  /// Bytes since the last flush.
  private var unflushed = 0
  private var isScheduled = false

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    var part = unwrapOutboundIn(data)
    unflushed += part.readableBytes
    if part.readableBytes > Self.smallMax {
      passOn(context)
      context.write(wrapOutboundOut(part), promise: promise)
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
    context.write(wrapOutboundOut(bytes), promise: promise)
  }
}
