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

  init(_ buffer: UnsafeMutableRawBufferPointer) {
    // A buffer always has memory: the server allocates them once, at start.
    base = buffer.baseAddress!
    capacity = buffer.count
  }

  static let optBytes = 11
  var room: Int { limit - count }

  /// Copies the header's identity and the question, spelled as the client spelled it.
  @inline(__always)
  mutating func begin(_ packet: RawSpan, _ head: borrowing QueryHead, bytesMax: Int) {
    limit = min(bytesMax, capacity) &- (head.hasEDNS ? Self.optBytes : 0)
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

  mutating func rewind(to count: Int) { self.count = count }

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
      limit &+= Self.optBytes
      precondition(limit &- count >= Self.optBytes, "room for OPT was left")
      base.storeBytes(of: 0, toByteOffset: count, as: UInt8.self)
      count &+= 1
      uint16(RecordType.opt.rawValue)
      uint16(UInt16(truncatingIfNeeded: udpBytesMax))
      uint16(UInt16(extendedCode) << 8)
      uint16(head.isDNSSECWanted ? 0x8000 : 0)
      uint16(0)
    }
    return count
  }

  var code: ResponseCode { ResponseCode(rawValue: flags & Header.codeMask | UInt16(extendedCode) << 4) }
}
