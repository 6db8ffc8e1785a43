// One request of HTTP/2 and its answer, on the routes and endpoints that HTTP/1.1 has.

import Diagnostics
import Reactor

final class HTTP2Stream: Exchange {
  enum State {
    /// At an endpoint, or on its way there.
    case running
    /// The endpoint is done; the client has not taken all of it.
    case holding
    case closed
  }

  let id: UInt32
  /// Both let go of each other when the stream is over.
  private let session: HTTP2Session
  private(set) var state = State.running
  var deadline: UInt64 = .max
  /// Bytes that the client takes on this stream.
  var window: Int
  /// It waits for a window, or for the client to take what was sent.
  private(set) var isWaiting = false
  /// The client has sent its last byte.
  private(set) var hasEnded: Bool
  /// Body that came with the endpoint's head, or that the windows do not admit.
  private var held = PooledBuffer()
  private var receiveRoom = HTTP2Session.streamWindow
  /// Bytes received that have not gone on to the endpoint, and those that the client may send again.
  private var unpassed = 0
  private var credit = 0
  /// What is to come by the client's own word; nil when it did not say.
  private var expected: UInt64?
  private var wrapsChunks = false
  private var isGRPC = false
  /// Fields behind the answer's body, as lines.
  private var trailers = PooledBuffer()

  init(_ session: HTTP2Session, id: UInt32, window: Int, hasEnded: Bool) {
    self.session = session
    self.id = id
    self.window = window
    self.hasEnded = hasEnded
    super.init(worker: session.worker)
  }

  // MARK: - The request

  /// - Parameter head: as HTTP/1.1 has it.
  func begin(_ head: UnsafeRawBufferPointer) {
    beginMeasures()
    requestHeadBytes = head.count
    let reader = worker.reader
    do throws(HTTPRefusal) {
      try reader.readRequest(head)
      method = reader.method
      if method == .post { noteGRPC(head) }
      if worker.log != nil { logRequest(head, isHTTP2: true, client: session.client.clientText) }
      if case .length(let length) = reader.facts.framing {
        expected = length
        guard !hasEnded else { return malformed() }
      } else {
        expected = reader.facts.hasLength ? 0 : nil
        wrapsChunks = reader.facts.framing == .chunked
      }
      requestBody = BodyScanner(hasEnded ? .none : .untilClose)
      if session.client.isMisdirected(RouteRequest(head, reader)) { throw HTTPRefusal(421) }
      guard
        let found = snapshot.table.match(
          RouteRequest(head, reader), port: session.client.port, worker.matchSpace)
      else { throw HTTPRefusal(404) }
      match = found
      isCounted = false
      logged?.isRouted = true
      if session.client.tls == nil, match.redirectsToHTTPS, let port = worker.securePort {
        let place = try ClientConnection.secureLocation(port, head, reader)
        status = 308
        count()
        return answer(308, lines: FieldEdit.line("Location", place))
      }
      var edit = RequestEdit()
      if match.action >= 0,
        let own = applyAction(
          RouteRequest(head, reader), session.client.origin, client: session.client.fixedLines, &edit),
        !keepsError(own.status)
      {
        status = own.status
        count()
        return answer(own.status, lines: own.lines)
      }
      if let expected, expected > bodyBytesMax { throw HTTPRefusal(413) }
      request = worker.requests.take()
      guard request.isAllocated else { throw HTTPRefusal(503) }
      var out = HeadSpace(request.writable)
      reader.writeRequest(
        head, to: &out, client: session.client.fixedLines, requestID: worker.nextRequestID(),
        isUpgrade: false,
        edit: edit)
      if out.isFull { throw HTTPRefusal(431) }
      request.produced(logged == nil ? out.count : out.count - 2)
      if logged != nil { endLoggedHead() }
      guardian?.headBytes = request.readable.count
      if reader.facts.expectsContinue, !hasEnded {
        session.frame(.headers, flags: HTTP2FrameHeader.endHeaders, stream: id) { $0.writeStatus(100) }
      }
      sendOn()
    } catch {
      refuse(error.status)
    }
  }

