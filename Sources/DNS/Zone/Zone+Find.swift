// From a question to what the zone knows about it. No allocation; reads the name where it lies in the packet.

import Addresses

extension Zone {
  /// What stands at a name.
  enum Found {
    /// No zone of ours holds the name, or it may be asked elsewhere.
    case elsewhere
    case nameError
    /// The name exists and has no records: names below it do, or it is a namespace.
    case emptyName
    case node(GroupView, GroupView.Node)
    /// The same under another spelling: additional records point to places in the usual one, and stay out.
    case respelled(GroupView, GroupView.Node)
    /// A pod's name, made up from its own text.
    case pod(IPAddress)
    /// PTR records, which the zone keeps.
    case reverse(Slice<UnsafeBufferPointer<ReverseEntry>>)
  }

  /// The authority a name belongs to, as index into `authorities`; nil when it is not ours.
  @inline(__always)
  func authority(_ packet: RawSpan, _ head: borrowing QueryHead) -> Int? {
    for index in 0..<authorities.count {
      let authority = authorities[index]
      guard head.labelCount >= authority.labels else { continue }
      let start = head.suffixStart(head.labelCount &- authority.labels)
      if head.nameLength &- start == authority.length,
        packet.foldedEquals(at: Header.byteCount &+ start, count: authority.length, authority.wire)
      {
        return index
      }
    }
    return nil
  }

  /// The hash under which the group of a name is kept, when it is a name of ours that groups have.
  @inline(__always)
  func groupHash(_ packet: RawSpan, _ head: borrowing QueryHead) -> UInt64? {
    guard let index = authority(packet, head), authorities[index].reverse == nil else { return nil }
    let keyLabel = max(0, head.labelCount &- authorities[index].labels &- authorities[index].keyLabels)
    let keyStart = head.suffixStart(keyLabel)
    return packet.foldedHash(
      at: Header.byteCount &+ keyStart, count: head.nameLength &- keyStart, seed: seed)
  }

  func find(_ packet: RawSpan, _ head: borrowing QueryHead, authority index: Int) -> Found {
    let authority = authorities[index]
    let below = head.labelCount &- authority.labels
    if let family = authority.reverse {
      let found = findReverse(packet, head, family, below: below)
      if authority.fallsThrough {
        if case .nameError = found { return .elsewhere }
        if case .emptyName = found { return .elsewhere }
      }
      return found
    }
    // Groups are the last labels above the zone (web.demo.svc), or the whole name when it has fewer.
    let keyLabel = max(0, below &- authority.keyLabels)
    let keyStart = head.suffixStart(keyLabel)
    let keyAt = Header.byteCount &+ keyStart
    let keyCount = head.nameLength &- keyStart
    let hash = packet.foldedHash(at: keyAt, count: keyCount, seed: seed)
    if let group = group(packet, at: keyAt, count: keyCount, hash: hash) {
      let prefix = prefixHash(packet, at: Header.byteCount, count: keyStart, seed: seed)
      if let node = group.find(packet, at: Header.byteCount, count: keyStart, hash: prefix) {
        return .node(group, node)
      }
      if let found = findSpelledOtherwise(packet, head, group, prefixLabels: keyLabel, index) { return found }
    } else if below == 3, index == 0, settings.pods != .disabled, let pod = findPod(packet, head) {
      return .pod(pod)
    }
    return authority.fallsThrough ? .elsewhere : .nameError
  }

  /// Names CoreDNS knows besides those that are stored: ports without underscores, and zones nobody is in. Few ask for them,
  /// so this may allocate.
  private func findSpelledOtherwise(
    _ packet: RawSpan, _ head: borrowing QueryHead, _ group: GroupView, prefixLabels: Int,
    _ authority: Int
  ) -> Found? {
    func label(_ index: Int) -> [UInt8] {
      let at = Header.byteCount + Int(head.labels[index])
      return (1...Int(packet.byte(at: at))).map { foldedByte(packet.byte(at: at + $0)) }
    }
    if prefixLabels == 2, settings.compatibility.contains(.portNamesWithoutUnderscore) {
      var prefix: [UInt8] = []
      for index in 0..<2 {
        let text = label(index)
        let isMarked = text.first == UInt8(ascii: "_")
        guard text.count + (isMarked ? 0 : 1) <= DNSLimits.labelBytesMax else { return nil }
        prefix.append(UInt8(text.count + (isMarked ? 0 : 1)))
        prefix += (isMarked ? [] : [UInt8(ascii: "_")]) + text
      }
      let hash = prefixHash(prefix, seed: seed)
      let node = prefix.withUnsafeBytes { group.find($0.bytes, at: 0, count: $0.count, hash: hash) }
      return node.map { .respelled(group, $0) }
    }
    if prefixLabels == 3, settings.isZonal, authority == 0, label(2).elementsEqual("_zone".utf8) {
      let none = [UInt8]()
      guard let service = none.withUnsafeBytes({ group.find($0.bytes, at: 0, count: 0, hash: 0) }) else {
        return nil
      }
      if label(1).elementsEqual("pin".utf8) { return .emptyName }
      if label(1).elementsEqual("prefer".utf8) { return .respelled(group, service) }
    }
    return nil
  }

