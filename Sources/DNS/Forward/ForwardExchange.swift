// One query on its way through upstream servers: UDP first, TCP when the reply was cut, the next server when one is
// silent. Each attempt has a socket of its own, so source port and ID are both fresh random numbers (RFC 5452).

import Addresses
import Diagnostics
import Reactor

final class ForwardExchange: ReadinessHandler, TimerHandler {
  /// Who waits for a reply, and what its reply needs besides records.
  struct Waiting {
    var path: ClientPath
    var bytesMax: Int
    var cookie: ServerCookie?
    var nsid: [UInt8]?
  }

  /// An ExternalName's alias: the records written so far, and the client's own question.
  struct Alias {
    var question: [UInt8]
    var head: QueryHead
    var records: [ResourceRecord]
    var waiting: Waiting
  }

  /// What the answer is for.
  enum Goal {
    case client(Waiting)
    case alias(Alias)
    /// A chain of plugins goes on with it; nil when nobody answered.
    case chain((UpstreamAnswer?) -> Void)
    /// Nobody waits: it is for the cache.
    case cacheOnly
    /// Nobody waits: whether it comes back to us is the question.
    case probe
  }

  /// Others who asked the same meanwhile: one question upstream serves them all, which also leaves a forger one chance
  /// instead of many (RFC 5452 section 5).
  private struct Follower {
    var question: [UInt8]
    var head: QueryHead
    var start: UInt64
    var waiting: Waiting
  }

  /// Servers asked for one query at most, and milliseconds for all of them together.
  static let attemptsMax = 3
  static let totalNanoseconds: UInt64 = 5_000_000_000

  private let worker: DNSWorker
  private let block: SiteBlock
  private let target: ForwardTarget
  /// Header and question as the client sent them; for an alias, the question for its target.
  private let question: [UInt8]
  private let head: QueryHead
  private let start: UInt64
  private let goal: Goal
  private let key: [UInt8]
  private var followers: [Follower] = []
  private var channel = Channel()
  private var timer = TimerToken.none
  private var upstream = 0
  private var attempts = 0
  private var askedAt: UInt64 = 0
  private var isStream = false
  /// The attempt whose answer over TLS is waited for.
  private var encryptedAttempt: Int?
  private var query: [UInt8] = []
  private var written = 0
  private var input: [UInt8] = []
  /// Checked, and held back until its addresses may be reached.
  private var held: UpstreamAnswer?

  private init(
    _ worker: DNSWorker, _ block: SiteBlock, _ target: ForwardTarget, question: [UInt8], head: QueryHead,
    start: UInt64, goal: Goal, key: [UInt8]
  ) {
    self.worker = worker
    self.block = block
    self.target = target
    self.question = question
    self.head = head
    self.start = start
    self.goal = goal
    self.key = key
  }

  private var isProbe: Bool {
    if case .probe = goal { return true }
    return false
  }

  static func begin(
    _ worker: DNSWorker, _ block: SiteBlock, _ target: ForwardTarget, question: [UInt8], head: QueryHead,
    start: UInt64, goal: Goal
  ) {
    block.waiting += 1
    var key = question[Header.byteCount..<head.questionEnd].map(foldedByte)
    key.append((head.isDNSSECWanted ? 1 : 0) | (head.flags & Header.checkingDisabled != 0 ? 2 : 0))
    if case .client(let waiting) = goal, let running = block.inFlight[key] {
      running.followers.append(Follower(question: question, head: head, start: start, waiting: waiting))
      return
    }
    let exchange = ForwardExchange(
      worker, block, target, question: question, head: head, start: start, goal: goal, key: key)
    // A target's answer may be known already from an earlier alias or a plain query.
    if case .alias = goal, let hit = block.cache.find(question.span.bytes, head, now: start / 1_000_000),
      !hit.isStale
    {
      worker.tally.count(hit.answer.isNegative ? .cacheDenialHit : .cacheHit)
      return exchange.finish(hit.answer, age: hit.age)
    }
    guard let (index, isHealthy) = target.first(now: worker.reactor.now) else { return exchange.finish(nil) }
    if !isHealthy { worker.metrics.healthcheckBroken.increment() }
    if !exchange.isProbe { block.inFlight[key] = exchange }
    exchange.upstream = index
    exchange.ask(stream: target.route.isTCPForced)
  }

  // MARK: - Asking

