// Encodes the names of one Service. Runs when the Service or its endpoints change, never for a query.

import Addresses

/// Collects record sets by name and packs them into a `ZoneGroup`.
struct ZoneGroupBuilder {
  /// The records of one type at one name, and the records sent along with them.
  struct RecordSet {
    var data: [RecordData] = []
    var additional: [(owner: DomainName, data: RecordData)] = []
  }

  let key: DomainName
  let ttl: UInt32
  /// By the labels below the key. An empty list of sets makes a name that exists and has nothing (RFC 8020).
  private var nodes: [[UInt8]: [(type: RecordType, set: RecordSet)]] = [[]: []]

  init(key: DomainName, ttl: UInt32) {
    self.key = key.lowercased
    self.ttl = ttl
  }

  /// Makes the name of `labels` below the key exist, and all between.
  mutating func touch(_ labels: [String]) -> [UInt8] {
    var prefix: [UInt8] = []
    for label in labels.reversed() {
      let bytes = Array(label.utf8)
      prefix = [UInt8(truncatingIfNeeded: bytes.count)] + bytes.map(foldedByte) + prefix
      if nodes[prefix] == nil { nodes[prefix] = [] }
    }
    return prefix
  }

  /// Adds records at `labels` below the key, each once.
  mutating func add(
    _ labels: [String] = [], _ data: RecordData, additional: [(owner: DomainName, data: RecordData)] = []
  ) {
    guard labels.allSatisfy({ !$0.isEmpty && $0.utf8.count <= DNSLimits.labelBytesMax }),
      labels.reduce(key.wire.count, { $0 + $1.utf8.count + 1 }) <= DNSLimits.nameBytesMax
    else { return }
    let prefix = touch(labels)
    let type = data.type
    var sets = nodes[prefix] ?? []
    let index = sets.firstIndex { $0.type == type } ?? sets.endIndex
    if index == sets.endIndex { sets.append((type, RecordSet())) }
    sets[index].set.data.append(data)
    sets[index].set.additional += additional
    nodes[prefix] = sets
  }

  func build(seed: UInt64) -> ZoneGroup {
    let prefixes = nodes.keys.map { prefix in
      (prefix: prefix, hash: prefixHash(prefix, seed: seed))
    }.sorted { ($0.hash, $0.prefix.count) < ($1.hash, $1.prefix.count) }
    var block: [UInt8] = []
    func put16(_ value: Int) { withUnsafeBytes(of: UInt16(truncatingIfNeeded: value)) { block += $0 } }
    func put32(_ value: Int) { withUnsafeBytes(of: UInt32(truncatingIfNeeded: value)) { block += $0 } }
    put16(key.wire.count)
    put16(prefixes.count)
    put32(0)
    var prefixAt = 8 + prefixes.count * 16 + key.wire.count
    var answersAt = prefixAt + prefixes.reduce(0) { $0 + $1.prefix.count }
    var answers: [UInt8] = []
    for (prefix, hash) in prefixes {
      let encoded = (nodes[prefix] ?? []).map { encode($0.type, $0.set, prefix) }
      put32(Int(hash))
      put32(prefixAt)
      put16(prefix.count)
      put16(encoded.count)
      put32(answersAt)
      prefixAt += prefix.count
      for bytes in encoded {
        answers += bytes
        answersAt += bytes.count
      }
    }
    block += key.wire
    for (prefix, _) in prefixes { block += prefix }
    block += answers
    return ZoneGroup(
      bytes: block, hash: key.wire.withUnsafeBytes { $0.bytes.foldedHash(at: 0, count: $0.count, seed: seed) }
    )
  }

  /// One answer in the layout of `ZoneGroup`: header, records, additional records.
  private func encode(_ type: RecordType, _ set: RecordSet, _ prefix: [UInt8]) -> [UInt8] {
    // Everything before the answer in a reply: header, name, type and class.
    let start = Header.byteCount + prefix.count + key.wire.count + 4
    var octets: [UInt8] = []
    var places: [DomainName: Int] = [:]
    func put16(_ value: UInt16) { octets += [UInt8(value >> 8), UInt8(value & 255)] }
    func put32(_ value: UInt32) {
      put16(UInt16(truncatingIfNeeded: value >> 16))
      put16(UInt16(truncatingIfNeeded: value))
    }
    func put(_ data: RecordData) {
      put16(data.type.rawValue)
      put16(Header.internet)
      put32(data.type == .txt && isVersion ? 28800 : ttl)
      var inner = WireWriter()
      switch data {
      case .srv(let priority, let weight, let port, let target):
        if start + octets.count + 8 < 0x4000 { places[target] = start + octets.count + 8 }
        inner.uint16(priority)
        inner.uint16(weight)
        inner.uint16(port)
        inner.append(target.wire)
      case .a(let address): inner.append(address.bytes)
      case .aaaa(let address): inner.append(address.bytes)
      default:
        // A record at the root costs eleven octets before its data.
        var whole = WireWriter()
        whole.record(ResourceRecord(owner: .root, ttl: 0, data: data))
        inner.append(whole.bytes.dropFirst(11))
        // Compression inside would point into the wrong message: such data is written without it.
        if case .soa(let soa) = data { inner = Self.plain(soa) }
      }
      put16(UInt16(truncatingIfNeeded: inner.bytes.count))
      octets += inner.bytes
    }
    var records = 0
    var seen: Set<RecordData> = []
    // Space for the question and an OPT record stays free in 64 KiB; what is beyond it cannot be said in DNS.
    let bytesMax = DNSLimits.messageBytesMax - 600
    for data in set.data where seen.insert(data).inserted && octets.count < bytesMax - 300 {
      put16(0xc00c)
      put(data)
      records += 1
    }
    let answerBytes = octets.count
    var additional = 0
    var seenAdditional: Set<ResourceRecord> = []
    for (owner, data) in set.additional where octets.count < bytesMax - 300 {
      guard seenAdditional.insert(ResourceRecord(owner: owner, ttl: 0, data: data)).inserted else { continue }
      if let place = places[owner] {
        put16(0xc000 | UInt16(place))
      } else {
        octets += owner.wire
      }
      put(data)
      additional += 1
    }
    let unit = type == .a ? 16 : type == .aaaa ? 28 : 0
    var head: [UInt8] = []
    for value in [Int(type.rawValue), records, additional, unit] {
      withUnsafeBytes(of: UInt16(truncatingIfNeeded: value)) { head += $0 }
    }
    for value in [answerBytes, octets.count] {
      withUnsafeBytes(of: UInt32(truncatingIfNeeded: value)) { head += $0 }
    }
    return head + octets
  }

  private var isVersion: Bool { key.wire.starts(with: [11] + Array("dns-version".utf8)) }

  private static func plain(_ soa: StartOfAuthority) -> WireWriter {
    var writer = WireWriter()
    writer.append(soa.primary.wire + soa.mailbox.wire)
    for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] { writer.uint32(number) }
    return writer
  }
}

/// The 32 bits a node is sorted by; the empty prefix is 0.
@inline(__always)
func prefixHash(_ packet: RawSpan, at offset: Int, count: Int, seed: UInt64) -> UInt32 {
  count == 0 ? 0 : UInt32(truncatingIfNeeded: packet.foldedHash(at: offset, count: count, seed: seed) >> 32)
}

func prefixHash(_ prefix: [UInt8], seed: UInt64) -> UInt32 {
  prefix.withUnsafeBytes { prefixHash($0.bytes, at: 0, count: $0.count, seed: seed) }
}
