// A request as a stream of HTTP/2 to an endpoint. It takes the request in the form that HTTP/1.1 has and gives the answer in that
// form, so that an exchange does not know the difference.
//
//   exchange --send--> head, chunks --> [HEADERS, DATA, HEADERS]  --> session
//   exchange <-receive-- [head] [body] [trailers] <-- HEADERS, DATA <-- session

import Diagnostics
import Glibc
import Reactor

final class UpstreamStream: UpstreamConnection {
  private let session: UpstreamSession
  /// 0 until its head has been sent.
  private(set) var id: UInt32 = 0
  /// Bytes that the endpoint takes on this stream.
  var window = 0
  /// It waits for a window, or for the endpoint to take what was sent.
  private(set) var isBlocked = false
  /// A turn of its own was asked for: it has more to read.
  private(set) var isWoken = false

  // The request.
  private var scanner: BodyScanner?
  private var isHead = false
  private var hasSentEnd = false
  private var trailersOut = PooledBuffer()
  private var methodIsHead = false

  // The answer.
  private var head = PooledBuffer()
  private var body = PooledBuffer()
  private var trailersIn = PooledBuffer()
  private var hasHead = false
  private var isChunked = false
  private var hasNoBody = false
  private var hasReceivedEnd = false
  private var hasPassedEnd = false
  private var failure: HTTP2Error?
  private var wasRefused = false
  private var lengthIsOurs = false
  private var receiveRoom = HTTP2Peer.streamWindow
  private var credit = 0
  private var readable = false

  private init(_ session: UpstreamSession, pool: UpstreamPool, worker: IngressWorker) {
    self.session = session
    super.init(pool: pool, worker: worker)
  }

  /// A stream of a session that has room, else of a new session.
  static func open(
    _ pool: UpstreamPool, for client: Exchange, worker: IngressWorker
  ) throws(SocketError) -> UpstreamConnection {
    let session = try pool.session(for: pool.settings.proxy == nil ? nil : client.addresses, worker)
    let stream = UpstreamStream(session, pool: pool, worker: worker)
    stream.isReused = session.isStanding
    stream.isConnected = session.isStanding
    stream.begin(client)
    session.add(stream)
    return stream
  }

  override var isReadable: Bool { readable }
  override var isFinished: Bool { hasReceivedEnd || failure != nil }
  override var isUnprocessed: Bool { wasRefused }
  override var hidesLength: Bool { lengthIsOurs }

  override func establish(_ readiness: Readiness) -> TLSConnection.Step {
    if failure != nil { return .failed }
    guard session.isStanding else { return .unfinished }
    isConnected = true
    return .done
  }

  // MARK: - The request

  override func send(_ bytes: UnsafeRawBufferPointer) -> Transfer {
    guard failure == nil, session.isOpen else { return .failed(EPIPE) }
    var at = 0
    isBlocked = false
    if scanner == nil {
      guard session.mayBegin else {
        isBlocked = true
        return .wouldBlock
      }
      var end: Int?
      do throws(HTTPRefusal) { end = try HeadReader.end(of: bytes) } catch { return .failed(EPROTO) }
      guard let end, sendHead(UnsafeRawBufferPointer(rebasing: bytes[..<end])) else { return .failed(EPROTO) }
      at = end
    }
    while at < bytes.count, scanner?.isDone == false {
      let ahead = scanner?.contentAhead ?? 0
      var count = 1
      if ahead > 0 {
        count = min(ahead, bytes.count - at, min(window, session.window), session.bodyRoom)
        guard count > 0 else { break }
      }
      let piece = UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
      guard take(piece) else { return .failed(EPROTO) }
      at += count
      guard ahead > 0 else { continue }
      window -= count
      hasSentEnd = scanner?.isDone == true
      session.data(piece, ends: hasSentEnd, stream: id)
      guard session.isOpen else { return .failed(EPIPE) }
    }
    if scanner?.isDone == true, !hasSentEnd { sendEnd() }
    session.askFlush()
    // Also after a part: whoever sends waits for word then.
    isBlocked = at < bytes.count
    return at > 0 || bytes.isEmpty ? .bytes(at) : .wouldBlock
  }

  private func take(_ piece: UnsafeRawBufferPointer) -> Bool {
    do throws(HTTPRefusal) {
      _ = try scanner?.take(
        piece,
        trailer: { byte in
          if !trailersOut.isAllocated { trailersOut = worker.reactor.buffers.take() }
          withUnsafeBytes(of: byte) { _ = trailersOut.append($0) }
        })
      return true
    } catch { return false }
  }

  private func sendHead(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let (block, framing, toHead) = session.encode(bytes)
    guard let block else { return false }
    methodIsHead = toHead
    scanner = BodyScanner(framing)
    id = session.number(self)
    hasSentEnd = framing == .none
    session.headers(block, ends: hasSentEnd, stream: id)
    return session.isOpen
  }

  private func sendEnd() {
    hasSentEnd = true
    var out = HeadSpace(worker.http2.encodeSpace)
    out.writeTrailers(trailersOut.readable)
    if out.count > 0, !out.isFull {
      session.headers(out.bytes, ends: true, stream: id)
    } else {
      session.data(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, stream: id)
    }
    trailersOut = PooledBuffer()
  }

  // MARK: - What the session brings

