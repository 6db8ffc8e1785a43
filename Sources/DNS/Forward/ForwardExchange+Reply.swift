// What clients get of an exchange: the upstream's reply, what the cache still has, or SERVFAIL.

import Addresses
import Diagnostics
import Reactor

extension ForwardExchange {
  /// What the cache has for want of anything better.
  var staleAnswer: ForwardCache.Hit? {
    let now = worker.reactor.now / 1_000_000
    return question.withUnsafeBytes { block.cache.find($0.bytes, head, now: now, isLastResort: true) }
  }

  func noteFailure() {
    guard goal.isAwaited else { return }
    let now = worker.reactor.now / 1_000_000
    question.withUnsafeBytes { block.cache.noteFailure($0.bytes, head, now: now) }
    guard block.block.isLoggingErrors,
      staleAnswer == nil
    else { return }
    let way = target.encrypted(upstream) != nil ? "tcp-tls" : isStream ? "tcp" : "udp"
    let cause =
      attempts == 0
      ? "no healthy proxies" : "read \(way) \(target.route.upstreams[upstream]): \(failure.rawValue)"
    let asked = question.withUnsafeBytes { head.question($0.bytes) }
    worker.logger.failure(
      asked, target.route, cause, block.block.consolidated, worker.reactor)
  }

  func reply(
    _ answer: UpstreamAnswer?, _ age: UInt32, _ question: [UInt8], _ head: QueryHead, _ start: UInt64,
    _ waiting: Waiting
  ) {
    var reply = Reply(worker.space)
    reply.cookie = waiting.cookie
    reply.options = waiting.options
    if waiting.path.handOver != nil { reply.paddingBlock = 468 }
    question.withUnsafeBytes { reply.begin($0.bytes, head, bytesMax: waiting.bytesMax) }
    let now = worker.reactor.now / 1_000_000
    if let answer {
      answer.write(head, age: age, &reply)
    } else if let hit = block.cache.find(question.span.bytes, head, now: now, isLastResort: true) {
      worker.tally.count(.cacheStale)
      hit.answer.write(head, age: hit.age, staleTTL: block.cache.settings.staleTTL, &reply)
      reply.extendedError = hit.answer.code == .nameError ? .staleDenial : .staleAnswer
    } else {
      reply.flags |= Header.recursionAvailable | ResponseCode.serverFailure.rawValue
      reply.extendedError = target.route.upstreams.isEmpty ? .noReachableAuthority : .networkError
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

  func replyAlias(_ alias: Alias, _ answer: UpstreamAnswer?) {
    var reply = Reply(worker.space)
    reply.cookie = alias.waiting.cookie
    reply.options = alias.waiting.options
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

extension Message {
  fileprivate static func read(_ bytes: [UInt8]) -> Message? {
    bytes.withUnsafeBytes { try? Message($0.bytes) }
  }
}
