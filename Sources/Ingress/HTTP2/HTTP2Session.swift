// One client's HTTP/2: requests as streams. The connection below keeps socket, TLS and what the client has not taken.
//
//   client --> HTTP2Peer --> HTTP2Stream --> endpoint
//   client <-- HTTP2Peer <-- HTTP2Stream <-- endpoint

import Diagnostics
import Reactor

final class HTTP2Session: HTTP2Peer {
  static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
  /// Streams at a time, as announced.
  static let streamsMax = 128

  /// Lets go of us when it ends.
  let client: ClientConnection
  var streams: [UInt32: HTTP2Stream] = [:]
  private var lastStream: UInt32 = 0
  private var hasPreface = false
  /// When the connection takes no more streams, after it was said that it will; 0: that was not said.
  private var endsAt: UInt64 = 0
  /// What is still to come of a stream that was answered before its body was in.
  private struct Rest {
    /// It is not awaited any longer: nothing has come for a tick; and in any case.
    var deadline: UInt64
    var end: UInt64
    /// Bytes that came and that the client may not send again yet.
    var credit: Int
  }
  private var unread: [UInt32: Rest] = [:]
  /// Of more the stream is reset with the answer.
  static let unreadMax = 32

  init(_ client: ClientConnection) {
    self.client = client
    super.init(worker: client.worker, input: client.worker.http2.input)
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

  /// Bytes that came before it was known that this is HTTP/2.
  func begin(_ bytes: UnsafeRawBufferPointer) { _ = keep(bytes) }

  // MARK: - The connection below

  override var isOpen: Bool { client.state == .http2 }
  override var isOutputTaken: Bool { client.output.isEmpty }
  override var isReadable: Bool { client.isReadable }
  override func read(into space: UnsafeMutableRawBufferPointer) -> Transfer { client.readClient(into: space) }
  override func write(_ bytes: UnsafeRawBufferPointer) {
    client.send(bytes, UnsafeRawBufferPointer(start: nil, count: 0))
  }
  override func callAgain(_ readiness: Readiness) { client.channel.callAgain(readiness) }
  override func abort() { client.abort() }

  override func takePreface(_ bytes: UnsafeRawBufferPointer) -> Int? {
    if hasPreface { return 0 }
    let count = min(bytes.count, Self.preface.utf8CodeUnitCount)
    for index in 0..<count where bytes[index] != Self.preface.utf8Start[index] {
      end(.protocolError)
      return nil
    }
    guard count == Self.preface.utf8CodeUnitCount else { return nil }
    hasPreface = true
    return count
  }

  // MARK: - Streams

  override func isKnown(_ stream: UInt32) -> Bool { stream <= lastStream }

  override func takeBlock(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    let builder = worker.http2.builder
    builder.reset()
    try decode(bytes) { builder.take($0, $1) }
    let id = blockStream
    if let stream = streams[id] {
      guard !stream.hasEnded else { throw .streamClosed }
      guard blockEnds else { throw .protocolError }
      return stream.takeTrailers(builder.trailers)
    }
    if restHasCome(id) { return }
    // Of a stream that we have ended: the client did not know yet.
    guard id > lastStream else { return try noteMischief() }
    lastStream = id
    guard !isEnding, streams.count < Self.streamsMax, !worker.reactor.isDraining || worker.isPatient else {
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

  override func takeBody(
    _ data: UnsafeRawBufferPointer, frameBytes: Int, stream id: UInt32, ends: Bool
  ) throws(HTTP2Error) {
    guard let stream = streams[id] else {
      giveBack(frameBytes)
      if unread[id] == nil { return try noteChatter() }
      if ends { _ = restHasCome(id) } else { takeRest(frameBytes, id) }
      return
    }
    guard !stream.hasEnded else {
      giveBack(frameBytes)
      try noteMischief()
      return stream.end(with: .streamClosed)
    }
    guard stream.receive(frameBytes) else {
      giveBack(frameBytes)
      try noteMischief()
      return stream.end(with: .flowControl)
    }
    // Padding is nobody's to keep.
    stream.giveBack(frameBytes - data.count)
    stream.takeData(data, ends: ends)
  }

  override func takeReset(_ id: UInt32, _ error: HTTP2Error?) throws(HTTP2Error) {
    guard let stream = streams[id] else {
      _ = restHasCome(id)
      return try noteChatter()
    }
    try noteMischief()
    stream.cancel()
  }

  override func takeWindow(_ increment: Int, stream id: UInt32) throws(HTTP2Error) {
    guard let stream = streams[id] else { return try noteChatter() }
    stream.window += increment
    if increment == 0 || stream.window > Self.windowMax {
      try noteMischief()
      return stream.end(with: increment == 0 ? .protocolError : .flowControl)
    }
    stream.resume()
  }

  override func shiftWindows(by change: Int) -> Bool {
    for stream in streams.values {
      stream.window += change
      if stream.window > Self.windowMax { return false }
    }
    return true
  }

  override func resumeStreams() {
    guard !streams.isEmpty else { return }
    for stream in Array(streams.values) where stream.isWaiting {
      guard isOpen else { return }
      stream.resume()
    }
  }

  /// Once a tick.
  func tick() {
    guard forgive() else { return }
    let now = worker.reactor.now
    if endsAt > 0, now >= endsAt { drain() }
    for stream in Array(streams.values) where now >= stream.deadline { stream.timedOut() }
    for (id, rest) in unread where now >= rest.deadline {
      unread[id] = nil
      reset(id, .none)
    }
    askFlush()
  }

  // MARK: - Ends

  /// A stream is over.
  func remove(_ stream: HTTP2Stream) {
    streams[stream.id] = nil
    if streams.isEmpty { client.wait(worker.limits.keepAliveMilliseconds) }
    closeIfDone()
  }

  /// A stream is answered, and its body is not wanted. It may be on its way: clients that are in the middle of sending (curl) take the
  /// end of their stream for a failure and lose the answer, so the stream is reset (RFC 9113 section 8.1) when nothing has come for a tick.
  /// What comes is thrown away, and its window opens again: curl waits for that when the answer was no error. As with HTTP/1.1, for
  /// `lingerMilliseconds` at most.
  /// - Parameter credit: bytes that came and that the client may not send again yet.
  func letRestCome(_ id: UInt32, credit: Int) {
    guard unread.count < Self.unreadMax else { return reset(id, .none) }
    let (tick, linger) = (worker.limits.tickMilliseconds, worker.limits.lingerMilliseconds)
    let end = worker.reactor.now &+ max(tick, linger) &* 1_000_000
    unread[id] = Rest(deadline: end, end: end, credit: credit)
    takeRest(0, id)
  }

  private func takeRest(_ bytes: Int, _ id: UInt32) {
    guard var rest = unread[id] else { return }
    rest.credit += bytes
    rest.deadline = min(rest.end, worker.reactor.now &+ worker.limits.tickMilliseconds &* 1_000_000)
    let credit = rest.credit
    if credit >= Self.streamWindow / 4 { rest.credit = 0 }
    unread[id] = rest
    guard credit > rest.credit else { return }
    frame(.windowUpdate, stream: id) { $0.write(bigEndian: UInt32(credit)) }
    askFlush()
  }

  /// True when the rest of an answered stream was awaited; it is not any more.
  private func restHasCome(_ id: UInt32) -> Bool { unread.removeValue(forKey: id) != nil }

  /// The client makes no new streams: what runs is finished.
  override func takeGoAway(last: UInt32) {
    isEnding = true
    closeIfDone()
  }

  /// No new streams; the connection ends with the last of those that run.
  func drain() {
    guard !isEnding else { return }
    isEnding = true
    goAway(last: lastStream, .none)
    askFlush()
    closeIfDone()
  }

  /// Says that the end is near, and takes what the client has sent before it heard so (RFC 9113 section 6.8).
  func drainPatiently() {
    guard !isEnding, endsAt == 0 else { return }
    endsAt = worker.reactor.now &+ worker.limits.tickMilliseconds &* 1_000_000
    goAway(last: UInt32(Int32.max), .none)
    askFlush()
  }

  private func closeIfDone() {
    guard isEnding, streams.isEmpty, isOpen else { return }
    flush(isLast: true)
    client.close()
  }

  override func end(_ error: HTTP2Error) {
    guard isOpen else { return }
    worker.metrics.http2Ends.child("\(error)").increment()
    goAway(last: lastStream, error)
    guard isOpen else { return }
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