  /// A head, or the trailers.
  func takeBlock(_ builder: ResponseBuilder, ends: Bool) {
    guard !hasReceivedEnd, let lines = builder.lines else { return fail(.protocolError) }
    if hasHead {
      guard ends, builder.status == 0 else { return fail(.protocolError) }
      if isChunked, !lines.isEmpty {
        guard lines.count < Trailers.bytesMax else { return fail(.protocolError) }
        trailersIn = worker.reactor.buffers.take()
        _ = trailersIn.append(lines)
      }
      hasReceivedEnd = true
      return tell()
    }
    guard builder.status > 0, builder.status >= 200 || !ends else { return fail(.protocolError) }
    if !head.isAllocated { head = worker.requests.take() }
    head.compact()
    var out = HeadSpace(head.writable)
    out.write("HTTP/1.1 ")
    for digit in [builder.status / 100, builder.status / 10 % 10, builder.status % 10] {
      out.write(UInt8(48 + digit))
    }
    out.write(builder.status == 200 ? " OK\r\n" : " \r\n")
    out.write(lines, 0..<lines.count)
    if builder.status >= 200 { writeFraming(builder, ends: ends, &out) }
    out.write("\r\n")
    guard !out.isFull else { return fail(.enhanceYourCalm) }
    head.produced(out.count)
    hasReceivedEnd = ends
    tell()
  }

  private func writeFraming(_ builder: ResponseBuilder, ends: Bool, _ out: inout HeadSpace) {
    hasHead = true
    hasNoBody = methodIsHead || builder.status == 204 || builder.status == 304
    var length = builder.length
    if !hasNoBody, ends, length == nil {
      length = 0
      lengthIsOurs = true
    }
    // Trailers have a place behind chunks only; gRPC cannot do without them.
    if !hasNoBody, !ends, length == nil || builder.isGRPC {
      isChunked = true
      out.write("transfer-encoding: chunked\r\n")
    } else if let length {
      out.write("content-length: ")
      out.write(decimal: length)
      out.write("\r\n")
    }
  }

  /// - Parameter frameBytes: what the window is charged with.
  func takeBody(_ bytes: UnsafeRawBufferPointer, frameBytes: Int, ends: Bool) {
    receiveRoom -= frameBytes
    guard hasHead, !hasReceivedEnd, receiveRoom >= 0 else {
      session.giveBack(frameBytes)
      return fail(receiveRoom < 0 ? .flowControl : .protocolError)
    }
    giveBack(frameBytes - bytes.count)
    if hasNoBody {
      giveBack(bytes.count)
    } else if !bytes.isEmpty {
      if !body.isAllocated { body = worker.bulk.take() }
      guard body.append(bytes) == bytes.count else { return fail(.internalError) }
    }
    hasReceivedEnd = ends
    tell()
  }

  /// - Parameter isUnprocessed: the endpoint has not acted upon the request.
  func takeFailure(_ error: HTTP2Error, isUnprocessed: Bool) {
    // A whole answer stays one whatever comes behind it.
    guard !hasReceivedEnd, failure == nil else { return }
    failure = error
    wasRefused = isUnprocessed && !hasHead
    tell()
  }

  private func fail(_ error: HTTP2Error) {
    failure = error
    session.reset(id, error)
    tell()
  }

  private func tell() {
    readable = true
    client?.upstreamReady(self, .readable)
  }

  /// A window has opened, or the session stands.
  func resume() {
    isBlocked = false
    client?.upstreamReady(self, .writable)
  }

  func wake() {
    isWoken = false
    if readable { client?.upstreamReady(self, .readable) }
  }

  // MARK: - The answer

  override func receive(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    var out = HeadSpace(space)
    if !head.isEmpty {
      let count = min(head.count, space.count)
      out.write(head.readable, 0..<count)
      head.consumed(count)
      if head.isEmpty { head = PooledBuffer() }
    }
    var passed = 0
    // A chunk's own bytes: at most 16 digits and two line ends.
    let framing = isChunked ? 20 : 0
    while head.isEmpty, !body.isEmpty, space.count - out.count > framing {
      let count = min(body.count, space.count - out.count - framing)
      if isChunked { out.writeChunkSize(count) }
      out.write(body.readable, 0..<count)
      if isChunked { out.write("\r\n") }
      body.consumed(count)
      passed += count
    }
    if body.isEmpty, body.isAllocated { body = PooledBuffer() }
    if hasReceivedEnd, isChunked, !hasPassedEnd, head.isEmpty, body.isEmpty,
      space.count - out.count >= trailersIn.count * 2 + 8
    {
      out.writeLastChunk(trailers: trailersIn.readable)
      hasPassedEnd = true
      trailersIn = PooledBuffer()
    }
    giveBack(passed)
    if out.count > 0 {
      readable = isFinished || !head.isEmpty || !body.isEmpty
      return .bytes(out.count)
    }
    if failure != nil { return .failed(EPROTO) }
    if hasReceivedEnd { return .end }
    readable = false
    return .wouldBlock
  }

  private func giveBack(_ bytes: Int) {
    guard bytes > 0 else { return }
    session.giveBack(bytes)
    credit += bytes
    guard !isFinished, credit >= HTTP2Peer.streamWindow / 4 else { return }
    let increment = UInt32(credit)
    receiveRoom += credit
    credit = 0
    session.frame(.windowUpdate, stream: id) { $0.write(bigEndian: increment) }
    session.askFlush()
  }

  // MARK: - Ends

  override func expectEnd() { readable = true }
  override func callAgain() {
    isWoken = true
    session.callAgain([])
  }
  override func finishSending() {}
  override func resetOnClose() {}

  override func finish(isReusable: Bool) {
    guard client != nil else { return }
    client = nil
    pool.active -= 1
    session.giveBack(body.count)
    if id != 0, failure == nil, !hasSentEnd || !hasReceivedEnd { session.reset(id, .cancel) }
    head = PooledBuffer()
    body = PooledBuffer()
    trailersIn = PooledBuffer()
    trailersOut = PooledBuffer()
    input = PooledBuffer()
    session.remove(self)
  }

  override func close() { finish(isReusable: false) }
}
