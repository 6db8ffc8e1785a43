// A reply of an upstream server, checked once, ready to be sent to any number of clients.

/// Checked octets of an upstream reply without its OPT record, and what the cache needs to know of it.
final class UpstreamAnswer: Sendable {
  let bytes: [UInt8]
  let questionEnd: Int
  let code: ResponseCode
  /// Where the TTLs stand.
  let ttlOffsets: [UInt16]
  /// Seconds it may be kept; 0 for not at all.
  let ttl: UInt32
  let isNegative: Bool
  let counts: (answers: UInt16, authorities: UInt16, additional: UInt16)

  init(
    bytes: [UInt8], questionEnd: Int, code: ResponseCode, ttlOffsets: [UInt16], ttl: UInt32, isNegative: Bool,
    counts: (UInt16, UInt16, UInt16)
  ) {
    self.bytes = bytes
    self.questionEnd = questionEnd
    self.code = code
    self.ttlOffsets = ttlOffsets
    self.ttl = ttl
    self.isNegative = isNegative
    self.counts = counts
  }

  /// Walks every record of a reply. Throws for whatever does not hold together, endless aliases among it; nothing of it is then used.
  /// Records that nobody asked for are left out.
  static func read(_ packet: [UInt8], _ settings: ForwardCacheSettings) throws(WireError) -> UpstreamAnswer {
    let walk = try Walk(packet.span.bytes)
    // Rare: something else than the question's own records. Writing the message anew takes them out without breaking pointers.
    if !walk.isPlain, let scoped = try AnswerScope.scoped(packet.span.bytes) {
      return try read(scoped.encoded, settings)
    }
    if !walk.isOPTLast {
      // Rare: OPT stands before other records.
      var plain = try Message(packet.span.bytes)
      plain.edns = nil
      return try read(plain.encoded, settings)
    }
    var kept = Array(packet[..<(walk.optStart ?? packet.count)])
    kept[0] = 0
    kept[1] = 0
    let additional = walk.additional - (walk.optStart == nil ? 0 : 1)
    kept[10] = UInt8(truncatingIfNeeded: additional >> 8)
    kept[11] = UInt8(truncatingIfNeeded: additional)
    let nameEnd = walk.questionEnd - 4
    for index in Header.byteCount..<nameEnd { kept[index] = foldedByte(kept[index]) }
    let code = walk.code
    let isNegative = code == .nameError || (code == .noError && walk.answers == 0)
    if code == .noError || code == .nameError, settings.entriesMax > 0,
      settings.zones.isEmpty || settings.zones.contains(where: { walk.asked.isWithin($0) })
    {
      cap(
        &kept, walk,
        isNegative
          ? min(walk.ttlMin, walk.soaTTL ?? .max, settings.negativeSecondsMax)
          : min(walk.ttlMin, settings.positiveSecondsMax))
    }
    var ttl: UInt32 = 0
    if kept.count <= settings.messageBytesMax, code == .serverFailure {
      ttl = settings.failureSeconds
    } else if kept.count <= settings.messageBytesMax, code == .noError || code == .nameError {
      if isNegative {
        // Without an SOA nobody said how long the absence lasts (RFC 2308 section 5).
        ttl = walk.soaTTL.map { min(max($0, settings.negativeSecondsMin), settings.negativeSecondsMax) } ?? 0
      } else {
        ttl = min(max(walk.ttlMin, settings.positiveSecondsMin), settings.positiveSecondsMax)
      }
    }
    return UpstreamAnswer(
      bytes: kept, questionEnd: walk.questionEnd, code: code, ttlOffsets: walk.ttlOffsets, ttl: ttl,
      isNegative: isNegative,
      counts: (walk.answers, walk.authorities, additional))
  }

  /// Every record of an answer that goes through a cache says how long the answer as a whole may be kept, and the first client is
  /// told what later ones are: as CoreDNS has it, but never more than the server said (RFC 2181 section 8).
  private static func cap(_ octets: inout [UInt8], _ walk: Walk, _ seconds: UInt32) {
    for offset in walk.ttlOffsets {
      for index in 0..<4 {
        octets[Int(offset) + index] = UInt8(truncatingIfNeeded: seconds >> UInt32(24 - 8 * index))
      }
    }
  }

