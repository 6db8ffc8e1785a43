// grpc-go measures bandwidth by a PING after data it receives: with many small calls, one for each. NIO's HTTP/2 takes 200
// control frames in 30 seconds for an attack, says ENHANCE_YOUR_CALM and closes the connection, and with it every call
// under way: deleting twenty pods at once was enough. These pings all carry the same eight bytes, and an unanswered one
// keeps the server from sending the next; only its window stays at its first size, which is plenty here. So they are taken
// out before the HTTP/2 handler. Keepalive pings carry other bytes and pass.
//
//   length (24) type (8) flags (8) stream (32) | payload      PING: type 6, length 8, flag 1 is the answer's

import NIOCore

/// Drops grpc-go's bandwidth pings from what a client reads. Keeps at most 16 bytes between reads. Belongs to one channel's
/// event loop.
public final class WindowProbeFilter: ChannelInboundHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer

  /// 2, 4, 16, 16, 9, 14, 7, 7.
  static let probe: UInt64 = 0x0204_1010_090e_0707

  private var pending = ByteBuffer()
  /// Bytes of a frame that is passed through and not yet whole.
  private var passing = 0

  public init() {}

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var input = unwrapInboundIn(data)
    if pending.readableBytes > 0 {
      pending.writeBuffer(&input)
      input = pending
    }
    let out = filter(&input)
    pending = input.readableBytes > 0 ? ByteBuffer(buffer: input) : ByteBuffer()
    if out.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(out)) }
  }

  /// Takes what is decided from the front of `input`; what is left there needs more bytes.
  public func filter(_ input: inout ByteBuffer) -> ByteBuffer {
    var out = ByteBuffer()
    out.reserveCapacity(input.readableBytes)
    while input.readableBytes > 0 {
      if passing > 0 {
        guard var part = input.readSlice(length: min(passing, input.readableBytes)) else { break }
        passing -= part.readableBytes
        out.writeBuffer(&part)
        continue
      }
      let start = input.readerIndex
      guard input.readableBytes >= 9, let head: UInt32 = input.getInteger(at: start),
        let flags: UInt8 = input.getInteger(at: start + 4)
      else { break }
      let length = Int(head >> 8)
      if head & 0xff == 6, length == 8, flags & 1 == 0 {
        guard input.readableBytes >= 17, let payload: UInt64 = input.getInteger(at: start + 9) else { break }
        if payload == Self.probe {
          input.moveReaderIndex(forwardBy: 17)
          continue
        }
      }
      passing = 9 + length
    }
    return out
  }
}
