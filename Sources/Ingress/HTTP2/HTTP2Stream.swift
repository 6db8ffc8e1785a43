// One request of HTTP/2 and its answer, on the routes and endpoints that HTTP/1.1 has: its state, what the exchange asks for, its ends.
// What comes is in HTTP2Stream+Request, what goes in HTTP2Stream+Answer.

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
  let session: HTTP2Session
  var state = State.running
  var deadline: UInt64 = .max
  /// Bytes that the client takes on this stream.
  var window: Int
  /// It waits for a window, or for the client to take what was sent.
  var isWaiting = false
  /// The client has sent its last byte.
  var hasEnded: Bool
  /// Body that came with the endpoint's head, or that the windows do not admit.
  var held = PooledBuffer()
  var receiveRoom = HTTP2Session.streamWindow
  /// Bytes received that have not gone on to the endpoint, and those that the client may send again.
  var unpassed = 0
  var credit = 0
  /// What is to come by the client's own word; nil when it did not say.
  var expected: UInt64?
  var wrapsChunks = false
  var isGRPC = false
  /// Fields behind the answer's body, as lines.
  var trailers = PooledBuffer()

  init(_ session: HTTP2Session, id: UInt32, window: Int, hasEnded: Bool) {
    self.session = session
    self.id = id
    self.window = window
    self.hasEnded = hasEnded
    super.init(worker: session.worker)
  }

  /// The endpoint has taken everything: the client may send more.
  override func pumpBody() {
    let passed = unpassed
    unpassed = 0
    giveBack(passed)
    // The client is the slow one now: its own time counts and not the endpoint's, which may be hours. In a call of gRPC both
    // sides speak when they like, for as long as the caller says.
    if status == 0, !isGRPC { wait(worker.limits.clientMilliseconds) }
  }

  // MARK: - What the exchange asks for

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

  override func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) { try writeHead(head, rest, connection) }
  override func passBody(
    _ bytes: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) { try writeBody(bytes, connection) }
  override func responseIsOver(isReusable: Bool) {
    responseBody = BodyScanner(.none)
    if held.isEmpty {
      session.data(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, stream: id)
      session.askFlush()
    }
    if state == .running { finish(isReusable: isReusable) }
  }

  // MARK: - Ends

  /// The endpoint is done with it.
  func finish(isReusable: Bool) {
    super.count()
    let isWhole = requestBody.isDone && requestSent == request.count && pendingBody.isEmpty
    upstream?.finish(isReusable: isReusable && isWhole)
    upstream = nil
    letGo()
    state = .holding
    if held.isEmpty { close() }
  }

  func letGo() {
    request = PooledBuffer()
    pendingBody = PooledBuffer()
    tickets = []
    letGuardianGo()
    let rest = unpassed
    unpassed = 0
    session.giveBack(rest)
  }

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

  /// The answer is with the client.
  func close() {
    guard state != .closed else { return }
    state = .closed
    held = PooledBuffer()
    session.noteGoodEnd()
    if !hasEnded { session.letRestCome(id, credit: HTTP2Session.streamWindow - receiveRoom) }
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
