// A client's connection and the request it is at. Bytes pass through the reactor's scratch space; buffers are
// held only for what could not go on at once, and for the request's beginning, so that it can be sent to
// another endpoint.
//
//   client --recv--> [input] --head, body--> [request] [pendingBody] --send--> endpoint
//          <--send-- [output] <----------- head, body <--recv-- [upstream.input]

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor

final class ClientConnection: Exchange, ReadinessHandler, ListenerGuest {
  enum State {
    /// TLS is being agreed on.
    case handshake
    /// Between requests, or in a head.
    case head
    /// A request is at an endpoint, or on its way there.
    case exchange
    /// Upgraded: bytes both ways.
    case tunnel
    /// Requests come as streams.
    case http2
    /// Everything is said; what the client still sends is thrown away.
    case lingering
    case closed
  }

  var channel = Channel()
  var state = State.head
  /// Bytes of the client that nobody has looked at yet.
  var input = PooledBuffer()
  /// Bytes that the client has not taken. Nothing more is read from the endpoint while there are any.
  var output = PooledBuffer()
  var isReadable = false
  /// The client has finished sending.
  var isFinished = false
  var isInReadHead = false
  let fixedLines: [UInt8]
  let doorNumber: Int
  /// Of the listening socket.
  let port: UInt16
  /// This machine's, that the client came to; nil: nobody has asked for it yet.
  private var address: IPAddress?
  let source: SocketEndpoint
  /// As the PROXY protocol gave it; nil: the socket's own.
  private let destination: SocketEndpoint?
  var peer: IPAddress { source.address }
  /// The client's address.
  let clientText: String
  /// Nil on a plain connection.
  var tls: TLSConnection?
  /// What the client showed that was asked for a certificate; nil when it was not.
  var shown: ShownCertificate?
  var http2: HTTP2Session?
  /// The alert that ends TLS has been sent.
  var hasSaidClose = false
  private var timer = TimerToken.none
  /// Time at which the present state has lasted too long.
  var deadline: UInt64 = 0

  // The request.
  var minor: UInt8 = 1
  var keepsAlive = true
  /// Its listener has gone: no request after this one.
  private var isLeaving = false
  private var expectsContinue = false
  var unwrapsChunks = false

  private init(
    worker: IngressWorker, peer: SocketEndpoint, destination: SocketEndpoint?, door: ListenerDoor,
    isSecure: Bool
  ) {
    doorNumber = door.number
    port = door.place.port
    address = door.place.address
    source = peer
    self.destination = destination
    let client = "\(peer.address)"
    clientText = client
    let scheme = isSecure ? "https" : "http"
    fixedLines = Array(
      """
      X-Real-IP: \(client)\r\nX-Forwarded-For: \(client)\r\nX-Forwarded-Port: \(door.place.port)\r
      X-Forwarded-Proto: \(scheme)\r\nX-Forwarded-Scheme: \(scheme)\r\nX-Scheme: \(scheme)\r\n
      """.utf8)
    super.init(worker: worker)
  }

  /// - Parameters:
  ///   - peer: the client, who need not be the one who connected.
  ///   - destination: where it connected to, when that is not this socket's address.
  ///   - security: the worker's, on a listener for HTTPS.
  static func open(
    _ descriptor: consuming Descriptor, peer: SocketEndpoint, destination: SocketEndpoint? = nil,
    door: ListenerDoor, worker: IngressWorker, security: TLSContext? = nil
  ) throws(SocketError) {
    let client = ClientConnection(
      worker: worker, peer: peer, destination: destination, door: door, isSecure: security != nil)
    let raw = descriptor.raw
    client.channel = try worker.reactor.register(descriptor, handler: client)
    if let security {
      client.tls = TLSConnection(security, descriptor: raw)
      guard client.tls != nil else {
        client.channel.close()
        throw SocketError("SSL_new", ENOMEM)
      }
      client.state = .handshake
    }
    client.wait(security == nil ? worker.limits.headMilliseconds : worker.limits.handshakeMilliseconds)
    client.timer = worker.reactor.setTimer(
      after: worker.limits.tickMilliseconds * 1_000_000, handler: client)
    worker.clientOpened()
  }

