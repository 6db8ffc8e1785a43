// Checksums: every row carries one, and the sum of all of them is kept beside the revision. A changed row is noticed when it
// is read, a missing or doubled one when the store is opened.

/// A 64-bit sum of bytes and numbers. Each step is a bijection of the state: whatever changes within one word of eight bytes
/// changes the result, other changes go unnoticed once in 2⁶⁴. No protection against forgery.
struct RowSum {
  private var state: UInt64 = 0x9e37_79b9_7f4a_7c15

  mutating func add(_ number: Int64) { add(UInt64(bitPattern: number)) }

  private mutating func add(_ word: UInt64) {
    state = (state ^ word) &* 0xff51_afd7_ed55_8ccd
    state ^= state >> 32
  }

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    add(UInt64(bytes.count))
    var offset = 0
    while offset + 8 <= bytes.count {
      add(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    var rest: UInt64 = 0
    while offset < bytes.count {
      rest = rest << 8 | UInt64(bytes[offset])
      offset += 1
    }
    add(rest)
  }

  mutating func add(_ text: String) {
    var text = text
    text.withUTF8 { add(UnsafeRawBufferPointer($0)) }
  }

  var value: Int64 { Int64(bitPattern: state) }

  /// Of a row of `log` or `ephemeral`.
  static func row(
    _ key: String, kind: Int64, revision: Revision, created: Revision, value: UnsafeRawBufferPointer
  ) -> Int64 {
    var sum = RowSum()
    sum.add(revision)
    sum.add(created)
    sum.add(kind)
    sum.add(key)
    sum.add(value)
    return sum.value
  }

  /// Of a row of `cur`.
  static func current(_ key: String, revision: Revision, created: Revision) -> Int64 {
    var sum = RowSum()
    sum.add(revision)
    sum.add(created)
    sum.add(key)
    return sum.value
  }
}
