// One request and its answer: the endpoint it goes to, other tries, what of it waits. Who speaks with the client is a
// subclass: a connection of HTTP/1.1, a stream of HTTP/2.
//
//   client -> [request] [pendingBody] -> endpoint
//   client <-  passHead, passBody     <- endpoint

import Reactor

class Exchange: TimerHandler {
  final let worker: IngressWorker
  // The request.
  final var upstream: UpstreamConnection?
  final var snapshot: RouteSnapshot
  final var match = RouteTable.Match(backend: 0, host: -1, path: -1)
  final var method = HTTPMethod.other
  final var wantsUpgrade = false
  final var tries = 0
  final var startedAt: UInt64 = 0
  /// The request as it goes upstream: its head and the part of its body that came with it.
  final var request = PooledBuffer()
  final var requestSent = 0
  /// `request` still holds everything that was sent.
  final var isReplayable = true
  final var pendingBody = PooledBuffer()
  final var requestBody = BodyScanner(.none)
  final var requestBodyBytes: UInt64 = 0
  // Its response.
  final var status = 0
  /// The request is counted, or belongs to no route: it was answered, or nobody waits for an answer.
  final var isCounted = true
  final var responseBody = BodyScanner(.none)
  final var upstreamKeepsAlive = true
  /// Time without a byte of the endpoint while its answer is awaited.
  final var readMilliseconds: UInt64
  /// Time that the client gives the whole request, nanoseconds; 0: none.
  final var clientLimit: UInt64 = 0
  /// Timers of the request's limits; `hasLimits` when one may be set.
  final var hasLimits = false
  final var requestTimer = TimerToken.none
  final var tryTimer = TimerToken.none
  /// The next try waits for it, and shall avoid this endpoint.
  final var againTimer = TimerToken.none
  final var failedPool: UpstreamPool?
  /// The backend learns from answers, or throws some away.
  final var watchesOutcome = false
  final var retriesStatuses = false
  /// When the last try began, its connection stood and its answer's head came; 0: not yet.
  final var triedAt: UInt64 = 0
  final var connectedAt: UInt64 = 0
  final var answeredAt: UInt64 = 0
  /// Bytes of both heads.
  final var requestHeadBytes = 0
  final var responseHeadBytes = 0
  /// Bytes of the answer's body that went on, and what the access log will tell; nil without one.
  final var responseBytes: UInt64 = 0
  final var logged: LoggedRequest?
  /// Interim answers of the endpoint that were passed on.
  final var interims = 0
  // What its rule does besides; nil for most.
  final var action: ActionRuntime?
  /// Lines of our own for the answer, made for this request.
  final var answerLines: [UInt8] = []
  /// Cookies of the one who let the request pass: lines that wait for the endpoint's status.
  final var grantedCookies: [UInt8] = []
  final var tickets: [ClientMeter.Ticket] = []
  /// Who is asked whether the request may pass, before it goes on.
  final var guardian: AuthorizationExchange?
  final var bodyBytesMax = UInt64.max
  /// What balancing goes by for a client that gets its cookie with this answer.
  final var boundKey: UInt64?
  /// Another backend tells of errors (`RouteErrors`): the target as it came, an error of ours that waits to be told, and whether one
  /// is being told.
  final var originalTarget: [UInt8] = []
  final var ownError = 0
  final var isErrorAnswer = false

  init(worker: IngressWorker) {
    self.worker = worker
    snapshot = worker.snapshot
    readMilliseconds = worker.limits.readMilliseconds
    bodyBytesMax = worker.limits.bodyBytesMax
  }

  func timerEnded(tag: Int) { limitEnded(tag) }

  // MARK: - Asked of subclasses

