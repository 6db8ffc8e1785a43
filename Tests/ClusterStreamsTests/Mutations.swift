// Broken input for parsers: every truncation of a sample, and seeded random changes to it.

import NIOCore

/// SplitMix64: the same numbers for the same seed, on every machine.
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Copies of `sample` with one to four bytes changed, dropped, doubled, or replaced by extremes.
func mutations(of sample: [UInt8], count: Int, seed: UInt64) -> [[UInt8]] {
  var numbers = SeededNumbers(seed)
  return (0..<count).map { _ in
    var bytes = sample
    for _ in 0..<Int.random(in: 1...4, using: &numbers) where !bytes.isEmpty {
      let at = Int.random(in: 0..<bytes.count, using: &numbers)
      switch Int.random(in: 0..<5, using: &numbers) {
      case 0: bytes[at] = UInt8.random(in: 0...255, using: &numbers)
      case 1: bytes[at] = [0, 0x7f, 0x80, 0xff].randomElement(using: &numbers) ?? 0
      case 2: bytes.remove(at: at)
      case 3: bytes.insert(bytes[at], at: at)
      default: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
      }
    }
    return bytes
  }
}

/// Cuts bytes into pieces of random sizes.
func pieces(_ bytes: [UInt8], sizeMax: Int, seed: UInt64) -> [ByteBuffer] {
  var numbers = SeededNumbers(seed)
  var rest = bytes[...]
  var out: [ByteBuffer] = []
  while !rest.isEmpty {
    let count = Int.random(in: 1...sizeMax, using: &numbers)
    out.append(ByteBuffer(bytes: rest.prefix(count)))
    rest = rest.dropFirst(count)
  }
  return out
}
