// The wire format of rtnetlink: a header, a fixed part that depends on the type, then attributes, all in
// host order and padded to four bytes. Written by `NetlinkMessage`, read by `NetlinkReader`; both are plain
// values.
//
//   0        4       6       8        12       16
//   +--------+-------+-------+--------+--------+-------------+----------------------+
//   | length | type  | flags | seq    | port   | fixed part  | len type payload pad |...
//   +--------+-------+-------+--------+--------+-------------+----------------------+

/// A request under construction. Bytes are appended in order; `finished(sequence:)` fills in the length.
public struct NetlinkMessage: Sendable {
  public private(set) var bytes: [UInt8]

  /// Starts a message of `type`. `Wire.request` is added to `flags` by itself.
  public init(type: UInt16, flags: UInt16) {
    bytes = []
    bytes.reserveCapacity(256)
    append(UInt32(0))
    append(type)
    append(flags | Wire.request)
    append(UInt64(0))
  }

  /// Appends an integer in host order.
  public mutating func append(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
  }

  /// Appends bytes as they are.
  public mutating func append(bytes more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

  /// Appends an attribute that holds `payload`, padded to four bytes.
  public mutating func attribute(_ type: UInt16, bytes payload: some Collection<UInt8>) {
    append(UInt16(truncatingIfNeeded: payload.count + 4))
    append(type)
    bytes.append(contentsOf: payload)
    pad()
  }

  /// Appends an integer attribute in host order.
  public mutating func attribute(_ type: UInt16, _ value: some FixedWidthInteger) {
    attribute(type, bytes: withUnsafeBytes(of: value) { [UInt8]($0) })
  }

  /// Appends text with its closing zero byte, as names of links want it.
  public mutating func attribute(_ type: UInt16, text: String) {
    attribute(type, bytes: Array(text.utf8) + [0])
  }

  /// Appends an attribute that holds attributes; its length is known when `body` has run.
  public mutating func nest(_ type: UInt16, _ body: (inout NetlinkMessage) -> Void) {
    let start = bytes.count
    append(UInt16(0))
    append(type)
    body(&self)
    let length = UInt16(truncatingIfNeeded: bytes.count - start)
    withUnsafeBytes(of: length) { bytes.replaceSubrange(start..<start + 2, with: $0) }
    pad()
  }

  /// The bytes to send.
  public func finished(sequence: UInt32) -> [UInt8] {
    var result = bytes
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: bytes.count)) { result.replaceSubrange(0..<4, with: $0) }
    withUnsafeBytes(of: sequence) { result.replaceSubrange(8..<12, with: $0) }
    return result
  }

  mutating func replace(at offset: Int, _ byte: UInt8) { bytes[offset] = byte }

  private mutating func pad() { while bytes.count % 4 != 0 { bytes.append(0) } }
}

/// A bounded cursor over bytes from the kernel. Anything that does not fit reads as absent; nothing traps.
public struct NetlinkReader: Sendable {
  public let bytes: [UInt8]
  public let range: Range<Int>

  public init(_ bytes: [UInt8]) {
    self.bytes = bytes
    range = 0..<bytes.count
  }

  /// A part of `bytes`; what lies outside them is cut off.
  public init(_ bytes: [UInt8], _ range: Range<Int>) {
    self.bytes = bytes
    self.range = range.clamped(to: 0..<bytes.count)
  }

  public var count: Int { range.count }
  public var payload: [UInt8] { Array(bytes[range]) }

  /// An integer in host order at `offset` of this part; nil where it does not fit.
  public func integer<Value: FixedWidthInteger>(at offset: Int = 0, as _: Value.Type = Value.self) -> Value? {
    let width = MemoryLayout<Value>.size
    guard offset >= 0, offset <= count, count - offset >= width else { return nil }
    return bytes.withUnsafeBytes {
      $0.loadUnaligned(fromByteOffset: range.lowerBound + offset, as: Value.self)
    }
  }

  /// Text up to the first zero byte; bytes that are not UTF-8 are shown as the replacement character.
  public var text: String { String(decoding: bytes[range].prefix { $0 != 0 }, as: UTF8.self) }

  /// What follows the first `offset` bytes.
  public func dropping(_ offset: Int) -> NetlinkReader {
    NetlinkReader(bytes, min(range.lowerBound + max(offset, 0), range.upperBound)..<range.upperBound)
  }

  /// The attributes found here, by type without the nested and byte-order bits; the last of a type wins.
  /// Reading ends at the first attribute whose length is impossible.
  public func attributes() -> NetlinkAttributes { NetlinkAttributes(self) }

  public func forEachAttribute(_ body: (UInt16, NetlinkReader) -> Void) {
    var offset = 0
    while let length = integer(at: offset, as: UInt16.self),
      let type = integer(at: offset + 2, as: UInt16.self)
    {
      guard length >= 4, Int(length) <= count - offset else { return }
      let start = range.lowerBound + offset
      body(type & 0x3fff, NetlinkReader(bytes, start + 4..<start + Int(length)))
      offset += (Int(length) + 3) & ~3
    }
  }
}

/// Attributes by type. Not a dictionary: a message has a few dozen, and finding one costs less than building a table of all.
public struct NetlinkAttributes: Sendable {
  private let whole: NetlinkReader

  init(_ whole: NetlinkReader) { self.whole = whole }

  /// The last attribute of that type.
  public subscript(type: UInt16) -> NetlinkReader? {
    var found: Range<Int>?
    whole.bytes.withUnsafeBytes { bytes in
      var start = whole.range.lowerBound
      while whole.range.upperBound - start >= 4 {
        let length = Int(bytes.loadUnaligned(fromByteOffset: start, as: UInt16.self))
        guard length >= 4, length <= whole.range.upperBound - start else { return }
        if bytes.loadUnaligned(fromByteOffset: start + 2, as: UInt16.self) & 0x3fff == type {
          found = start + 4..<start + length
        }
        start += (length + 3) & ~3
      }
    }
    return found.map { NetlinkReader(whole.bytes, $0) }
  }
}

/// One message as received: type, flags, sequence, and what follows the header.
public struct NetlinkAnswer: Sendable {
  public let type: UInt16
  public let flags: UInt16
  public let sequence: UInt32
  public let body: NetlinkReader

  /// Splits one datagram into its messages. Stops at the first impossible length.
  public static func parse(_ datagram: [UInt8]) -> [NetlinkAnswer] {
    let whole = NetlinkReader(datagram)
    var answers: [NetlinkAnswer] = []
    var offset = 0
    while let length = whole.integer(at: offset, as: UInt32.self),
      let type = whole.integer(at: offset + 4, as: UInt16.self),
      let flags = whole.integer(at: offset + 6, as: UInt16.self),
      let sequence = whole.integer(at: offset + 8, as: UInt32.self)
    {
      guard length >= 16, Int(length) <= datagram.count - offset else { break }
      answers.append(
        NetlinkAnswer(
          type: type, flags: flags, sequence: sequence,
          body: NetlinkReader(datagram, offset + 16..<offset + Int(length))))
      offset += (Int(length) + 3) & ~3
    }
    return answers
  }
}
