// The formats of texts that upstream checks in custom resources. Others may be named and mean nothing.

enum ValueFormat {
  /// Whether the text has the format; nil when the format is not known.
  static func check(_ text: String, _ format: String) -> Bool? {
    switch format {
    case "date-time", "datetime": return KubeTime(text) != nil
    case "date": return text.utf8.count == 10 && KubeTime(text + "T00:00:00Z") != nil
    case "duration": return isDuration(text)
    case "byte": return Base64.decode(text) != nil
    case "ipv4": return IPText.family(text) == .v4
    case "ipv6": return IPText.family(text) == .v6
    case "cidr": return IPText.prefixFamily(text) != nil
    case "uri": return isURI(text)
    case "email": return isEmail(text)
    case "hostname": return Names.subdomainProblem(text.lowercased()) == nil
    case "k8s-short-name": return Names.labelProblem(text) == nil
    case "k8s-long-name": return Names.subdomainProblem(text) == nil
    case "password": return true
    default:
      return patterns[format].map { $0.matches(text) ?? false }
    }
  }

  /// Compiled once; our own texts, which compile.
  private static let patterns: [String: Pattern] = {
    let hex = "[0-9a-fA-F]"
    let tail = "-?\(hex){4}-?\(hex){12}$"
    let texts = [
      "bsonobjectid": "^\(hex){24}$",
      "mac": "^(\(hex){2}[:.-]){5}\(hex){2}$|^(\(hex){2}[:.-]){7}\(hex){2}$|^(\(hex){4}\\.){2,3}\(hex){4}$",
      "uuid": "^\(hex){8}-?\(hex){4}-?\(hex){4}\(tail)",
      "uuid3": "^\(hex){8}-?\(hex){4}-?3\(hex){3}\(tail)",
      "uuid4": "^\(hex){8}-?\(hex){4}-?4\(hex){3}-?[89abAB]\(hex){3}-?\(hex){12}$",
      "uuid5": "^\(hex){8}-?\(hex){4}-?5\(hex){3}-?[89abAB]\(hex){3}-?\(hex){12}$",
      "isbn10": "^([0-9][- ]?){9}[0-9X]$",
      "isbn13": "^([0-9][- ]?){12}[0-9]$",
      "isbn": "^([0-9][- ]?){9}[0-9X]$|^([0-9][- ]?){12}[0-9]$",
      "creditcard": "^[0-9]([- ]?[0-9]){12,18}$",
      "ssn": "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$",
      "hexcolor": "^#?(\(hex){3}|\(hex){6})$",
      "rgbcolor": "^rgb\\(\\s*([0-9]{1,3}%?)\\s*,\\s*([0-9]{1,3}%?)\\s*,\\s*([0-9]{1,3}%?)\\s*\\)$",
    ]
    return texts.compactMapValues { try? Pattern($0) }
  }()

  /// Absolute, or a path from the root, as Go's ParseRequestURI demands.
  private static func isURI(_ text: String) -> Bool {
    guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else { return false }
    if text.hasPrefix("/") { return true }
    guard let colon = text.firstIndex(of: ":"), let first = text.utf8.first,
      (65...90).contains(first & ~0x20)
    else { return false }
    let scheme = text[..<colon].utf8
    return scheme.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0 & ~0x20) || $0 == 43 || $0 == 45 || $0 == 46
    }
  }

  private static func isEmail(_ text: String) -> Bool {
    guard let at = text.lastIndex(of: "@") else { return false }
    let name = text[..<at]
    let host = text[text.index(after: at)...]
    return !name.isEmpty && !host.isEmpty && name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x40 && $0 != 0x2c }
      && host.utf8.allSatisfy { $0 > 0x20 && $0 != 0x2c }
  }

  /// As Go writes it (`1h30m`, `1.5s`), or in words of upstream's own (`3 days`, `1 week`).
  private static func isDuration(_ text: String) -> Bool {
    durations.contains { $0.matches(text) == true }
  }

  private static let durations: [Pattern] = [
    "^[+-]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
    "^(([0-9]+)\\s*(nanoseconds?|nano|ns|microseconds?|micro|us|milliseconds?|milli|ms|seconds?|sec|s"
      + "|minutes?|min|m|hours?|hr|h|days?|d|weeks?|wk|w)\\s*)+$",
  ].compactMap { try? Pattern($0) }
}
