// What of an upstream reply belongs to the question. A server may say more than it was asked, or lead from alias to alias without end.
//
//   question -> alias -> alias -> records      authority: zones those names are in      additional: addresses of names that stand there

/// Keeps the records of a reply that answer its question, by name and by zone (RFC 2181 section 5.4.1, RFC 5452 section 6).
struct AnswerScope {
  /// Aliases one behind the other. A longer chain, and one that goes round, is no answer.
  static let aliasesMax = 16

  /// RRSIG, NSEC, NSEC3: they stand at names of the zone that is the authority, whatever was asked.
  private static let proofs: Set<RecordType> = [46, 47, 50].reduce(into: []) {
    $0.insert(RecordType(rawValue: $1))
  }
  /// SVCB and HTTPS: a priority, then the name of a server.
  private static let services: Set<RecordType> = [RecordType(rawValue: 64), RecordType(rawValue: 65)]

  private let names: Set<DomainName>

  /// Follows the aliases of a reply. Throws when there is no end to them.
  private init(_ message: Message, _ asked: DomainName) throws(WireError) {
    var targets: [DomainName: DomainName] = [:]
    for record in message.answer {
      if case .cname(let target) = record.data { targets[record.owner] = target }
    }
    var names: Set<DomainName> = [asked]
    var last = asked
    while let target = targets[last] {
      guard names.count <= Self.aliasesMax, names.insert(target).inserted else { throw .badRecord(at: 0) }
      last = target
    }
    self.names = names
  }

  /// The reply without what nobody asked for; nil when all of it belongs to the question.
  /// - Throws: when its aliases are more than `aliasesMax` or go round. Cost: the reply, decoded once.
  static func scoped(_ packet: RawSpan) throws(WireError) -> Message? {
    var message = try Message(packet)
    guard let asked = message.question?.name else { throw .badRecord(at: 4) }
    let scope = try AnswerScope(message, asked)
    let count = message.answer.count + message.authority.count + message.additional.count
    let renamed = Set(message.answer.filter { $0.data.type == .dname }.map(\.owner))
    message.answer.removeAll { !scope.answers($0, renamed) }
    let zones = Set(message.authority.map(\.owner).filter { scope.isAbove($0) })
    message.authority.removeAll { record in
      !(scope.isAbove(record.owner)
        || Self.proofs.contains(record.data.type) && Self.isWithin(record.owner, zones))
    }
    let mentioned = scope.names.union((message.answer + message.authority).compactMap(Self.target))
    message.additional.removeAll { !mentioned.contains($0.owner) }
    return message.answer.count + message.authority.count + message.additional.count < count ? message : nil
  }

  /// A record at a name of the chain, or one that renames a tree with such a name in it, with its signature.
  private func answers(_ record: ResourceRecord, _ renamed: Set<DomainName>) -> Bool {
    if names.contains(record.owner) { return true }
    guard record.data.type == .dname || Self.proofs.contains(record.data.type) else { return false }
    return isAbove(record.owner) && renamed.contains(record.owner)
  }

  /// Whether a name stands in one of the zones. One look a label, however many zones there are.
  private static func isWithin(_ name: DomainName, _ zones: Set<DomainName>) -> Bool {
    var above: DomainName? = name
    while let zone = above {
      if zones.contains(zone) { return true }
      above = zone.parent
    }
    return false
  }

  /// Whether a zone of this name would hold a name of the chain.
  private func isAbove(_ name: DomainName) -> Bool { names.contains { $0.isWithin(name) } }

  /// The name of a server that a record sends to.
  private static func target(_ record: ResourceRecord) -> DomainName? {
    switch record.data {
    case .ns(let name), .mx(_, let name), .srv(_, _, _, let name): return name
    case .other(let type, let bytes) where services.contains(type) && bytes.count > 2:
      return bytes.withUnsafeBytes { bytes in
        var reader = WireReader(bytes.bytes, at: 2)
        let name = try? reader.name()
        // The root stands for the owner itself.
        return name == .root ? record.owner : name
      }
    default: return nil
    }
  }
}
