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
  var peer = SocketAddress(storage: .init(), length: 0)
  var local: SocketAddress?
}

final class DNSWorker: DatagramHandler {
  let reactor: Reactor
  let settings: DNSServerSettings
  let tally: Tally
  let metrics: DNSMetrics
  let holder: ZoneHolder
  private var zone: Zone
  private var zoneVersion: Int
  var cache: ForwardCache
  let routes: [ForwardTarget]
  private var head = QueryHead()
  private var rotation: UInt32 = .random(in: 0...UInt32.max)
  /// Space for one TCP reply, and for replies that come later.
  let space: UnsafeMutableRawBufferPointer
  var connectionCount = 0
  var exchangeCount = 0
  let exchangesMax: Int

  init(
    reactor: Reactor, settings: DNSServerSettings, tally: Tally, metrics: DNSMetrics, holder: ZoneHolder,
    routes: [ForwardTarget]
  ) {
    self.reactor = reactor
    self.settings = settings
    self.tally = tally
    self.metrics = metrics
    self.holder = holder
    self.routes = routes
    zoneVersion = holder.version.load(ordering: .acquiring)
    zone = holder.current
    cache = ForwardCache(entries: settings.cache.entriesMax / max(1, settings.threads))
    exchangesMax = max(1, settings.forwardsMax / max(1, settings.threads))
    space = .allocate(byteCount: DNSLimits.messageBytesMax, alignment: 16)
  }

  deinit { space.deallocate() }

  func open(datagrams descriptor: consuming Descriptor) throws(SocketError) {
    // The reactor keeps the socket, and the socket its handler.
    _ = try UDPSocket(descriptor, reactor: reactor, handler: self)
  }

