// A question to another service before a request may pass (`auth-url`): an exchange of our own, with nobody's client behind it.
//
//   client -> request, kept          service <- its head, without the body
//             ... 2xx: goes on, with fields of the answer; 401 or 403: that, or the way to sign in; else 500
//   client <- the endpoint's answer, with the service's cookies

import Reactor

final class AuthorizationExchange: Exchange {
  private weak var waiting: Exchange?
  private let authorization: RouteAuthorization
  /// What a client gets that has to sign in; nil: the service's own 401.
  private let signIn: [UInt8]?
  /// Bytes of the waiting request's head, which fields are added to.
  var headBytes = 0
  private var isOver = false
  private var deadline: UInt64 = .max
  private var timer = TimerToken.none
  /// What is said of the client's certificate is ours to say.
  private let isCertified: Bool
  private static let certified = FieldEdit(HeaderEdit(remove: RouteClientCertificate.fields))

  /// - Parameter client: the lines that are the same for every request of the connection.
  /// - Returns: nil when there is no room for its request.
  init?(
    _ waiting: Exchange, _ authorization: RouteAuthorization, _ request: RouteRequest,
    _ origin: RequestOrigin, client: [UInt8]
  ) {
    self.waiting = waiting
    isCertified = waiting.action?.action.clientCertificate != nil
    self.authorization = authorization
    let worker = waiting.worker
    let writer = TemplateWriter(request: request, origin: origin, groups: nil)
    var place = HeadSpace(worker.matchSpace.target)
    if let template = authorization.signIn { writer.write(template, to: &place) }
    signIn =
      authorization.signIn == nil || place.isFull
      ? nil : FieldEdit.line("Location", String(decoding: place.bytes, as: UTF8.self))
    super.init(worker: worker)
    snapshot = waiting.snapshot
    match = RouteTable.Match(backend: authorization.backend, host: -1, path: -1)
    method = .get
    self.request = worker.requests.take()
    guard self.request.isAllocated else { return nil }
    var out = HeadSpace(self.request.writable)
    write(writer, client, to: &out)
    if out.isFull { return nil }
    self.request.produced(out.count)
  }

