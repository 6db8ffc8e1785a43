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
    /// Further options of the reply, as they stand on the wire.
    var options: [UInt8]?
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

    var isAwaited: Bool {
      switch self {
      case .client, .alias, .chain: true
      case .cacheOnly, .probe: false
      }
    }
    /// Whether a stale answer does for whoever waits.
    var isOfClients: Bool {
      switch self {
      case .client, .chain: true
      case .alias, .cacheOnly, .probe: false
      }
    }
  }

  /// Others who asked the same meanwhile: one question upstream serves them all, which also leaves a forger one chance
  /// instead of many (RFC 5452 section 5).
  private struct Follower {
    var question: [UInt8]
    var head: QueryHead
    var start: UInt64
    var waiting: Waiting
  }

  /// Options that a question takes along, and whether its answer is for other clients too.
  struct Extras {
    var options: [UInt8] = []
    var isPersonal = false
    static let none = Extras()
  }

  /// Why a server gave no answer, in the words that Go's network library has for it: people's patterns look for them.
  enum Failure: String {
    case timeout = "i/o timeout"
    case refused = "connection refused"
    case broken = "connection broken or answer damaged"
  }

  /// Servers asked for one query at most, unless the route says otherwise, and nanoseconds for all of them together.
  static let attemptsMax = 3
  static let totalNanoseconds: UInt64 = 5_000_000_000

  let worker: DNSWorker
  let block: SiteBlock
  var target: ForwardTarget
  /// Header and question as the client sent them; for an alias, the question for its target.
  let question: [UInt8]
  let head: QueryHead
  let start: UInt64
  let goal: Goal
  private let key: [UInt8]
  private let extras: Extras
  private var followers: [Follower] = []
  private var channel = Channel()
  private var timer = TimerToken.none
  var upstream = 0
  var attempts = 0
  var failure = Failure.timeout
  /// Clients have a stale answer already; the exchange goes on for the cache.
  private var isAnswered = false
  private var verifyTimer = TimerToken.none
  private var askedAt: UInt64 = 0
  var isStream = false
  /// The attempt whose answer over TLS is waited for.
  private var encryptedAttempt: Int?
  private var query: [UInt8] = []
  private var written = 0
  private var input: [UInt8] = []
  /// Checked, and held back until its addresses may be reached.
  private var held: UpstreamAnswer?

  private init(
    _ worker: DNSWorker, _ block: SiteBlock, _ target: ForwardTarget, question: [UInt8], head: QueryHead,
    start: UInt64, goal: Goal, key: [UInt8], extras: Extras
  ) {
    self.extras = extras
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
    start: UInt64, goal: Goal, extras: Extras = .none
  ) {
    block.waiting += 1
    var key = question[Header.byteCount..<head.questionEnd].map(foldedByte)
    key.append((head.isDNSSECWanted ? 1 : 0) | (head.flags & Header.checkingDisabled != 0 ? 2 : 0))
    if case .client(let waiting) = goal, let running = block.inFlight[key] {
      if running.isAnswered {
        // Who came before got the stale answer, and so does this one.
        block.waiting -= 1
        return running.reply(nil, 0, question, head, start, waiting)
      }
      running.followers.append(Follower(question: question, head: head, start: start, waiting: waiting))
      return
    }
    let exchange = ForwardExchange(
      worker, block, target, question: question, head: head, start: start, goal: goal, key: key,
      extras: extras)
    // A target's answer may be known already from an earlier alias or a plain query.
    if case .alias = goal, let hit = block.cache.find(question.span.bytes, head, now: start / 1_000_000),
      !hit.isStale
    {
      worker.tally.count(hit.answer.isNegative ? .cacheDenialHit : .cacheHit)
      return exchange.finish(hit.answer, age: hit.age)
    }
    guard let (index, isHealthy) = target.first(now: worker.reactor.now) else { return exchange.finish(nil) }
    if !isHealthy {
      worker.metrics.forward.healthcheckBroken.increment()
      if target.route.failsFast, !exchange.isProbe { return exchange.finish(nil) }
    }
    if !exchange.isProbe, !extras.isPersonal { block.inFlight[key] = exchange }
    exchange.upstream = index
    exchange.setVerifyTimer()
    worker.ask(exchange)
  }

  // MARK: - Asking

  /// Asks the first server.
  func begin() { ask(stream: target.route.isTCPForced) }

  private func ask(stream: Bool) {
    channel.close()
    worker.reactor.cancelTimer(timer)
    attempts += 1
    askedAt = worker.reactor.now
    isStream = stream
    let endpoint = target.route.upstreams[upstream]
    let numbers = target.numbers(upstream, worker.metrics)
    numbers.requests.increment()
    if let server = target.encrypted(upstream) { return ask(server) }
    (stream ? numbers.streams : numbers.datagrams).increment()
    writeQuery()
    do throws(SocketError) {
      if stream {
        channel = try worker.reactor.register(
          try Sockets.connectTCP(endpoint, as: target.route.source), handler: self)
      } else {
        channel = try worker.reactor.register(
          try Sockets.connectUDPFromRandomPort(endpoint, as: target.route.source), handler: self,
          readsOnly: true)
        if case .failed = query.withUnsafeBytes({ channel.send($0) }) { return next(.refused) }
      }
    } catch {
      return next(.broken)
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
    guard let answer else { return next(.broken) }
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
    let options = extras.options
    if paddingBlock > 0 {
      let octets =
        (paddingBlock - (writer.bytes.count + options.count + 6) % paddingBlock) % paddingBlock
      writer.uint16(UInt16(4 + octets + options.count))
      writer.append(options)
      writer.uint16(EDNSOption.padding)
      writer.uint16(UInt16(octets))
      writer.append(Array(repeating: 0, count: octets))
    } else {
      writer.uint16(UInt16(options.count))
      writer.append(options)
    }
    query = writer.bytes
    if isStream { query = [UInt8(query.count >> 8), UInt8(query.count & 255)] + query }
    written = 0
    input = []
  }

  /// The server failed: ask the next one, or give up.
  private func next(_ why: Failure) {
    failure = why
    target.note(upstream, failed: true, now: worker.reactor.now, reactor: worker.reactor, worker.metrics)
    channel.close()
    encryptedAttempt = nil
    guard mayGoOn else { return finish(nil) }
    askNext()
  }

  private var mayGoOn: Bool {
    let bound = target.route.attemptsMax ?? Self.attemptsMax
    return (bound == 0 || attempts < bound) && worker.reactor.now < start &+ Self.totalNanoseconds
      && !worker.reactor.isDraining && !isProbe
  }

  private func askNext() {
    encryptedAttempt = nil
    upstream = (upstream + 1) % target.route.upstreams.count
    ask(stream: target.route.isTCPForced)
  }

  // MARK: - Stale answers

  /// `verify` with a limit: clients wait so long for an answer while the cache has an old one.
  private func setVerifyTimer() {
    let settings = block.cache.settings
    guard settings.isStaleVerified, settings.staleVerifyMilliseconds > 0, goal.isOfClients,
      staleAnswer != nil
    else { return }
    verifyTimer = worker.reactor.setTimer(
      after: UInt64(settings.staleVerifyMilliseconds) * 1_000_000, tag: 1, handler: self)
  }

  private func answerStale() {
    guard !isAnswered, channel.isOpen || encryptedAttempt != nil else { return }
    isAnswered = true
    block.waiting -= followers.count
    answerClients(nil, age: 0)
  }

  func timerEnded(tag: Int) {
    if tag == 1 { return answerStale() }
    if held != nil { return release() }
    guard channel.isOpen || encryptedAttempt != nil else { return }
    worker.tally.count(.timeout)
    next(.timeout)
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
    defer { worker.noteTurn() }
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<DNSLimits.messageBytesMax])
    while channel.isOpen {
      switch channel.receive(into: space) {
      case .bytes(let count): take(Array(space[..<count]))
      case .wouldBlock: return
      case .end: continue
      case .failed: return next(.refused)
      }
    }
  }

  private func readyStream(_ readiness: Readiness) {
    if readiness.contains(.error) || channel.socketError() != 0 { return next(.refused) }
    while written < query.count {
      let transfer = query.withUnsafeBytes { channel.send(UnsafeRawBufferPointer(rebasing: $0[written...])) }
      switch transfer {
      case .bytes(let count): written += count
      case .wouldBlock: return
      case .end, .failed: return next(.broken)
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
      case .end, .failed: return next(.broken)
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
    else { return isOnly ? next(.broken) : () }
    let asked = query[(sent + Header.byteCount)..<(sent + Header.byteCount + questionCount)]
    let echoed = packet[Header.byteCount..<Header.byteCount + questionCount]
    let isEchoed =
      target.route.isCaseRandomized
      ? echoed.elementsEqual(asked) : zip(echoed, asked).allSatisfy { foldedByte($0) == foldedByte($1) }
    guard isEchoed else { return isOnly ? next(.broken) : () }
    if packet[2] & 0x02 != 0, !isOnly {
      attempts -= 1
      return ask(stream: true)
    }
    let allowed = AddressFilter.filtered(packet, target.route.deniedAddresses)
    if allowed != nil { worker.tally.count(.addressDenied) }
    guard let answer = try? UpstreamAnswer.read(allowed ?? packet, block.cache.settings) else {
      return next(.broken)
    }
    target.note(upstream, failed: false, now: worker.reactor.now, reactor: worker.reactor, worker.metrics)
    target.numbers(upstream, worker.metrics).noteReply(
      answer.code, seconds: Double(worker.reactor.now &- askedAt) * 1e-9)
    if target.route.failoverCodes.contains(answer.code), attempts < target.route.upstreams.count, mayGoOn {
      return askNext()
    }
    if let following = following(answer) { return goOn(following) }
    if !extras.isPersonal {
      let now = worker.reactor.now / 1_000_000
      let isOutdone = question.withUnsafeBytes {
        block.cache.goesBefore(answer, $0.bytes, head, now: now)
      }
      if goal.isOfClients, isOutdone { return finish(nil) }
      question.withUnsafeBytes { block.cache.keep(answer, $0.bytes, head, now: now) }
      worker.noteCacheEntries()
    }
    if !isHeld(answer) { finish(answer) }
  }

  /// `next`: the route to ask instead of taking this answer.
  private func following(_ answer: UpstreamAnswer) -> ForwardTarget? {
    let route = target.route
    let isWithoutData = answer.code == .noError && answer.counts.answers == 0
    guard !isProbe, route.nextCodes.contains(answer.code) || route.goesOnWithoutData && isWithoutData,
      worker.reactor.now &- start < Self.totalNanoseconds, !worker.reactor.isDraining
    else { return nil }
    return question.withUnsafeBytes { target.following(block.routes, $0.bytes, head) }
  }

  private func goOn(_ other: ForwardTarget) {
    target = other
    attempts = 0
    encryptedAttempt = nil
    guard let (index, isHealthy) = other.first(now: worker.reactor.now) else { return finish(nil) }
    if !isHealthy {
      worker.metrics.forward.healthcheckBroken.increment()
      if other.route.failsFast { return finish(nil) }
    }
    upstream = index
    ask(stream: other.route.isTCPForced)
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
    worker.reactor.cancelTimer(verifyTimer)
    leave()
    if answer == nil { noteFailure() }
    if !isAnswered { answerClients(answer, age: age) }
  }

  private func answerClients(_ answer: UpstreamAnswer?, age: UInt32) {
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
