// What a server block says to a question, plugin by plugin. Pure but for the zone it is given: sockets and upstream
// servers are the worker's. The cluster's names rarely come here: `passesCluster` sends them to the fast path.

import Addresses
import Diagnostics

/// A server block made ready for one thread.
struct BlockChain {
  let block: ServerBlock
  /// The namespace of the pod with an address, for `autopath @kubernetes`.
  let namespaceOf: (@Sendable (IPAddress) -> String?)?
  private let counters: BlockCounters?
  private let hostHashes: Set<UInt64>
  private let weightHashes: Set<UInt64>
  private let seed = UInt64.random(in: .min ... .max)

  /// Aliases followed for one question.
  static let aliasesMax = 8

  init(
    _ block: ServerBlock, namespaceOf: (@Sendable (IPAddress) -> String?)? = nil,
    counters: BlockCounters? = nil
  ) {
    self.block = block
    self.namespaceOf = namespaceOf
    self.counters = counters
    let seed = seed
    func hashes(_ names: [DomainName]) -> Set<UInt64> {
      Set(
        names.map { name in
          name.lowercased.wire.withUnsafeBytes { $0.bytes.foldedHash(at: 0, count: $0.count, seed: seed) }
        })
    }
    hostHashes = hashes(block.hosts?.allNames ?? [])
    weightHashes = hashes(block.balance?.weights.map { Array($0.keys) } ?? [])
  }

  /// A query was answered past the chain, which `acl` allowed.
  func noteAllowed() {
    if !block.accessRules.isEmpty { counters?.allowed?.increment() }
  }

  // MARK: - The fast path's question

  /// Whether nothing before `kubernetes` has a say in this query, so that the zone may answer at once. Allocates nothing
  /// unless rules of `acl` or `rewrite` by pattern are there.
  @inline(__always)
  func passesCluster(_ packet: RawSpan, _ head: borrowing QueryHead, _ client: @autoclosure () -> IPAddress?)
    -> Bool
  {
    if block.isPlain { return true }
    return passesSlowly(packet, head, client())
  }

  private func passesSlowly(_ packet: RawSpan, _ head: borrowing QueryHead, _ client: IPAddress?) -> Bool {
    let type = head.type
    if block.isAnyRefused, type == .any { return false }
    if block.dns64 != nil, head.type == .aaaa { return false }
    for rule in block.accessRules {
      guard rule.types.isEmpty || rule.types.contains(type) else { continue }
      guard
        rule.networks.isEmpty
          || client.map({ client in rule.networks.contains { $0.contains(client) } }) ?? true
      else { continue }
      guard head.isWithin(any: rule.zones, packet) else { continue }
      if rule.action != .allow { return false }
      break
    }
    for rule in block.rewrites where mayRewrite(rule, packet, head) { return false }
    for rule in block.templates {
      if let wanted = rule.type, wanted != type { continue }
      if head.isWithin(any: rule.zones, packet) { return false }
    }
    if let balance = block.balance, type == .a || type == .aaaa {
      if !balance.preferred.isEmpty { return false }
      let hash = packet.foldedHash(at: Header.byteCount, count: head.nameLength, seed: seed)
      if weightHashes.contains(hash) { return false }
    }
    if let hosts = block.hosts {
      let hash = packet.foldedHash(at: Header.byteCount, count: head.nameLength, seed: seed)
      if hostHashes.contains(hash) { return false }
      for zone in hosts.zones where zone != .root { if head.isWithin(zone, packet) { return false } }
    }
    return true
  }