  /// Reads `10-42-0-7.demo.pod.<zone>` when the namespace exists.
  private func findPod(_ packet: RawSpan, _ head: borrowing QueryHead) -> IPAddress? {
    let namespaceStart = head.suffixStart(1)
    let kindAt = Header.byteCount &+ head.suffixStart(2)
    guard packet.byte(at: kindAt) == 3, foldedByte(packet.byte(at: kindAt + 1)) == UInt8(ascii: "p"),
      foldedByte(packet.byte(at: kindAt + 2)) == UInt8(ascii: "o"),
      foldedByte(packet.byte(at: kindAt + 3)) == UInt8(ascii: "d")
    else { return nil }
    let at = Header.byteCount &+ namespaceStart
    let count = head.nameLength &- namespaceStart
    let hash = packet.foldedHash(at: at, count: count, seed: seed)
    guard group(packet, at: at, count: count, hash: hash) != nil,
      let address = dashedAddress(packet, at: Header.byteCount)
    else { return nil }
    if settings.pods == .verified {
      let bits = address.v4.map { UInt128($0.bits) } ?? address.v6?.bits ?? 0
      let entry = PodEntry(namespace: hash, bits: bits, isSix: address.family == .v6)
      guard verifiedPods.view.candidates(entry.key).contains(entry) else { return nil }
    }
    return address
  }

  private func findReverse(_ packet: RawSpan, _ head: borrowing QueryHead, _ family: IPFamily, below: Int)
    -> Found
  {
    if below == 0 {
      let hash = packet.foldedHash(at: Header.byteCount, count: head.nameLength, seed: seed)
      if let apex = group(packet, at: Header.byteCount, count: head.nameLength, hash: hash) {
        return .node(apex, apex.node(0))
      }
    }
    guard let name = ReverseName(packet, head, family: family) else { return .nameError }
    let index = (family == .v4 ? reverse4 : reverse6).view
    let key = family == .v4 ? name.bits << 96 : name.bits
    guard name.knownBits == family.width else {
      return below == 0 || index.hasPrefix(key, bits: name.knownBits) ? .emptyName : .nameError
    }
    let entries = index.candidates(key)
    guard let start = entries.firstIndex(where: { $0.key == key }) else { return .nameError }
    var end = start
    while end < entries.count, entries[end].key == key, entries[end].rank == entries[start].rank { end += 1 }
    return .reverse(entries[start..<end])
  }
}

/// Reads the label at `offset` as an address with dashes: `10-42-0-7`, `fd00-42--7`.
func dashedAddress(_ packet: RawSpan, at offset: Int) -> IPAddress? {
  let length = Int(packet.byte(at: offset))
  var bits: UInt32 = 0
  var parts = 0
  var digits = 0
  var value: UInt32 = 0
  var isFour = length <= 15
  for index in 0..<length where isFour {
    let byte = packet.byte(at: offset + 1 + index)
    if byte == UInt8(ascii: "-") {
      if digits == 0 { isFour = false }
      bits = bits << 8 | value
      parts += 1
      digits = 0
      value = 0
    } else if byte &- 48 < 10, !(digits > 0 && value == 0) {
      value = value * 10 + UInt32(byte - 48)
      digits += 1
      if value > 255 { isFour = false }
    } else {
      isFour = false
    }
  }
  if isFour, parts == 3, digits > 0 { return .v4(IPv4Address(bits: bits << 8 | value)) }
  guard length <= 39 else { return nil }
  var text: [UInt8] = []
  for index in 0..<length {
    let byte = packet.byte(at: offset + 1 + index)
    text.append(byte == UInt8(ascii: "-") ? UInt8(ascii: ":") : byte)
  }
  return IPv6Address(String(decoding: text, as: UTF8.self)).map(IPAddress.v6)
}
