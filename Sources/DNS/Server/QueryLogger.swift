// What is written down of queries: a line each where `log` asks for it, and upstream failures where `errors` does.

import Addresses
import Diagnostics
import Glibc
import Logging
import Reactor
import Synchronization

/// Writes lines. `log` is the operator's choice and has no limit; failures are at most one line a second, with a count.
final class QueryLogger: Sendable {
  private let queries: Logger
  private let failures: Logger
  private let consolidation = Consolidation()
  private struct Held {
    var second: UInt64 = .max
    var count = 0
  }
  private let held = Mutex(Held())

  init(
    queries: Logger = Logger(label: "dns.query"), failures: Logger = Logger(label: "dns.errors")
  ) {
    self.queries = queries
    self.failures = failures
  }

  func query(_ line: String) { queries.info("\(line)") }

  /// Nobody upstream answered a question.
  /// - Parameters:
  ///   - cause: what became of the last attempt; patterns of `consolidate` are held against it.
  ///   - reactor: the calling thread's: it says when a period is over.
  func failure(
    _ question: Message.Question?, _ route: ForwardRoute, _ cause: String, _ rules: [Consolidation.Rule],
    _ reactor: Reactor
  ) {
    let verdict = consolidation.take(cause, rules) { rule in
      reactor.setTimer(after: .seconds(rule.seconds)) { [self] in summarize(rule) }
    }
    switch verdict {
    case .counted: return
    case .said(let level):
      let asked = question.map { "\($0.name) \($0.type)" } ?? ""
      failures.log(level: level, "2 \(asked): \(cause)")
      return
    case .passed: break
    }
    let second = Reactor.monotonicNanoseconds() / 1_000_000_000
    let passedOver: Int? = held.withLock { held in
      guard held.second != second else {
        held.count += 1
        return nil
      }
      defer { held = Held(second: second, count: 0) }
      return held.count
    }
    guard let passedOver else { return }
    failures.error(
      "no upstream server answered",
      metadata: [
        "name": "\(question?.name.description ?? "")", "type": "\(question?.type.description ?? "")",
        "cause": "\(cause)", "upstreams": "\(route.upstreams)", "more": "\(passedOver)",
      ])
  }

  private func summarize(_ rule: Consolidation.Rule) {
    if let line = consolidation.ended(rule) { failures.log(level: rule.level, "\(line)") }
  }

  /// Says what is still to be said.
  func flush() { for rule in consolidation.open { summarize(rule) } }
}

extension DNSWorker {
  /// Writes a query down when a rule of `log` covers it.
  func log(
    _ reply: Reply, _ count: Int, _ block: SiteBlock, _ peer: SocketAddress, isTCP: Bool,
    _ nanoseconds: UInt64
  ) {
    let question = UnsafeRawBufferPointer(start: reply.base, count: count)
    var head = QueryHead()
    var copy = Array(question)
    guard copy.count >= Header.byteCount else { return }
    copy[2] &= 0x7f
    // Only the question is of interest, and the reply begins with it.
    for index in 6..<Header.byteCount { copy[index] = 0 }
    _ = head.read(copy.span.bytes)
    log(reply, count, block, peer, isTCP: isTCP, nanoseconds, head, copy.span.bytes)
  }

  func log(
    _ reply: Reply, _ count: Int, _ block: SiteBlock, _ peer: SocketAddress, isTCP: Bool,
    _ nanoseconds: UInt64,
    _ head: borrowing QueryHead, _ packet: RawSpan
  ) {
    if let sender = block.dnstap, let question = head.question(packet) {
      var query = Message(query: question.name, question.type, id: head.id)
      query.flags = head.flags & (Header.recursionDesired | Header.checkingDisabled)
      copy(reply, count, sender, peer, isTCP: isTCP, nanoseconds, query.encoded)
    }
    let code = reply.code
    let kind: LogRule.Class =
      code == .nameError || (code == .noError && reply.answers == 0)
      ? .denial : code == .noError ? .success : .error
    guard let question = head.question(packet),
      let rule = block.block.logs.first(where: { question.name.isWithin($0.zone) }),
      rule.classes.contains(.all) || rule.classes.contains(kind)
    else { return }
    let values = [
      "remote": peer.endpoint.map { "\($0.address)" } ?? "-", "port": "\(peer.port)",
      "type": "\(question.type)",
      "class": "IN", "name": "\(question.name)", "proto": isTCP ? "tcp" : "udp",
      "size": "\(head.packetLength)",
      ">id": "\(head.id)", ">do": "\(head.isDNSSECWanted)", ">bufsize": "\(head.udpBytesMax)",
      "rcode": "\(code)",
      ">rflags": Self.flags(reply.flags), "rsize": "\(count)", "duration": Self.seconds(nanoseconds),
    ]
    let common =
      "{remote}:{port} - {>id} \"{type} {class} {name} {proto} {size} {>do} {>bufsize}\" {rcode} {>rflags} {rsize} {duration}"
    var line = rule.format ?? common
    for (key, value) in values { line = line.replacing("{\(key)}", with: value) }
    logger.query(line)
  }

  /// Query and reply for dnstap. Of the query only what was asked: its other records are gone by now.
  private func copy(
    _ reply: Reply, _ count: Int, _ sender: DnstapSender, _ peer: SocketAddress, isTCP: Bool,
    _ nanoseconds: UInt64,
    _ query: [UInt8]
  ) {
    guard let client = peer.endpoint else { return }
    var clock = timespec()
    clock_gettime(CLOCK_REALTIME, &clock)
    let now = UInt64(clock.tv_sec) * 1_000_000_000 + UInt64(clock.tv_nsec)
    let answer = Array(UnsafeRawBufferPointer(start: reply.base, count: count))
    sender.send(
      DnstapMessage(
        isReply: false, client: client, server: nil, isTCP: isTCP, time: now &- nanoseconds,
        bytes: query))
    sender.send(
      DnstapMessage(isReply: true, client: client, server: nil, isTCP: isTCP, time: now, bytes: answer))
  }

  private static func flags(_ flags: UInt16) -> String {
    var names = ["qr"]
    for (bit, name) in [
      (Header.authoritative, "aa"), (Header.truncated, "tc"), (Header.recursionDesired, "rd"),
      (Header.recursionAvailable, "ra"), (Header.authenticData, "ad"), (Header.checkingDisabled, "cd"),
    ] where flags & bit != 0 { names.append(name) }
    return names.joined(separator: ",")
  }

  /// `0.000123456s`.
  static func seconds(_ nanoseconds: UInt64) -> String {
    let digits = String(nanoseconds % 1_000_000_000)
    return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 9 - digits.utf8.count) + digits
      + "s"
  }
}
