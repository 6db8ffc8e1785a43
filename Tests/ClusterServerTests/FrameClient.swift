// As much HTTP/2 as a badly behaved client needs: requests with literal headers, frames of any kind, windows that open when the
// test says so.

import ClusterServer
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// One connection. What arrives is kept by stream.
final class FrameClient: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private struct State {
    var unparsed = ByteBuffer()
    var bodies: [UInt32: [UInt8]] = [:]
    var answered: Set<UInt32> = []
    var ended: Set<UInt32> = []
    var isClosed = false
    /// Bytes that the server may still send: on the connection, and on streams that were opened.
    var allowed = 65_535
    var streams: [UInt32: Int] = [:]
    /// Bytes that came and were not given back, by stream; of the connection (0).
    var taken: [UInt32: Int] = [:]
    var hasOverrun = false
  }
  private let state = Mutex(State())
  private let channel = Mutex<(any Channel)?>(nil)
  private let authority: String

  private let window: UInt32
  /// Of the connection.
  private let widening: UInt32
  private let givesBack: Bool

  private init(authority: String, window: UInt32, widening: UInt32, givesBack: Bool) {
    self.authority = authority
    self.window = window
    self.widening = widening
    self.givesBack = givesBack
  }

  /// Connects as the cluster's administrator; `window` is what each stream may be sent at first, `widening` what the connection
  /// may be sent beyond 65,535 bytes. With `givesBack`, what came is allowed again once it is half of either.
  static func connect(
    _ server: ClusterServer, _ folder: String, window: UInt32, widening: UInt32 = 1 << 30,
    givesBack: Bool = false
  ) async throws -> FrameClient {
    let client = FrameClient(
      authority: "127.0.0.1:\(server.port)", window: window, widening: widening, givesBack: givesBack)
    var settings = TLSConfiguration.makeClientConfiguration()
    settings.certificateVerification = .none
    settings.applicationProtocols = ["h2"]
    let keys = folder + "/data/certificates/admin"
    settings.certificateChain = try NIOSSLCertificate.fromPEMFile(keys + ".crt").map { .certificate($0) }
    settings.privateKey = .privateKey(try NIOSSLPrivateKey(file: keys + ".key", format: .pem))
    let context = try NIOSSLContext(configuration: settings)
    _ = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            try NIOSSLClientHandler(context: context, serverHostname: nil))
          try channel.pipeline.syncOperations.addHandler(client)
        }
      }.connect(host: "127.0.0.1", port: server.port).get()
    return client
  }

  func handlerAdded(context: ChannelHandlerContext) {
    let channel = context.channel
    self.channel.withLock { $0 = channel }
  }

  // From the connection's own loop, and so before the answer to anything that the server says first.
  func channelActive(context: ChannelHandlerContext) {
    send(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8))
    frame(4, stream: 0, [0, 4] + Self.big(window))
    if widening > 0 { open(0, by: widening) }
  }

  func close() async throws {
    let channel = channel.withLock { $0 }
    try? await channel?.close().get()
  }

  static func big(_ number: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
  }

  private func send(_ bytes: [UInt8]) {
    channel.withLock { $0 }?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
  }

  func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32, _ payload: [UInt8]) {
    send(Self.big(UInt32(payload.count)).dropFirst() + [type, flags] + Self.big(stream) + payload)
  }

  /// WINDOW_UPDATE of a stream, or of the connection (0).
  func open(_ stream: UInt32, by increment: UInt32) {
    state.withLock { state in
      if stream == 0 {
        state.allowed += Int(increment)
      } else {
        state.streams[stream, default: Int(window)] += Int(increment)
      }
    }
    frame(8, stream: stream, Self.big(increment))
  }

  func get(_ path: String, stream: UInt32) {
    var block: [UInt8] = []
    for (name, value) in [
      (":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", path),
    ] {
      // Literal, not indexed, with its name. Lengths here stay below 127.
      block += [0, UInt8(name.utf8.count)] + name.utf8 + [UInt8(value.utf8.count)] + value.utf8
    }
    frame(1, flags: 5, stream: stream, block)
  }

  func isAnswered(_ stream: UInt32) -> Bool { state.withLock { $0.answered.contains(stream) } }
  func hasEnded(_ stream: UInt32) -> Bool { state.withLock { $0.ended.contains(stream) } }
  func body(_ stream: UInt32) -> String {
    state.withLock { String(decoding: $0.bodies[stream] ?? [], as: UTF8.self) }
  }
  /// The server sent more than it was allowed.
  var hasOverrun: Bool { state.withLock { $0.hasOverrun } }
  var isClosed: Bool { state.withLock { $0.isClosed } }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var part = unwrapInboundIn(data)
    let (answers, returns) = state.withLock { state in
      state.unparsed.writeBuffer(&part)
      var answers: [(type: UInt8, payload: [UInt8])] = []
      var returns: [(stream: UInt32, count: Int)] = []
      while let head = state.unparsed.getBytes(at: state.unparsed.readerIndex, length: 9) {
        let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
        guard state.unparsed.readableBytes >= 9 + length else { break }
        state.unparsed.moveReaderIndex(forwardBy: 9)
        let payload = state.unparsed.readBytes(length: length) ?? []
        let stream = head[5..<9].reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
        switch head[3] {
        case 0:
          state.bodies[stream, default: []] += payload
          state.allowed -= length
          state.streams[stream, default: Int(window)] -= length
          if state.allowed < 0 || (state.streams[stream] ?? 0) < 0 { state.hasOverrun = true }
          if givesBack {
            for (id, whole) in [(0, Int(widening) + 65_535), (stream, Int(window))] {
              state.taken[id, default: 0] += length
              guard let taken = state.taken[id], taken >= whole / 2, taken > 0 else { continue }
              state.taken[id] = 0
              returns.append((id, taken))
            }
          }
          if head[4] & 1 != 0 { state.ended.insert(stream) }
        case 1:
          state.answered.insert(stream)
          if head[4] & 1 != 0 { state.ended.insert(stream) }
        case 3: state.ended.insert(stream)
        case 4 where head[4] & 1 == 0: answers.append((4, []))
        case 6 where head[4] & 1 == 0: answers.append((6, payload))
        default: break
        }
      }
      return (answers, returns)
    }
    for (stream, count) in returns { open(stream, by: UInt32(count)) }
    for (type, payload) in answers { frame(type, flags: 1, stream: 0, payload) }
  }

  func channelInactive(context: ChannelHandlerContext) { state.withLock { $0.isClosed = true } }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
