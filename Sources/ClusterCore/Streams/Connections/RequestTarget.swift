// The target of an HTTP request, taken apart.

/// Path and query of `/a/b%20c?d=e`.
public struct RequestTarget: Sendable {
  public var rawPath: String
  /// Percent-decoded segments, without empty ones.
  public var path: [String]
  public var query: [(name: String, value: String)]

  /// Nil when the percent-encoding is broken, or is no UTF-8.
  public init?(_ target: String) {
    let bytes = target.utf8
    let question = bytes.firstIndex(of: UInt8(ascii: "?"))
    let raw = bytes[..<(question ?? bytes.endIndex)]
    path = []
    path.reserveCapacity(8)
    for part in raw.split(separator: UInt8(ascii: "/")) {
      guard let decoded = Self.decode(part, plusIsBlank: false) else { return nil }
      path.append(decoded)
    }
    query = []
    rawPath = question == nil ? target : String(Substring(raw))
    guard let question else { return }
    for pair in bytes[bytes.index(after: question)...].split(separator: UInt8(ascii: "&")) {
      let sides = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = Self.decode(sides[0], plusIsBlank: true),
        let value = Self.decode(sides.count > 1 ? sides[1] : pair[pair.endIndex...], plusIsBlank: true)
      else { return nil }
      query.append((name, value))
    }
  }

  private static func decode(_ text: Substring.UTF8View, plusIsBlank: Bool) -> String? {
    // Nearly every segment says what it means.
    if !text.contains(where: { $0 == UInt8(ascii: "%") || (plusIsBlank && $0 == UInt8(ascii: "+")) }) {
      return String(Substring(text))
    }
    var out: [UInt8] = []
    var bytes = text.makeIterator()
    func digit(_ byte: UInt8?) -> UInt8? {
      switch byte {
      case .some(let byte) where byte >= 48 && byte <= 57: byte - 48
      case .some(let byte) where byte >= 65 && byte <= 70: byte - 55
      case .some(let byte) where byte >= 97 && byte <= 102: byte - 87
      default: nil
      }
    }
    while let byte = bytes.next() {
      if byte == UInt8(ascii: "%") {
        guard let high = digit(bytes.next()), let low = digit(bytes.next()) else { return nil }
        out.append(high << 4 | low)
      } else {
        out.append(byte == UInt8(ascii: "+") && plusIsBlank ? 0x20 : byte)
      }
    }
    return String(validating: out, as: UTF8.self)
  }
}
