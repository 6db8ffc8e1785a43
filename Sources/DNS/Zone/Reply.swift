// The reply under construction: a fixed buffer, a size that may not be passed, and the header counts.

/// Writes one reply into memory the caller owns. Everything is checked against `limit`, which leaves room for OPT.
struct Reply {
  let base: UnsafeMutableRawPointer
  let capacity: Int
  /// Octets the client takes, OPT not counted.
  private(set) var limit = 0
  private(set) var count = 0
  var flags: UInt16 = 0
  var answers: UInt16 = 0
  var authorities: UInt16 = 0
  var additional: UInt16 = 0
  var extendedCode: UInt8 = 0
  /// Why it failed (RFC 8914).
  var extendedError: ExtendedError?
  /// Only what was asked for: no authority, no additional records beside an answer.
  var isMinimal = false
  /// The cookie to send: the client's half and ours. Only when the client sent one.
  var cookie: ServerCookie?
  /// Further options as they stand on the wire: who we are, when the client asked, and what rules add. The array is the server's
  /// or the query's: nothing is copied.
  var options: [UInt8]?
  /// Fills up to a multiple of this many octets, on encrypted transports (RFC 7830, RFC 8467).
  var paddingBlock = 0

  init(_ buffer: UnsafeMutableRawBufferPointer) {
    // A buffer always has memory: the server allocates them once, at start.
    base = buffer.baseAddress!
    capacity = buffer.count
  }

  static let optBytes = 11
  var room: Int { limit - count }

  /// Octets that OPT takes at the end.
  @inline(__always)
  private var optionBytes: Int {
    Self.optBytes &+ (cookie == nil ? 0 : ServerCookie.optionBytes) &+ (options?.count ?? 0)
  }

  /// Copies the header's identity and the question, spelled as the client spelled it.
  @inline(__always)
  mutating func begin(_ packet: RawSpan, _ head: borrowing QueryHead, bytesMax: Int) {
    limit = min(bytesMax, capacity)
    if head.hasEDNS { limit &-= optionBytes }
    flags =
      Header.response | head.flags & (Header.recursionDesired | Header.opcodeMask | Header.checkingDisabled)
    answers = 0
    authorities = 0
    additional = 0
    extendedCode = 0
    if head.questionEnd > 0 {
      let bytes = head.questionEnd
      packet.withUnsafeBytes { base.copyMemory(from: $0.baseAddress!, byteCount: bytes) }
      count = bytes
    } else {
      count = Header.byteCount
    }
  }

  /// The whole buffer.
  var space: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: base, count: capacity) }

  /// Takes back all but the question.
  mutating func restart(_ head: borrowing QueryHead) {
    count = head.questionEnd > 0 ? head.questionEnd : Header.byteCount
    flags &= ~(Header.codeMask | Header.authoritative | Header.truncated)
    answers = 0
    authorities = 0
    additional = 0
    extendedCode = 0
    extendedError = nil
  }

  @inline(__always)
  mutating func append(_ from: UnsafeRawPointer, _ bytes: Int) {
    precondition(bytes >= 0 && bytes <= limit &- count, "a reply is measured before it is written")
    (base + count).copyMemory(from: from, byteCount: bytes)
    count &+= bytes
  }

  @inline(__always)
  mutating func uint16(_ value: UInt16) {
    precondition(limit &- count >= 2, "a reply is measured before it is written")
    base.storeBytes(of: value.bigEndian, toByteOffset: count, as: UInt16.self)
    count &+= 2
  }

  @inline(__always)
  mutating func uint32(_ value: UInt32) {
    uint16(UInt16(truncatingIfNeeded: value >> 16))
    uint16(UInt16(truncatingIfNeeded: value))
  }

  /// What was written at `offset`.
  func uint16(at offset: Int) -> UInt16 {
    precondition(offset >= 0 && offset &+ 2 <= count, "only what was written is read")
    return UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  func byte(at offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < count, "only what was written is read")
    return base.load(fromByteOffset: offset, as: UInt8.self)
  }

  @inline(__always)
  func patch(uint16 value: UInt16, at offset: Int) {
    precondition(offset >= 0 && offset &+ 2 <= count, "patches stay inside the reply")
    base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
  }

  /// Sets the header and appends OPT when the client sent one. Returns the octets of the whole reply.
  @inline(__always)
  mutating func finish(_ head: borrowing QueryHead, udpBytesMax: Int) -> Int {
    patch(uint16: head.id, at: 0)
    patch(uint16: flags, at: 2)
    patch(uint16: head.questionEnd > 0 ? 1 : 0, at: 4)
    patch(uint16: answers, at: 6)
    patch(uint16: authorities, at: 8)
    patch(uint16: additional &+ (head.hasEDNS ? 1 : 0), at: 10)
    if head.hasEDNS {
      limit &+= optionBytes
      precondition(limit &- count >= optionBytes, "room for OPT was left")
      base.storeBytes(of: 0, toByteOffset: count, as: UInt8.self)
      count &+= 1
      uint16(RecordType.opt.rawValue)
      uint16(UInt16(truncatingIfNeeded: udpBytesMax))
      uint16(UInt16(extendedCode) << 8)
      uint16(head.isDNSSECWanted ? 0x8000 : 0)
      let lengthAt = count
      uint16(0)
      writeOptions()
      if count &- lengthAt &- 2 > 0 {
        patch(uint16: UInt16(truncatingIfNeeded: count &- lengthAt &- 2), at: lengthAt)
      }
    }
    return count
  }

  private mutating func writeOptions() {
    if let cookie {
      uint16(EDNSOption.cookie)
      uint16(24)
      uint32(UInt32(truncatingIfNeeded: cookie.client >> 32))
      uint32(UInt32(truncatingIfNeeded: cookie.client))
      uint32(UInt32(truncatingIfNeeded: cookie.server.0 >> 32))
      uint32(UInt32(truncatingIfNeeded: cookie.server.0))
      uint32(UInt32(truncatingIfNeeded: cookie.server.1 >> 32))
      uint32(UInt32(truncatingIfNeeded: cookie.server.1))
    }
    if let options { options.withUnsafeBytes { if let from = $0.baseAddress { append(from, $0.count) } } }
    if let extendedError, limit &- count >= 6 {
      uint16(EDNSOption.extendedError)
      uint16(2)
      uint16(extendedError.rawValue)
    }
    if paddingBlock > 0, limit &- count >= 4 {
      let wanted = (paddingBlock &- (count &+ 4) % paddingBlock) % paddingBlock
      let octets = min(wanted, limit &- count &- 4)
      uint16(EDNSOption.padding)
      uint16(UInt16(truncatingIfNeeded: octets))
      (base + count).initializeMemory(as: UInt8.self, repeating: 0, count: octets)
      count &+= octets
    }
  }

  var code: ResponseCode { ResponseCode(rawValue: flags & Header.codeMask | UInt16(extendedCode) << 4) }
}

/// Why a reply is not what the client hoped for (RFC 8914 section 4).
enum ExtendedError: UInt16 {
  case other = 0
  case staleAnswer = 3
  case staleDenial = 19
  case notReady = 14
  case blocked = 15
  case filtered = 17
  case prohibited = 18
  case notAuthoritative = 20
  case noReachableAuthority = 22
  case networkError = 23
}
