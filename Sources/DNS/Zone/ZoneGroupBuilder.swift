// Encodes the names of one Service. Runs when the Service or its endpoints change, never for a query.

import Addresses

/// Collects record sets by name and packs them into a `ZoneGroup`.
struct ZoneGroupBuilder {
  /// The records of one type at one name, and the records sent along with them.
  private struct RecordSet {
    let type: RecordType
    var data: [RecordData] = []
    var additional: [(owner: DomainName, data: RecordData)] = []
  }
  private struct Node {
    let prefix: [UInt8]
    /// None makes a name that exists and has nothing (RFC 8020).
    var sets: [RecordSet] = []
  }
  /// Names that are found by looking at one after the other.
  private static let scannedMax = 16

  let key: DomainName
  let ttl: UInt32
  private var nodes = [Node(prefix: [])]
  /// Where the name of each prefix stands, once there are more than `scannedMax`.
  private var places: [[UInt8]: Int] = [:]

  init(key: DomainName, ttl: UInt32) {
    self.key = key.lowercased
    self.ttl = ttl
    nodes.reserveCapacity(8)
  }

  /// Makes the name of `prefix` below the key exist, and all between; where it stands.
  private mutating func touch(_ prefix: [UInt8]) -> Int {
    if let known = place(prefix) { return known }
    // The labels behind the first are a name too.
    let rest = prefix[(1 + Int(prefix[0]))...]
    if !rest.isEmpty { _ = touch(Array(rest)) }
    nodes.append(Node(prefix: prefix))
    if nodes.count == Self.scannedMax + 1 {
      for (index, node) in nodes.enumerated() { places[node.prefix] = index }
    } else if nodes.count > Self.scannedMax {
      places[prefix] = nodes.count - 1
    }
    return nodes.count - 1
  }

  private func place(_ prefix: [UInt8]) -> Int? {
    nodes.count > Self.scannedMax ? places[prefix] : nodes.firstIndex { $0.prefix == prefix }
  }

  /// Adds records at `labels` below the key, each once.
  mutating func add(
    _ labels: [String] = [], _ data: RecordData, additional: [(owner: DomainName, data: RecordData)] = []
  ) {
    guard let prefix = namePrefix(labels) else { return }
    add(prefix: prefix, data, additional: additional)
  }

  /// Adds records at a prefix that `namePrefix` made, each once.
  mutating func add(
    prefix: [UInt8], _ data: RecordData, additional: [(owner: DomainName, data: RecordData)] = []
  ) {
    guard key.wire.count + prefix.count <= DNSLimits.nameBytesMax else { return }
    let node = touch(prefix)
    let type = data.type
    var index = nodes[node].sets.firstIndex { $0.type == type } ?? -1
    if index < 0 {
      index = nodes[node].sets.count
      nodes[node].sets.append(RecordSet(type: type))
    }
    nodes[node].sets[index].data.append(data)
    if !additional.isEmpty { nodes[node].sets[index].additional += additional }
  }

  func build(seed: UInt64) -> ZoneGroup {
    let order = nodes.indices.map { (index: $0, hash: prefixHash(nodes[$0].prefix, seed: seed)) }
      .sorted { ($0.hash, nodes[$0.index].prefix.count) < ($1.hash, nodes[$1.index].prefix.count) }
    var block: [UInt8] = []
    block.reserveCapacity(1024)
    block.put16(key.wire.count)
    block.put16(order.count)
    block.put32(0)
    var prefixAt = 8 + order.count * 16 + key.wire.count
    for (index, hash) in order {
      block.put32(Int(hash))
      block.put32(prefixAt)
      block.put16(nodes[index].prefix.count)
      block.put16(nodes[index].sets.count)
      block.put32(0)
      prefixAt += nodes[index].prefix.count
    }
    block += key.wire
    for (index, _) in order { block += nodes[index].prefix }
    for (position, node) in order.enumerated() {
      block.patch32(block.count, at: 8 + position * 16 + 12)
      for set in nodes[node.index].sets { encode(set, nodes[node.index].prefix.count, &block) }
    }
    return ZoneGroup(
      bytes: block, hash: key.wire.withUnsafeBytes { $0.bytes.foldedHash(at: 0, count: $0.count, seed: seed) }
    )
  }

