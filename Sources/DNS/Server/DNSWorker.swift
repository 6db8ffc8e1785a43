// One thread's server: takes packets, answers from the zone or the cache, hands the rest to upstream exchanges. All of
// it runs on one reactor and nothing here waits.

import Addresses
import Diagnostics
import Glibc
import Reactor
import Synchronization

/// The snapshot all threads serve from. A thread takes the lock only after the version has changed.
final class ZoneHolder: Sendable {
  private let zone: Mutex<Zone>
  let version = Atomic<Int>(0)

  init(_ zone: Zone) { self.zone = Mutex(zone) }

  func swap(_ new: Zone) {
    zone.withLock { $0 = new }
    version.add(1, ordering: .releasing)
  }

  var current: Zone { zone.withLock { $0 } }
}

/// Where an answer goes that cannot be given at once.
struct ClientPath {
  var socket: UDPSocket?
  var connection: DNSConnection?
  var peer = SocketAddress()
  var local: SocketAddress?
  /// For queries that came some other way, over TLS for example: takes the reply.
  var handOver: (@Sendable ([UInt8]) -> Void)?
}

final class DNSWorker {
  /// echo, discard, daytime, quote of the day, chargen, time.
  static let portsRefused: Set<UInt16> = [7, 9, 13, 17, 19, 37]

  let reactor: Reactor
  let settings: DNSServerSettings
  let tally: Tally
  let metrics: DNSMetrics
  let holder: ZoneHolder
  let logger: QueryLogger
  private var zone: Zone
  private var zoneVersion: Int
  /// Of the query that is served now.
  private var head: QueryHead {
    @inline(__always) unsafeAddress { UnsafePointer(heads.current) }
    @inline(__always) unsafeMutableAddress { heads.current }
  }
  private let heads = QueryBatch()
  private(set) var rotation: UInt32 = .random(in: 0...UInt32.max)
  /// Space for one TCP reply, and for replies that come later.
  let space: UnsafeMutableRawBufferPointer
  var connectionCount = 0
  /// Datagram sockets, and whether one of them is being served; questions for upstream servers that wait until it has been.
  var sockets: [ListeningSocket] = []
  var isAnswering = false
  var unasked: [ForwardExchange] = []
  /// The wake-up of the reactor in which replies were last taken, and how many.
  var turn: UInt64 = 0
  var turnReplies = 0
  /// Every block of this thread.
  var blocks: [SiteBlock] = []
  private let secret: CookieSecret
  private var limiter: ResponseLimiter
  private let limiterSeed = UInt64.random(in: .min ... .max)

  init(
    reactor: Reactor, settings: DNSServerSettings, tally: Tally, metrics: DNSMetrics, holder: ZoneHolder,
    secret: CookieSecret, logger: QueryLogger
  ) {
    self.reactor = reactor
    self.settings = settings
    self.tally = tally
    self.metrics = metrics
    self.holder = holder
    self.secret = secret
    self.logger = logger
    zoneVersion = holder.version.load(ordering: .acquiring)
    zone = holder.current
    limiter = ResponseLimiter(rate: settings.responsesPerSecondMax, slip: settings.responseSlip)
    space = .allocate(byteCount: DNSLimits.messageBytesMax, alignment: 16)
  }

  deinit { space.deallocate() }

  /// Datagrams that came together: their heads are read, and what the zone has for them is on its way from memory when `serve` asks.
  @inline(__always)
  func expects(_ batch: DatagramBatch) {
    isAnswering = true
    heads.read(batch, currentZone())
  }

  func open(datagrams descriptor: consuming Descriptor, _ site: Site) throws(SocketError) {
    // The reactor keeps the socket, and the socket its handler.
    sockets.append(ListeningSocket(socket: try UDPSocket(descriptor, reactor: reactor, handler: site)))
  }

  func open(listener descriptor: consuming Descriptor, _ site: Site) throws(SocketError) {
    _ = try Listener(descriptor, reactor: reactor) { [self] descriptor, peer in
      guard connectionCount < settings.connectionsMax else {
        tally.count(.connectionReject)
        return
      }
      DNSConnection.begin(descriptor, peer, self, site)
    }
  }

  /// The zone in force. Cheap while it has not been swapped.
  @inline(__always)
  func currentZone() -> Zone {
    let version = holder.version.load(ordering: .acquiring)
    if version != zoneVersion {
      zone = holder.current
      zoneVersion = version
    }
    return zone
  }

  /// What `serve` says of a query that gets no answer, now or later.
  static let dropped = -1