  /// Says yes too often rather than too seldom.
  private func mayRewrite(_ rule: RewriteRule, _ packet: RawSpan, _ head: borrowing QueryHead) -> Bool {
    let match: RewriteRule.NameMatch
    switch rule.field {
    case .type(let from, _): return from == head.type
    case .rrClass(let from, _): return from == Header.internet
    // Which alias an answer has is not known before it is there.
    case .cname, .option: return true
    case .name(let name, _, _), .ttl(let name, _, _), .code(let name, _, _): match = name
    }
    switch match {
    case .exact(let name):
      if name.wire.count != head.nameLength { return false }
      return head.isWithin(name, packet)
    case .prefix(let prefix):
      let at = Header.byteCount
      let length = head.labelCount == 0 ? 0 : Int(packet.byte(at: at))
      for index in 0..<min(prefix.count, length)
      where prefix[index] != UInt8(ascii: ".") && foldedByte(packet.byte(at: at + 1 + index)) != prefix[index]
      {
        return false
      }
      return true
    case .suffix(let suffix):
      guard
        let whole = DomainName(
          String(decoding: suffix.drop { $0 != UInt8(ascii: ".") }.dropFirst(), as: UTF8.self))
      else { return true }
      return head.isWithin(whole, packet)
    case .substring, .pattern: return true
    }
  }

  // MARK: - The whole chain

  /// The answer to a question, from the outermost plugin inwards.
  /// - Parameter options: the client's, where rules change options.
  /// - Returns: beside it what goes upstream with the question, and back with the reply.
  func answer(
    _ question: Message.Question, _ client: Client, _ zone: Zone, rotation: UInt32,
    options: [EDNSValue] = []
  ) -> (step: Step, options: QueryOptions) {
    if let refusal = denied(question, client) { return (refusal, QueryOptions()) }
    if block.isAnyRefused, question.type == .any {
      var reply = Message.reply(question)
      let text = [3] + Array("ANY".utf8) + [8] + Array("obsolete".utf8)
      reply.answer = [ResourceRecord(owner: question.name, ttl: 8482, data: .other(.hinfo, text))]
      return (.reply(reply), QueryOptions())
    }
    let rewriting = Rewriting(question, block.rewrites, client, options)
    let asked = rewriting.question
    // Nobody here knows names of other classes.
    guard asked.rrClass == Header.internet else {
      return (.reply(.reply(question, .refused, isAuthoritative: false)), QueryOptions())
    }
    let step = searched(asked, client, zone).map { reply in
      guard let (turned, target) = rewriting.turned(reply) else { return .reply(reply) }
      let asked = Message.Question(name: target, type: asked.type)
      return resolve(asked, client, zone, depth: 0).map { more in
        guard more.code == .noError || more.code == .nameError else { return .reply(reply) }
        var turned = turned
        turned.set(more.code)
        turned.answer += more.answer
        turned.authority = more.authority
        return .reply(turned)
      }
    }.map { reply in
      .reply(finished(rewriting.isEmpty ? reply : rewriting.undone(reply), rotation))
    }
    return (step, rewriting.options)
  }

  /// What `acl` says to a question that it does not allow.
  private func denied(_ question: Message.Question, _ client: Client) -> Step? {
    guard !block.accessRules.isEmpty else { return nil }
    let index = block.accessRules.deciding(question, client.endpoint.address)
    guard let index, block.accessRules[index].action != .allow else {
      counters?.allowed?.increment()
      return nil
    }
    counters?.noteDenied(index, question.name)
    var reply = Message.reply(question, isAuthoritative: false)
    switch block.accessRules[index].action {
    case .allow: return nil
    case .block: reply.set(.refused)
    case .filter: reply.extendedError = ExtendedErrorNote(code: ExtendedError.filtered.rawValue, text: "")
    case .drop: return .drop
    }
    return .reply(reply)
  }

  private func finished(_ reply: Message, _ rotation: UInt32) -> Message {
    var reply = reply
    if block.isMinimal, !reply.answer.isEmpty, reply.code == .noError {
      reply.authority = []
      reply.additional = []
    }
    if let balance = block.balance {
      reply.answer = balance.ordered(reply.answer, rotation)
    } else if block.isRotating {
      reply.answer = Self.rotated(reply.answer, rotation)
    }
    return reply
  }