  private func ask(stream: Bool) {
    channel.close()
    worker.reactor.cancelTimer(timer)
    attempts += 1
    askedAt = worker.reactor.now
    isStream = stream
    let endpoint = target.route.upstreams[upstream]
    worker.metrics.forwardRequests.child("\(endpoint)").increment()
    if let server = target.encrypted(upstream) { return ask(server) }
    writeQuery()
    do throws(SocketError) {
      if stream {
        channel = try worker.reactor.register(try Sockets.connectTCP(endpoint), handler: self)
      } else {
        channel = try worker.reactor.register(
          try Sockets.connectUDPFromRandomPort(endpoint), handler: self, readsOnly: true)
        if case .failed = query.withUnsafeBytes({ channel.send($0) }) { return next() }
      }
    } catch {
      return next()
    }
    timer = worker.reactor.setTimer(after: patience, handler: self)
  }

  /// How long this server is waited for: no longer than is left of the time for all of them.
  private var patience: UInt64 {
    let spent = min(worker.reactor.now &- min(start, worker.reactor.now), Self.totalNanoseconds)
    return min(UInt64(target.route.timeoutMilliseconds) * 1_000_000, Self.totalNanoseconds - spent)
  }

  /// Over TLS, on the server's own connection; the answer comes back to this thread.
  private func ask(_ server: TLSUpstream) {
    isStream = false
    writeQuery(paddingBlock: 128)
    encryptedAttempt = attempts
    let attempt = attempts
    let reactor = worker.reactor
    let back = WayBack(exchange: self)
    server.ask(query) { answer in
      reactor.submit { _ in back.exchange.received(answer, attempt) }
    }
    timer = reactor.setTimer(after: patience, handler: self)
  }

  /// Carries an exchange to the TLS loop, which does not touch it, and back.
  private struct WayBack: @unchecked Sendable { let exchange: ForwardExchange }

  private func received(_ answer: [UInt8]?, _ attempt: Int) {
    guard encryptedAttempt == attempt else { return }
    guard let answer else { return next() }
    take(answer)
  }

  /// - Parameter paddingBlock: over TLS, the query is filled up to a multiple of this (RFC 8467 section 4.1).
  private func writeQuery(paddingBlock: Int = 0) {
    var writer = WireWriter()
    writer.uint16(.random(in: 0...UInt16.max))
    writer.uint16(Header.recursionDesired | head.flags & Header.checkingDisabled)
    for count in [1, 0, 0, 1] as [UInt16] { writer.uint16(count) }
    var name = Array(question[Header.byteCount..<Header.byteCount + head.nameLength])
    if target.route.isCaseRandomized {
      for index in name.indices where (65...90).contains(name[index] & 0xdf) && Bool.random() {
        name[index] ^= 0x20
      }
    }
    writer.append(name)
    writer.append(question[(head.questionEnd - 4)..<head.questionEnd])
    writer.append([0, 0, 41])
    writer.uint16(UInt16(DNSLimits.defaultUDPBytesMax))
    writer.append([0, 0, head.isDNSSECWanted ? 0x80 : 0, 0])
    if paddingBlock > 0 {
      let octets = (paddingBlock - (writer.bytes.count + 6) % paddingBlock) % paddingBlock
      writer.uint16(UInt16(4 + octets))
      writer.uint16(EDNSOption.padding)
      writer.uint16(UInt16(octets))
      writer.append(Array(repeating: 0, count: octets))
    } else {
      writer.uint16(0)
    }
    query = writer.bytes
    if isStream { query = [UInt8(query.count >> 8), UInt8(query.count & 255)] + query }
    written = 0
    input = []
  }

  /// The server failed: ask the next one, or give up.
  private func next() {
    target.note(upstream, failed: true, now: worker.reactor.now, reactor: worker.reactor, worker.metrics)
    channel.close()
    encryptedAttempt = nil
    guard mayGoOn else { return finish(nil) }
    askNext()
  }

  private var mayGoOn: Bool {
    attempts < Self.attemptsMax && worker.reactor.now < start &+ Self.totalNanoseconds
      && !worker.reactor.isDraining && !isProbe
  }

  private func askNext() {
    encryptedAttempt = nil
    upstream = (upstream + 1) % target.route.upstreams.count
    ask(stream: target.route.isTCPForced)
  }

  func timerEnded(tag: Int) {
    if held != nil { return release() }
    guard channel.isOpen || encryptedAttempt != nil else { return }
    worker.tally.count(.timeout)
    next()
  }

  func cancel() {
    guard channel.isOpen else { return }
    channel.close()
    leave()
  }

  private func leave() {
    block.waiting -= 1 + followers.count
    if block.inFlight[key] === self { block.inFlight[key] = nil }
  }

  // MARK: - The reply