  /// Octets of the reply in `space`; 0 when it comes later, `dropped` when never.
  func serve(
    _ packet: RawSpan, _ space: UnsafeMutableRawBufferPointer, _ site: Site, isTCP: Bool,
    isEncrypted: Bool = false,
    peer: SocketAddress, path: () -> ClientPath
  ) -> Int {
    let start = Reactor.monotonicNanoseconds()
    let zone = currentZone()
    let isSix = peer.length > 16
    let verdict = heads.next(packet)
    if verdict == .drop {
      tally.count(.dropped)
      return Self.dropped
    }
    var reply = Reply(space)
    var isKnownClient = isTCP
    if head.cookieLength > 0 {
      let answer = secret.answer(
        packet, at: head.cookieAt, length: head.cookieLength, address: peer.addressBits, isSix: isSix,
        now: UInt32(truncatingIfNeeded: Int(time(nil))))
      reply.cookie = answer.cookie
      if answer.isKnown { isKnownClient = true }
    }
    if isEncrypted { reply.paddingBlock = 468 }
    let block =
      verdict == .query || verdict == .transfer
      ? site.block(packet, head, peer.endpoint.map { Client(endpoint: $0, local: site.local, isTCP: isTCP) })
      : nil
    if head.wantsNSID { reply.options = block?.nsidOption }
    let udpBytesMax = block?.block.udpBytesMax ?? settings.udpBytesMax
    let bytesMax = isTCP ? DNSLimits.messageBytesMax : min(head.udpBytesMax, udpBytesMax)
    reply.begin(packet, head, bytesMax: bytesMax)
    guard verdict == .query, let block else {
      if verdict == .transfer, isTCP, let block, beginTransfer(packet, block, zone, peer, path) { return 0 }
      if verdict == .transfer, !isTCP, let block, answerTransfer(packet, block, zone, peer, &reply) {
        return finish(&reply, start, block, isOurs: true, isTCP: isTCP, peer, isKnownClient)
      }
      if verdict == .refused, head.questionEnd > 0,
        let other = site.block(
          packet, head, peer.endpoint.map { Client(endpoint: $0, local: site.local, isTCP: isTCP) }),
        other.block.isTaken(rrClass: packet.uint16(at: head.questionEnd &- 2))
      {
        return serveChain(
          packet, reply, other, zone, bytesMax, start, isTCP: isTCP, peer, isKnownClient, site.local, path)
      }
      refuse(verdict, &reply)
      return finish(&reply, start, nil, isOurs: false, isTCP: isTCP, peer, isKnownClient)
    }
    rotation &+= 1
    if !block.routes.isEmpty { reply.flags |= Header.recursionAvailable }
    reply.isMinimal = block.block.isMinimal
    guard block.isPlain || block.chain.passesCluster(packet, head, peer.endpoint?.address) else {
      return serveChain(
        packet, reply, block, zone, bytesMax, start, isTCP: isTCP, peer, isKnownClient, site.local, path)
    }
    if block.block.isServingCluster {
      switch zone.answer(packet, head, &reply, rotation: block.block.isRotating ? rotation : 0) {
      case .answered:
        if block.block.autopath != nil, reply.answers == 0, zone.isReady {
          reply.restart(head)
          return serveChain(
            packet, reply, block, zone, bytesMax, start, isTCP: isTCP, peer, isKnownClient, site.local, path)
        }
        if !block.isPlain { block.chain.noteAllowed() }
        return finish(&reply, start, block, isOurs: true, isTCP: isTCP, peer, isKnownClient)
      case .elsewhere: break
      case .alias(let at, let count):
        if block.isPlain {
          if let sent = forwardAlias(packet, reply, block, at, count, isTCP, start, path) { return sent }
          return finish(&reply, start, block, isOurs: true, isTCP: isTCP, peer, isKnownClient)
        }
        reply.restart(head)
      }
    }
    guard block.isPlain else {
      return serveChain(
        packet, reply, block, zone, bytesMax, start, isTCP: isTCP, peer, isKnownClient, site.local, path)
    }
    guard let route = ForwardTarget.find(block.routes, packet, head) else {
      reply.flags |= ResponseCode.refused.rawValue
      reply.extendedError = .notAuthoritative
      return finish(&reply, start, block, isOurs: false, isTCP: isTCP, peer, isKnownClient)
    }
    if let hit = block.cache.find(packet, head, now: start / 1_000_000), !mustAsk(packet) {
      tally.count(hit.answer.isNegative ? .cacheDenialHit : .cacheHit)
      hit.answer.write(
        head, age: hit.age, staleTTL: hit.isStale ? block.cache.settings.staleTTL : nil, &reply)
      if hit.isStale {
        reply.extendedError = hit.answer.code == .nameError ? .staleDenial : .staleAnswer
        tally.count(.cacheStale)
      }
      if hit.mustRefresh { refresh(packet, block, route, start) }
      return finish(&reply, start, block, isOurs: false, isTCP: isTCP, peer, isKnownClient)
    }
    tally.count(.cacheMiss)
    if route.isOwnProbe(packet, head) {
      // The question came back to us: an upstream server sends its queries here.
      route.noteLoop()
      reply.flags |= ResponseCode.serverFailure.rawValue
      return finish(&reply, start, block, isOurs: false, isTCP: isTCP, peer, isKnownClient)
    }
    guard block.waiting < block.forwardsMax, !route.isLooping else {
      if block.waiting >= block.forwardsMax { tally.count(.forwardReject) }
      reply.flags |= ResponseCode.serverFailure.rawValue
      return finish(&reply, start, block, isOurs: false, isTCP: isTCP, peer, isKnownClient)
    }
    tally.request(head.type, isOurs: false, isTCP: isTCP, isSix: isSix)
    if head.isDNSSECWanted { tally.count(.dnssecWantedForwarded) }
    let goal = ForwardExchange.Goal.client(
      ForwardExchange.Waiting(path: path(), bytesMax: bytesMax, cookie: reply.cookie, options: reply.options))
    ForwardExchange.begin(
      self, block, route, question: copyQuestion(packet), head: head, start: start, goal: goal)
    return 0
  }

