// Zone transfers (RFC 5936) and what changed since a client's last one (RFC 1995), to whoever `transfer` names. A transfer is
// made piece by piece as its client takes it, between other clients' queries.

import Addresses
import Reactor

extension DNSWorker {
  /// What a client that may have a zone gets of it. Nil: it may not, or there is no such zone.
  private func transfer(
    _ packet: RawSpan, _ block: SiteBlock, _ zone: Zone, _ peer: SocketAddress
  ) -> (question: Message.Question, soa: ResourceRecord, changes: TransferPieces?, whole: TransferPieces)? {
    var head = QueryHead()
    guard head.read(packet) == .transfer, let question = head.question(packet),
      let client = peer.endpoint?.address,
      let rule = block.block.transfers.first(where: { $0.zones.contains { question.name.isWithin($0) } }),
      rule.clients.isEmpty || rule.clients.contains(where: { $0.contains(client) })
    else { return nil }
    if block.block.isServingCluster, zone.isTransferred(question.name),
      let soa = zone.lookup(question.name, .soa).records.first
    {
      let known = question.type == .ixfr ? Self.knownSerial(packet) : nil
      return (
        question, soa, known.flatMap { zone.changes(since: $0, of: question.name) },
        TransferPieces(zone: zone, of: question.name)
      )
    }
    guard let file = block.block.files.first(where: { $0.zone == question.name }) else { return nil }
    return (question, file.soa, nil, TransferPieces(records: file.transfer))
  }

  /// Sends a zone to a client that may have it. False: it may not, or there is no such zone.
  func beginTransfer(
    _ packet: RawSpan, _ block: SiteBlock, _ zone: Zone, _ peer: SocketAddress, _ path: () -> ClientPath
  ) -> Bool {
    guard let source = transfer(packet, block, zone, peer), let connection = path().connection else {
      return false
    }
    var pieces = source.changes ?? source.whole
    connection.pending -= 1
    var message = Message.reply(source.question)
    message.id = packet.uint16(at: 0)
    connection.send(transfer: {
      guard let records = pieces.next() else { return nil }
      message.answer = records
      return message.encoded
    })
    tally.request(source.question.type, isOurs: true, isTCP: true, isSix: peer.length > 16)
    return true
  }

  /// IXFR over UDP (RFC 1995 section 2): what changed when it fits, else the SOA alone, after which a client comes by TCP. False:
  /// there is nothing for this client.
  func answerTransfer(
    _ packet: RawSpan, _ block: SiteBlock, _ zone: Zone, _ peer: SocketAddress, _ reply: inout Reply
  ) -> Bool {
    guard let source = transfer(packet, block, zone, peer), source.question.type == .ixfr else {
      return false
    }
    var message = Message.reply(source.question)
    func octets(_ records: [ResourceRecord]) -> ArraySlice<UInt8> {
      message.answer = records
      return message.encoded.dropFirst(reply.count)
    }
    var records: [ResourceRecord] = []
    var pieces = source.changes
    // A piece is more than a datagram holds: where there is a second, the first is too much already.
    while let more = pieces?.next(), records.count < 512 { records += more }
    if records.isEmpty || octets(records).count > reply.room { records = [source.soa] }
    let body = octets(records)
    guard body.count <= reply.room else { return false }
    body.withUnsafeBytes { if let base = $0.baseAddress { reply.append(base, $0.count) } }
    reply.answers = UInt16(truncatingIfNeeded: records.count)
    reply.flags |= Header.authoritative
    return true
  }

  /// The serial of the zone an IXFR client has: that of the SOA in its authority section.
  private static func knownSerial(_ packet: RawSpan) -> UInt32? {
    guard let message = try? Message(packet) else { return nil }
    for record in message.authority {
      if case .soa(let soa) = record.data { return soa.serial }
    }
    return nil
  }
}

/// The records of a transfer, a message's worth at a time. What is still to come is kept as blocks of the zone, not as records.
struct TransferPieces {
  /// Octets of a message: under 16 KiB, so that compression reaches every name.
  static let bytesMax = 12_000

