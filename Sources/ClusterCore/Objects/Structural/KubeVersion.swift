// The order of API versions: v2 before v1 before v1beta2 before v1beta1 before v1alpha1, then all others by
// name.

public enum KubeVersion {
  /// Whether clients should rather use `a` than `b`.
  public static func isPreferred(_ a: String, to b: String) -> Bool {
    switch (rank(a), rank(b)) {
    case (let x?, let y?): (x.stage, x.major, x.minor) > (y.stage, y.major, y.minor)
    case (_?, nil): true
    case (nil, _?): false
    case (nil, nil): a < b
    }
  }

  private static func rank(_ version: String) -> (stage: Int, major: Int, minor: Int)? {
    var rest = version.utf8[...]
    guard rest.popFirst() == UInt8(ascii: "v") else { return nil }
    func number() -> Int? {
      let digits = rest.prefix { (48...57).contains($0) }
      rest = rest.dropFirst(digits.count)
      guard let first = digits.first, first != 48 else { return nil }
      return Int(Substring(digits))
    }
    guard let major = number() else { return nil }
    if rest.isEmpty { return (2, major, 0) }
    for (stage, word) in [(1, "beta"), (0, "alpha")] where rest.starts(with: word.utf8) {
      rest = rest.dropFirst(word.utf8.count)
      guard let minor = number(), rest.isEmpty else { return nil }
      return (stage, major, minor)
    }
    return nil
  }
}
