// `file`: a zone from a master file, answered as RFC 1034 section 4.3.2 says: delegations, aliases, wildcards, denials;
// and RFC 6672: aliases of whole subtrees (DNAME).

import Addresses

/// A zone read from a file. Immutable.
public struct ServedZone: Sendable {
  public let zone: DomainName
  public let soa: ResourceRecord
  /// Every record in the order of the file, the SOA first.
  let records: [ResourceRecord]
  private let nodes: [DomainName: [ResourceRecord]]
  public var fallthroughZones: [DomainName] = []
  /// Where it was read, to be read again when it changes.
  public var path = ""

  static let aliasesMax = 8

  /// Reads a zone's text.
  /// - Throws: the line and what is wrong with it; a zone needs exactly one SOA, at its own name.
  init(_ text: String, zone: DomainName) throws(ZoneTextError) {
    self.zone = zone.lowercased
    let all = try ZoneText.records(text, origin: zone)
    let soas = all.filter { $0.data.type == .soa }
    guard soas.count == 1, soas[0].owner == zone else {
      throw ZoneTextError(line: 1, description: "the zone needs one SOA record, at \(zone)")
    }
    soa = soas[0]
    // A record that the file says twice is one (RFC 2181 section 5).
    var said: Set<ResourceRecord> = []
    let own = all.filter {
      $0.owner.isWithin(zone) && said.insert(ResourceRecord(owner: $0.owner, ttl: 0, data: $0.data)).inserted
    }
    records = [soas[0]] + own.filter { $0.data.type != .soa }
    var nodes: [DomainName: [ResourceRecord]] = [:]
    for record in own {
      nodes[record.owner, default: []].append(record)
      // Names between exist too, without records (RFC 8020).
      var parent = record.owner.parent
      while let name = parent, name.isWithin(zone), nodes[name] == nil {
        nodes[name] = []
        parent = name.parent
      }
    }
    self.nodes = nodes
  }

  /// Nil when the name is asked further on.
  func answer(_ question: Message.Question) -> Message? {
    var reply = Message.reply(question)
    var name = question.name
    for _ in 0..<Self.aliasesMax {
      guard name.isWithin(zone) else { return reply }
      let cut = delegation(of: name)
      if let moved = redirection(of: name, below: cut?.name) {
        // One record may move a name again and again, and is said once.
        if !reply.answer.contains(moved.record) { reply.answer.append(moved.record) }
        guard let target = moved.target else {
          reply.set(ResponseCode(rawValue: 6))
          return reply
        }
        let alias = ResourceRecord(owner: name, ttl: moved.record.ttl, data: .cname(target))
        if reply.answer.contains(alias) { return reply }
        reply.answer.append(alias)
        if question.type == .cname { return reply }
        name = target
        continue
      }
      if let cut, !(cut.name == name && question.type == .ds) {
        // The child's servers know more: a referral is not authoritative.
        if reply.answer.isEmpty { reply.flags &= ~Header.authoritative }
        reply.authority = cut.records
        reply.additional = glue(cut.records)
        return reply
      }
      guard let found = records(of: name) else {
        if reply.answer.isEmpty, fallthroughZones.contains(where: { name.isWithin($0) }) { return nil }
        reply.set(.nameError)
        deny(&reply)
        return reply
      }
      let matching = found.filter { $0.data.type == question.type }
      if question.type == .any, let first = found.first {
        let hinfo = RecordData.other(.hinfo, [7] + Array("RFC8482".utf8) + [0])
        reply.answer.append(ResourceRecord(owner: name, ttl: first.ttl, data: hinfo))
        return reply
      }
      if !matching.isEmpty {
        // The alias of a subtree may lead to itself, and is there already.
        let aliases = reply.answer
        reply.answer += aliases.isEmpty ? matching : matching.filter { !aliases.contains($0) }
        reply.additional = glue(matching)
        return reply
      }
      guard let alias = found.first(where: { $0.data.type == .cname }), case .cname(let target) = alias.data
      else {
        deny(&reply)
        return reply
      }
      if reply.answer.contains(alias) { return reply }
      reply.answer.append(alias)
      name = target
    }
    return reply
  }

  private func deny(_ reply: inout Message) {
    var record = soa
    if case .soa(let data) = soa.data { record.ttl = min(soa.ttl, data.minimum) }
    reply.authority = [record]
  }

  /// The records at a name, from a wildcard if need be (RFC 4592); nil when the name does not exist.
  private func records(of name: DomainName) -> [ResourceRecord]? {
    if let found = nodes[name] { return found }
    var encloser = name.parent
    while let candidate = encloser, candidate.isWithin(zone) {
      if nodes[candidate] != nil {
        guard let wildcard = candidate.child("*").flatMap({ nodes[$0] }) else { return nil }
        return wildcard.map { ResourceRecord(owner: name, ttl: $0.ttl, data: $0.data) }
      }
      encloser = candidate.parent
    }
    return nil
  }

  /// The topmost DNAME above a name, and what the name becomes by it; a nil target is too long to be a name. One that lies below
  /// the cut is not ours to follow.
  private func redirection(of name: DomainName, below cut: DomainName?) -> (
    record: ResourceRecord, target: DomainName?
  )? {
    var found: ResourceRecord?
    var at = name.parent
    while let candidate = at, candidate.isWithin(zone) {
      if let record = nodes[candidate]?.first(where: { $0.data.type == .dname }) { found = record }
      at = candidate.parent
    }
    guard let found, case .other(_, let wire) = found.data,
      !(cut.map { found.owner.isWithin($0) } ?? false)
    else { return nil }
    let kept = name.labels.count - found.owner.labels.count
    let labels = name.labels.prefix(kept).map(Array.init)
    return (found, DomainName(labels: labels + DomainName(uncheckedWire: wire).labels.map(Array.init)))
  }

  /// The topmost cut between the zone's apex and a name.
  private func delegation(of name: DomainName) -> (name: DomainName, records: [ResourceRecord])? {
    var found: (name: DomainName, records: [ResourceRecord])?
    var at: DomainName? = name
    while let candidate = at, candidate != zone, candidate.isWithin(zone) {
      let servers = (nodes[candidate] ?? []).filter { $0.data.type == .ns }
      if !servers.isEmpty { found = (candidate, servers) }
      at = candidate.parent
    }
    return found
  }

  /// Addresses of the names that records point to.
  private func glue(_ records: [ResourceRecord]) -> [ResourceRecord] {
    var result: [ResourceRecord] = []
    for record in records {
      let target: DomainName?
      switch record.data {
      case .ns(let name), .mx(_, let name), .srv(_, _, _, let name): target = name
      default: target = nil
      }
      guard let target, let found = nodes[target] else { continue }
      // Two records may point to one name.
      for address in found where [.a, .aaaa].contains(address.data.type) && !result.contains(address) {
        result.append(address)
      }
    }
    return result
  }

  /// The zone as AXFR sends it: the SOA, everything else, the SOA (RFC 5936).
  var transfer: [ResourceRecord] { records + [soa] }
}
