// Addresses and prefixes as texts of objects. Objects stand on nothing, so the check is here; it only answers
// whether.

enum IPText {
  enum Family { case v4, v6 }

  static func family(_ text: String) -> Family? {
    if isV4(text) { return .v4 }
    return isV6(text) ? .v6 : nil
  }

  private static func isV4(_ text: some StringProtocol) -> Bool {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4
      && parts.allSatisfy { part in
        // A leading zero reads as octal elsewhere, so it is refused.
        guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }) else {
          return false
        }
        return (part.utf8.count == 1 || part.first != "0") && (Int(part) ?? 256) < 256
      }
  }

  private static func isV6(_ text: String) -> Bool {
    guard text.contains(":"), text.utf8.count <= 45, !text.contains(":::") else { return false }
    let halves = text.split(separator: ":", omittingEmptySubsequences: false)
    var groups = 0
    var gaps = 0
    for (position, part) in halves.enumerated() {
      if part.isEmpty {
        let isEdge = position == 0 || position == halves.count - 1
        // `::` at an edge gives two empty parts there, in the middle one.
        if isEdge {
          let neighbour = position == 0 ? 1 : halves.count - 2
          guard halves[neighbour].isEmpty else { return false }
        } else {
          gaps += 1
        }
      } else if part.contains(".") {
        guard position == halves.count - 1, isV4(part) else { return false }
        groups += 2
      } else {
        guard part.utf8.count <= 4,
          part.utf8.allSatisfy({
            (48...57).contains($0) || (97...102).contains($0) || (65...70).contains($0)
          })
        else { return false }
        groups += 1
      }
    }
    return gaps == 0 ? groups == 8 : gaps == 1 && groups < 8
  }

  /// `10.0.0.0/8`: an address, a slash, a length that fits.
  static func prefixFamily(_ text: String) -> Family? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let family = family(String(parts[0])), let length = Int(parts[1]),
      parts[1].utf8.allSatisfy({ (48...57).contains($0) })
    else { return nil }
    return (0...(family == .v4 ? 32 : 128)).contains(length) ? family : nil
  }

  /// Whether one prefix lies within another and is smaller.
  static func contains(_ outer: String, strictly inner: String) -> Bool {
    guard let a = bits(outer), let b = bits(inner), a.value.count == b.value.count, b.length > a.length else {
      return false
    }
    return (0..<a.length).allSatisfy { bit in
      (a.value[bit / 8] ^ b.value[bit / 8]) & (0x80 >> UInt8(bit % 8)) == 0
    }
  }

  private static func bits(_ prefix: String) -> (value: [UInt8], length: Int)? {
    let parts = prefix.split(separator: "/")
    guard parts.count == 2, let length = Int(parts[1]), let value = bytes(String(parts[0])),
      (0...value.count * 8).contains(length)
    else { return nil }
    return (value, length)
  }

  private static func bytes(_ address: String) -> [UInt8]? {
    switch family(address) {
    case .v4: return address.split(separator: ".").compactMap { UInt8($0) }
    case .v6:
      func groups(_ text: Substring) -> [UInt8] {
        text.split(separator: ":").flatMap { part -> [UInt8] in
          if part.contains(".") { return part.split(separator: ".").compactMap { UInt8($0) } }
          let group = UInt16(part, radix: 16) ?? 0
          return [UInt8(group >> 8), UInt8(group & 0xff)]
        }
      }
      guard let gap = address.firstRange(of: "::") else { return groups(address[...]) }
      let head = groups(address[..<gap.lowerBound])
      let tail = groups(address[gap.upperBound...])
      return head + [UInt8](repeating: 0, count: max(0, 16 - head.count - tail.count)) + tail
    case nil: return nil
    }
  }
}
