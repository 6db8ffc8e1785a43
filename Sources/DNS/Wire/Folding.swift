// Case folding, comparison and hashing of names inside packets, eight octets at a time and without a copy.

@inline(__always)
func foldedByte(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

/// Lowers the ASCII capitals among eight octets; other octets, bit 7 included, stay as they are.
@inline(__always)
func foldedWord(_ word: UInt64) -> UInt64 {
  let low = word & 0x7f7f_7f7f_7f7f_7f7f
  let aboveZ = low &+ 0x2525_2525_2525_2525
  let fromA = low &+ 0x3f3f_3f3f_3f3f_3f3f
  let capitals = (fromA ^ aboveZ) & ~word & 0x8080_8080_8080_8080
  return word | capitals >> 2
}

@inline(__always)
private func mixed(_ state: UInt64, _ word: UInt64) -> UInt64 {
  let (high, low) = (state ^ word).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
  return high ^ low
}

extension RawSpan {
  @inline(__always)
  func word(at offset: Int) -> UInt64 { unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self) }

  @inline(__always)
  func byte(at offset: Int) -> UInt8 { unsafeLoad(fromByteOffset: offset, as: UInt8.self) }

  @inline(__always)
  func uint16(at offset: Int) -> UInt16 {
    UInt16(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always)
  func uint32(at offset: Int) -> UInt32 {
    UInt32(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func uint64(at offset: Int) -> UInt64 {
    UInt64(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// Fewer than eight octets as one word.
  @inline(__always)
  private func shortWord(at offset: Int, count: Int) -> UInt64 {
    var word: UInt64 = 0
    for index in 0..<count { word |= UInt64(byte(at: offset + index)) << UInt64(8 * index) }
    return word
  }

  /// A hash of the folded octets. Seeded, so that nobody who may create Services can aim at one bucket.
  @inline(__always)
  func foldedHash(at offset: Int, count: Int, seed: UInt64) -> UInt64 {
    var state = seed ^ UInt64(truncatingIfNeeded: count)
    if count < 8 { return mixed(mixed(state, foldedWord(shortWord(at: offset, count: count))), seed) }
    var index = 0
    while index &+ 8 <= count {
      state = mixed(state, foldedWord(word(at: offset &+ index)))
      index &+= 8
    }
    if index < count { state = mixed(state, foldedWord(word(at: offset &+ count &- 8))) }
    return mixed(state, seed)
  }

  /// Whether the octets at `offset`, folded, are the `count` octets at `other`, which are folded already.
  @inline(__always)
  func foldedEquals(at offset: Int, count: Int, _ other: UnsafeRawPointer) -> Bool {
    if count < 8 {
      for index in 0..<count {
        if foldedByte(byte(at: offset + index)) != other.load(fromByteOffset: index, as: UInt8.self) {
          return false
        }
      }
      return true
    }
    var index = 0
    while index &+ 8 <= count {
      let there = other.loadUnaligned(fromByteOffset: index, as: UInt64.self)
      if foldedWord(word(at: offset &+ index)) != there { return false }
      index &+= 8
    }
    if index < count {
      let there = other.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
      return foldedWord(word(at: offset &+ count &- 8)) == there
    }
    return true
  }
}