  /// Turns the addresses round and leaves aliases where they are.
  static func rotated(_ records: [ResourceRecord], _ rotation: UInt32) -> [ResourceRecord] {
    guard let first = records.firstIndex(where: { [.a, .aaaa, .mx].contains($0.data.type) }) else {
      return records
    }
    let tail = records[first...]
    guard tail.count > 1, tail.allSatisfy({ $0.data.type == tail[first].data.type }) else { return records }
    let offset = Int(rotation % UInt32(tail.count))
    return Array(records[..<first]) + tail.dropFirst(offset) + tail.prefix(offset)
  }

  /// `autopath`: the first name of the search path that has an answer, under an alias from the name asked.
  private func searched(_ question: Message.Question, _ client: Client, _ zone: Zone) -> Step {
    guard let autopath = block.autopath, question.type == .a || question.type == .aaaa else {
      return translated(question, client, zone, depth: 0)
    }
    let namespace = namespaceOf?(client.endpoint.address)
    let path = autopath.path(zone: block.isServingCluster ? zone.settings.zone : nil, namespace: namespace)
    guard let names = autopath.candidates(question.name, path) else {
      return translated(question, client, zone, depth: 0)
    }
    return attempt(names[...], question, client, zone, first: nil)
  }

  private func attempt(
    _ names: ArraySlice<DomainName>, _ question: Message.Question, _ client: Client, _ zone: Zone,
    first: Message?
  ) -> Step {
    guard let name = names.first else { return .reply(first ?? .reply(question, .nameError)) }
    let asked = Message.Question(name: name, type: question.type)
    return translated(asked, client, zone, depth: 0).map { reply in
      // A name that exists ends the search though it has no such records: were its AAAA denied while its A is found, clients
      // that ask for both would take it for absent.
      if reply.code == .noError {
        guard name != question.name else { return .reply(reply) }
        counters?.autopath?.increment()
        var reply = reply
        let ttl = (reply.answer + reply.authority).map(\.ttl).min() ?? 0
        reply.question = question
        reply.answer.insert(ResourceRecord(owner: question.name, ttl: ttl, data: .cname(name)), at: 0)
        return .reply(reply)
      }
      return attempt(names.dropFirst(), question, client, zone, first: first ?? reply)
    }
  }

  /// `dns64` around the rest.
  private func translated(_ question: Message.Question, _ client: Client, _ zone: Zone, depth: Int) -> Step {
    let step = resolve(question, client, zone, depth: depth)
    guard let dns64 = block.dns64, question.type == .aaaa,
      dns64.allowsIPv4 || client.endpoint.address.family == .v6
    else { return step }
    return step.map { reply in
      guard dns64.needsTranslation(reply) else { return .reply(reply) }
      let four = Message.Question(name: question.name, type: .a)
      return resolve(four, client, zone, depth: depth).map { four in
        guard four.code == .noError, four.answer.contains(where: { $0.data.type == .a }) else {
          return .reply(reply)
        }
        counters?.translated?.increment()
        return .reply(dns64.translated(four, question))
      }
    }
  }

  /// The plugins that know names: template, hosts, kubernetes, file, forward.
  private func resolve(_ question: Message.Question, _ client: Client, _ zone: Zone, depth: Int) -> Step {
    for (index, rule) in block.templates.enumerated() {
      guard let within = rule.zone(question) else { continue }
      let outcome = rule.answer(question, client, zone: within) {
        counters?.noteMatch(index, within, question.type)
      }
      switch outcome {
      case .passed: continue
      case .answered(let reply): return followed(reply, question, client, zone, depth)
      case .failed(let reply, let section, let template, let isRecord):
        counters?.noteFailure(within, question.type, section, template, isRecord: isRecord)
        return .reply(reply)
      }
    }
    if let hosts = block.hosts, let reply = hosts.answer(question) { return .reply(reply) }
    if block.isServingCluster, let (reply, target) = zone.message(question) {
      guard let target, depth < Self.aliasesMax else { return .reply(reply) }
      return continued(reply, target, question, client, zone, depth)
    }
    let file = block.files.filter { question.name.isWithin($0.zone) }.max {
      $0.zone.wire.count < $1.zone.wire.count
    }
    if let reply = file?.answer(question) { return followed(reply, question, client, zone, depth) }
    guard block.routes.contains(where: { question.name.isWithin($0.zone) }) else {
      return .reply(.reply(question, .refused, isAuthoritative: false))
    }
    return .forward(question) { reply in
      if let reply { return .reply(reply) }
      return .reply(.reply(question, .serverFailure, isAuthoritative: false))
    }
  }

