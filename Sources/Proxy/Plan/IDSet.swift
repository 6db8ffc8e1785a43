// Which of the numbers from 1 to a few hundred thousand are taken: a bit each.

/// A set of small numbers. As large as the largest number that it ever held.
struct IDSet: Sendable, Hashable {
  private var words: [UInt64] = []
  private(set) var count = 0

  func contains(_ number: UInt32) -> Bool {
    let word = Int(number >> 6)
    return word < words.count && words[word] & bit(number) != 0
  }

  mutating func insert(_ number: UInt32) {
    let word = Int(number >> 6)
    if word >= words.count { words.append(contentsOf: repeatElement(0, count: word + 1 - words.count)) }
    if words[word] & bit(number) == 0 { count += 1 }
    words[word] |= bit(number)
  }

  mutating func remove(_ number: UInt32) {
    guard contains(number) else { return }
    words[Int(number >> 6)] &= ~bit(number)
    count -= 1
  }

  private func bit(_ number: UInt32) -> UInt64 { 1 << UInt64(number & 63) }

  /// What is in it counts, not how much room there is.
  static func == (a: Self, b: Self) -> Bool {
    guard a.count == b.count else { return false }
    let common = min(a.words.count, b.words.count)
    return a.words[..<common] == b.words[..<common]
  }

  func hash(into hasher: inout Hasher) { hasher.combine(count) }
}
