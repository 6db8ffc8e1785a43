// Broken input for parsers: seeded random changes to a sample, to text and to trees.

/// SplitMix64: the same numbers for the same seed, on every machine.
public struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64
  public init(_ seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Copies of `sample` with one to four bytes changed, dropped, doubled, or replaced by extremes.
public func mutations(of sample: [UInt8], count: Int, seed: UInt64) -> [[UInt8]] {
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

/// Mutants of a whole corpus: bytes changed as above, pieces cut, repeated and moved between samples, and the words
/// that grammars stumble over put in the middle.
public func mutants(of corpus: [[UInt8]], words: [String] = [], count: Int, seed: UInt64) -> [[UInt8]] {
  var numbers = SeededNumbers(seed)
  let samples = corpus.filter { !$0.isEmpty }
  return (0..<count).compactMap { _ in
    guard var bytes = samples.randomElement(using: &numbers),
      let other = samples.randomElement(using: &numbers)
    else { return nil }
    for _ in 0..<Int.random(in: 1...3, using: &numbers) where !bytes.isEmpty {
      let at = Int.random(in: 0..<bytes.count, using: &numbers)
      let end = min(bytes.count, at + Int.random(in: 1...24, using: &numbers))
      switch Int.random(in: 0..<7, using: &numbers) {
      case 0: bytes[at] = UInt8.random(in: 0...255, using: &numbers)
      case 1: bytes.removeSubrange(at..<end)
      case 2: bytes.insert(contentsOf: bytes[at..<end], at: at)
      case 3: bytes.removeSubrange(at...)
      case 4:
        let from = Int.random(in: 0..<other.count, using: &numbers)
        bytes.insert(contentsOf: other[from..<min(other.count, from + 16)], at: at)
      case 5:
        if let word = words.randomElement(using: &numbers) {
          bytes.insert(contentsOf: Array(word.utf8), at: at)
        }
      default: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
      }
    }
    return bytes
  }
}

extension [[UInt8]] {
  /// A corpus of texts.
  public init(texts: [String]) { self = texts.map { Array<UInt8>($0.utf8) } }
}
