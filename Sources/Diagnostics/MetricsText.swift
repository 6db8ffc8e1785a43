// Texts of several processes as one page: a family's series together, under one head.

/// Prometheus texts (exposition format 0.0.4) put together. Numbers of the same series are added: of two processes that count the
/// same, the page shows what both have counted.
public struct MetricsText: Sendable {
  private struct Family {
    var head: [Substring] = []
    var series: [Substring] = []
    var values: [Substring: Substring] = [:]
  }
  private var families: [Substring: Family] = [:]

  public init() {}

  /// Adds a page. Lines that are no samples of a family with a head are left out.
  public mutating func add(_ text: String) {
    var name: Substring = ""
    for line in text.split(separator: "\n") {
      if line.hasPrefix("# ") {
        let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
        guard words.count == 4 else { continue }
        if words[1] == "HELP" {
          name = words[2]
          if families[name] == nil { families[name] = Family(head: [line]) }
        } else if words[1] == "TYPE", words[2] == name, families[name]?.head.count == 1 {
          families[name]?.head.append(line)
        }
        continue
      }
      guard !name.isEmpty, line.hasPrefix(name), let space = line.lastIndex(of: " ") else { continue }
      let (key, value) = (line[..<space], line[line.index(after: space)...])
      guard let old = families[name]?.values[key] else {
        families[name]?.series.append(key)
        families[name]?.values[key] = value
        continue
      }
      if let sum = Self.sum(old, value) { families[name]?.values[key] = sum }
    }
  }

  private static func sum(_ a: Substring, _ b: Substring) -> Substring? {
    if let a = UInt64(a), let b = UInt64(b) { return "\(a &+ b)" }
    if let a = Double(a), let b = Double(b) { return "\(a + b)" }
    return nil
  }

  /// The page, families in order of name.
  public var text: String {
    var out = ""
    for (_, family) in families.sorted(by: { $0.key < $1.key }) {
      for line in family.head { out += "\(line)\n" }
      for key in family.series { out += "\(key) \(family.values[key] ?? "0")\n" }
    }
    return out
  }
}
