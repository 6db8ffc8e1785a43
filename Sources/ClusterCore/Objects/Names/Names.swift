// Names, labels and what Kubernetes makes of them: the rules of RFC 1123 and 1035 with upstream's wording,
// random suffixes, template hashes.

public enum Names {
  /// Without vowels and look-alikes, so that no word arises.
  public static let safeAlphabet = Array("bcdfghjklmnpqrstvwxz2456789".utf8)
  /// Names longer than this are cut before a suffix is added.
  public static let generatedBaseMax = 58

  /// A random suffix of five, as `generateName` adds.
  public static func randomSuffix(using generator: inout some RandomNumberGenerator) -> String {
    String(decoding: (0..<5).map { _ in safeAlphabet.randomElement(using: &generator)! }, as: UTF8.self)
  }
  public static func generate(from base: String) -> String {
    var generator = SystemRandomNumberGenerator()
    return String(base.prefix(generatedBaseMax)) + randomSuffix(using: &generator)
  }

  /// A stable 32-bit hash (FNV-1a) of a pod template in the safe alphabet: `pod-template-hash`. Order of
  /// fields does not matter. `collisions` is the owner's `status.collisionCount`.
  public static func templateHash(_ template: JSON, collisions: Int64? = nil) -> String {
    var bytes = template.canonical.bytes
    if let collisions { bytes.append(contentsOf: String(collisions).utf8) }
    return safeEncode(String(fnv1a(bytes)))
  }

  public static func fnv1a(_ bytes: some Sequence<UInt8>) -> UInt32 {
    bytes.reduce(2_166_136_261) { ($0 ^ UInt32($1)) &* 16_777_619 }
  }

  static func safeEncode(_ text: String) -> String {
    String(decoding: text.utf8.map { safeAlphabet[Int($0) % safeAlphabet.count] }, as: UTF8.self)
  }

  // MARK: - Rules. Nil says that a name is right, text says what is wrong.

  public static let labelRule =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    + "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    + "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
  public static let subdomainRule =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    + "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    + "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
  static let label1035Rule =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    + "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation "
    + "is '[a-z]([-a-z0-9]*[a-z0-9])?')"

  private static func isLowerAlnum(_ byte: UInt8) -> Bool {
    (97...122).contains(byte) || (48...57).contains(byte)
  }
  private static func isAlnum(_ byte: UInt8) -> Bool { isLowerAlnum(byte) || (65...90).contains(byte) }

  private static func isLabel(_ bytes: some BidirectionalCollection<UInt8>) -> Bool {
    guard let first = bytes.first, let last = bytes.last, isLowerAlnum(first), isLowerAlnum(last) else {
      return false
    }
    return bytes.allSatisfy { isLowerAlnum($0) || $0 == UInt8(ascii: "-") }
  }

  public static func labelProblem(_ name: String) -> String? {
    if name.utf8.count > 63 { return "must be no more than 63 bytes" }
    return isLabel(name.utf8) ? nil : labelRule
  }

  public static func label1035Problem(_ name: String) -> String? {
    if name.utf8.count > 63 { return "must be no more than 63 bytes" }
    guard let first = name.utf8.first, (97...122).contains(first), isLabel(name.utf8) else {
      return label1035Rule
    }
    return nil
  }

  public static func subdomainProblem(_ name: String) -> String? {
    if name.utf8.count > 253 { return "must be no more than 253 bytes" }
    let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return parts.allSatisfy { isLabel($0) } ? nil : subdomainRule
  }

  /// A host that may begin with `*.`.
  public static func wildcardProblem(_ name: String) -> String? {
    if name.hasPrefix("*."), subdomainProblem(String(name.dropFirst(2))) == nil { return nil }
    return
      "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
      + "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. "
      + "'*.example.com', regex used for validation is "
      + "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
  }

  /// `prefix/name` or `name`: keys of labels and annotations.
  public static func qualifiedNameProblem(_ name: String) -> String? {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    let rule =
      "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
      + "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
      + "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    guard parts.count <= 2 else {
      return
        "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
        + "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
        + "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. "
        + "'example.com/MyName')"
    }
    if parts.count == 2 {
      if parts[0].isEmpty { return "prefix part must be non-empty" }
      if let problem = subdomainProblem(String(parts[0])) { return "prefix part \(problem)" }
    }
    let last = parts[parts.count - 1]
    if last.isEmpty { return "name part must be non-empty" }
    if last.utf8.count > 63 { return "name part must be no more than 63 bytes" }
    return isWord(last.utf8) ? nil : rule
  }

  private static func isWord(_ bytes: some BidirectionalCollection<UInt8>) -> Bool {
    guard let first = bytes.first, let last = bytes.last, isAlnum(first), isAlnum(last) else { return false }
    return bytes.allSatisfy { isAlnum($0) || $0 == 45 || $0 == 95 || $0 == 46 }
  }

  public static func labelValueProblem(_ value: String) -> String? {
    if value.utf8.count > 63 { return "must be no more than 63 bytes" }
    if value.isEmpty || isWord(value.utf8) { return nil }
    return
      "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
      + "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
      + "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
  }

  /// What can stand alone between slashes of a path: names of roles such as `system:node`.
  public static func pathSegmentProblem(_ name: String) -> String? {
    if name == "." || name == ".." { return "may not be '\(name)'" }
    for part in ["/", "%"] where name.contains(part) { return "may not contain '\(part)'" }
    return nil
  }

  /// Names of ports: letters, digits and hyphens, at most 15, a letter among them.
  public static func portNameProblem(_ name: String) -> String? {
    if name.utf8.count > 15 { return "must be no more than 15 characters" }
    guard name.utf8.allSatisfy({ isLowerAlnum($0) || $0 == 45 }) else {
      return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    }
    guard name.utf8.contains(where: { (97...122).contains($0) }) else {
      return "must contain at least one letter (a-z)"
    }
    if name.contains("--") { return "must not contain consecutive hyphens" }
    if name.hasPrefix("-") || name.hasSuffix("-") { return "must not begin or end with a hyphen" }
    return nil
  }

  /// Keys of ConfigMaps and Secrets.
  public static func configKeyProblem(_ key: String) -> String? {
    if key.utf8.count > 253 { return "must be no more than 253 bytes" }
    guard !key.isEmpty, key.utf8.allSatisfy({ isAlnum($0) || $0 == 45 || $0 == 95 || $0 == 46 }) else {
      return
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
        + "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
    }
    if key == "." { return "must not be '.'" }
    if key.hasPrefix("..") { return key == ".." ? "must not be '..'" : "must not start with '..'" }
    return nil
  }
}

extension JSON {
  /// The same value with the names of every object in byte order: equal values give equal bytes.
  public var canonical: JSON {
    switch self {
    case .array(let elements): .array(elements.map(\.canonical))
    case .object(let object): .object(object.sortedByKey().mapValues(\.canonical))
    default: self
    }
  }
}
