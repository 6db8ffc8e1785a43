// Amounts of CPU and memory as Kubernetes writes them: `250m`, `1.5`, `64Mi`, `1e3`.

/// Reads quantities exactly, in thousandths.
enum Quantity {
  private static let suffixes: [(String, milli: Double)] = [
    ("Ki", 1024e3), ("Mi", 1_048_576e3), ("Gi", 1_073_741_824e3), ("Ti", 1_099_511_627_776e3),
    ("Pi", 1_125_899_906_842_624e3), ("n", 1e-6), ("u", 1e-3), ("m", 1), ("k", 1e6), ("M", 1e9), ("G", 1e12),
    ("T", 1e15), ("P", 1e18),
  ]

  /// Thousandths, rounded up; nil when unreadable.
  static func milli(_ text: String) -> Int64? {
    var number = text[...]
    var factor = 1000.0
    for (suffix, milli) in suffixes where text.hasSuffix(suffix) {
      number = text.dropLast(suffix.count)
      factor = milli
      break
    }
    guard let first = number.first, first.isNumber || "+-.".contains(first), let value = Double(number) else {
      return nil
    }
    let result = (value * factor).rounded(.up)
    return result.magnitude < 9e18 ? Int64(result) : nil
  }

  /// Whole units, rounded up; nil when unreadable.
  static func units(_ text: String) -> Int64? {
    milli(text).map { $0 > 0 ? ($0 - 1) / 1000 + 1 : $0 / 1000 }
  }
}
