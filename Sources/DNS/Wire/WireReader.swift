// A bounded, checked reader of DNS messages. It keeps the whole message and a cursor, because names point backwards.

import Addresses

/// Why a message could not be read.
public enum WireError: Error, Hashable, Sendable {
  case truncated(at: Int)
  case badLabel(at: Int)
  case nameTooLong(at: Int)
  /// A compression pointer that does not point to an earlier octet: the only way to build a loop.
  case forwardPointer(at: Int)
  case badRecord(at: Int)
}

/// Reads a message from front to back. Every step checks its bounds and throws; nothing traps.
public struct WireReader: ~Escapable {
  let message: RawSpan
  public private(set) var offset: Int

  @_lifetime(copy message)
  public init(_ message: RawSpan, at offset: Int = 0) {
    self.message = message
    self.offset = offset
  }

  public var remaining: Int { message.byteCount - offset }

  private func need(_ count: Int) throws(WireError) {
    guard count >= 0, count <= message.byteCount - offset else { throw .truncated(at: offset) }
  }

  public mutating func uint8() throws(WireError) -> UInt8 {
    try need(1)
    defer { offset += 1 }
    return message.byte(at: offset)
  }

  public mutating func uint16() throws(WireError) -> UInt16 {
    try need(2)
    defer { offset += 2 }
    return message.uint16(at: offset)
  }

  public mutating func uint32() throws(WireError) -> UInt32 {
    try need(4)
    defer { offset += 4 }
    return message.uint32(at: offset)
  }

  public mutating func bytes(_ count: Int) throws(WireError) -> [UInt8] {
    try need(count)
    defer { offset += count }
    return (offset..<offset + count).map { message.byte(at: $0) }
  }

  public mutating func skip(_ count: Int) throws(WireError) {
    try need(count)
    offset += count
  }

  /// Reads a name, following compression (RFC 1035 section 4.1.4). Each pointer must point before the octets that
  /// led to it, so the walk goes strictly backwards and ends; pointers and length are bounded besides.
  public mutating func name() throws(WireError) -> DomainName {
    var wire: [UInt8] = []
    var at = offset
    var lowest = offset
    var end: Int? = nil
    var pointers = 0
    while true {
      guard at < message.byteCount else { throw .truncated(at: at) }
      let length = Int(message.byte(at: at))
      switch length & 0xc0 {
      case 0:
        guard at + 1 + length <= message.byteCount else { throw .truncated(at: at) }
        guard wire.count + 1 + length + (length == 0 ? 0 : 1) <= DNSLimits.nameBytesMax else {
          throw .nameTooLong(at: offset)
        }
        for index in at...at + length { wire.append(message.byte(at: index)) }
        at += 1 + length
        if length == 0 {
          offset = end ?? at
          return DomainName(uncheckedWire: wire)
        }
      case 0xc0:
        guard at + 2 <= message.byteCount else { throw .truncated(at: at) }
        let target = Int(message.uint16(at: at) & 0x3fff)
        guard target < lowest else { throw .forwardPointer(at: at) }
        pointers += 1
        guard pointers <= DNSLimits.pointersMax else { throw .forwardPointer(at: at) }
        if end == nil { end = at + 2 }
        lowest = target
        at = target
      default: throw .badLabel(at: at)
      }
    }
  }

  /// Passes over a name without following it.
  public mutating func skipName() throws(WireError) {
    while true {
      let length = try uint8()
      switch length & 0xc0 {
      case 0:
        if length == 0 { return }
        try skip(Int(length))
      case 0xc0:
        try skip(1)
        return
      default: throw .badLabel(at: offset - 1)
      }
    }
  }

  /// Reads one record. `OPT` comes back as `.other` with its class in `payloadSize`.
  public mutating func record() throws(WireError) -> (record: ResourceRecord, rrClass: UInt16) {
    let owner = try name()
    let type = RecordType(rawValue: try uint16())
    let rrClass = try uint16()
    let ttl = try uint32()
    let length = Int(try uint16())
    try need(length)
    let end = offset + length
    let data: RecordData
    switch type {
    case .a where length == 4: data = .a(.init(bits: try uint32()))
    case .aaaa where length == 16:
      var bits: UInt128 = 0
      for _ in 0..<4 { bits = bits << 32 | UInt128(try uint32()) }
      data = .aaaa(.init(bits: bits))
    case .a, .aaaa: throw .badRecord(at: offset)
    case .cname: data = .cname(try name())
    case .ns: data = .ns(try name())
    case .ptr: data = .ptr(try name())
    case .mx: data = .mx(preference: try uint16(), try name())
    case .srv:
      data = .srv(priority: try uint16(), weight: try uint16(), port: try uint16(), try name())
    case .soa:
      let primary = try name()
      let mailbox = try name()
      let serial = try uint32()
      data = .soa(
        StartOfAuthority(
          primary: primary, mailbox: mailbox, serial: serial, refresh: try uint32(), retry: try uint32(),
          expire: try uint32(), minimum: try uint32()))
    case .txt:
      var texts: [[UInt8]] = []
      while offset < end { texts.append(try bytes(Int(try uint8()))) }
      data = .txt(texts)
    default: data = .other(type, try bytes(length))
    }
    guard offset == end else { throw .badRecord(at: offset) }
    return (ResourceRecord(owner: owner, ttl: ttl, data: data), rrClass)
  }
}
