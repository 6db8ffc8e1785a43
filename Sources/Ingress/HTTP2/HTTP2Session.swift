// One client's HTTP/2 (RFC 9113): frames in, streams, frames out. The connection below keeps socket, TLS and what the client
// has not taken; while it has not taken something, nothing more is read from it, so nothing can pile up.
//
//   client --> [input] frames --> HTTP2Stream --> endpoint
//   client <-- [staging] <------- HTTP2Stream <-- endpoint     staging leaves once a turn, in one write

import Diagnostics
import Reactor

final class HTTP2Session {
  static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
  /// Streams at a time, as announced.
  static let streamsMax = 128
  /// Bytes of body that a client may send ahead on all its streams; one stream has the protocol's 65,535.
  static let receiveWindow = 1 << 20
  static let streamWindow = 65_535
  static let frameMax = 16_384
  static let windowMax = 0x7fff_ffff
  /// Frames that one header block may come in.
  static let blockFramesMax = 16
  /// Streams that ended badly, less those that ended well, before the connection is ended (CVE-2023-44487 and the resets
  /// that a server is brought to make, CVE-2025-8671).
  static let mischiefMax = 100
  /// Frames that ask for nothing (PING, SETTINGS, PRIORITY, empty DATA, unknown ones), less `chatterPerSecond`.
  static let chatterMax = 1000
  static let chatterPerSecond = 100
  /// Free bytes of staging without which no further frame is taken.
  private static let stagingRoom = 4 << 10

  /// Lets go of us when it ends.
  let client: ClientConnection
  let worker: IngressWorker
  private var decoder: HPACKDecoder
  var streams: [UInt32: HTTP2Stream] = [:]
  private var lastStream: UInt32 = 0
  private var hasPreface = false
  private var hasSettings = false
  private(set) var isEnding = false

  // Sending.
  var window = 65_535
  private var initialWindow = 65_535
  private var staging = PooledBuffer()
  private var isFlushAsked = false

  // Receiving.
  private var partial = PooledBuffer()
  private var credit = 0
  private var receiveRoom = HTTP2Session.receiveWindow
  private var block = PooledBuffer()
  private var blockStream: UInt32 = 0
  private var blockFrames = 0
  private var blockEnds = false
  private var blockDeadline: UInt64 = 0
  private var mischief = 0
  private var chatter = 0

  init(_ client: ClientConnection) {
    self.client = client
    worker = client.worker
    decoder = HPACKDecoder(worker.http2.tables)
    frame(.settings, stream: 0) { out in
      for (name, value) in [(3, Self.streamsMax), (6, RequestBuilder.listBytesMax)] {
        out.write(0)
        out.write(UInt8(name))
        out.write(bigEndian: UInt32(value))
      }
    }
    frame(.windowUpdate, stream: 0) { $0.write(bigEndian: UInt32(Self.receiveWindow - 65_535)) }
    askFlush()
  }

  // MARK: - Reading

  /// Bytes that came before it was known that this is HTTP/2.
  func begin(_ bytes: UnsafeRawBufferPointer) { _ = keep(bytes) }

  /// Reads what the client has sent, while it takes what it is told.
  func pump() {
    var reads = 0
    while client.state == .http2 {
      // What was left goes first, and again after the client has taken something.
      if !partial.isEmpty {
        let used = take(partial.readable)
        guard client.state == .http2 else { return }
        partial.consumed(used)
        if used == 0 || partial.isEmpty { if partial.isEmpty { partial = PooledBuffer() } } else { continue }
      }
      guard client.output.isEmpty, client.isReadable else { break }
      reads += 1
      if reads > worker.limits.readsPerTurnMax {
        client.channel.callAgain(.readable)
        break
      }
      let space = worker.http2.input
      // A frame that has not arrived whole goes on where it stopped.
      let kept = partial.count
      if kept > 0 {
        guard kept < space.count else { return end(.frameSize) }
        space.copyMemory(from: partial.readable)
        partial = PooledBuffer()
      }
      switch client.readClient(into: UnsafeMutableRawBufferPointer(rebasing: space[kept...])) {
      case .bytes(let count):
        let bytes = UnsafeRawBufferPointer(rebasing: space[..<(kept + count)])
        let used = take(bytes)
        guard client.state == .http2 else { return }
        if used < bytes.count, !keep(UnsafeRawBufferPointer(rebasing: bytes[used...])) { return }
      case .wouldBlock:
        if kept > 0, !keep(UnsafeRawBufferPointer(rebasing: space[..<kept])) { return }
      case .end, .failed: return client.abort()
      }
    }
    askFlush()
  }