  /// Looks for what an alias at the end of a reply points to.
  private func followed(
    _ reply: Message, _ question: Message.Question, _ client: Client, _ zone: Zone, _ depth: Int
  ) -> Step {
    guard depth < Self.aliasesMax, reply.code == .noError, question.type != .cname, question.type != .any,
      case .cname(let target)? = reply.answer.last?.data
    else { return .reply(reply) }
    return continued(reply, target, question, client, zone, depth)
  }

  private func continued(
    _ reply: Message, _ target: DomainName, _ question: Message.Question, _ client: Client, _ zone: Zone,
    _ depth: Int
  ) -> Step {
    resolve(Message.Question(name: target, type: question.type), client, zone, depth: depth + 1).map { more in
      var reply = reply
      if more.code == .noError { reply.answer += more.answer.filter { !reply.answer.contains($0) } }
      return .reply(reply)
    }
  }
}

extension HostsTable {
  var allNames: [DomainName] { Array(addresses.keys) + Array(names.keys) }
}

extension QueryHead {
  func isWithin(any zones: [DomainName], _ packet: RawSpan) -> Bool {
    for zone in zones where isWithin(zone, packet) { return true }
    return false
  }

  /// Whether the question's name is `zone` or below it. Compares in place; `zone` is in lower case.
  func isWithin(_ zone: DomainName, _ packet: RawSpan) -> Bool {
    // Zones are short: counting their labels costs less than keeping the count everywhere.
    var labels = 0
    var at = 0
    while zone.wire[at] != 0 {
      labels += 1
      at += 1 + Int(zone.wire[at])
    }
    guard labelCount >= labels else { return false }
    let start = suffixStart(labelCount - labels)
    guard nameLength - start == zone.wire.count else { return false }
    return zone.wire.withUnsafeBytes { wire in
      guard let base = wire.baseAddress else { return false }
      return packet.foldedEquals(at: Header.byteCount + start, count: wire.count, base)
    }
  }
}

extension Zone {
  /// The zone's reply as a value, and the name of someone else an alias in it ends in. Nil when the name is not ours.
  func message(_ question: Message.Question) -> (reply: Message, target: DomainName?)? {
    let packet = Message(query: question.name, question.type, id: 0).encoded
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: DNSLimits.messageBytesMax, alignment: 8)
    defer { buffer.deallocate() }
    var reply = Reply(buffer)
    var head = QueryHead()
    var outcome = Outcome.elsewhere
    packet.withUnsafeBytes { bytes in
      guard head.read(bytes.bytes) == .query else { return }
      reply.begin(bytes.bytes, head, bytesMax: DNSLimits.messageBytesMax)
      outcome = answer(bytes.bytes, head, &reply, rotation: 0)
    }
    var target: DomainName?
    switch outcome {
    case .elsewhere: return nil
    case .alias(let at, let count):
      target = DomainName(uncheckedWire: Array(UnsafeRawBufferPointer(start: reply.base + at, count: count)))
    case .answered: break
    }
    let count = reply.finish(head, udpBytesMax: 0)
    guard var message = try? Message(UnsafeRawBufferPointer(start: buffer.baseAddress, count: count).bytes)
    else {
      return nil
    }
    message.question = question
    return (message, target)
  }
}