  /// Whether somebody has to see the addresses of the name first, and has not.
  private func mustAsk(_ packet: RawSpan) -> Bool {
    guard let watch = settings.answerWatch, watch.isActive() else { return false }
    return watch.refuses(head.question(packet))
  }

  /// The chain of plugins: allocates, and is for queries that need it.
  private func serveChain(
    _ packet: RawSpan, _ reply: Reply, _ block: SiteBlock, _ zone: Zone, _ bytesMax: Int, _ start: UInt64,
    isTCP: Bool,
    _ peer: SocketAddress, _ isKnownClient: Bool, _ local: SocketEndpoint?, _ path: () -> ClientPath
  ) -> Int {
    guard let endpoint = peer.endpoint, let question = head.question(packet) else { return Self.dropped }
    let path = path()
    // A datagram says which address it came to; the port is the socket's.
    let here = path.local?.endpoint.map { SocketEndpoint($0.address, local?.port ?? $0.port) } ?? local
    let client = Client(endpoint: endpoint, local: here, isTCP: isTCP)
    let waiting = ForwardExchange.Waiting(
      path: path, bytesMax: bytesMax, cookie: reply.cookie, options: reply.options)
    var query = ChainQuery(
      question: copyQuestion(packet), head: head, client: client, start: start, waiting: waiting,
      block: block,
      isKnownClient: isKnownClient)
    let options =
      block.isRewritingOptions ? [EDNSValue](query: packet, questionEnd: head.questionEnd) : []
    let (step, rewritten) = block.chain.answer(
      question, client, zone, rotation: rotation, options: options)
    query.options = rewritten
    return run(step, query, space: reply.space)
  }

  func copyQuestion(_ packet: RawSpan) -> [UInt8] {
    var question = packet.withUnsafeBytes { Array($0[..<head.questionEnd]) }
    // Only the question is kept, so the header must not count records behind it.
    for index in 6..<Header.byteCount { question[index] = 0 }
    return question
  }

  /// Asks upstream for the target of an ExternalName. Nil when nobody can be asked: the alias alone is the answer.
  private func forwardAlias(
    _ packet: RawSpan, _ reply: Reply, _ block: SiteBlock, _ at: Int, _ count: Int, _ isTCP: Bool,
    _ start: UInt64,
    _ path: () -> ClientPath
  ) -> Int? {
    let wire = Array(UnsafeRawBufferPointer(start: reply.base + at, count: count))
    let query = Message(query: DomainName(uncheckedWire: wire), head.type, id: 0).encoded
    var target = QueryHead()
    guard target.read(query.span.bytes) == .query, block.waiting < block.forwardsMax,
      let route = ForwardTarget.find(block.routes, query.span.bytes, target), !route.isLooping
    else { return nil }
    let soFar =
      (try? Message(
        UnsafeRawBufferPointer(start: reply.base, count: reply.count).bytes, answers: reply.answers))?.answer
    let bytesMax = isTCP ? DNSLimits.messageBytesMax : min(head.udpBytesMax, block.block.udpBytesMax)
    let waiting = ForwardExchange.Waiting(
      path: path(), bytesMax: bytesMax, cookie: reply.cookie, options: reply.options)
    let alias = ForwardExchange.Alias(
      question: copyQuestion(packet), head: head, records: soFar ?? [], waiting: waiting)
    tally.request(head.type, isOurs: true, isTCP: isTCP, isSix: false)
    if head.isDNSSECWanted { tally.count(.dnssecWanted) }
    ForwardExchange.begin(
      self, block, route, question: query, head: target, start: start, goal: .alias(alias))
    return 0
  }