  func open(listener descriptor: consuming Descriptor) throws(SocketError) {
    _ = try Listener(descriptor, reactor: reactor) { [self] descriptor, peer in
      guard connectionCount < settings.connectionsMax else {
        tally.count(.connectionReject)
        return
      }
      DNSConnection.begin(descriptor, peer, self)
    }
  }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    guard !datagram.isTruncated else {
      tally.count(.dropped)
      return 0
    }
    let isSix = datagram.peer.length > 16
    return serve(datagram.payload.bytes, reply, isTCP: false, isSix: isSix) {
      ClientPath(socket: socket, connection: nil, peer: datagram.peer, local: datagram.local)
    }
  }

  /// Octets of the reply in `space`; 0 when there is none now.
  func serve(
    _ packet: RawSpan, _ space: UnsafeMutableRawBufferPointer, isTCP: Bool, isSix: Bool,
    path: () -> ClientPath
  ) -> Int {
    let start = Reactor.monotonicNanoseconds()
    let version = holder.version.load(ordering: .acquiring)
    if version != zoneVersion {
      zone = holder.current
      zoneVersion = version
    }
    let verdict = head.read(packet)
    if verdict == .drop {
      tally.count(.dropped)
      return 0
    }
    var reply = Reply(space)
    let bytesMax = isTCP ? DNSLimits.messageBytesMax : min(head.udpBytesMax, settings.udpBytesMax)
    reply.begin(packet, head, bytesMax: bytesMax)
    if verdict != .query {
      refuse(verdict, &reply)
      return finish(&reply, start, isOurs: false, isTCP: isTCP, isSix: isSix)
    }
    rotation &+= 1
    if !routes.isEmpty { reply.flags |= Header.recursionAvailable }
    switch zone.answer(packet, head, &reply, rotation: settings.isRotating ? rotation : 0) {
    case .answered: return finish(&reply, start, isOurs: true, isTCP: isTCP, isSix: isSix)
    case .elsewhere: break
    case .alias(let at, let count):
      if let sent = forwardAlias(packet, reply, at, count, isTCP, start, path) { return sent }
      return finish(&reply, start, isOurs: true, isTCP: isTCP, isSix: isSix)
    }
    guard let route = ForwardTarget.find(routes, packet, head) else {
      reply.flags |= ResponseCode.refused.rawValue
      return finish(&reply, start, isOurs: false, isTCP: isTCP, isSix: isSix)
    }
    if let (answer, age) = cache.find(packet, head, now: start / 1_000_000) {
      tally.count(answer.isNegative ? .cacheDenialHit : .cacheHit)
      answer.write(head, age: age, &reply)
      return finish(&reply, start, isOurs: false, isTCP: isTCP, isSix: isSix)
    }
    tally.count(.cacheMiss)
    if route.isOwnProbe(packet, head) {
      // The question came back to us: an upstream server sends its queries here.
      route.noteLoop()
      reply.flags |= ResponseCode.serverFailure.rawValue
      return finish(&reply, start, isOurs: false, isTCP: isTCP, isSix: isSix)
    }
    guard exchangeCount < exchangesMax, !route.isLooping else {
      if exchangeCount >= exchangesMax { tally.count(.forwardReject) }
      reply.flags |= ResponseCode.serverFailure.rawValue
      return finish(&reply, start, isOurs: false, isTCP: isTCP, isSix: isSix)
    }
    let question = copyQuestion(packet)
    tally.request(head.type, isOurs: false, isTCP: isTCP, isSix: isSix)
    ForwardExchange.begin(
      self, route, question: question, head: head, bytesMax: bytesMax, alias: nil, start: start, path: path())
    return 0
  }

  private func copyQuestion(_ packet: RawSpan) -> [UInt8] {
    var question = packet.withUnsafeBytes { Array($0[..<head.questionEnd]) }
    // Only the question is kept, so the header must not count records behind it.
    for index in 6..<Header.byteCount { question[index] = 0 }
    return question
  }

  /// Asks upstream for the target of an ExternalName. Nil when nobody can be asked: the alias alone is the answer.
  private func forwardAlias(
    _ packet: RawSpan, _ reply: Reply, _ at: Int, _ count: Int, _ isTCP: Bool, _ start: UInt64,
    _ path: () -> ClientPath
  ) -> Int? {
    let wire = Array(UnsafeRawBufferPointer(start: reply.base + at, count: count))
    let query = Message(query: DomainName(uncheckedWire: wire), head.type, id: 0).encoded
    var target = QueryHead()
    guard target.read(query.span.bytes) == .query, exchangeCount < exchangesMax,
      let route = ForwardTarget.find(routes, query.span.bytes, target), !route.isLooping
    else { return nil }
    let soFar =
      (try? Message(
        UnsafeRawBufferPointer(start: reply.base, count: reply.count).bytes, answers: reply.answers))?.answer
    let alias = ForwardExchange.Alias(
      question: copyQuestion(packet), head: head, records: soFar ?? [])
    tally.request(head.type, isOurs: true, isTCP: isTCP, isSix: false)
    let bytesMax = isTCP ? DNSLimits.messageBytesMax : min(head.udpBytesMax, settings.udpBytesMax)
    ForwardExchange.begin(
      self, route, question: query, head: target, bytesMax: bytesMax, alias: alias, start: start, path: path()
    )
    return 0
  }

  private func refuse(_ verdict: QueryHead.Verdict, _ reply: inout Reply) {
    switch verdict {
    case .formatError:
      reply.flags |= ResponseCode.formatError.rawValue
    case .notImplemented: reply.flags |= ResponseCode.notImplemented.rawValue
    case .refused: reply.flags |= ResponseCode.refused.rawValue
    case .badVersion: reply.extendedCode = 1
    case .query, .drop: break
    }
  }

  @inline(__always)
  private func finish(_ reply: inout Reply, _ start: UInt64, isOurs: Bool, isTCP: Bool, isSix: Bool) -> Int {
    tally.request(head.type, isOurs: isOurs, isTCP: isTCP, isSix: isSix)
    let code = reply.code
    let count = reply.finish(head, udpBytesMax: settings.udpBytesMax)
    tally.response(code, isOurs: isOurs, nanoseconds: Reactor.monotonicNanoseconds() &- start)
    return count
  }

  /// Sends a reply that was waited for.
  func send(_ count: Int, _ path: ClientPath) {
    let bytes = UnsafeRawBufferPointer(start: space.baseAddress, count: count)
    if let connection = path.connection {
      connection.pending -= 1
      connection.append(bytes)
      connection.flush()
    } else {
      path.socket?.send(bytes, to: path.peer, from: path.local)
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
