// Header blocks put together from their frames, and bodies counted against the windows (RFC 9113 sections 4.3, 5.2, 6.1).

import Reactor

extension HTTP2Peer {
  final func takeHeaders(
    _ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer
  ) throws(HTTP2Error) {
    // Streams are the client's, and odd.
    guard header.stream & 1 == 1 else { throw .protocolError }
    var from = 0
    var to = payload.count
    if header.has(HTTP2FrameHeader.padded) {
      guard !payload.isEmpty, Int(payload[0]) < payload.count else { throw .protocolError }
      from = 1
      to -= Int(payload[0])
    }
    if header.has(HTTP2FrameHeader.prioritized) {
      guard to - from >= 5 else { throw .frameSize }
      guard bigEndian(payload, from) & 0x7fff_ffff != header.stream else { throw .protocolError }
      from += 5
    }
    guard from <= to else { throw .protocolError }
    blockStream = header.stream
    blockEnds = header.has(HTTP2FrameHeader.endStream)
    blockFrames = 0
    let fragment = UnsafeRawBufferPointer(rebasing: payload[from..<to])
    if header.has(HTTP2FrameHeader.endHeaders) { return try takeBlock(fragment) }
    block = worker.requests.take()
    guard block.isAllocated else { throw .enhanceYourCalm }
    blockDeadline = worker.reactor.now &+ worker.limits.headMilliseconds &* 1_000_000
    try takeFragment(fragment, header)
  }

  final func takeFragment(
    _ fragment: UnsafeRawBufferPointer, _ header: HTTP2FrameHeader
  ) throws(HTTP2Error) {
    blockFrames += 1
    guard blockFrames <= Self.blockFramesMax, block.append(fragment) == fragment.count else {
      throw .enhanceYourCalm
    }
    guard header.kind == .continuation, header.has(HTTP2FrameHeader.endHeaders) else { return }
    let whole = block.readable
    defer { block = PooledBuffer() }
    try takeBlock(whole)
  }

  /// Reads a block's fields.
  final func decode(
    _ bytes: UnsafeRawBufferPointer,
    field: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void
  ) throws(HTTP2Error) {
    do throws(HPACKError) {
      try decoder.decode(bytes, scratch: worker.http2.scratch, field: field)
    } catch {
      throw .compression
    }
  }

  final func takeData(
    _ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer
  ) throws(HTTP2Error) {
    guard header.stream != 0, isKnown(header.stream) else { throw .protocolError }
    receiveRoom -= payload.count
    guard receiveRoom >= 0 else { throw .flowControl }
    var data = payload
    if header.has(HTTP2FrameHeader.padded) {
      guard let padding = payload.first, Int(padding) < payload.count else { throw .protocolError }
      data = UnsafeRawBufferPointer(rebasing: payload[1..<(payload.count - Int(padding))])
    }
    let ends = header.has(HTTP2FrameHeader.endStream)
    if data.isEmpty, !ends { try noteChatter() }
    try takeBody(data, frameBytes: payload.count, stream: header.stream, ends: ends)
  }

  /// Bytes of bodies that have gone on, or been thrown away: the peer may send as many again.
  final func giveBack(_ bytes: Int) {
    credit += bytes
    guard credit >= Self.receiveWindow / 4, isOpen else { return }
    receiveRoom += credit
    let increment = UInt32(credit)
    frame(.windowUpdate, stream: 0) { $0.write(bigEndian: increment) }
    credit = 0
  }
}
