// Zone transfers (RFC 5936): the cluster's zone and zones from files, to whoever `transfer` names. IXFR gets the whole
// zone, as RFC 1995 section 4 allows.

import Addresses
import Reactor

extension DNSWorker {
  /// Records of a message of a transfer: under 16 KiB, so that compression reaches every name.
  static let transferBytesMax = 12_000

  /// Sends a zone to a client that may have it. False: it may not, or there is no such zone.
  func beginTransfer(
    _ packet: RawSpan, _ block: SiteBlock, _ zone: Zone, _ peer: SocketAddress, _ path: () -> ClientPath
  ) -> Bool {
    var head = QueryHead()
    guard head.read(packet) == .transfer, let question = head.question(packet),
      let client = peer.endpoint?.address,
      let rule = block.block.transfers.first(where: { $0.zones.contains { question.name.isWithin($0) } }),
      rule.clients.isEmpty || rule.clients.contains(where: { $0.contains(client) })
    else { return false }
    let records: [ResourceRecord]
    if block.block.isServingCluster, zone.isReady, question.name == zone.settings.zone {
      records = zone.transfer
    } else if let file = block.block.files.first(where: { $0.zone == question.name }) {
      records = file.transfer
    } else {
      return false
    }
    let path = path()
    guard let connection = path.connection else { return false }
    connection.pending -= 1
    var message = Message.reply(question)
    message.id = head.id
    var bytes = 0
    for record in records {
      message.answer.append(record)
      bytes += record.owner.wire.count + 300
      if bytes > Self.transferBytesMax {
        Self.append(message, connection)
        message.answer = []
        bytes = 0
      }
    }
    Self.append(message, connection)
    connection.flush()
    tally.request(question.type, isOurs: true, isTCP: true, isSix: client.family == .v6)
    return true
  }

  private static func append(_ message: Message, _ connection: DNSConnection) {
    guard !message.answer.isEmpty else { return }
    message.encoded.withUnsafeBytes { connection.append($0) }
  }
}

extension Zone {
  /// Every record of the cluster's zone, its SOA first and last (RFC 5936 section 2.2). Costs the whole zone.
  var transfer: [ResourceRecord] {
    let soa = lookup(settings.zone, .soa).records
    var records: [ResourceRecord] = []
    for group in allGroups {
      let view = group
      let key = DomainName(
        uncheckedWire: Array(UnsafeRawBufferPointer(start: view.key, count: view.keyLength)))
      guard key.isWithin(settings.zone) else { continue }
      for index in 0..<view.nodeCount {
        let node = view.node(index)
        let prefix = Array(UnsafeRawBufferPointer(start: node.prefix, count: node.prefixLength))
        let name = DomainName(uncheckedWire: prefix + key.wire)
        var at = node.answersAt
        for _ in 0..<node.answers {
          let answer = view.answer(at: at)
          if answer.type != .soa { records += lookup(name, answer.type).records.filter { $0.owner == name } }
          at += 16 + answer.allBytes
        }
      }
    }
    return soa + records + soa
  }
}
