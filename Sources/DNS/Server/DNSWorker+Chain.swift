// Queries that plugins have a say in: runs the chain's steps, waiting for upstream servers where it asks for them.

import Addresses
import Diagnostics
import Reactor

/// A query on its way through the chain.
struct ChainQuery {
  var question: [UInt8]
  var head: QueryHead
  var client: Client
  var start: UInt64
  var waiting: ForwardExchange.Waiting
  var block: SiteBlock
  var isKnownClient: Bool
  /// What rules made of its options.
  var options = QueryOptions()
}

extension ChainQuery {
  fileprivate var extras: ForwardExchange.Extras {
    ForwardExchange.Extras(options: options.asked.encoded, isPersonal: options.isPersonal)
  }

  /// Options of the reply besides those that every reply has.
  fileprivate func replyOptions(_ cause: ExtendedErrorNote?) -> [UInt8]? {
    let values = options.replied + (cause.map { [$0.option] } ?? [])
    return values.isEmpty ? waiting.options : (waiting.options ?? []) + values.encoded
  }
}

extension DNSWorker {
  /// Octets of the reply in `space`; 0 when it comes later or never.
  func run(_ step: Step, _ query: ChainQuery, space: UnsafeMutableRawBufferPointer) -> Int {
    switch step {
    case .reply(let message): return write(message, query, space)
    case .drop:
      tally.count(.dropped)
      // A connection counts what it waits for.
      if query.waiting.path.connection != nil || query.waiting.path.handOver != nil {
        send(0, query.waiting.path)
      }
      return 0
    case .forward(let question, let then):
      let asked = Message(query: question.name, question.type, id: 0).encoded
      var head = QueryHead()
      guard head.read(asked.span.bytes) == .query,
        let route = ForwardTarget.find(query.block.routes, asked.span.bytes, head)
      else { return run(then(nil), query, space: space) }
      head.isDNSSECWanted = query.head.isDNSSECWanted
      head.flags |= query.head.flags & Header.checkingDisabled
      let isPersonal = query.options.isPersonal
      if !isPersonal, let hit = query.block.cache.find(asked.span.bytes, head, now: query.start / 1_000_000) {
        tally.count(hit.answer.isNegative ? .cacheDenialHit : .cacheHit)
        if hit.mustRefresh, query.block.waiting < query.block.forwardsMax, !route.isLooping {
          tally.count(.cachePrefetch)
          ForwardExchange.begin(
            self, query.block, route, question: asked, head: head, start: query.start, goal: .cacheOnly,
            extras: query.extras)
        }
        return run(then(message(hit, query.block)), query, space: space)
      }
      tally.count(.cacheMiss)
      if route.isOwnProbe(asked.span.bytes, head) { route.noteLoop() }
      guard query.block.waiting < query.block.forwardsMax, !route.isLooping else {
        if query.block.waiting >= query.block.forwardsMax { tally.count(.forwardReject) }
        return run(then(nil), query, space: space)
      }
      let goal = ForwardExchange.Goal.chain { [self] answer in
        // Whatever the step after it says, it is said later: into the space for late replies.
        var message = answer?.message(age: 0)
        if answer == nil, !isPersonal {
          let now = reactor.now / 1_000_000
          message = query.block.cache.find(asked.span.bytes, head, now: now, isLastResort: true).flatMap {
            self.message($0, query.block)
          }
        }
        let count = run(then(message), query, space: self.space)
        if count > 0 { send(count, query.waiting.path) }
      }
      ForwardExchange.begin(
        self, query.block, route, question: asked, head: head, start: query.start, goal: goal,
        extras: query.extras)
      return 0
    }
  }

