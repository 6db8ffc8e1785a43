// Whether labels match a selector, in its two spellings: the text of a query and the object of a spec.

import ClusterObjects

/// Matching of selectors that come from objects of the API, where an absent selector selects nothing.
public enum SelectorMatch {
  /// A `metav1.LabelSelector`: `matchLabels` and `matchExpressions`. An empty one selects everything, an absent one
  /// or one that cannot be understood nothing.
  public static func matches(_ selector: JSON?, _ labels: [String: String]) -> Bool {
    guard let selector, selector.object != nil else { return false }
    for (key, value) in selector["matchLabels"]?.stringMap ?? [:] where labels[key] != value { return false }
    for expression in selector["matchExpressions"]?.elements ?? [] {
      let key = expression["key"]?.string ?? ""
      let values = expression["values"]?.elements.compactMap(\.string) ?? []
      guard matches(labels[key], expression["operator"]?.string ?? "", values) else { return false }
    }
    return true
  }

  /// One requirement of a label or node selector: In, NotIn, Exists, DoesNotExist, Gt, Lt.
  public static func matches(_ value: String?, _ operation: String, _ values: [String]) -> Bool {
    switch operation {
    case "In": value.map(values.contains) ?? false
    case "NotIn": value.map { !values.contains($0) } ?? true
    case "Exists": value != nil
    case "DoesNotExist": value == nil
    case "Gt": compare(value, values.first).map { $0 > $1 } ?? false
    case "Lt": compare(value, values.first).map { $0 < $1 } ?? false
    default: false
    }
  }

  private static func compare(_ a: String?, _ b: String?) -> (Int64, Int64)? {
    guard let a = a.flatMap({ Int64($0) }), let b = b.flatMap({ Int64($0) }) else { return nil }
    return (a, b)
  }

  /// A map of exact labels, as in `Service.spec.selector`; an empty one selects nothing.
  public static func contains(_ selector: [String: String], _ labels: [String: String]) -> Bool {
    !selector.isEmpty && selector.allSatisfy { labels[$0.key] == $0.value }
  }

  /// The text of a `labelSelector` query: `a=b,c!=d,e in (f,g),!h,i`.
  public static func matches(text: String, _ labels: [String: String]) -> Bool {
    var depth = 0
    let parts = text.split(omittingEmptySubsequences: true) { character in
      if character == "(" { depth += 1 }
      if character == ")" { depth -= 1 }
      return character == "," && depth == 0
    }
    return parts.allSatisfy { requirement(String($0), labels) }
  }

  private static func requirement(_ text: String, _ labels: [String: String]) -> Bool {
    func trimmed(_ text: some StringProtocol) -> String { String(text.filter { $0 != " " }) }
    if let open = text.firstIndex(of: "("), text.contains(" in ") || text.contains(" notin ") {
      let words = text[..<open].split(separator: " ").map(String.init)
      let values = text[open...].dropFirst().split(separator: ")").first.map {
        $0.split(separator: ",").map(trimmed)
      }
      return matches(labels[words[0]], words.last == "notin" ? "NotIn" : "In", values ?? [])
    }
    if text.contains("!=") {
      let sides = text.split(separator: "!=", maxSplits: 1, omittingEmptySubsequences: false).map(trimmed)
      return labels[sides[0]] != sides[1]
    }
    if let equals = text.firstIndex(of: "=") {
      return labels[trimmed(text[..<equals])] == trimmed(text[equals...].drop { $0 == "=" })
    }
    let key = trimmed(text)
    return key.hasPrefix("!") ? labels[String(key.dropFirst())] == nil : labels[key] != nil
  }

  /// The text of a `fieldSelector` query over the tree: `spec.nodeName=a,status.phase!=Failed`. Absent reads as "".
  public static func matches(fields text: String, _ object: JSON) -> Bool {
    text.split(separator: ",").allSatisfy { part in
      let isNot = part.contains("!=")
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2 else { return false }
      let path = sides[0].split(separator: ".").map { String($0.filter { $0 != "!" && $0 != " " }) }
      let value = object.at(path).map { $0.string ?? $0.text } ?? ""
      return (value == sides[1].drop { $0 == "=" }) != isNot
    }
  }
}