  /// Whether the request is one of gRPC, and the time that its caller gives it.
  private func noteGRPC(_ head: UnsafeRawBufferPointer) {
    let reader = worker.reader
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      let name = line.start..<line.nameEnd
      guard name.count == 12 else { continue }
      let value = line.valueStart..<line.valueEnd
      if value.count >= 16, HeadReader.equals(head, name, "content-type") {
        let start = value.lowerBound..<value.lowerBound + 16
        isGRPC = HeadReader.equals(head, start, "application/grpc")
      } else if HeadReader.equals(head, name, "grpc-timeout") {
        clientLimit = Self.grpcTimeout(UnsafeRawBufferPointer(rebasing: head[value]))
      }
    }
    if !isGRPC { clientLimit = 0 }
  }

  /// Answers a request that no endpoint sees.
  func refuse(_ code: Int) {
    worker.metrics.refusedRequests.child(String(code)).increment()
    isCounted = true
    if worker.log != nil {
      if logged == nil { logUnread(client: session.client.clientText) }
      logEnd(code)
    }
    answer(code)
  }

  private func malformed() {
    if (try? session.noteMischief()) == nil { return session.end(.enhanceYourCalm) }
    end(with: .protocolError)
  }

  /// Takes account of a DATA frame. False when the client had no room for it.
  func receive(_ bytes: Int) -> Bool {
    receiveRoom -= bytes
    return receiveRoom >= 0
  }

  /// Takes body. Bytes go to the endpoint as soon as it takes them.
  func takeData(
    _ bytes: UnsafeRawBufferPointer, ends: Bool,
    trailers: UnsafeRawBufferPointer = .init(start: nil, count: 0)
  ) {
    if ends { hasEnded = true }
    // The answer was given already: what still comes is thrown away.
    guard state == .running else {
      return giveBack(bytes.count)
    }
    if let left = expected {
      guard bytes.count <= left, !ends || bytes.count == left else { return malformed() }
      expected = left - UInt64(bytes.count)
    }
    do throws(HTTPRefusal) { try countBody(bytes.count) } catch {
      giveBack(bytes.count)
      return fail(error.status)
    }
    unpassed += bytes.count
    if !bytes.isEmpty || (ends && wrapsChunks) {
      if !pendingBody.isAllocated { pendingBody = worker.bulk.take() }
      guard append(bytes, ends: ends, trailers) else { return fail(503) }
    }
    if ends { requestBody = BodyScanner(.none) }
    if let upstream, upstream.isConnected { sendRequest(upstream) }
  }

  private func append(
    _ bytes: UnsafeRawBufferPointer, ends: Bool, _ trailers: UnsafeRawBufferPointer
  ) -> Bool {
    // With a length there is no place for trailers.
    guard wrapsChunks else { return pendingBody.append(bytes) == bytes.count }
    pendingBody.compact()
    var out = HeadSpace(pendingBody.writable)
    if !bytes.isEmpty {
      out.writeChunkSize(bytes.count)
      out.write(bytes, 0..<bytes.count)
      out.write("\r\n")
    }
    if ends { out.writeLastChunk(trailers: trailers) }
    guard !out.isFull else { return false }
    pendingBody.produced(out.count)
    return true
  }

  /// The fields behind the body: its end.
  /// - Parameter lines: nil when they are malformed.
  func takeTrailers(_ lines: UnsafeRawBufferPointer?) {
    guard let lines else { return malformed() }
    takeData(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, trailers: lines)
  }

  /// The endpoint has taken everything: the client may send more.
  override func pumpBody() {
    let passed = unpassed
    unpassed = 0
    giveBack(passed)
  }

  /// Bytes that are gone: the windows open again.
  func giveBack(_ bytes: Int) {
    guard bytes > 0 else { return }
    session.giveBack(bytes)
    credit += bytes
    guard !hasEnded, state == .running, credit >= HTTP2Session.streamWindow / 4 else { return }
    let increment = UInt32(credit)
    receiveRoom += credit
    credit = 0
    session.frame(.windowUpdate, stream: id) { $0.write(bigEndian: increment) }
    session.askFlush()
  }

  // MARK: - The answer

  override var addresses: ProxyAddresses? { session.client.addresses }
  override var isRunning: Bool { state == .running }

  /// The least that is read of an answer whose head has not come: what of it is body may have to be held.
  private static let headRoom = 16 << 10

  override var responseRoom: Int {
    let open = min(window, session.window)
    isWaiting = !session.client.output.isEmpty || !held.isEmpty || (status != 0 && open <= 0)
    if isWaiting { return 0 }
    // With frame headers it has to fit where frames are staged.
    let staged = max(Self.headRoom, session.stagingLeft - (8 << 10))
    return min(max(open, Self.headRoom), worker.limits.readBytesMax, staged)
  }

  override func wait(_ milliseconds: UInt64) { deadline = worker.reactor.now &+ milliseconds &* 1_000_000 }

  override func passInterim(_ head: UnsafeRawBufferPointer) {
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(worker.reader.status)
    writeFields(head, to: &block)
    if !block.isFull { session.headers(block.bytes, ends: false, stream: id) }
  }

  /// The fields of the head that the worker's reader has just read.
  private func writeFields(
    _ head: UnsafeRawBufferPointer, to block: inout HeadSpace, hidesLength: Bool = false
  ) {
    let reader = worker.reader
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      if dropsAnswerLine(line, head) { continue }
      switch line.kind {
      case .connection, .hopByHop, .upgrade, .transferEncoding: continue
      case .contentLength: if hidesLength || reader.status < 200 || reader.status == 204 { continue }
      default: if reader.facts.hasConnectionOptions, reader.isConnectionOption(line, head) { continue }
      }
      block.writeField(head, name: line.start..<line.nameEnd, value: line.valueStart..<line.valueEnd)
    }
  }

  override func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    noteHead(worker.reader)
    responseHeadBytes = head.count
    let ends = responseBody.isDone
    let strict = session.client.tls == nil ? [] : snapshot.strictTransportSecurity(match)
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(status)
    if !strict.isEmpty {
      // "Name: value" CR LF.
      strict.withUnsafeBytes { block.writeField($0, name: 0..<25, value: 27..<($0.count - 2)) }
    }
    if let action {
      block.writeFields(answerLines)
      if let edit = action.answer { block.writeFields(edit.lines) }
    }
    writeFields(head, to: &block, hidesLength: connection.hidesLength)
    if block.isFull { throw HTTPRefusal(502) }
    session.headers(block.bytes, ends: ends, stream: id)
    guard state == .running else { return }
    try passBody(rest, connection)
  }

  /// The last of the body is out: what stands behind it.
  private func writeTrailers() {
    guard !trailers.isEmpty else { return }
    var block = HeadSpace(worker.headSpace)
    block.writeTrailers(trailers.readable)
    trailers = PooledBuffer()
    if block.count > 0 { return session.headers(block.bytes, ends: true, stream: id) }
    session.data(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, stream: id)
    session.askFlush()
  }

  override func passBody(
    _ bytes: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    let hadBody = !responseBody.isDone
    var length = 0
    let used = try responseBody.take(UnsafeRawBufferPointer(bytes)) { range in
      guard let base = bytes.baseAddress else { return }
      if length != range.lowerBound {
        (base + length).copyMemory(from: base + range.lowerBound, byteCount: range.count)
      }
      length += range.count
    } trailer: { byte in
      if !trailers.isAllocated { trailers = worker.reactor.buffers.take() }
      withUnsafeBytes(of: byte) { _ = trailers.append($0) }
    }
    responseBytes += UInt64(length)
    let ends = hadBody && responseBody.isDone
    let count = min(length, max(0, min(window, session.window)))
    let isAll = ends && count == length
    if count > 0 || (isAll && trailers.isEmpty) {
      window -= count
      session.data(
        UnsafeRawBufferPointer(rebasing: bytes[..<count]), ends: isAll && trailers.isEmpty, stream: id)
      session.askFlush()
    }
    if isAll, state == .running { writeTrailers() }
    guard state == .running else { return }
    if count < length {
      held = length - count > worker.requests.bufferBytes ? worker.bulk.take() : worker.requests.take()
      let left = UnsafeRawBufferPointer(rebasing: bytes[count..<length])
      guard held.append(left) == left.count else { return fail(503) }
      isWaiting = true
      wait(worker.limits.clientMilliseconds)
    }
    connection.input = PooledBuffer()
    guard responseBody.isDone else { return }
    finish(isReusable: upstreamKeepsAlive && used == bytes.count)
  }

  override func responseIsOver(isReusable: Bool) {
    responseBody = BodyScanner(.none)
    if held.isEmpty {
      session.data(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, stream: id)
      session.askFlush()
    }
    if state == .running { finish(isReusable: isReusable) }
  }

  /// The endpoint is done with it.
  private func finish(isReusable: Bool) {
    super.count()
    let isWhole = requestBody.isDone && requestSent == request.count && pendingBody.isEmpty
    upstream?.finish(isReusable: isReusable && isWhole)
    upstream = nil
    letGo()
    state = .holding
    if held.isEmpty { close() }
  }

  private func letGo() {
    request = PooledBuffer()
    pendingBody = PooledBuffer()
    tickets = []
    letGuardianGo()
    let rest = unpassed
    unpassed = 0
    session.giveBack(rest)
  }

  /// A window has opened, or the client has taken what was sent.
  func resume() {
    guard state != .closed, session.client.output.isEmpty else { return }
    if !held.isEmpty {
      let count = min(held.count, min(window, session.window))
      guard count > 0 else { return }
      let ends = responseBody.isDone && count == held.count
      window -= count
      session.data(
        UnsafeRawBufferPointer(rebasing: held.readable[..<count]), ends: ends && trailers.isEmpty, stream: id)
      if ends { writeTrailers() }
      guard state != .closed else { return }
      held.consumed(count)
      wait(worker.limits.clientMilliseconds)
      session.askFlush()
      guard held.isEmpty else { return }
      held = PooledBuffer()
    }
    isWaiting = false
    if state == .holding { return close() }
    if let upstream, upstream.isReadable { readResponse(upstream) }
  }

  // MARK: - Ends

  override func fail(_ code: Int) {
    if state == .running, status == 0, tellsError(code) { return }
    deny(OwnAnswer(code))
  }

  override func deny(_ own: OwnAnswer) {
    guard state != .closed else { return }
    upstream?.finish(isReusable: false)
    upstream = nil
    guard status == 0 else { return end(with: .internalError) }
    status = own.status
    count()
    answer(own.status, lines: own.lines)
  }

  /// An answer of our own, in full.
  private func answer(_ code: Int, lines: [UInt8] = []) {
    status = code
    if isGRPC, !(200..<400).contains(code) { return answerGRPC(code) }
    let content = OwnResponse.content(status: code)
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(code)
    block.writeField("server", "weft")
    block.writeField("date", OwnResponse.date(seconds: Timestamp.now().seconds))
    if code != 204 {
      block.writeField("content-type", content.type)
      block.writeField("content-length", String(content.body.utf8.count))
    }
    block.writeFields(lines)
    let isHead = method == .head || code == 204
    session.headers(block.bytes, ends: isHead, stream: id)
    guard state == .running else { return }
    letGo()
    state = .holding
    responseBody = BodyScanner(.none)
    guard !isHead else { return close() }
    held = worker.requests.take()
    var body = content.body
    let fits = body.withUTF8 { held.append(UnsafeRawBufferPointer($0)) == $0.count }
    guard fits else { return end(with: .internalError) }
    isWaiting = true
    wait(worker.limits.clientMilliseconds)
    resume()
  }

  /// An error as gRPC's callers read it: status 200, and why in one block that is head and trailers.
  private func answerGRPC(_ code: Int) {
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(200)
    block.writeField("content-type", "application/grpc")
    block.writeField("grpc-status", String(OwnResponse.grpcStatus(code)))
    block.writeField("grpc-message", "weft ingress: \(code) \(OwnResponse.reasons[code] ?? "Error")")
    session.headers(block.bytes, ends: true, stream: id)
    guard state == .running else { return }
    letGo()
    close()
  }

  /// The answer is with the client.
  private func close() {
    guard state != .closed else { return }
    state = .closed
    held = PooledBuffer()
    session.noteGoodEnd()
    if !hasEnded { session.letRestCome(id) }
    session.remove(self)
  }

  /// Ends it with an error that the client sees.
  func end(with error: HTTP2Error) {
    guard state != .closed else { return }
    session.reset(id, error)
    cancel()
  }

  /// Ends it without a word.
  func cancel() {
    guard state != .closed else { return }
    let isUnanswered = state == .running && !isCounted
    state = .closed
    if isUnanswered { countBrokenOff() }
    if hasLimits { endLimits() }
    if logged != nil { logEnd(status == 0 ? 499 : status) }
    upstream?.finish(isReusable: false)
    upstream = nil
    letGo()
    held = PooledBuffer()
    session.remove(self)
  }

  func timedOut() {
    guard state == .running, status == 0, let upstream else { return end(with: .cancel) }
    if !upstream.isConnected { return upstreamFailed(status: 504) }
    if !requestBody.isDone, pendingBody.isEmpty, requestSent == request.count { return fail(408) }
    fail(504)
  }
}
