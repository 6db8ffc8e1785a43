// Frames out: staged one behind the other, sent once a turn in one write.

import Reactor

extension HTTP2Peer {
  /// Stages one frame.
  /// - Parameter body: writes at most `bytesMax`.
  final func frame(
    _ kind: HTTP2FrameKind, flags: UInt8 = 0, stream: UInt32, bytesMax: Int = 64,
    _ body: (inout HeadSpace) -> Void
  ) {
    guard makeRoom(HTTP2FrameHeader.bytes + bytesMax) else { return }
    let space = staging.writable
    var out = HeadSpace(UnsafeMutableRawBufferPointer(rebasing: space[HTTP2FrameHeader.bytes...]))
    body(&out)
    var header = HeadSpace(UnsafeMutableRawBufferPointer(rebasing: space[..<HTTP2FrameHeader.bytes]))
    header.writeFrameHeader(length: out.count, kind, flags: flags, stream: stream)
    staging.produced(HTTP2FrameHeader.bytes + out.count)
  }

  /// Stages a header block, in as many frames as it needs.
  final func headers(_ block: UnsafeRawBufferPointer, ends: Bool, stream: UInt32) {
    var at = 0
    repeat {
      let count = min(block.count - at, Self.frameMax)
      let isLast = at + count == block.count
      let flags =
        (ends && at == 0 ? HTTP2FrameHeader.endStream : 0) | (isLast ? HTTP2FrameHeader.endHeaders : 0)
      frame(at == 0 ? .headers : .continuation, flags: flags, stream: stream, bytesMax: count) {
        $0.write(block, at..<at + count)
      }
      at += count
    } while at < block.count
    askFlush()
  }

  /// Stages a body's bytes as DATA frames. They have to fit the windows.
  final func data(_ bytes: UnsafeRawBufferPointer, ends: Bool, stream: UInt32) {
    var at = 0
    repeat {
      let count = min(bytes.count - at, Self.frameMax)
      let isLast = at + count == bytes.count
      guard makeRoom(HTTP2FrameHeader.bytes + count) else { return }
      var out = HeadSpace(staging.writable)
      out.writeFrameHeader(
        length: count, .data, flags: ends && isLast ? HTTP2FrameHeader.endStream : 0, stream: stream)
      out.write(bytes, at..<at + count)
      staging.produced(out.count)
      at += count
    } while at < bytes.count
    window -= bytes.count
    chatter = max(0, chatter - 2)
  }

  final func reset(_ stream: UInt32, _ error: HTTP2Error) {
    frame(.resetStream, stream: stream) { $0.write(bigEndian: error.rawValue) }
    askFlush()
  }

  final func goAway(last: UInt32, _ error: HTTP2Error) {
    frame(.goAway, stream: 0) { out in
      out.write(bigEndian: last)
      out.write(bigEndian: error.rawValue)
    }
  }

  private func makeRoom(_ bytes: Int) -> Bool {
    guard isOpen else { return false }
    if staging.isAllocated, staging.room < bytes { flush() }
    guard isOpen else { return false }
    if !staging.isAllocated { staging = worker.bulk.take() }
    if staging.room >= bytes { return true }
    abort()
    return false
  }

  /// Bytes that can be staged without anything having to leave first.
  final var stagingLeft: Int { staging.isAllocated ? staging.room : worker.bulk.bufferBytes }

  /// Has what is staged leave when every other ready channel has had its turn: what is said in one turn goes out together.
  final func askFlush() {
    guard !isFlushAsked, staging.isAllocated, isOutputTaken, isOpen else { return }
    isFlushAsked = true
    callAgain([])
  }

  /// - Parameter isLast: nothing will follow: behind what the peer has not taken, as far as there is room.
  final func flush(isLast: Bool = false) {
    isFlushAsked = false
    guard !staging.isEmpty, isOutputTaken || isLast else { return }
    write(staging.readable)
    staging = PooledBuffer()
  }

  /// The peer has taken what was kept: what is staged may leave, what waits goes on.
  final func outputTaken() {
    flush()
    guard isOpen, isOutputTaken else { return }
    resumeStreams()
    guard isOpen else { return }
    pump()
  }
}
