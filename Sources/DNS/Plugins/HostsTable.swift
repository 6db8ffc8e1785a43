// `hosts`: names and addresses as /etc/hosts has them.

import Addresses

/// Names with addresses, and addresses with names.
public struct HostsTable: Sendable, Hashable {
  /// Lines read; further ones are left out.
  public static let linesMax = 100_000
  public private(set) var addresses: [DomainName: [IPAddress]] = [:]
  /// By the PTR name.
  private(set) var names: [DomainName: [DomainName]] = [:]
  public var zones: [DomainName]
  public var ttl: UInt32 = 3600
  public var hasReverse = true
  /// Zones whose unknown names are asked further on.
  public var fallthroughZones: [DomainName] = []
  /// Types that hosts has no records of are asked further on too, in the zones of `fallthrough`.
  public var passesUnsupported = false
  /// The file the entries come from, to be read again when it changes; empty without one.
  public var path = ""

  public init(zones: [DomainName] = [.root]) { self.zones = zones }

  /// Takes in lines such as `10.0.0.1 db db.acme.test # comment`. Lines that cannot be read are passed over, as resolvers do.
  public mutating func add(_ text: String) {
    for line in text.split(whereSeparator: \.isNewline).prefix(Self.linesMax) {
      add(
        words: line.prefix { $0 != "#" }.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init))
    }
  }

  mutating func add(words: [String]) {
    guard let first = words.first, let address = IPAddress(first.prefix { $0 != "%" }) else { return }
    for word in words.dropFirst() {
      guard let name = DomainName(word)?.lowercased, zones.contains(where: { name.isWithin($0) }) else {
        continue
      }
      if addresses[name, default: []].contains(address) { continue }
      addresses[name, default: []].append(address)
      names[DomainName.reverse(of: address), default: []].append(name)
    }
  }

  /// Nil when the name is asked further on.
  func answer(_ question: Message.Question) -> Message? {
    var reply = Message.reply(question)
    if question.type == .ptr, hasReverse, let found = names[question.name] {
      reply.answer = found.map { ResourceRecord(owner: question.name, ttl: ttl, data: .ptr($0)) }
      return reply
    }
    guard let found = addresses[question.name] else {
      // Without `fallthrough` this is the end for names of these zones, except that hosts never denies what it is no authority for.
      let isOurs = zones.contains { question.name.isWithin($0) && $0 != .root }
      guard isOurs, !fallthroughZones.contains(where: { question.name.isWithin($0) }) else { return nil }
      reply.set(.nameError)
      return reply
    }
    if passesUnsupported, question.type != .a, question.type != .aaaa,
      fallthroughZones.contains(where: { question.name.isWithin($0) })
    {
      return nil
    }
    for address in found {
      let data = addressRecord(address)
      if data.type == question.type {
        reply.answer.append(ResourceRecord(owner: question.name, ttl: ttl, data: data))
      }
    }
    return reply
  }

  /// Addresses of names, and names of addresses.
  var entryCount: Int { (addresses.values.map(\.count) + names.values.map(\.count)).reduce(0, +) }

  func knows(_ name: DomainName) -> Bool {
    addresses[name] != nil || names[name] != nil || zones.contains { $0 != .root && name.isWithin($0) }
  }
}