  /// The request's own fields without what is about its body, under the service's name, and where it wanted to go.
  private func write(_ writer: TemplateWriter, _ client: [UInt8], to out: inout HeadSpace) {
    let (request, reader) = (writer.request, writer.request.reader)
    out.write(Array((authorization.method.isEmpty ? "GET" : authorization.method).utf8))
    out.write(" ")
    writer.write(authorization.target, to: &out)
    out.write(" HTTP/1.1\r\nHost: ")
    out.write(Array(authorization.host.utf8))
    out.write("\r\nX-Original-URL: ")
    out.write(writer.origin.isSecure ? "https://" : "http://")
    out.write(request.host, 0..<request.host.count)
    for (name, value) in [
      ("", request.target), ("X-Original-Method: ", request.method),
      ("X-Auth-Request-Redirect: ", request.target),
    ] as [(StaticString, UnsafeRawBufferPointer)] {
      out.write(name)
      out.write(value, 0..<value.count)
      out.write("\r\n")
    }
    out.write(client)
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      guard line.kind == .other, !reader.isConnectionOption(line, request.bytes) else { continue }
      if isCertified, Self.certified?.drops(request.bytes, line.start..<line.nameEnd) == true { continue }
      out.write(request.bytes, line.start..<line.lineEnd + 2)
    }
    out.write("\r\n")
  }

  /// Asks. The waiting exchange hears of it later, or at once when there is nobody to ask.
  func start() {
    startedAt = worker.reactor.now
    watch()
    connect(avoiding: nil)
  }

  /// Nobody waits any more.
  func cancel() {
    guard !isOver else { return }
    isOver = true
    worker.reactor.cancelTimer(timer)
    if hasLimits { endLimits() }
    upstream?.finish(isReusable: false)
    upstream = nil
    request = PooledBuffer()
  }

  private func end(
    _ verdict: OwnAnswer?, fields: [UInt8] = [], cookies: [UInt8] = [], isReusable: Bool = false
  ) {
    guard !isOver else { return }
    upstream?.finish(isReusable: isReusable)
    upstream = nil
    cancel()
    waiting?.grantedCookies = cookies
    waiting?.isDecided(by: self, verdict, fields: fields)
  }

  private static let tickTag = 3

  private func watch() {
    timer = worker.reactor.setTimer(
      after: worker.limits.tickMilliseconds * 1_000_000, tag: Self.tickTag, handler: self)
  }

  override func timerEnded(tag: Int) {
    guard tag == Self.tickTag else { return super.timerEnded(tag: tag) }
    guard !isOver else { return }
    if worker.reactor.now >= deadline { return end(OwnAnswer(500)) }
    watch()
  }

  // MARK: - What the exchange asks for

  override var isRunning: Bool { !isOver }
  override var responseRoom: Int { worker.limits.readBytesMax }
  override func wait(_ milliseconds: UInt64) {
    deadline = worker.reactor.now &+ min(milliseconds, worker.limits.authorizationMilliseconds) &* 1_000_000
  }
  override func fail(_ code: Int) { end(OwnAnswer(500)) }
  override func responseIsOver(isReusable: Bool) { end(OwnAnswer(500)) }

  override func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    let reader = worker.reader
    noteHead(reader)
    // A body says nothing; a connection whose answer came whole is used again.
    let used = try responseBody.take(UnsafeRawBufferPointer(rest))
    connection.input = PooledBuffer()
    let isReusable = responseBody.isDone && used == rest.count && upstreamKeepsAlive
    switch status {
    case 200..<300:
      end(
        nil, fields: lines(reader, head, authorization.forwarded),
        cookies: lines(reader, head, ["set-cookie"]),
        isReusable: isReusable)
    case 401 where signIn != nil:
      end(OwnAnswer(302, (signIn ?? []) + lines(reader, head, ["set-cookie"])), isReusable: isReusable)
    case 401, 403:
      end(OwnAnswer(status, lines(reader, head, ["www-authenticate"])), isReusable: isReusable)
    default: end(OwnAnswer(500), isReusable: isReusable)
    }
  }

  /// The lines of some fields.
  private func lines(_ reader: HeadReader, _ head: UnsafeRawBufferPointer, _ names: [String]) -> [UInt8] {
    guard let edit = FieldEdit(HeaderEdit(remove: names)) else { return [] }
    var lines: [UInt8] = []
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      if edit.drops(head, line.start..<line.nameEnd) { lines += head[line.start..<line.lineEnd + 2] }
    }
    return lines
  }
}

extension Exchange {
  /// Sends the request on its way, after the one who decides has been asked.
  func sendOn() {
    if ownError != 0, tellsError(ownError) { return }
    guard let guardian else { return connect(avoiding: nil) }
    wait(worker.limits.readMilliseconds)
    guardian.start()
  }

  /// - Parameters:
  ///   - verdict: what the client is told; nil: the request may pass.
  ///   - fields: lines for the request.
  func isDecided(by guardian: AuthorizationExchange, _ verdict: OwnAnswer?, fields: [UInt8]) {
    guard self.guardian === guardian else { return }
    self.guardian = nil
    if let verdict { return tellsError(verdict.status) ? () : deny(verdict) }
    if !fields.isEmpty {
      // In front of the empty line that ends the head.
      let end = guardian.headBytes - 2
      var next = worker.requests.take()
      let bytes = request.readable
      guard next.isAllocated, end >= 0, end <= bytes.count, next.room >= bytes.count + fields.count else {
        return fail(next.isAllocated ? 431 : 503)
      }
      _ = next.append(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
      _ = fields.withUnsafeBytes { next.append($0) }
      _ = next.append(UnsafeRawBufferPointer(rebasing: bytes[end...]))
      request = next
    }
    connect(avoiding: nil)
  }
}