  /// A request is at an endpoint, or on its way there.
  var isRunning: Bool { false }
  /// Where the client's connection came from and went to; nil for requests that are our own.
  var addresses: ProxyAddresses? { nil }
  /// A copy of another request: it is not copied again.
  var isCopy: Bool { false }
  /// Upgraded: bytes both ways.
  var isTunnel: Bool { false }
  /// Bytes of the answer that may be read now; none when it is not positive: the client has to take something first.
  var responseRoom: Int { 0 }
  /// The present state may last this long from now.
  func wait(_ milliseconds: UInt64) {}
  /// The endpoint has taken all there was of the body, which is not over.
  func pumpBody() {}
  func pumpTunnel() {}
  /// Ends the request with an error of ours.
  func fail(_ code: Int) {}
  /// Ends the request, which no endpoint has seen, with an answer of ours.
  func deny(_ answer: OwnAnswer) {}
  /// The answer's head, which the worker's reader has just read, and what came behind it.
  func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {}
  /// An interim answer's head, which the worker's reader has just read.
  func passInterim(_ head: UnsafeRawBufferPointer) {}
  /// More of the answer's body, with its framing.
  func passBody(
    _ bytes: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {}
  /// The endpoint has agreed to another protocol.
  func becomeTunnel(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeRawBufferPointer, _ connection: UpstreamConnection
  ) {}
  /// The endpoint's connection ended, and the answer with it.
  func responseIsOver(isReusable: Bool) {}

  // MARK: - Shared

  /// What the answer's head, which was just read, means for what follows.
  func noteHead(_ reader: HeadReader) {
    status = reader.status
    answeredAt = worker.reactor.now
    logged?.hasUpstreamStatus = true
    if !grantedCookies.isEmpty { takeGrantedCookies() }
    if watchesOutcome, let upstream { noteOutcome(upstream.pool, isFailure: (502...504).contains(status)) }
    upstreamKeepsAlive = reader.facts.minor == 1 ? !reader.facts.closes : reader.facts.keepsAlive
    responseBody = BodyScanner(reader.facts.framing)
  }

  /// The head that was read does not go on after all, for it has become too long: the answer is still to be given.
  final func unsent() -> HTTPRefusal {
    status = 0
    responseBody = BodyScanner(.none)
    return HTTPRefusal(502)
  }

  /// What a try has shown of an endpoint.
  func noteOutcome(_ pool: UpstreamPool, isFailure: Bool) {
    snapshot.backends[match.backend].noteOutcome(
      pool, isFailure: isFailure, now: worker.reactor.now, worker.metrics)
  }

  func countBody(_ bytes: Int) throws(HTTPRefusal) {
    requestBodyBytes += UInt64(bytes)
    if requestBodyBytes > bodyBytesMax { throw HTTPRefusal(413) }
  }

  /// Forgets what was measured of the request before.
  final func beginMeasures() {
    startedAt = worker.reactor.now
    (triedAt, connectedAt, answeredAt) = (0, 0, 0)
    (requestHeadBytes, responseHeadBytes, responseBytes) = (0, 0, 0)
    isCounted = true
  }

  /// Counts a request that its client gave up: 499, as nginx has it, unless an answer had begun.
  final func countBrokenOff() {
    if status == 0 { status = 499 }
    count()
  }

  /// Counts the request for its route, and writes its line. Of one request once.
  func count() {
    if hasLimits { endLimits() }
    guard !isCounted else { return }
    isCounted = true
    if logged != nil { logEnd(status) }
    let now = worker.reactor.now
    var measures = RequestMeasures(whole: now &- startedAt)
    measures.requestBytes = UInt64(requestHeadBytes) + requestBodyBytes
    if connectedAt > 0 { measures.connect = connectedAt &- triedAt }
    if answeredAt > 0 {
      measures.header = answeredAt &- triedAt
      measures.response = now &- triedAt
      measures.responseBytes = UInt64(responseHeadBytes) + responseBytes
    }
    snapshot.backends[match.backend].meter(
      match, snapshot.table.hosts, method, status, worker.metrics.routes
    ).note(measures)
  }
}
