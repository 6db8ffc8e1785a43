// What the server needs to know of a query, read in one pass from the packet and without a copy of the name.
//
//   0        2       4        6        8        10       12                       questionEnd
//   | id     | flags | 1      | 0      | 0      | 0 or 1 | name ... 0 | type | class | OPT ...

/// The small value a query is reduced to. The name stays in the packet, at octet 12.
struct QueryHead {
  enum Verdict { case query, drop, formatError, notImplemented, badVersion, refused, transfer }

  var id: UInt16 = 0
  var flags: UInt16 = 0
  /// Octets of the name, the root included.
  var nameLength = 0
  /// Labels without the root.
  var labelCount = 0
  var type = RecordType(rawValue: 0)
  var questionEnd = 0
  /// Octets of the whole packet.
  var packetLength = 0
  var hasEDNS = false
  var isDNSSECWanted = false
  /// What the client says it takes over UDP; 512 without EDNS.
  var udpBytesMax = DNSLimits.plainUDPBytesMax
  /// Where the COOKIE option's octets stand in the packet and how many there are; 0 for none (RFC 7873).
  var cookieAt = 0
  var cookieLength = 0
  /// The client asks who answers (RFC 5001).
  var wantsNSID = false
  /// Class CH: questions about the server itself.
  var isChaos = false
  /// Where each label starts, counted from octet 12. Kept between queries: only the first `labelCount` are valid.
  var labels = InlineArray<128, UInt8>(repeating: 0)

  /// Octets from label `index` to the end of the name; index may be `labelCount` (the root alone).
  @inline(__always)
  func suffixStart(_ index: Int) -> Int { index == labelCount ? nameLength - 1 : Int(labels[index]) }

  /// Reads the header, the question and an OPT record. After `formatError` only `id`, `flags` and, when
  /// `questionEnd` is not 0, the question may be used.
  mutating func read(_ packet: RawSpan) -> Verdict {
    questionEnd = 0
    packetLength = packet.byteCount
    hasEDNS = false
    isDNSSECWanted = false
    udpBytesMax = DNSLimits.plainUDPBytesMax
    cookieAt = 0
    cookieLength = 0
    wantsNSID = false
    isChaos = false
    let count = packet.byteCount
    guard count >= Header.byteCount else { return .drop }
    id = packet.uint16(at: 0)
    flags = packet.uint16(at: 2)
    // A response must never be answered: two servers would talk for ever.
    if flags & Header.response != 0 { return .drop }
    if flags & Header.opcodeMask != 0 { return .notImplemented }
    guard packet.uint16(at: 4) == 1 else { return .formatError }
    var at = Header.byteCount
    labelCount = 0
    while true {
      guard at < count else { return .formatError }
      let length = Int(packet.byte(at: at))
      if length == 0 { break }
      // There is nothing before the question to point to, so a pointer here is malformed as well.
      guard length <= DNSLimits.labelBytesMax, at &- Header.byteCount &+ length &+ 1 < DNSLimits.nameBytesMax
      else {
        return .formatError
      }
      labels[labelCount] = UInt8(truncatingIfNeeded: at &- Header.byteCount)
      labelCount &+= 1
      at &+= length &+ 1
    }
    nameLength = at &- Header.byteCount &+ 1
    guard at &+ 5 <= count else { return .formatError }
    type = RecordType(rawValue: packet.uint16(at: at &+ 1))
    let rrClass = packet.uint16(at: at &+ 3)
    questionEnd = at &+ 5
    let records =
      Int(packet.uint16(at: 6)) &+ Int(packet.uint16(at: 8)) &+ Int(packet.uint16(at: 10))
    if records > 0 {
      let verdict = readRecords(packet, records, beforeAdditional: records &- Int(packet.uint16(at: 10)))
      if verdict != .query { return verdict }
    }
    isChaos = rrClass == 3
    if rrClass != Header.internet { return .refused }
    if type == .axfr || type == .ixfr { return .transfer }
    if type == .opt { return .formatError }
    return .query
  }

  /// Looks for the one OPT record (RFC 6891 section 6.1.1); other records of a query mean nothing here.
  private mutating func readRecords(_ packet: RawSpan, _ count: Int, beforeAdditional: Int) -> Verdict {
    var reader = WireReader(packet, at: questionEnd)
    var version: UInt8 = 0
    do throws(WireError) {
      for index in 0..<count {
        let start = reader.offset
        try reader.skipName()
        let isRoot = reader.offset == start + 1
        let type = try reader.uint16()
        let rrClass = try reader.uint16()
        let ttl = try reader.uint32()
        let length = Int(try reader.uint16())
        let dataAt = reader.offset
        try reader.skip(length)
        guard type == RecordType.opt.rawValue else { continue }
        guard index >= beforeAdditional, isRoot, !hasEDNS else { return .formatError }
        hasEDNS = true
        udpBytesMax = max(DNSLimits.plainUDPBytesMax, Int(rrClass))
        isDNSSECWanted = ttl & 0x8000 != 0
        version = UInt8(truncatingIfNeeded: ttl >> 16)
        if length > 0, !readOptions(packet, dataAt, dataAt &+ length) { return .formatError }
      }
    } catch {
      return .formatError
    }
    return version == 0 ? .query : .badVersion
  }

  /// Notes the options we answer; others are passed over. False when they do not fit their record.
  private mutating func readOptions(_ packet: RawSpan, _ start: Int, _ end: Int) -> Bool {
    var at = start
    while at < end {
      guard at &+ 4 <= end else { return false }
      let code = packet.uint16(at: at)
      let length = Int(packet.uint16(at: at &+ 2))
      at &+= 4
      guard at &+ length <= end else { return false }
      switch code {
      case EDNSOption.nsid: wantsNSID = true
      case EDNSOption.cookie:
        // RFC 7873 section 5.2.2: eight octets, or with the server's part sixteen to forty.
        guard length == 8 || (16...40).contains(length) else { return false }
        cookieAt = at
        cookieLength = length
      default: break
      }
      at &+= length
    }
    return true
  }
}

/// Codes of EDNS options (IANA).
enum EDNSOption {
  static let nsid: UInt16 = 3
  static let subnet: UInt16 = 8
  static let cookie: UInt16 = 10
  static let padding: UInt16 = 12
  static let extendedError: UInt16 = 15
}
