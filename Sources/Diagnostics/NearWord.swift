// Words that somebody may have meant: those a slip of the finger away. Pure.

public enum NearWord {
  /// Longer words are not compared.
  public static let bytesMax = 63

  /// Whether one slip, of words from six letters on two, leads from one word to the other: a letter that is missing, too many, another, or
  /// two that changed places. Quadratic in the words' lengths, which are bounded.
  public static func isNear(_ a: some StringProtocol, _ b: some StringProtocol) -> Bool {
    if a == b { return true }
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    let slips = min(a.count, b.count) < 3 ? 0 : min(a.count, b.count) < 6 ? 1 : 2
    guard abs(a.count - b.count) <= slips, max(a.count, b.count) <= bytesMax else { return false }
    return distance(a, b) <= slips
  }

  /// Optimal string alignment: quadratic in the words' lengths.
  public static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var before: [Int] = []
    var last = Array(0...b.count)
    for i in 0..<a.count {
      var row = [i + 1]
      for j in 0..<b.count {
        var best = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, before[j - 1] + 1) }
        row.append(best)
      }
      (before, last) = (last, row)
    }
    return last[b.count]
  }

  /// The word of a list that was meant by another one, the nearest first and of those the first by name; nil when none is near.
  public static func nearest(to word: String, in words: some Sequence<String>) -> String? {
    let typed = Array(word.utf8)
    return words.filter { $0 != word && isNear(word, $0) }
      .min { (distance(typed, Array($0.utf8)), $0) < (distance(typed, Array($1.utf8)), $1) }
  }
}
