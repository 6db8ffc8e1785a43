// DNS over TLS: two octets of length, then a message, as over TCP (RFC 7858 section 3.3). Answers leave as they are ready.

import Addresses
import NIOCore

/// Reads queries of one connection. Reading stops while too many wait, or while the client does not take its answers.
final class StreamQueries: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let door: QueryDoor
  private let peer: SocketEndpoint
  private let pendingMax: Int
  private var context: ChannelHandlerContext?
  private var input = ByteBuffer()
  private var pending = 0
  private var isReadHeld = false
  private var isFinished = false

  init(_ door: QueryDoor, _ peer: SocketEndpoint, _ pendingMax: Int) {
    self.door = door
    self.peer = peer
    self.pendingMax = pendingMax
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  private var mayRead: Bool { pending < pendingMax && context?.channel.isWritable == true }

  func read(context: ChannelHandlerContext) {
    if mayRead { context.read() } else { isReadHeld = true }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var buffer = unwrapInboundIn(data)
    input.writeBuffer(&buffer)
    serveInput()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    resume()
    context.fireChannelWritabilityChanged()
  }

  private func resume() {
    serveInput()
    guard isReadHeld, mayRead else { return }
    isReadHeld = false
    context?.read()
  }

  private func serveInput() {
    while let context, mayRead, let length = input.getInteger(at: input.readerIndex, as: UInt16.self) {
      guard length >= Header.byteCount, length <= DNSConnection.queryBytesMax else {
        return context.close(promise: nil)
      }
      guard input.readableBytes >= 2 + Int(length) else { break }
      input.moveReaderIndex(forwardBy: 2)
      guard let query = input.readBytes(length: Int(length)) else { break }
      let loop = context.eventLoop
      let bound = NIOLoopBound(self, eventLoop: loop)
      pending += 1
      let isTaken = door.ask(query, peer: peer) { reply in
        loop.execute { bound.value.answered(reply) }
      }
      if !isTaken { return context.close(promise: nil) }
    }
    if input.readableBytes == 0 { input.clear(minimumCapacity: 0) } else { input.discardReadBytes() }
  }

  /// A client that sent what is no query, or nothing we answer, is not worth its connection.
  private func answered(_ reply: [UInt8]) {
    pending -= 1
    guard let context else { return }
    guard !reply.isEmpty, reply.count <= DNSLimits.messageBytesMax else { return context.close(promise: nil) }
    var buffer = context.channel.allocator.buffer(capacity: reply.count + 2)
    buffer.writeInteger(UInt16(truncatingIfNeeded: reply.count))
    buffer.writeBytes(reply)
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    resume()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
