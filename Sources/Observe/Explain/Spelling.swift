// Names that somebody may have meant: those a slip of the finger away. Pure.

import ClusterObjects
import ClusterView

enum Spelling {
  /// Names that are looked at; a cluster with more is not searched to its end.
  static let candidatesMax = 50_000
  /// Longer words are not compared.
  static let lengthMax = 63

  /// Whether one slip, of longer words two, leads from one word to the other: a letter that is missing, too many, another, or two that
  /// changed places.
  static func isNear(_ a: some StringProtocol, _ b: some StringProtocol) -> Bool {
    if a == b { return true }
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    let slips = min(a.count, b.count) < 3 ? 0 : min(a.count, b.count) < 6 ? 1 : 2
    guard abs(a.count - b.count) <= slips, max(a.count, b.count) <= lengthMax else { return false }
    return distance(a, b) <= slips
  }

  /// Optimal string alignment: quadratic in the words' lengths.
  static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
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

  /// The Service that was meant, nearest name first; nil when none is near.
  static func service(_ key: ObjectKey, in view: ClusterView) -> ObjectKey? {
    var near: [ObjectKey] = []
    for candidate in view.services.keys.prefix(candidatesMax) {
      if isNear(key.name, candidate.name), isNear(key.namespace, candidate.namespace) {
        near.append(candidate)
      }
    }
    func slips(_ candidate: ObjectKey) -> Int {
      distance(Array(key.name.utf8), Array(candidate.name.utf8))
        + distance(Array(key.namespace.utf8), Array(candidate.namespace.utf8))
    }
    if let best = near.min(by: { (slips($0), $0) < (slips($1), $1) }) { return best }
    // The name is right, and the namespace another.
    return view.services.keys.filter { $0.name == key.name }.min()
  }

  /// The cluster's name that was meant by one that does not exist.
  static func name(_ text: String, in view: ClusterView) -> String? {
    let labels = text.split(separator: ".", omittingEmptySubsequences: true).map(String.init)
    guard labels.count >= 2 else { return nil }
    let rest = labels.count > 2 ? labels[2...].joined(separator: ".") : ""
    guard let meant = service(ObjectKey(labels[1], labels[0]), in: view) else { return nil }
    let zone = labels.dropFirst(3).joined(separator: ".")
    // `svc` itself is a word to be mistyped.
    let tail = rest.isEmpty ? "" : ".svc" + (zone.isEmpty ? "" : ".\(zone)")
    let name = "\(meant.name).\(meant.namespace)\(tail)"
    return name == text ? nil : name
  }
}