  /// A kept answer as a value, with the TTL that stale ones have.
  private func message(_ hit: ForwardCache.Hit, _ block: SiteBlock) -> Message? {
    guard var message = hit.answer.message(age: hit.isStale ? 0 : hit.age), hit.isStale else {
      return hit.answer.message(age: hit.age)
    }
    tally.count(.cacheStale)
    for path in [\Message.answer, \Message.authority, \Message.additional] {
      for index in message[keyPath: path].indices {
        message[keyPath: path][index].ttl = block.cache.settings.staleTTL
      }
    }
    let cause: ExtendedError = hit.answer.code == .nameError ? .staleDenial : .staleAnswer
    message.extendedError = ExtendedErrorNote(code: cause.rawValue, text: "")
    return message
  }

  private func write(_ message: Message, _ query: ChainQuery, _ space: UnsafeMutableRawBufferPointer) -> Int {
    var reply = Reply(space)
    reply.cookie = query.waiting.cookie
    reply.options = query.replyOptions(message.extendedError)
    if query.waiting.path.handOver != nil { reply.paddingBlock = 468 }
    query.question.withUnsafeBytes { reply.begin($0.bytes, query.head, bytesMax: query.waiting.bytesMax) }
    reply.flags |= message.flags & (Header.authoritative | Header.codeMask)
    let code = message.code
    if code.rawValue > Header.codeMask, query.head.hasEDNS {
      reply.extendedCode = UInt8(truncatingIfNeeded: code.rawValue >> 4)
    } else if code.rawValue > Header.codeMask {
      // Without EDNS there is no place for the number; its low bits mean something else.
      reply.flags = reply.flags & ~Header.codeMask | ResponseCode.serverFailure.rawValue
    }
    if !query.block.routes.isEmpty { reply.flags |= Header.recursionAvailable }
    if message.code == .refused, message.extendedError == nil { reply.extendedError = .blocked }
    var whole = message
    whole.edns = nil
    whole.question = query.head.question(query.question.span.bytes)
    if let whole = Self.fitting(whole, query.head.questionEnd, reply.room) {
      whole.bytes.dropFirst(query.head.questionEnd).withUnsafeBytes {
        if let from = $0.baseAddress { reply.append(from, $0.count) }
      }
      reply.answers = whole.answers
      reply.authorities = whole.authorities
      reply.additional = whole.additional
      if whole.isCut { reply.flags |= Header.truncated }
    }
    if query.head.isDNSSECWanted {
      tally.count(message.isAuthoritative ? .dnssecWanted : .dnssecWantedForwarded)
    }
    let isOurs = message.flags & Header.authoritative != 0
    tally.request(
      query.head.type, isOurs: isOurs, isTCP: query.client.isTCP,
      isSix: query.client.endpoint.address.family == .v6)
    let count = reply.finish(query.head, udpBytesMax: query.block.block.udpBytesMax)
    let took = Reactor.monotonicNanoseconds() &- query.start
    tally.response(reply.code, isOurs: isOurs, nanoseconds: took)
    tally.sizes(query.head.packetLength, count, isOurs: isOurs, isTCP: query.client.isTCP)
    if query.block.block.isObserved {
      log(
        reply, count, query.block, SocketAddress(query.client.endpoint), isTCP: query.client.isTCP, took,
        query.head, query.question.span.bytes)
    }
    return count
  }

  /// A message's octets that fit: without additional records if need be, then without records and cut.
  private static func fitting(_ message: Message, _ questionEnd: Int, _ room: Int) -> (
    bytes: [UInt8], answers: UInt16, authorities: UInt16, additional: UInt16, isCut: Bool
  )? {
    var message = message
    var isCut = false
    for attempt in 0..<3 {
      if attempt == 1 { message.additional = [] }
      if attempt == 2 {
        message.answer = []
        message.authority = []
        isCut = true
      }
      let bytes = message.encoded
      if bytes.count - questionEnd <= room {
        return (
          bytes, UInt16(truncatingIfNeeded: message.answer.count),
          UInt16(truncatingIfNeeded: message.authority.count),
          UInt16(truncatingIfNeeded: message.additional.count), isCut
        )
      }
    }
    return nil
  }
}
