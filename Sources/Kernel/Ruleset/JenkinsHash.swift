// The hash behind `jhash` in rules: Bob Jenkins' lookup3 (public domain, 2006) over bytes in the host's order, with the start
// value that Linux uses. `explain` has to know which slot the kernel will choose.

enum JenkinsHash {
  private static let start: UInt32 = 0xdead_beef

  /// The slot out of `modulus` that the kernel computes for these bytes.
  static func slot(_ bytes: [UInt8], modulus: UInt32, seed: UInt32) -> UInt32 {
    UInt32(truncatingIfNeeded: (UInt64(hash(bytes, seed: seed)) * UInt64(modulus)) >> 32)
  }

  static func hash(_ bytes: [UInt8], seed: UInt32) -> UInt32 {
    var a = start &+ UInt32(truncatingIfNeeded: bytes.count) &+ seed
    var b = a
    var c = a
    var rest = bytes[...]
    while rest.count > 12 {
      a = a &+ word(rest, 0)
      b = b &+ word(rest, 4)
      c = c &+ word(rest, 8)
      mix(&a, &b, &c)
      rest = rest.dropFirst(12)
    }
    guard !rest.isEmpty else { return c }
    a = a &+ word(rest, 0)
    b = b &+ word(rest, 4)
    c = c &+ word(rest, 8)
    finish(&a, &b, &c)
    return c
  }

  /// Four bytes as a little-endian number; what is missing counts as zero.
  private static func word(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<4 where offset + index < bytes.count {
      value |= UInt32(bytes[bytes.startIndex + offset + index]) << UInt32(8 * index)
    }
    return value
  }

  private static func rotate(_ value: UInt32, _ bits: UInt32) -> UInt32 {
    value << bits | value >> (32 - bits)
  }

  private static func mix(_ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32) {
    a = (a &- c) ^ rotate(c, 4)
    c = c &+ b
    b = (b &- a) ^ rotate(a, 6)
    a = a &+ c
    c = (c &- b) ^ rotate(b, 8)
    b = b &+ a
    a = (a &- c) ^ rotate(c, 16)
    c = c &+ b
    b = (b &- a) ^ rotate(a, 19)
    a = a &+ c
    c = (c &- b) ^ rotate(b, 4)
    b = b &+ a
  }

  private static func finish(_ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32) {
    c = (c ^ b) &- rotate(b, 14)
    a = (a ^ c) &- rotate(c, 11)
    b = (b ^ a) &- rotate(a, 25)
    c = (c ^ b) &- rotate(b, 16)
    a = (a ^ c) &- rotate(c, 4)
    b = (b ^ a) &- rotate(a, 14)
    c = (c ^ b) &- rotate(b, 24)
  }
}
