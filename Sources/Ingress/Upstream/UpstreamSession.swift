// One connection of HTTP/2 to an endpoint, shared by the requests that are at it: of all clients, or of one where a header of the PROXY
// protocol names the client. By prior knowledge, or agreed on by TLS.

import Diagnostics
import Glibc
import Reactor

final class UpstreamSession: HTTP2Peer, ReadinessHandler {
  /// Streams at a time, if the endpoint admits as many.
  static let streamsMax = 128
  /// The last number that a stream may have; then the connection is replaced.
  private static let lastNumber: UInt32 = 0x7fff_fff0

  private var socket = UpstreamSocket()
  private let pool: UpstreamPool
  /// Whose requests alone it carries, as its header of the PROXY protocol says; nil: everybody's.
  let origin: ProxyAddresses?
  /// Streams whose head was sent, by their number; and those that wait for the connection or their turn.
  private var streams: [UInt32: UpstreamStream] = [:]
  private var waiting: [UpstreamStream] = []
  private var next: UInt32 = 1
  private var admitted = UpstreamSession.streamsMax
  /// Requests may be sent.
  private(set) var isStanding = false
  private var isClosed = false
  /// Frames that the kernel has not taken.
  private var output = PooledBuffer()
  private var idleSince: UInt64 = 0

  private init(_ pool: UpstreamPool, _ origin: ProxyAddresses?, _ worker: IngressWorker) {
    self.pool = pool
    self.origin = origin
    super.init(worker: worker, input: worker.http2.upstreamInput)
  }

  static func open(
    _ pool: UpstreamPool, for origin: ProxyAddresses?, _ worker: IngressWorker
  ) throws(SocketError) -> UpstreamSession {
    let session = UpstreamSession(pool, origin, worker)
    session.socket = try pool.connect(for: origin, handler: session, worker)
    pool.connections += 1
    pool.connecting += 1
    pool.sessions.add(session)
    return session
  }

  /// Takes another request.
  var hasRoom: Bool {
    !isEnding && !isClosed && next < Self.lastNumber && streams.count + waiting.count < admitted
  }
  /// A stream's head may be sent.
  var mayBegin: Bool { isStanding && isOutputTaken && streams.count < admitted && !isEnding }
  /// Bytes of body that can be staged now.
  var bodyRoom: Int {
    if stagingLeft < 32 << 10 { flush() }
    return isOutputTaken ? stagingLeft - (8 << 10) : 0
  }

  func add(_ stream: UpstreamStream) {
    if streams.isEmpty, waiting.isEmpty { pool.sessions.noteBusy(self) }
    waiting.append(stream)
  }

  /// Gives a stream its number, with which its head has to be sent at once.
  func number(_ stream: UpstreamStream) -> UInt32 {
    let id = next
    next += 2
    waiting.removeAll { $0 === stream }
    streams[id] = stream
    stream.window = initialWindow
    return id
  }

  func remove(_ stream: UpstreamStream) {
    if streams.removeValue(forKey: stream.id) == nil { waiting.removeAll { $0 === stream } }
    if !waiting.isEmpty, mayBegin { callAgain([]) }
    guard streams.isEmpty, waiting.isEmpty, !isClosed else { return }
    idleSince = worker.reactor.now
    pool.noteIdle(self, worker)
    guard !isClosed else { return }
    if isEnding || worker.reactor.isDraining { callAgain([]) }
  }