  // MARK: - Events

  func ready(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.error, .hangUp]) { return abort() }
    if readiness.contains(.peerFinished) { isFinished = true }
    if !readiness.isDisjoint(with: [.readable, .peerFinished]) {
      isReadable = true
      tls?.setReadable(isFinished: isFinished)
    }
    if readiness.contains(.writable), !output.isEmpty, !flush() { return }
    if state == .http2 {
      http2?.flush()
      if state == .http2, isReadable { http2?.pump() }
      return
    }
    guard isReadable else { return }
    switch state {
    case .handshake: shakeHands()
    case .head: readHead()
    case .exchange:
      pumpBody()
      endIfAlone()
    case .tunnel: pumpTunnel()
    case .lingering: discardInput()
    case .http2, .closed: break
    }
  }

  /// A client that has said all and closes its side waits for no answer: the endpoint's work ends with it (499). One that only
  /// ends its sending looks the same; nginx takes it so too.
  private func endIfAlone() {
    if state == .exchange, isFinished, requestBody.isDone { abort() }
  }

  /// Where it came to, as a table tells places apart. The socket is asked for its address once, and only for a table that names some.
  func place(in table: RouteTable) -> ListenerPlace {
    guard table.namesAddresses else { return ListenerPlace(port) }
    if address == nil { address = channel.withDescriptor { Sockets.localEndpoint($0)?.address } }
    return ListenerPlace(port, address)
  }

  /// What filters know of the client.
  var origin: RequestOrigin { RequestOrigin(address: peer, port: port, isSecure: tls != nil, shown: shown) }

  // MARK: - What the exchange asks for

  override var addresses: ProxyAddresses? {
    (destination ?? channel.withDescriptor { Sockets.localEndpoint($0) }).map {
      ProxyAddresses(source: source, destination: $0)
    }
  }
  override var isRunning: Bool { state == .exchange }
  override var isTunnel: Bool { state == .tunnel }
  override var responseRoom: Int { output.isEmpty ? worker.limits.readBytesMax : -1 }
  override func pumpBody() { readBody() }
  override func pumpTunnel() { moveBytes() }
  override func fail(_ code: Int) {
    if status == 0, tellsError(code) { return }
    answerFailure(code)
  }
  override func deny(_ answer: OwnAnswer) { answerFailure(answer.status, lines: answer.lines) }
  override func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) { try writeHead(head, rest, connection) }
  override func passInterim(_ head: UnsafeRawBufferPointer) { writeInterim(head) }
  override func passBody(
    _ bytes: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) { try writeBody(bytes, head: nil, connection) }
  override func becomeTunnel(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeRawBufferPointer, _ connection: UpstreamConnection
  ) { startTunnel(head, rest, connection) }
  override func responseIsOver(isReusable: Bool) { finishExchange(isReusable: isReusable) }

  /// The present state may last this long from now.
  override func wait(_ milliseconds: UInt64) { deadline = worker.reactor.now &+ milliseconds &* 1_000_000 }

  override func timerEnded(tag: Int) {
    guard tag == 0 else { return limitEnded(tag) }
    guard state != .closed else { return }
    if state == .http2 { http2?.tick() }
    if worker.reactor.now >= deadline { timedOut() }
    guard state != .closed else { return }
    timer = worker.reactor.setTimer(after: worker.limits.tickMilliseconds * 1_000_000, handler: self)
  }

  private func timedOut() {
    switch state {
    case .head:
      if input.isEmpty { abort() } else { refuse(408) }
    case .exchange:
      guard output.isEmpty, status == 0, let upstream else { return abort() }
      // The client is the slow one while its body is awaited.
      if !upstream.isConnected { return upstreamFailed(status: 504) }
      if !requestBody.isDone, pendingBody.isEmpty { return fail(408) }
      upstream.finish(isReusable: false)
      self.upstream = nil
      fail(504)
    case .http2:
      // Nothing runs, or the client does not take what it asked for.
      guard let http2, http2.streams.isEmpty || !output.isEmpty else { return }
      output.isEmpty ? http2.drain() : abort()
    case .handshake, .tunnel, .lingering, .closed: abort()
    }
  }

  func drain() {
    isLeaving = true
    switch state {
    case .head where input.isEmpty:
      // A request may be on its way to us: it is answered, and its answer says that we close.
      if worker.isPatient { wait(worker.limits.patienceMilliseconds) } else { abort() }
    case .handshake: if !worker.isPatient { abort() }
    case .closed, .tunnel, .lingering: break
    case .http2: worker.isPatient ? http2?.drainPatiently() : http2?.drain()
    default: keepsAlive = false
    }
  }

  func cancel() { abort() }

  /// Ends the connection without another word.
  func abort() {
    guard state != .closed else { return }
    let isUnanswered = state == .exchange && !isCounted
    state = .closed
    if isUnanswered { countBrokenOff() }
    let session = http2
    http2 = nil
    session?.cancelStreams()
    worker.reactor.cancelTimer(timer)
    if hasLimits { endLimits() }
    if logged != nil { logEnd(status == 0 ? 499 : status) }
    upstream?.finish(isReusable: false)
    upstream = nil
    tickets = []
    letGuardianGo()
    tls = nil
    channel.close()
    input = PooledBuffer()
    output = PooledBuffer()
    request = PooledBuffer()
    pendingBody = PooledBuffer()
    worker.clientClosed()
  }

  // MARK: - Reading heads

  func readHead() {
    guard !isInReadHead else { return }
    isInReadHead = true
    defer { isInReadHead = false }
    while state == .head, output.isEmpty {
      if !input.isEmpty {
        let used = take(input.readable)
        // A refusal has let go of the buffer.
        if state != .head, state != .exchange { return }
        if used > 0 {
          input.consumed(used)
          if input.isEmpty { input = PooledBuffer() }
          if state == .exchange { start() }
          continue
        }
        input.compact()
        guard receive(into: input.writable, { self.input.produced($0) }) else { return }
      } else {
        let space = UnsafeMutableRawBufferPointer(
          rebasing: worker.reactor.scratch[..<HeadReader.headBytesMax])
        var count = 0
        guard receive(into: space, { count = $0 }) else { return }
        // The first byte of a head: from here on its own limit counts.
        wait(worker.limits.headMilliseconds)
        let used = take(UnsafeRawBufferPointer(rebasing: space[..<count]))
        if state != .head, state != .exchange { return }
        // Before anything else is done: whatever comes next reads into the same space.
        if used < count { keep(UnsafeRawBufferPointer(rebasing: space[used..<count])) }
        if state == .exchange { start() }
      }
    }
  }

  /// One read. False when there is nothing to go on with.
  private func receive(into space: UnsafeMutableRawBufferPointer, _ body: (Int) -> Void) -> Bool {
    guard isReadable else { return false }
    switch readClient(into: space) {
    case .bytes(let count):
      body(count)
      return true
    case .wouldBlock: return false
    case .end, .failed:
      abort()
      return false
    }
  }

  /// Keeps bytes of a later message (or of a head that has not arrived whole).
  func keep(_ bytes: UnsafeRawBufferPointer) {
    if !input.isAllocated { input = worker.reactor.buffers.take() }
    if input.append(bytes) < bytes.count { abort() }
  }

  /// Takes one request from the front of `bytes`: its head and as much of its body as is there. Answers how
  /// many bytes that was; 0 when the head is not whole.
  private func take(_ bytes: UnsafeRawBufferPointer) -> Int {
    // One empty line before a request is passed over (RFC 9112 section 2.2).
    var skipped = 0
    if bytes.count >= 2, bytes[0] == 13, bytes[1] == 10 { skipped = 2 }
    let message = UnsafeRawBufferPointer(rebasing: bytes[skipped...])
    let reader = worker.reader
    do throws(HTTPRefusal) {
      guard let end = try HeadReader.end(of: message) else { return 0 }
      let head = UnsafeRawBufferPointer(rebasing: message[..<end])
      // HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3).
      if tls == nil, end == 18, HTTP2Names.isEqual(head, "PRI * HTTP/2.0\r\n\r\n") {
        becomeHTTP2(message)
        return 0
      }
      try reader.readRequest(head)
      begin(reader)
      requestHeadBytes = end
      if worker.log != nil { logRequest(head, isHTTP2: false, client: clientText) }
      if isMisdirected(RouteRequest(head, reader)) {
        worker.metrics.refusedRequests.child("421").increment()
        return try refuseGently(421, end: end, message) + skipped
      }
      guard
        let match = snapshot.table.match(
          RouteRequest(head, reader), at: place(in: snapshot.table), worker.matchSpace)
      else {
        worker.metrics.refusedRequests.child("404").increment()
        return try refuseGently(404, end: end, message) + skipped
      }
      self.match = match
      isCounted = false
      logged?.isRouted = true
      if tls == nil, match.redirectsToHTTPS, let port = worker.securePort {
        return try redirect(port, head, end: end, message) + skipped
      }
      var edit = RequestEdit()
      if match.action >= 0 {
        let answer = applyAction(RouteRequest(head, reader), origin, client: fixedLines, &edit)
        if let answer, !keepsError(answer.status) {
          status = answer.status
          count()
          tickets = []
          return try refuseGently(answer.status, end: end, message, lines: answer.lines) + skipped
        }
      }
      if case .length(let length) = reader.facts.framing, length > bodyBytesMax { throw HTTPRefusal(413) }
      request = worker.requests.take()
      guard request.isAllocated else { return try refuseGently(503, end: end, message) + skipped }
      var out = HeadSpace(request.writable)
      reader.writeRequest(
        head, to: &out, client: fixedLines, requestID: worker.nextRequestID(), isUpgrade: wantsUpgrade,
        edit: edit)
      if out.isFull { throw HTTPRefusal(431) }
      request.produced(logged == nil ? out.count : out.count - 2)
      if logged != nil { endLoggedHead() }
      guardian?.headBytes = request.readable.count
      let rest = UnsafeRawBufferPointer(rebasing: message[end...])
      let used = try requestBody.take(rest)
      if request.append(UnsafeRawBufferPointer(rebasing: rest[..<used])) < used { throw HTTPRefusal(431) }
      try countBody(used)
      expectsContinue = reader.facts.expectsContinue && used == 0 && !requestBody.isDone && minor == 1
      state = .exchange
      return skipped + end + used
    } catch {
      refuse(error.status)
      return 0
    }
  }

  /// Sends the request that was taken on its way.
  private func start() {
    endIfAlone()
    guard state == .exchange else { return }
    sendOn()
    if expectsContinue, state == .exchange { sayContinue() }
  }

  private func begin(_ reader: HeadReader) {
    let facts = reader.facts
    snapshot = worker.snapshot
    method = reader.method
    minor = facts.minor
    keepsAlive =
      !isLeaving && !worker.reactor.isDraining
      && (minor == 1 ? !facts.closes : facts.keepsAlive && !facts.closes)
    requestBody = BodyScanner(facts.framing)
    // h2c would smuggle past the routes; an upgrade with a body is nobody's websocket.
    wantsUpgrade = facts.upgrades && minor == 1 && requestBody.isDone && reader.namesUpgrade
    tries = 0
    status = 0
    requestSent = 0
    interims = 0
    requestBodyBytes = 0
    if action != nil { forgetAction() }
    isReplayable = true
    beginMeasures()
  }

  /// - Parameter bytes: what has come of it already.
  func becomeHTTP2(_ bytes: UnsafeRawBufferPointer) {
    state = .http2
    let session = HTTP2Session(self)
    http2 = session
    wait(worker.limits.keepAliveMilliseconds)
    if !bytes.isEmpty { session.begin(bytes) }
    input = PooledBuffer()
    session.pump()
    // Begun when nobody shall begin any more: its first requests are answered.
    if worker.reactor.isDraining, worker.isPatient { session.drainPatiently() }
  }

  private func sayContinue() {
    let text: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"
    send(
      UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount),
      UnsafeRawBufferPointer(start: nil, count: 0))
  }
}