  private var ready: ArraySlice<ResourceRecord>
  private var blocks: ArraySlice<GroupView> = []
  private let last: ResourceRecord?
  /// Holds the blocks.
  private let zone: Zone?
  private var apex = DomainName.root
  private var hasEnded = false

  init(records: [ResourceRecord]) {
    ready = records[...]
    last = nil
    zone = nil
  }

  /// A zone of the cluster, its SOA first and last (RFC 5936 section 2.2).
  init(zone: Zone, of apex: DomainName) {
    let soa = zone.lookup(apex, .soa).records
    self.apex = apex
    ready = soa[...]
    blocks = zone.allGroups[...]
    last = soa.first
    self.zone = zone
  }

  mutating func next() -> [ResourceRecord]? {
    var records: [ResourceRecord] = []
    var bytes = 0
    while bytes < Self.bytesMax {
      if let record = ready.popFirst() {
        records.append(record)
        bytes += record.owner.wire.count + 300
      } else if let block = blocks.popFirst() {
        ready = block.records.filter { $0.owner.isWithin(apex) && $0.data.type != .soa }[...]
      } else {
        if !hasEnded, let last { records.append(last) }
        hasEnded = true
        break
      }
    }
    return records.isEmpty ? nil : records
  }
}

extension GroupView {
  /// Every record of the block.
  var records: [ResourceRecord] {
    let key = Array(UnsafeRawBufferPointer(start: self.key, count: keyLength))
    var records: [ResourceRecord] = []
    for index in 0..<nodeCount {
      let node = node(index)
      // Names by availability zone are another way to ask, not records of the zone.
      let prefix = UnsafeRawBufferPointer(start: node.prefix, count: node.prefixLength)
      if prefix.suffix(6).elementsEqual([5] + Array("_zone".utf8)) { continue }
      let name = Array(UnsafeRawBufferPointer(start: node.prefix, count: node.prefixLength)) + key
      var at = node.answersAt
      for _ in 0..<node.answers {
        let answer = answer(at: at)
        at += 16 + answer.allBytes
        // As in a reply: owners point to the question.
        var message: [UInt8] = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + name + [0, 0, 0, 1]
        var reader = message.count
        message += UnsafeRawBufferPointer(start: answer.octets, count: answer.answerBytes)
        for _ in 0..<answer.records {
          var wire = WireReader(message.span.bytes, at: reader)
          guard let record = try? wire.record().record else { break }
          reader = wire.offset
          records.append(record)
        }
      }
    }
    return records
  }
}

extension Zone {
  /// Whether a name is the apex of a zone that may be handed over: the cluster's, or one of its cluster set.
  func isTransferred(_ apex: DomainName) -> Bool {
    isReady && (apex == settings.zone || settings.multiclusterZones.contains(apex))
      && lookup(apex, .soa).outcome == .records
  }

  /// What changed since the zone of a serial, as RFC 1995 section 4 writes it; nil when that is too long ago.
  func changes(since serial: UInt32, of apex: DomainName) -> TransferPieces? {
    guard let soa = lookup(apex, .soa).records.first else { return nil }
    if serial == self.serial { return TransferPieces(records: [soa]) }
    guard let first = journal.firstIndex(where: { $0.from == serial }) else { return nil }
    func marked(_ serial: UInt32) -> ResourceRecord {
      var record = soa
      if case .soa(var data) = soa.data {
        data.serial = serial
        record.data = .soa(data)
      }
      return record
    }
    func records(_ groups: [ZoneGroup]) -> [ResourceRecord] {
      groups.flatMap { $0.view.records }.filter { $0.owner.isWithin(apex) && $0.data.type != .soa }
    }
    var result = [soa]
    for change in journal[first...] {
      let gone = records(change.removed)
      let came = records(change.added)
      let stayed = Set(gone).intersection(came)
      result += [marked(change.from)] + gone.filter { !stayed.contains($0) }
      result += [marked(change.to)] + came.filter { !stayed.contains($0) }
    }
    return TransferPieces(records: result + [soa])
  }
}