  /// A request's head as a header block; nil when it cannot be one. Until the next call.
  func encode(_ head: UnsafeRawBufferPointer) -> (UnsafeRawBufferPointer?, BodyFraming, toHead: Bool) {
    // The worker's other reader may be in use: we can be called while an answer is read.
    let reader = worker.http2.reader
    do throws(HTTPRefusal) { try reader.readRequest(head) } catch { return (nil, .none, false) }
    var out = HeadSpace(worker.http2.encodeSpace)
    out.writeRequestLine(head, reader, isSecure: pool.settings.tls != nil)
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      switch line.kind {
      case .host, .connection, .hopByHop, .upgrade, .transferEncoding, .expect: continue
      default: out.writeField(head, name: line.start..<line.nameEnd, value: line.valueStart..<line.valueEnd)
      }
    }
    // We read trailers, and gRPC servers ask for the word.
    out.writeField("te", "trailers")
    return (out.isFull ? nil : out.bytes, reader.facts.framing, reader.method == .head)
  }

  // MARK: - The connection below

  override var isOpen: Bool { isStanding && !isClosed }
  override var isOutputTaken: Bool { output.isEmpty }
  override var isReadable: Bool { socket.isReadable }
  override func read(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    socket.receive(into: space, worker)
  }
  override func write(_ bytes: UnsafeRawBufferPointer) {
    var sent = 0
    while output.isEmpty, sent < bytes.count {
      switch socket.send(UnsafeRawBufferPointer(rebasing: bytes[sent...]), worker) {
      case .bytes(let count):
        sent += count
        continue
      case .wouldBlock: output = worker.bulk.take()
      case .end, .failed: return abort()
      }
      break
    }
    guard sent < bytes.count else { return }
    let left = UnsafeRawBufferPointer(rebasing: bytes[sent...])
    if output.append(left) < left.count { abort() }
  }
  override func callAgain(_ readiness: Readiness) { socket.channel.callAgain(readiness) }

  func ready(_ readiness: Readiness) {
    guard !isClosed else { return }
    socket.note(readiness)
    if !isStanding, !stand(readiness) { return }
    if readiness.contains(.writable), !sendRest() { return }
    flush()
    wakeStreams()
    if isOpen, socket.isReadable { pump() }
    if isEnding || worker.reactor.isDraining, isOpen, streams.isEmpty, waiting.isEmpty { close() }
  }

  private func stand(_ readiness: Readiness) -> Bool {
    switch socket.establish(readiness, worker) {
    case .unfinished: return false
    case .failed:
      abort()
      return false
    case .done: break
    }
    if let tls = socket.tls, !tls.isHTTP2 {
      abort()
      return false
    }
    isStanding = true
    pool.connecting -= 1
    staging = worker.bulk.take()
    guard staging.isAllocated else {
      abort()
      return false
    }
    let preface = HTTP2Session.preface
    _ = staging.append(UnsafeRawBufferPointer(start: preface.utf8Start, count: preface.utf8CodeUnitCount))
    frame(.settings, stream: 0) { out in
      // No pushes; and the bytes of fields that we take.
      for (name, value) in [(2, 0), (6, RequestBuilder.listBytesMax)] {
        out.write(0)
        out.write(UInt8(name))
        out.write(bigEndian: UInt32(value))
      }
    }
    frame(.windowUpdate, stream: 0) { $0.write(bigEndian: UInt32(Self.receiveWindow - 65_535)) }
    for stream in waiting { stream.resume() }
    return isOpen
  }

  /// What the kernel had not taken. False when there is still some.
  private func sendRest() -> Bool {
    while !output.isEmpty {
      switch socket.send(output.readable, worker) {
      case .bytes(let count): output.consumed(count)
      case .wouldBlock: return false
      case .end, .failed:
        abort()
        return false
      }
    }
    _ = socket.flush()
    guard output.isAllocated else { return true }
    output = PooledBuffer()
    outputTaken()
    return isOpen
  }

  private func wakeStreams() {
    for stream in Array(streams.values) where stream.isWoken { stream.wake() }
    guard !waiting.isEmpty, mayBegin else { return }
    for stream in waiting where mayBegin { stream.resume() }
  }

  // MARK: - Streams

  override func isKnown(_ stream: UInt32) -> Bool { stream & 1 == 1 && stream < next }

  override func takeBlock(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    guard isKnown(blockStream) else { throw .protocolError }
    let builder = worker.http2.response
    builder.reset()
    try decode(bytes) { builder.take($0, $1) }
    guard let stream = streams[blockStream] else { return try noteChatter() }
    stream.takeBlock(builder, ends: blockEnds)
  }

  override func takeBody(
    _ data: UnsafeRawBufferPointer, frameBytes: Int, stream id: UInt32, ends: Bool
  ) throws(HTTP2Error) {
    guard let stream = streams[id] else { return giveBack(frameBytes) }
    stream.takeBody(data, frameBytes: frameBytes, ends: ends)
    chatter = max(0, chatter - 2)
  }

  override func takeReset(_ id: UInt32, _ error: HTTP2Error?) throws(HTTP2Error) {
    guard let stream = streams[id] else { return try noteChatter() }
    stream.takeFailure(error ?? .internalError, isUnprocessed: error == .refused)
  }

  override func takeGoAway(last: UInt32) {
    isEnding = true
    // What the endpoint has not looked at goes elsewhere (RFC 9113 section 6.8).
    for stream in waiting { stream.takeFailure(.refused, isUnprocessed: true) }
    for (id, stream) in streams where id > last { stream.takeFailure(.refused, isUnprocessed: true) }
    callAgain([])
  }

  override func takeSetting(_ name: Int, _ value: Int) {
    if name == 3 { admitted = min(value, Self.streamsMax) }
  }

  override func takeWindow(_ increment: Int, stream id: UInt32) throws(HTTP2Error) {
    guard let stream = streams[id] else { return try noteChatter() }
    stream.window += increment
    guard increment > 0, stream.window <= Self.windowMax else {
      reset(id, increment == 0 ? .protocolError : .flowControl)
      return stream.takeFailure(.flowControl, isUnprocessed: false)
    }
    if stream.isBlocked { stream.resume() }
  }

  override func shiftWindows(by change: Int) -> Bool {
    for stream in streams.values {
      stream.window += change
      if stream.window > Self.windowMax { return false }
    }
    return true
  }

  override func resumeStreams() {
    for stream in Array(streams.values) where stream.isBlocked {
      guard isOpen else { return }
      stream.resume()
    }
    for stream in waiting where mayBegin { stream.resume() }
  }

  // MARK: - Ends

  /// No new requests; the connection ends with the last of those that run.
  func finish() {
    isEnding = true
    if streams.isEmpty, waiting.isEmpty { close() }
  }

  /// Once a tick.
  func tick(now: UInt64, keep: UInt64) {
    guard isStanding else { return }
    guard forgive() else { return }
    if streams.isEmpty, waiting.isEmpty, isEnding || now > idleSince &+ keep { close() }
  }

  override func abort() { close(.connect) }

  override func end(_ error: HTTP2Error) {
    guard isOpen else { return }
    goAway(last: 0, error)
    flush(isLast: true)
    close(error)
  }

  func drain() { finish() }
  func cancel() { close() }

  private func close(_ error: HTTP2Error = .cancel) {
    guard !isClosed else { return }
    isClosed = true
    pool.connections -= 1
    if !isStanding { pool.connecting -= 1 }
    pool.sessions.remove(self)
    socket.close()
    output = PooledBuffer()
    staging = PooledBuffer()
    partial = PooledBuffer()
    block = PooledBuffer()
    let (running, queued) = (Array(streams.values), waiting)
    for stream in running { stream.takeFailure(error, isUnprocessed: false) }
    for stream in queued { stream.takeFailure(error, isUnprocessed: true) }
  }
}

extension HeadSpace {
  /// The pseudo-fields of a request, names and common values by their place in the static table.
  fileprivate mutating func writeRequestLine(
    _ head: UnsafeRawBufferPointer, _ reader: HeadReader, isSecure: Bool
  ) {
    switch reader.method {
    case .get: write(0x82)
    case .post: write(0x83)
    default:
      writeInteger(2, bits: 4, pattern: 0)
      writeInteger(reader.methodEnd, bits: 7, pattern: 0)
      write(head, 0..<reader.methodEnd)
    }
    write(isSecure ? 0x87 : 0x86)
    for (index, place) in [(4, reader.target), (1, reader.host)] {
      writeInteger(index, bits: 4, pattern: 0)
      writeInteger(place.count, bits: 7, pattern: 0)
      write(head, place)
    }
  }
}
