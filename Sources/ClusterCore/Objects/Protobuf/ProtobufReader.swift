// Bytes of proto2 messages, field by field. Nothing here trusts a length: a reader never leaves its range, and the ranges
// that it gives lie within.

struct ProtobufReader {
  enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    case bytes(Range<Int>)
    case fixed32(UInt32)
  }

  let bytes: UnsafeBufferPointer<UInt8>
  private(set) var offset: Int
  let end: Int

  /// Valid as long as the bytes are.
  init(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a range outside of the bytes")
    self.bytes = bytes
    offset = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { offset >= end }

  private static func failure(_ reason: String, _ offset: Int) -> DecodeError {
    DecodeError("the protobuf body is damaged: \(reason) at byte \(offset)")
  }

  mutating func varint() throws(DecodeError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard offset < end else { throw Self.failure("unexpected end", offset) }
      let byte = bytes[offset]
      offset += 1
      if shift < 64 { value |= UInt64(byte & 0x7f) << shift }
      if byte < 0x80 { return value }
    }
    throw Self.failure("an integer is too long", offset)
  }

  /// The next field; nil at the end.
  mutating func next() throws(DecodeError) -> (number: Int, value: Value)? {
    guard offset < end else { return nil }
    let tag = try varint()
    guard tag >> 3 > 0, tag >> 3 <= 0x1fff_ffff else { throw Self.failure("a field has no number", offset) }
    let number = Int(tag >> 3)
    switch tag & 7 {
    case 0: return (number, .varint(try varint()))
    case 1: return (number, .fixed64(try fixed(8)))
    case 2:
      let length = try varint()
      guard length <= UInt64(end - offset) else { throw Self.failure("a length points past the end", offset) }
      let range = offset..<offset + Int(length)
      offset = range.upperBound
      return (number, .bytes(range))
    case 5: return (number, .fixed32(UInt32(truncatingIfNeeded: try fixed(4))))
    default: throw Self.failure("a field has an unknown form", offset)
    }
  }

  private mutating func fixed(_ count: Int) throws(DecodeError) -> UInt64 {
    guard end - offset >= count else { throw Self.failure("unexpected end", offset) }
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
    offset += count
    return value
  }
}