  func ready(_ readiness: Readiness) {
    if isStream { return readyStream(readiness) }
    guard !readiness.isDisjoint(with: [.readable, .error, .hangUp]) else { return }
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<DNSLimits.messageBytesMax])
    while channel.isOpen {
      switch channel.receive(into: space) {
      case .bytes(let count): take(Array(space[..<count]))
      case .wouldBlock: return
      case .end: continue
      case .failed: return next()
      }
    }
  }

  private func readyStream(_ readiness: Readiness) {
    if readiness.contains(.error) || channel.socketError() != 0 { return next() }
    while written < query.count {
      let transfer = query.withUnsafeBytes { channel.send(UnsafeRawBufferPointer(rebasing: $0[written...])) }
      switch transfer {
      case .bytes(let count): written += count
      case .wouldBlock: return
      case .end, .failed: return next()
      }
    }
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<(16 << 10)])
    while channel.isOpen {
      switch channel.receive(into: space) {
      case .bytes(let count):
        input += space[..<count]
        guard input.count >= 2 else { continue }
        let length = Int(input[0]) << 8 | Int(input[1])
        if input.count >= 2 + length { return take(Array(input[2..<2 + length])) }
      case .wouldBlock: return
      case .end, .failed: return next()
      }
    }
  }

  /// Looks at a datagram or message. What is not the reply to our query is passed over: it may be forged.
  private func take(_ packet: [UInt8]) {
    let sent = isStream ? 2 : 0
    // On a connection nobody else can have sent it, and nothing more will come.
    let isOnly = isStream || encryptedAttempt != nil
    let questionCount = head.questionEnd - Header.byteCount
    guard packet.count >= head.questionEnd, packet[0] == query[sent], packet[1] == query[sent + 1],
      packet[2] & 0x80 != 0
    else { return isOnly ? next() : () }
    let asked = query[(sent + Header.byteCount)..<(sent + Header.byteCount + questionCount)]
    let echoed = packet[Header.byteCount..<Header.byteCount + questionCount]
    let isEchoed =
      target.route.isCaseRandomized
      ? echoed.elementsEqual(asked) : zip(echoed, asked).allSatisfy { foldedByte($0) == foldedByte($1) }
    guard isEchoed else { return isOnly ? next() : () }
    if packet[2] & 0x02 != 0, !isOnly {
      attempts -= 1
      return ask(stream: true)
    }
    let allowed = AddressFilter.filtered(packet, target.route.deniedAddresses)
    if allowed != nil { worker.tally.count(.addressDenied) }
    guard let answer = try? UpstreamAnswer.read(allowed ?? packet, block.cache.settings) else {
      return next()
    }
    target.note(upstream, failed: false, now: worker.reactor.now, reactor: worker.reactor, worker.metrics)
    let endpoint = "\(target.route.upstreams[upstream])"
    worker.metrics.forwardResponses.child(endpoint, "\(answer.code)").increment()
    worker.metrics.forwardDuration.child(endpoint).observe(Double(worker.reactor.now &- askedAt) * 1e-9)
    if target.route.failoverCodes.contains(answer.code), attempts < target.route.upstreams.count, mayGoOn {
      return askNext()
    }
    let now = worker.reactor.now / 1_000_000
    question.withUnsafeBytes { block.cache.keep(answer, $0.bytes, head, now: now) }
    worker.noteCacheEntries()
    if !isHeld(answer) { finish(answer) }
  }

  /// Whether the answer waits for rules that let its addresses be reached.
  private func isHeld(_ answer: UpstreamAnswer) -> Bool {
    guard let watch = worker.settings.answerWatch, watch.isActive(), !answer.isNegative else { return false }
    let asked = question.withUnsafeBytes { head.question($0.bytes) }
    guard let name = AnswerWatch.name(asked) else { return false }
    let addresses = answer.addresses
    let back = WayBack(exchange: self)
    let reactor = worker.reactor
    held = answer
    guard !addresses.isEmpty,
      watch.take(name, addresses, answer.ttl, { reactor.submit { _ in back.exchange.release() } })
    else {
      held = nil
      return false
    }
    channel.close()
    encryptedAttempt = nil
    reactor.cancelTimer(timer)
    timer = reactor.setTimer(after: AnswerWatch.patienceNanoseconds, handler: self)
    return true
  }

  private func release() {
    guard let answer = held else { return }
    held = nil
    finish(answer)
  }

  /// Answers whoever waits: with the upstream's reply, else with what the cache still has, else SERVFAIL.
  private func finish(_ answer: UpstreamAnswer?, age: UInt32 = 0) {
    channel.close()
    encryptedAttempt = nil
    worker.reactor.cancelTimer(timer)
    leave()
    switch goal {
    case .probe, .cacheOnly: break
    case .chain(let then): then(answer)
    case .client(let waiting): reply(answer, age, question, head, start, waiting)
    case .alias(let alias): replyAlias(alias, answer)
    }
    for follower in followers {
      reply(answer, age, follower.question, follower.head, follower.start, follower.waiting)
    }
    followers = []
  }

  private func reply(
    _ answer: UpstreamAnswer?, _ age: UInt32, _ question: [UInt8], _ head: QueryHead, _ start: UInt64,
    _ waiting: Waiting
  ) {
    var reply = Reply(worker.space)
    reply.cookie = waiting.cookie
    reply.nsid = waiting.nsid
    if waiting.path.handOver != nil { reply.paddingBlock = 468 }
    question.withUnsafeBytes { reply.begin($0.bytes, head, bytesMax: waiting.bytesMax) }
    let now = worker.reactor.now / 1_000_000
    if let answer {
      answer.write(head, age: age, &reply)
    } else if let hit = block.cache.find(question.span.bytes, head, now: now, isLastResort: true) {
      worker.tally.count(.cacheStale)
      hit.answer.write(head, age: hit.age, staleTTL: 0, &reply)
      reply.extendedError = hit.answer.code == .nameError ? .staleDenial : .staleAnswer
    } else {
      reply.flags |= Header.recursionAvailable | ResponseCode.serverFailure.rawValue
      reply.extendedError = target.route.upstreams.isEmpty ? .noReachableAuthority : .networkError
      if block.block.isLoggingErrors {
        worker.logger.failure(head.question(question.span.bytes), target.route)
      }
    }
    let count = reply.finish(head, udpBytesMax: block.block.udpBytesMax)
    let took = Reactor.monotonicNanoseconds() &- start
    worker.tally.response(reply.code, isOurs: false, nanoseconds: took)
    worker.tally.sizes(head.packetLength, count, isOurs: false, isTCP: waiting.path.socket == nil)
    if block.block.isObserved {
      worker.log(
        reply, count, block, waiting.path.peer, isTCP: waiting.path.socket == nil, took, head,
        question.span.bytes)
    }
    worker.send(count, waiting.path)
  }

  private func replyAlias(_ alias: Alias, _ answer: UpstreamAnswer?) {
    var reply = Reply(worker.space)
    reply.cookie = alias.waiting.cookie
    reply.nsid = alias.waiting.nsid
    if alias.waiting.path.handOver != nil { reply.paddingBlock = 468 }
    alias.question.withUnsafeBytes { reply.begin($0.bytes, alias.head, bytesMax: alias.waiting.bytesMax) }
    // The alias holds whatever its target is: NXDOMAIN of the target is no NXDOMAIN of the Service.
    reply.flags |= Header.authoritative | Header.recursionAvailable
    writeAlias(alias, answer, &reply)
    let count = reply.finish(alias.head, udpBytesMax: block.block.udpBytesMax)
    worker.tally.response(reply.code, isOurs: true, nanoseconds: Reactor.monotonicNanoseconds() &- start)
    worker.tally.sizes(
      alias.head.packetLength, count, isOurs: true, isTCP: alias.waiting.path.socket == nil)
    worker.send(count, alias.waiting.path)
  }

  private func writeAlias(_ alias: Alias, _ answer: UpstreamAnswer?, _ reply: inout Reply) {
    var whole = Message()
    whole.question = Message.read(alias.question)?.question
    whole.answer = alias.records
    if let answer, let message = Message.read(answer.bytes) { whole.answer += message.answer }
    let bytes = whole.encoded
    let body = bytes.dropFirst(alias.head.questionEnd)
    guard body.count <= reply.room else {
      reply.flags |= Header.truncated
      return
    }
    body.withUnsafeBytes { if let from = $0.baseAddress { reply.append(from, $0.count) } }
    reply.answers = UInt16(truncatingIfNeeded: whole.answer.count)
  }
}

extension ForwardExchange {
  /// Asks a name nobody else knows: when we are asked for it ourselves, queries go round in a circle.
  static func probe(_ worker: DNSWorker, _ block: SiteBlock, _ target: ForwardTarget) {
    let query = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + target.probe.name + [0, 13, 0, 1]
    var head = QueryHead()
    guard head.read(query.span.bytes) == .query else { return }
    begin(worker, block, target, question: query, head: head, start: worker.reactor.now, goal: .probe)
  }
}

extension Message {
  fileprivate static func read(_ bytes: [UInt8]) -> Message? {
    bytes.withUnsafeBytes { try? Message($0.bytes) }
  }
}