  private func keep(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if !partial.isAllocated {
      partial = bytes.count > worker.requests.bufferBytes ? worker.bulk.take() : worker.requests.take()
    }
    if partial.append(bytes) == bytes.count { return true }
    client.abort()
    return false
  }

  /// Takes whole frames from the front; answers how many bytes they were.
  private func take(_ bytes: UnsafeRawBufferPointer) -> Int {
    var at = 0
    if !hasPreface {
      let count = min(bytes.count, Self.preface.utf8CodeUnitCount)
      for index in 0..<count where bytes[index] != Self.preface.utf8Start[index] {
        end(.protocolError)
        return 0
      }
      guard count == Self.preface.utf8CodeUnitCount else { return 0 }
      hasPreface = true
      at = count
    }
    while client.state == .http2, bytes.count - at >= HTTP2FrameHeader.bytes {
      // Each frame can make us answer: first what was said has to leave.
      if staging.isAllocated, staging.room < Self.stagingRoom {
        flush()
        guard client.state == .http2 else { return at }
      }
      guard client.output.isEmpty else { return at }
      let header = HTTP2FrameHeader(UnsafeRawBufferPointer(rebasing: bytes[at...]))
      guard header.length <= Self.frameMax else {
        end(.frameSize)
        return at
      }
      let next = at + HTTP2FrameHeader.bytes + header.length
      guard next <= bytes.count else { return at }
      let payload = UnsafeRawBufferPointer(rebasing: bytes[(at + HTTP2FrameHeader.bytes)..<next])
      do throws(HTTP2Error) { try take(header, payload) } catch { end(error) }
      at = next
    }
    return at
  }

  private func take(_ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer) throws(HTTP2Error) {
    if !hasSettings, header.kind != .settings { throw .protocolError }
    if block.isAllocated, header.kind != .continuation || header.stream != blockStream {
      throw .protocolError
    }
    switch header.kind {
    case .data: try takeData(header, payload)
    case .headers: try takeHeaders(header, payload)
    case .continuation:
      guard block.isAllocated else { throw .protocolError }
      try takeBlock(payload, header)
    case .priority:
      guard header.stream != 0 else { throw .protocolError }
      guard payload.count == 5 else { return reset(header.stream, .frameSize) }
      guard bigEndian(payload, 0) & 0x7fff_ffff != header.stream else {
        return reset(header.stream, .protocolError)
      }
      try noteChatter()
    case .resetStream:
      guard payload.count == 4 else { throw .frameSize }
      guard header.stream != 0, header.stream <= lastStream else { throw .protocolError }
      if let stream = streams[header.stream] {
        try noteMischief()
        stream.cancel()
      } else {
        try noteChatter()
      }
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
      // The client makes no new streams: what runs is finished.
      isEnding = true
      closeIfDone()
    case .windowUpdate: try takeWindow(header, payload)
    case .pushPromise: throw .protocolError
    case nil: try noteChatter()
    }
  }

  private func takeSettings(_ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer) throws(HTTP2Error)
  {
    guard header.stream == 0 else { throw .protocolError }
    if header.has(HTTP2FrameHeader.acknowledged) {
      guard payload.isEmpty, hasSettings else { throw payload.isEmpty ? .protocolError : .frameSize }
      return try noteChatter()
    }
    guard payload.count % 6 == 0 else { throw .frameSize }
    if hasSettings { try noteChatter() }
    hasSettings = true
    for at in stride(from: 0, to: payload.count, by: 6) {
      let value = Int(bigEndian(payload, at + 2))
      switch Int(payload[at]) << 8 | Int(payload[at + 1]) {
      case 2: guard value <= 1 else { throw .protocolError }
      case 4:
        guard value <= Self.windowMax else { throw .flowControl }
        let change = value - initialWindow
        initialWindow = value
        for stream in streams.values {
          stream.window += change
          guard stream.window <= Self.windowMax else { throw .flowControl }
        }
        if change > 0 { resumeStreams() }
      case 5:
        guard (16_384...16_777_215).contains(value) else { throw .protocolError }
      // Ours stay at the least that everybody takes: larger ones would hold up other streams.
      default: break
      }
    }
    frame(.settings, flags: HTTP2FrameHeader.acknowledged, stream: 0) { _ in }
  }

