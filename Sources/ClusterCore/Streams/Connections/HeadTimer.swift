// Closes connections that take too long to say what they want: thousands that each send a byte now and then would hold
// a server's sockets and memory for ever (slowloris).
//
//   accepted ─► head expected ─► headCame() ─► no limit ─► answered() ─► no limit until bytes come ─► head expected

import Diagnostics
import NIOCore

/// Stands behind TLS and before HTTP. The handshake counts into the first head's time. On the channel's event loop.
public final class HeadTimer: ChannelInboundHandler, @unchecked Sendable {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer

  private static let closed = Metrics.shared.counter(
    "weft_http_slow_heads_closed_total", "Connections closed because a request's head did not come in time."
  ).child()

  private let limit: TimeAmount
  private weak var channel: (any Channel)?
  private var deadline: NIODeadline?
  private var isIdle = false
  /// One task a connection, at most `limit` ahead: setting a deadline does not set a timer for each request.
  private var task: Scheduled<Void>?

  /// Begins to count now.
  public init(channel: any Channel, limit: TimeAmount) {
    self.channel = channel
    self.limit = limit
    expect(on: channel)
  }

  /// A head has come whole: what follows has its own limits.
  public func headCame() {
    deadline = nil
    isIdle = false
  }

  /// A request was answered and none waits: the next one's time begins with its first byte.
  public func answered() { isIdle = true }

  private func expect(on channel: any Channel) {
    isIdle = false
    deadline = channel.eventLoop.now + limit
    if task == nil { arm(channel, in: limit) }
  }

  private func arm(_ channel: any Channel, in time: TimeAmount) {
    task = channel.eventLoop.scheduleTask(in: time) { [weak self] in self?.fire() }
  }

  private func fire() {
    task = nil
    guard let channel, let deadline else { return }
    let rest = deadline - channel.eventLoop.now
    if rest > .zero { return arm(channel, in: rest) }
    Self.closed.increment()
    channel.close(promise: nil)
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isIdle { expect(on: context.channel) }
    context.fireChannelRead(data)
  }

  public func handlerRemoved(context: ChannelHandlerContext) {
    task?.cancel()
    task = nil
  }
}
