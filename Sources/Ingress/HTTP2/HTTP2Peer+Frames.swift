// Each kind of frame: whether it may come now, and what it asks for (RFC 9113 section 6).

import Reactor

extension HTTP2Peer {
  final func take(_ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer) throws(HTTP2Error) {
    if !hasSettings, header.kind != .settings { throw .protocolError }
    if block.isAllocated, header.kind != .continuation || header.stream != blockStream {
      throw .protocolError
    }
    switch header.kind {
    case .data: try takeData(header, payload)
    case .headers: try takeHeaders(header, payload)
    case .continuation:
      guard block.isAllocated else { throw .protocolError }
      try takeFragment(payload, header)
    case .priority:
      guard header.stream != 0 else { throw .protocolError }
      guard payload.count == 5 else { return reset(header.stream, .frameSize) }
      guard bigEndian(payload, 0) & 0x7fff_ffff != header.stream else {
        return reset(header.stream, .protocolError)
      }
      try noteChatter()
    case .resetStream:
      guard payload.count == 4 else { throw .frameSize }
      guard header.stream != 0, isKnown(header.stream) else { throw .protocolError }
      try takeReset(header.stream, HTTP2Error(rawValue: bigEndian(payload, 0)))
    case .settings: try takeSettings(header, payload)
    case .ping:
      guard header.stream == 0 else { throw .protocolError }
      guard payload.count == 8 else { throw .frameSize }
      try noteChatter()
      if !header.has(HTTP2FrameHeader.acknowledged) {
        frame(.ping, flags: HTTP2FrameHeader.acknowledged, stream: 0) { $0.write(payload, 0..<8) }
      }
    case .goAway:
      guard header.stream == 0 else { throw .protocolError }
      guard payload.count >= 8 else { throw .frameSize }
      takeGoAway(last: bigEndian(payload, 0) & 0x7fff_ffff)
    case .windowUpdate: try takeWindow(header, payload)
    case .pushPromise: throw .protocolError
    case nil: try noteChatter()
    }
  }

  private func takeSettings(
    _ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer
  ) throws(HTTP2Error) {
    guard header.stream == 0 else { throw .protocolError }
    if header.has(HTTP2FrameHeader.acknowledged) {
      guard payload.isEmpty, hasSettings else { throw payload.isEmpty ? .protocolError : .frameSize }
      return try noteChatter()
    }
    guard payload.count % 6 == 0 else { throw .frameSize }
    if hasSettings { try noteChatter() }
    hasSettings = true
    for at in stride(from: 0, to: payload.count, by: 6) {
      let name = Int(payload[at]) << 8 | Int(payload[at + 1])
      let value = Int(bigEndian(payload, at + 2))
      switch name {
      case 2: guard value <= 1 else { throw .protocolError }
      case 4:
        guard value <= Self.windowMax else { throw .flowControl }
        let change = value - initialWindow
        initialWindow = value
        guard shiftWindows(by: change) else { throw .flowControl }
        if change > 0 { resumeStreams() }
      case 5:
        // Ours stay at the least that everybody takes: larger ones would hold up other streams.
        guard (16_384...16_777_215).contains(value) else { throw .protocolError }
      default: takeSetting(name, value)
      }
    }
    frame(.settings, flags: HTTP2FrameHeader.acknowledged, stream: 0) { _ in }
  }

  private func takeWindow(
    _ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer
  ) throws(HTTP2Error) {
    guard payload.count == 4 else { throw .frameSize }
    let increment = Int(bigEndian(payload, 0) & 0x7fff_ffff)
    guard header.stream != 0 else {
      guard increment > 0 else { throw .protocolError }
      window += increment
      guard window <= Self.windowMax else { throw .flowControl }
      return resumeStreams()
    }
    guard isKnown(header.stream) else { throw .protocolError }
    try takeWindow(increment, stream: header.stream)
  }
}