  /// Appends one answer in the layout of `ZoneGroup`: header, records, additional records.
  private func encode(_ set: RecordSet, _ prefixCount: Int, _ block: inout [UInt8]) {
    let header = block.count
    for _ in 0..<2 {
      block.put32(0)
      block.put32(0)
    }
    let first = block.count
    // Everything before the answer in a reply: header, name, type and class.
    let start = Header.byteCount + prefixCount + key.wire.count + 4
    // Where the records' targets stand. Most often there is one.
    var target: (wire: [UInt8], at: Int)?
    var targets: [[UInt8]: Int] = [:]
    var records = 0
    let isOne = set.data.count == 1
    var seen = SmallSet<RecordData>()
    // Space for the question and an OPT record stays free in 64 KiB; what is beyond it cannot be said in DNS.
    let bytesMax = DNSLimits.messageBytesMax - 600
    for data in set.data where (isOne || seen.insert(data)) && block.count - first < bytesMax - 300 {
      block += [0xc0, 0x0c]
      if case .srv(_, _, _, let name) = data, !set.additional.isEmpty {
        let place = start + block.count - first + 16
        if place < 0x4000 {
          if target == nil { target = (name.wire, place) } else { targets[name.wire] = place }
        }
      }
      put(data, &block)
      records += 1
    }
    let answerBytes = block.count - first
    var additional = 0
    var seenAdditional = SmallSet<ResourceRecord>()
    for (owner, data) in set.additional where block.count - first < bytesMax - 300 {
      guard
        set.additional.count == 1
          || seenAdditional.insert(ResourceRecord(owner: owner, ttl: 0, data: data))
      else { continue }
      let known = target.flatMap { $0.wire == owner.wire ? $0.at : nil }
      if let place = known ?? (targets.isEmpty ? nil : targets[owner.wire]) {
        block.putBig16(0xc000 | UInt16(place))
      } else {
        block += owner.wire
      }
      put(data, &block)
      additional += 1
    }
    block.patch16(Int(set.type.rawValue), at: header)
    block.patch16(records, at: header + 2)
    block.patch16(additional, at: header + 4)
    block.patch16(set.type == .a ? 16 : set.type == .aaaa ? 28 : 0, at: header + 6)
    block.patch32(answerBytes, at: header + 8)
    block.patch32(block.count - first, at: header + 12)
  }

  /// What stands behind a record's owner.
  private func put(_ data: RecordData, _ block: inout [UInt8]) {
    block.putBig16(data.type.rawValue)
    block.putBig16(Header.internet)
    block.putBig32(data.type == .txt && isVersion ? 28800 : ttl)
    let lengthAt = block.count
    block.putBig16(0)
    switch data {
    case .srv(let priority, let weight, let port, let target):
      block.putBig16(priority)
      block.putBig16(weight)
      block.putBig16(port)
      block += target.wire
    case .a(let address): block.putBig32(address.bits)
    case .aaaa(let address): withUnsafeBytes(of: address.bits.bigEndian) { block += $0 }
    // Compression inside would point into the wrong message: such data is written without it.
    case .soa(let soa): block += Self.plain(soa).bytes
    default:
      // A record at the root costs eleven octets before its data.
      var whole = WireWriter()
      whole.record(ResourceRecord(owner: .root, ttl: 0, data: data))
      block += whole.bytes.dropFirst(11)
    }
    let length = block.count - lengthAt - 2
    block[lengthAt] = UInt8(truncatingIfNeeded: length >> 8)
    block[lengthAt + 1] = UInt8(truncatingIfNeeded: length)
  }

  private var isVersion: Bool { key.wire.starts(with: [11] + Array("dns-version".utf8)) }

  private static func plain(_ soa: StartOfAuthority) -> WireWriter {
    var writer = WireWriter()
    writer.append(soa.primary.wire + soa.mailbox.wire)
    for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] { writer.uint32(number) }
    return writer
  }
}

/// Labels below a group's key in wire form, folded, without the rest. Nil when one of them is no label.
func namePrefix(_ labels: [String]) -> [UInt8]? {
  var prefix: [UInt8] = []
  for label in labels {
    let count = label.utf8.count
    guard count > 0, count <= DNSLimits.labelBytesMax else { return nil }
    prefix.append(UInt8(truncatingIfNeeded: count))
    for byte in label.utf8 { prefix.append(foldedByte(byte)) }
  }
  return prefix
}

/// A set that most often has few members: so few are compared one by one, which costs less than to hash them.
struct SmallSet<Element: Hashable> {
  private static var comparedMax: Int { 16 }
  private var few: [Element] = []
  private var many: Set<Element> = []

  /// Whether it was not there.
  mutating func insert(_ element: Element) -> Bool {
    if !many.isEmpty { return many.insert(element).inserted }
    if few.contains(element) { return false }
    few.append(element)
    if few.count > Self.comparedMax { many = Set(few) }
    return true
  }
}

/// Numbers as this machine has them inside a block, and as the wire has them (`Big`) inside its answers.
extension [UInt8] {
  fileprivate mutating func put16(_ value: Int) {
    Swift.withUnsafeBytes(of: UInt16(truncatingIfNeeded: value)) { self += $0 }
  }
  fileprivate mutating func put32(_ value: Int) {
    Swift.withUnsafeBytes(of: UInt32(truncatingIfNeeded: value)) { self += $0 }
  }
  fileprivate mutating func patch16(_ value: Int, at offset: Int) {
    withUnsafeMutableBytes {
      $0.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: offset, as: UInt16.self)
    }
  }
  fileprivate mutating func patch32(_ value: Int, at offset: Int) {
    withUnsafeMutableBytes {
      $0.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: offset, as: UInt32.self)
    }
  }
  fileprivate mutating func putBig16(_ value: UInt16) {
    append(UInt8(truncatingIfNeeded: value >> 8))
    append(UInt8(truncatingIfNeeded: value))
  }
  fileprivate mutating func putBig32(_ value: UInt32) {
    putBig16(UInt16(truncatingIfNeeded: value >> 16))
    putBig16(UInt16(truncatingIfNeeded: value))
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
