// containerd's gRPC server ends every call with RST_STREAM(NO_ERROR), because our request's end-of-stream flag arrives in
// a frame of its own, after the answer was begun. NIO's HTTP/2 takes 200 resets in 30 seconds for an attack and closes the
// connection, and with it every call under way: twenty pods starting at once are enough. RFC 9113 section 8.1 says that a
// client must not discard a response because of such a reset; the stream has ended anyway. So these frames are taken out.
//
//   length (24) type (8) flags (8) stream (32) | payload      RST_STREAM: type 3, length 4, payload is the error code

import NIOCore

/// Drops RST_STREAM frames with NO_ERROR from what a client reads. Keeps at most 12 bytes between reads.
final class ResetFilter: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private var pending = ByteBuffer()
  /// Bytes of a frame that is passed through and not yet whole.
  private var passing = 0

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
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
  func filter(_ input: inout ByteBuffer) -> ByteBuffer {
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
      guard let head: UInt32 = input.getInteger(at: start), input.readableBytes >= 9 else { break }
      let length = Int(head >> 8)
      if head & 0xff == 3, length == 4 {
        guard let code: UInt32 = input.getInteger(at: start + 9) else { break }
        if code == 0 {
          input.moveReaderIndex(forwardBy: 13)
          continue
        }
      }
      passing = 9 + length
    }
    return out
  }
}
