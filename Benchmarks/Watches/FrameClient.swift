// As little HTTP/2 as it takes to open thousands of watches and to see when their events arrive: literal headers out,
// frames in, windows wide open. What a client costs must not decide what a server is found to do.

import Glibc
import NIOCore
import NIOPosix
import NIOSSL

/// Counts and arrival times of one connection. Belongs to its event loop until the run is over.
final class FrameClient: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// Events are told apart by this mark, with the time of the write behind it.
  static let mark = Array("@time=".utf8)

  private(set) var opened = 0
  private(set) var refused = 0
  private(set) var marks = 0
  private(set) var bytes = 0
  private(set) var frames = 0
  /// Arrivals by milliseconds since their write; the last holds all that were later.
  private(set) var arrivals = [Int](repeating: 0, count: 20_001)
  private var unparsed = ByteBuffer()
  private var unacknowledged = 0
  private var nextStream: UInt32 = 1
  private var context: ChannelHandlerContext?
  /// Until the server has said how many streams it takes, a hundred are the most.
  private var greeted: EventLoopPromise<Void>?

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    greeted = context.eventLoop.makePromise()
    if context.channel.isActive { greet(context) }
  }
  func channelActive(context: ChannelHandlerContext) { greet(context) }
  func channelInactive(context: ChannelHandlerContext) {
    self.context = nil
    greeted?.fail(ChannelError.eof)
    greeted = nil
  }
  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    say("connection failed: \(error)")
    context.close(promise: nil)
  }

  private func greet(_ context: ChannelHandlerContext) {
    var out = ByteBuffer(string: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    // SETTINGS: INITIAL_WINDOW_SIZE as large as it may be; then the connection's window.
    Self.frame(&out, type: 4, flags: 0, stream: 0, [0, 4, 0x7f, 0xff, 0xff, 0xff])
    Self.frame(&out, type: 8, flags: 0, stream: 0, Self.big(0x7fff_ffff - 65535))
    context.writeAndFlush(wrapOutboundOut(out), promise: nil)
  }

  private static func big(_ number: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
  }

  private static func frame(
    _ out: inout ByteBuffer, type: UInt8, flags: UInt8, stream: UInt32, _ payload: [UInt8]
  ) {
    out.writeBytes(big(UInt32(payload.count)).dropFirst())
    out.writeInteger(type)
    out.writeInteger(flags)
    out.writeInteger(stream)
    out.writeBytes(payload)
  }

  /// On the event loop: sends a request. A body ends it unless it `staysOpen`.
  func request(_ headers: [(String, String)], body: [UInt8]?, staysOpen: Bool = false) {
    guard let context else { return }
    var block: [UInt8] = []
    for (name, value) in headers {
      block.append(0)  // Literal, not indexed, with its name.
      for text in [name, value] {
        let bytes = Array(text.utf8)
        if bytes.count < 127 {
          block.append(UInt8(bytes.count))
        } else {
          block.append(127)
          var rest = bytes.count - 127
          while rest >= 128 {
            block.append(UInt8(rest % 128 + 128))
            rest /= 128
          }
          block.append(UInt8(rest))
        }
        block += bytes
      }
    }
    var out = ByteBuffer()
    Self.frame(&out, type: 1, flags: body == nil ? 5 : 4, stream: nextStream, block)
    if let body { Self.frame(&out, type: 0, flags: staysOpen ? 0 : 1, stream: nextStream, body) }
    nextStream += 2
    context.writeAndFlush(wrapOutboundOut(out), promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var part = unwrapInboundIn(data)
    if unparsed.readableBytes == 0 { unparsed = part } else { unparsed.writeBuffer(&part) }
    let now = milliseconds()
    var answer = ByteBuffer()
    let used = unparsed.withUnsafeReadableBytes { buffer in
      var at = 0
      while at + 9 <= buffer.count {
        let length = Int(buffer[at]) << 16 | Int(buffer[at + 1]) << 8 | Int(buffer[at + 2])
        guard at + 9 + length <= buffer.count else { break }
        let payload = UnsafeRawBufferPointer(rebasing: buffer[at + 9..<at + 9 + length])
        take(type: buffer[at + 3], flags: buffer[at + 4], payload, now, &answer)
        at += 9 + length
      }
      return at
    }
    unparsed.moveReaderIndex(forwardBy: used)
    unparsed.discardReadBytes()
    if unacknowledged > 1 << 24 {
      Self.frame(&answer, type: 8, flags: 0, stream: 0, Self.big(UInt32(unacknowledged)))
      unacknowledged = 0
    }
    if answer.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(answer), promise: nil) }
  }

  private func take(
    type: UInt8, flags: UInt8, _ payload: UnsafeRawBufferPointer, _ now: Int, _ answer: inout ByteBuffer
  ) {
    switch type {
    case 0:
      unacknowledged += payload.count
      bytes += payload.count
      frames += 1
      look(payload, now)
    // `:status: 200` is the eighth entry of the static table.
    case 1 where payload.first == 0x88: opened += 1
    case 1, 3: if flags & 1 == 0 || type == 3 { refused += 1 }
    case 4 where flags & 1 == 0:
      Self.frame(&answer, type: 4, flags: 1, stream: 0, [])
      greeted?.succeed()
      greeted = nil
    case 6 where flags & 1 == 0: Self.frame(&answer, type: 6, flags: 1, stream: 0, Array(payload))
    case 7:
      let words = payload.prefix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
      say("the server said goodbye: last stream \(words >> 32), code \(words & 0xffff_ffff)")
    default: break
    }
  }

  /// Every mark in these bytes, with the time behind it.
  private func look(_ payload: UnsafeRawBufferPointer, _ now: Int) {
    guard var from = payload.baseAddress else { return }
    let end = from + payload.count
    while from < end, let found = memchr(from, Int32(Self.mark[0]), end - from) {
      guard end - UnsafeRawPointer(found) > Self.mark.count, memcmp(found, Self.mark, Self.mark.count) == 0
      else {
        from = UnsafeRawPointer(found) + 1
        continue
      }
      var digit = UnsafeRawPointer(found) + Self.mark.count
      var time = 0
      while digit < end {
        let byte = digit.load(as: UInt8.self)
        guard byte >= 48, byte <= 57 else { break }
        time = time * 10 + Int(byte - 48)
        digit += 1
      }
      marks += 1
      arrivals[min(max(0, now - time), arrivals.count - 1)] += 1
      from = digit
    }
  }

  /// Connects; TLS with HTTP/2 by ALPN, or HTTP/2 at once.
  static func connect(
    _ target: Target, on group: any EventLoopGroup
  ) async throws -> (client: FrameClient, channel: any Channel) {
    let client = FrameClient()
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.certificateVerification = .none
    configuration.applicationProtocols = ["h2"]
    let context = target.isTLS ? try NIOSSLContext(configuration: configuration) : nil
    let channel = try await ClientBootstrap(group: group)
      .channelOption(.socketOption(.tcp_nodelay), value: 1)
      .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 256 << 10))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          if let context {
            try channel.pipeline.syncOperations.addHandler(
              NIOSSLClientHandler(context: context, serverHostname: nil))
          }
          try channel.pipeline.syncOperations.addHandler(client)
        }
      }.connect(host: target.host, port: target.port).get()
    try await channel.eventLoop.flatSubmit {
      client.greeted?.futureResult ?? channel.eventLoop.makeSucceededVoidFuture()
    }.get()
    return (client, channel)
  }
}

struct Target: Sendable {
  var host: String
  var port: Int
  var isTLS: Bool
}