  /// What one pass over a message finds.
  private struct Walk {
    let asked: DomainName
    var questionEnd = 0
    var code = ResponseCode.noError
    var answers: UInt16 = 0
    var authorities: UInt16 = 0
    var additional: UInt16 = 0
    var ttlOffsets: [UInt16] = []
    var ttlMin = UInt32.max
    var soaTTL: UInt32?
    var optStart: Int?
    var isOPTLast = true
    /// Every answer stands at the name that was asked and is no alias, and nothing stands beside but its zone's SOA or NS.
    var isPlain = true

    init(_ message: RawSpan) throws(WireError) {
      var reader = WireReader(message)
      try reader.skip(2)
      let flags = try reader.uint16()
      guard try reader.uint16() == 1 else { throw .badRecord(at: 4) }
      answers = try reader.uint16()
      authorities = try reader.uint16()
      additional = try reader.uint16()
      asked = try reader.name()
      try reader.skip(4)
      questionEnd = reader.offset
      var extended: UInt16 = 0
      let total = Int(answers) + Int(authorities) + Int(additional)
      for index in 0..<total {
        let start = reader.offset
        let owner = try reader.name()
        let type = RecordType(rawValue: try reader.uint16())
        try reader.skip(2)
        let ttlAt = reader.offset
        let ttl = try reader.uint32()
        let length = Int(try reader.uint16())
        let dataAt = reader.offset
        try reader.skip(length)
        if type == .opt {
          // One, and among the additional records (RFC 6891 section 6.1.1).
          guard optStart == nil, index >= Int(answers) + Int(authorities) else { throw .badRecord(at: start) }
          optStart = start
          isOPTLast = index == total - 1
          extended = UInt16(truncatingIfNeeded: ttl >> 24)
          continue
        }
        if index < Int(answers) {
          if owner != asked || type == .cname { isPlain = false }
        } else if index >= Int(answers) + Int(authorities) || !asked.isWithin(owner) {
          isPlain = false
        }
        ttlOffsets.append(UInt16(truncatingIfNeeded: ttlAt))
        // RFC 2181 section 8: a TTL with the top bit set counts as zero.
        let seconds = ttl > UInt32(Int32.max) ? 0 : ttl
        ttlMin = min(ttlMin, seconds)
        if type == .soa, index >= Int(answers), index < Int(answers) + Int(authorities), length >= 4 {
          soaTTL = min(seconds, message.uint32(at: dataAt + length - 4))
        }
      }
      code = ResponseCode(rawValue: flags & Header.codeMask | extended << 4)
    }
  }

  /// Writes the answer for a client: its ID, its spelling of the question, TTLs less the seconds the answer has
  /// been kept. Too large for the client: the header alone, with TC.
  func write(_ head: borrowing QueryHead, age: UInt32, staleTTL: UInt32? = nil, _ reply: inout Reply) {
    reply.flags |= Header.recursionAvailable
    reply.flags |= code.rawValue & Header.codeMask
    reply.extendedCode = UInt8(truncatingIfNeeded: code.rawValue >> 4)
    let count = bytes.count - questionEnd
    guard questionEnd == head.questionEnd, count <= reply.room else {
      reply.flags |= Header.truncated
      return
    }
    bytes.withUnsafeBytes { reply.append($0.baseAddress! + questionEnd, count) }
    reply.answers = counts.answers
    reply.authorities = counts.authorities
    reply.additional = counts.additional
    guard age > 0 || staleTTL != nil else { return }
    for offset in ttlOffsets {
      let at = Int(offset)
      let old =
        UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16 | UInt32(bytes[at + 2]) << 8
        | UInt32(bytes[at + 3])
      let new = staleTTL ?? (old > age ? old - age : 0)
      reply.patch(uint16: UInt16(truncatingIfNeeded: new >> 16), at: at)
      reply.patch(uint16: UInt16(truncatingIfNeeded: new), at: at + 2)
    }
  }

  /// The answer as a value, for plugins that change it.
  func message(age: UInt32) -> Message? {
    guard var message = bytes.withUnsafeBytes({ try? Message($0.bytes) }) else { return nil }
    message.flags &= ~Header.authoritative
    if age > 0 {
      for path in [\Message.answer, \Message.authority, \Message.additional] {
        message[keyPath: path] = message[keyPath: path].map { record in
          var record = record
          record.ttl = record.ttl > age ? record.ttl - age : 0
          return record
        }
      }
    }
    return message
  }
}