  private func takeWindow(_ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer) throws(HTTP2Error) {
    guard payload.count == 4 else { throw .frameSize }
    let increment = Int(bigEndian(payload, 0) & 0x7fff_ffff)
    guard header.stream != 0 else {
      guard increment > 0 else { throw .protocolError }
      window += increment
      guard window <= Self.windowMax else { throw .flowControl }
      return resumeStreams()
    }
    guard header.stream <= lastStream else { throw .protocolError }
    guard let stream = streams[header.stream] else { return try noteChatter() }
    stream.window += increment
    if increment == 0 || stream.window > Self.windowMax {
      try noteMischief()
      return stream.end(with: increment == 0 ? .protocolError : .flowControl)
    }
    stream.resume()
  }

  // MARK: - Headers

  private func takeHeaders(_ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer) throws(HTTP2Error) {
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
    if header.has(HTTP2FrameHeader.endHeaders) { return try finishBlock(fragment) }
    block = worker.requests.take()
    guard block.isAllocated else { throw .enhanceYourCalm }
    blockDeadline = worker.reactor.now &+ worker.limits.headMilliseconds &* 1_000_000
    try takeBlock(fragment, header)
  }

  private func takeBlock(_ fragment: UnsafeRawBufferPointer, _ header: HTTP2FrameHeader) throws(HTTP2Error) {
    blockFrames += 1
    guard blockFrames <= Self.blockFramesMax, block.append(fragment) == fragment.count else {
      throw .enhanceYourCalm
    }
    guard header.kind == .continuation, header.has(HTTP2FrameHeader.endHeaders) else { return }
    let whole = block.readable
    defer { block = PooledBuffer() }
    try finishBlock(whole)
  }

  private func finishBlock(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    let builder = worker.http2.builder
    builder.reset()
    do throws(HPACKError) {
      try decoder.decode(bytes, scratch: worker.http2.scratch) { builder.take($0, $1) }
    } catch {
      throw .compression
    }
    let id = blockStream
    if let stream = streams[id] {
      // Trailers: they end the body, and go no further.
      guard !stream.hasEnded else { throw .streamClosed }
      guard blockEnds else { throw .protocolError }
      return stream.takeData(UnsafeRawBufferPointer(start: nil, count: 0), ends: true)
    }
    // Of a stream that we have ended: the client did not know yet.
    guard id > lastStream else { return try noteMischief() }
    lastStream = id
    guard !isEnding, streams.count < Self.streamsMax, !worker.reactor.isDraining else {
      try noteMischief()
      return reset(id, .refused)
    }
    switch builder.finish(endsStream: blockEnds) {
    case .head(let head):
      let stream = HTTP2Stream(self, id: id, window: initialWindow, hasEnded: blockEnds)
      streams[id] = stream
      stream.begin(head)
    case .tooLarge:
      let stream = HTTP2Stream(self, id: id, window: initialWindow, hasEnded: blockEnds)
      streams[id] = stream
      stream.refuse(431)
    case .malformed:
      try noteMischief()
      worker.metrics.refusedRequests.child("400").increment()
      reset(id, .protocolError)
    }
  }

  // MARK: - Bodies

  private func takeData(_ header: HTTP2FrameHeader, _ payload: UnsafeRawBufferPointer) throws(HTTP2Error) {
    guard header.stream != 0, header.stream <= lastStream else { throw .protocolError }
    receiveRoom -= payload.count
    guard receiveRoom >= 0 else { throw .flowControl }
    var data = payload
    if header.has(HTTP2FrameHeader.padded) {
      guard let padding = payload.first, Int(padding) < payload.count else { throw .protocolError }
      data = UnsafeRawBufferPointer(rebasing: payload[1..<(payload.count - Int(padding))])
    }
    let ends = header.has(HTTP2FrameHeader.endStream)
    if data.isEmpty, !ends { try noteChatter() }
    guard let stream = streams[header.stream], !stream.hasEnded else {
      giveBack(payload.count)
      if streams[header.stream] != nil {
        try noteMischief()
        return streams[header.stream]?.end(with: .streamClosed) ?? ()
      }
      return try noteChatter()
    }
    guard stream.receive(payload.count) else {
      giveBack(payload.count)
      try noteMischief()
      return stream.end(with: .flowControl)
    }
    // Padding is nobody's to keep.
    stream.giveBack(payload.count - data.count)
    stream.takeData(data, ends: ends)
  }

  /// Bytes of bodies that have gone on, or been thrown away: the client may send as many again.
  func giveBack(_ bytes: Int) {
    credit += bytes
    guard credit >= Self.receiveWindow / 4, client.state == .http2 else { return }
    receiveRoom += credit
    let increment = UInt32(credit)
    frame(.windowUpdate, stream: 0) { $0.write(bigEndian: increment) }
    credit = 0
  }

  // MARK: - Bounds