  func noteCacheEntries() {
    tally.set(.cacheEntries, UInt64(blocks.reduce(0) { $0 + $1.cache.count }))
    tally.set(.cacheEviction, blocks.reduce(0) { $0 + $1.cache.evictions })
  }

  /// Asks again for what the cache holds but soon will not: nobody waits for it.
  private func refresh(_ packet: RawSpan, _ block: SiteBlock, _ route: ForwardTarget, _ start: UInt64) {
    guard block.waiting < block.forwardsMax, !route.isLooping else { return }
    tally.count(.cachePrefetch)
    ForwardExchange.begin(
      self, block, route, question: copyQuestion(packet), head: head, start: start, goal: .cacheOnly)
  }

  private func refuse(_ verdict: QueryHead.Verdict, _ reply: inout Reply) {
    switch verdict {
    case .formatError:
      reply.flags |= ResponseCode.formatError.rawValue
    case .notImplemented: reply.flags |= ResponseCode.notImplemented.rawValue
    case .refused, .transfer, .query:
      reply.flags |= ResponseCode.refused.rawValue
      reply.extendedError = .notAuthoritative
    case .badVersion: reply.extendedCode = 1
    case .drop: break
    }
  }

  @inline(__always)
  private func finish(
    _ reply: inout Reply, _ start: UInt64, _ block: SiteBlock?, isOurs: Bool, isTCP: Bool,
    _ peer: SocketAddress,
    _ isKnownClient: Bool
  ) -> Int {
    tally.request(head.type, isOurs: isOurs, isTCP: isTCP, isSix: peer.length > 16)
    if head.isDNSSECWanted { tally.count(isOurs ? .dnssecWanted : .dnssecWantedForwarded) }
    let code = reply.code
    if limiter.isOn, !isKnownClient, !mayLeave(&reply, peer) { return Self.dropped }
    let count = reply.finish(head, udpBytesMax: block?.block.udpBytesMax ?? settings.udpBytesMax)
    let took = Reactor.monotonicNanoseconds() &- start
    tally.response(code, isOurs: isOurs, nanoseconds: took)
    tally.sizes(head.packetLength, count, isOurs: isOurs, isTCP: isTCP)
    if let block, block.block.isObserved { log(reply, count, block, peer, isTCP: isTCP, took) }
    return count
  }

  /// Limits how often one network gets one reply. False when nothing is sent.
  func mayLeave(_ reply: inout Reply, _ peer: SocketAddress) -> Bool {
    var key = limiterSeed ^ UInt64(truncatingIfNeeded: peer.networkBits) &* 0x9e37_79b9_7f4a_7c15
    key ^= UInt64(reply.code.rawValue) << 48
    if reply.code == .noError, reply.count > Header.byteCount {
      let name = UnsafeRawBufferPointer(
        start: reply.base + Header.byteCount, count: reply.count - Header.byteCount)
      key ^= name.bytes.foldedHash(at: 0, count: min(name.count, max(1, head.nameLength)), seed: limiterSeed)
    }
    switch limiter.verdict(key, second: UInt32(truncatingIfNeeded: reactor.now / 1_000_000_000)) {
    case .send: return true
    case .drop:
      tally.count(.limited)
      return false
    case .cut:
      tally.count(.limited)
      reply.restart(head)
      reply.flags |= Header.truncated
      return true
    }
  }

  /// Sends a reply that was waited for.
  func send(_ count: Int, _ path: ClientPath) {
    let bytes = UnsafeRawBufferPointer(start: space.baseAddress, count: count)
    if let connection = path.connection {
      connection.pending -= 1
      if count > 0 { connection.append(bytes) }
      connection.flush()
    } else if let handOver = path.handOver {
      handOver(Array(bytes))
    } else if count > 0 {
      path.socket?.send(bytes, to: path.peer, from: path.local)
    }
  }
}

extension SocketAddress {
  /// The address as a number, an IPv4 one in the low 32 bits.
  var addressBits: UInt128 {
    switch endpoint?.address {
    case .v4(let four): UInt128(four.bits)
    case .v6(let six): six.bits
    case nil: 0
    }
  }

  /// The network replies are counted for: /24, or /56.
  var networkBits: UInt128 {
    switch endpoint?.address {
    case .v4(let four): UInt128(four.bits >> 8)
    case .v6(let six): six.bits >> 72
    case nil: 0
    }
  }
}

extension Message {
  /// The records of a message that is still being written: only its question and answers are there.
  fileprivate init(_ bytes: RawSpan, answers: UInt16) throws(WireError) {
    self.init()
    var reader = WireReader(bytes, at: Header.byteCount)
    try reader.skipName()
    try reader.skip(4)
    for _ in 0..<answers { answer.append(try reader.record().record) }
  }
}