  func noteMischief() throws(HTTP2Error) {
    mischief += 1
    if mischief > Self.mischiefMax { throw .enhanceYourCalm }
  }

  func noteGoodEnd() { if mischief > 0 { mischief -= 1 } }

  private func noteChatter() throws(HTTP2Error) {
    chatter += 1
    if chatter > Self.chatterMax { throw .enhanceYourCalm }
  }

  /// Once a tick.
  func tick() {
    chatter = max(0, chatter - Self.chatterPerSecond)
    let now = worker.reactor.now
    if block.isAllocated, now >= blockDeadline { return end(.enhanceYourCalm) }
    for stream in Array(streams.values) where now >= stream.deadline { stream.timedOut() }
    askFlush()
  }

  // MARK: - Writing

  /// Stages one frame.
  /// - Parameter body: writes at most `bytesMax`.
  func frame(
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

  /// Stages a body's bytes as DATA frames. They have to fit the windows.
  func data(_ bytes: UnsafeRawBufferPointer, ends: Bool, stream: UInt32) {
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

  private func makeRoom(_ bytes: Int) -> Bool {
    guard client.state == .http2 else { return false }
    if staging.isAllocated, staging.room < bytes { flush() }
    guard client.state == .http2 else { return false }
    if !staging.isAllocated { staging = worker.bulk.take() }
    if staging.room >= bytes { return true }
    client.abort()
    return false
  }

  /// Bytes that can be staged without anything having to leave first.
  var stagingLeft: Int { staging.isAllocated ? staging.room : worker.bulk.bufferBytes }

  /// Has what is staged leave when every other ready channel has had its turn: the answers of one turn go out together.
  func askFlush() {
    guard !isFlushAsked, staging.isAllocated, client.output.isEmpty, client.state == .http2 else { return }
    isFlushAsked = true
    client.channel.callAgain([])
  }

  /// - Parameter isLast: nothing will follow: behind what the client has not taken, as far as there is room.
  func flush(isLast: Bool = false) {
    isFlushAsked = false
    guard !staging.isEmpty, client.output.isEmpty || isLast else { return }
    let bytes = staging.readable
    client.send(bytes, UnsafeRawBufferPointer(start: nil, count: 0))
    staging = PooledBuffer()
  }

  /// The client has taken what was kept: what is staged may leave, what waits goes on.
  func outputTaken() {
    flush()
    guard client.state == .http2, client.output.isEmpty else { return }
    resumeStreams()
    guard client.state == .http2 else { return }
    pump()
  }

  func resumeStreams() {
    guard !streams.isEmpty else { return }
    for stream in Array(streams.values) where stream.isWaiting {
      guard client.state == .http2 else { return }
      stream.resume()
    }
  }

  // MARK: - Ends

  func reset(_ stream: UInt32, _ error: HTTP2Error) {
    frame(.resetStream, stream: stream) { $0.write(bigEndian: error.rawValue) }
    askFlush()
  }

  /// A stream is over.
  func remove(_ stream: HTTP2Stream) {
    streams[stream.id] = nil
    if streams.isEmpty { client.wait(worker.limits.keepAliveMilliseconds) }
    closeIfDone()
  }

  /// No new streams; the connection ends with the last of those that run.
  func drain() {
    guard !isEnding else { return }
    isEnding = true
    goAway(.none)
    askFlush()
    closeIfDone()
  }

  private func closeIfDone() {
    guard isEnding, streams.isEmpty, client.state == .http2 else { return }
    flush(isLast: true)
    client.close()
  }

  private func goAway(_ error: HTTP2Error) {
    let last = lastStream
    frame(.goAway, stream: 0) { out in
      out.write(bigEndian: last)
      out.write(bigEndian: error.rawValue)
    }
  }

  /// Ends the connection and every stream on it, saying why.
  func end(_ error: HTTP2Error) {
    guard client.state == .http2 else { return }
    worker.metrics.http2Ends.child("\(error)").increment()
    goAway(error)
    guard client.state == .http2 else { return }
    flush(isLast: true)
    cancelStreams()
    client.close()
  }

  func cancelStreams() {
    let running = Array(streams.values)
    streams = [:]
    for stream in running { stream.cancel() }
  }
}

/// What the HTTP/2 connections of one worker share.
final class HTTP2Worker {
  let tables = HPACKTables()
  let builder = RequestBuilder()
  /// What is read from clients: frames are taken from here, so nothing else may be read into it meanwhile.
  let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
  let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: HPACKDecoder.scratchBytes, alignment: 16)
  deinit {
    input.deallocate()
    scratch.deallocate()
  }
}
