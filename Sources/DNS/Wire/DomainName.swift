// A domain name in its wire form: length octet, label, ..., zero. Comparison folds ASCII case (RFC 4343).

import Addresses

/// A domain name. The spelling is kept; equality and hashing fold ASCII case. For planning, tests and explanations:
/// the query path compares packet bytes in place.
public struct DomainName: Sendable, Hashable {
  /// The wire form, the closing zero octet included.
  public let wire: [UInt8]

  public static let root = DomainName(uncheckedWire: [0])

  init(uncheckedWire wire: [UInt8]) { self.wire = wire }

  /// Reads presentation text (RFC 1035 section 5.1): labels and dots, `\.` and `\DDD` escapes, the last dot optional.
  /// Nil for empty labels, labels above 63 and names above 255 octets.
  public init?(_ text: some StringProtocol) {
    var labels: [[UInt8]] = []
    var label: [UInt8] = []
    let bytes = Array(text.utf8)
    if bytes == [UInt8(ascii: ".")] || bytes.isEmpty {
      self = .root
      return
    }
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      index += 1
      if byte == UInt8(ascii: ".") {
        guard !label.isEmpty else { return nil }
        labels.append(label)
        label = []
      } else if byte == UInt8(ascii: "\\") {
        guard index < bytes.count else { return nil }
        if (48...57).contains(bytes[index]) {
          guard index + 2 < bytes.count, (48...57).contains(bytes[index + 1]),
            (48...57).contains(bytes[index + 2])
          else { return nil }
          let value = bytes[index..<index + 3].reduce(0) { $0 * 10 + Int($1 - 48) }
          guard value < 256 else { return nil }
          label.append(UInt8(value))
          index += 3
        } else {
          label.append(bytes[index])
          index += 1
        }
      } else {
        label.append(byte)
      }
    }
    if !label.isEmpty { labels.append(label) }
    self.init(labels: labels)
  }

  /// From labels, most specific first. Nil when a limit of RFC 1035 is broken.
  public init?(labels: some Sequence<[UInt8]>) {
    var wire: [UInt8] = []
    for label in labels {
      guard !label.isEmpty, label.count <= DNSLimits.labelBytesMax else { return nil }
      wire.append(UInt8(label.count))
      wire += label
    }
    wire.append(0)
    guard wire.count <= DNSLimits.nameBytesMax else { return nil }
    self.wire = wire
  }

  /// `label` in front of this name; nil when that breaks a limit.
  public func child(_ label: some StringProtocol) -> DomainName? {
    let bytes = Array(label.utf8)
    guard !bytes.isEmpty, bytes.count <= DNSLimits.labelBytesMax,
      wire.count + bytes.count + 1 <= DNSLimits.nameBytesMax
    else { return nil }
    return DomainName(uncheckedWire: [UInt8(bytes.count)] + bytes + wire)
  }

  /// `labels`, most specific first, in front of this name; nil when that breaks a limit.
  func child(of labels: [String]) -> DomainName? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(labels.reduce(wire.count) { $0 + $1.utf8.count + 1 })
    for label in labels {
      let count = label.utf8.count
      guard count > 0, count <= DNSLimits.labelBytesMax else { return nil }
      bytes.append(UInt8(truncatingIfNeeded: count))
      bytes += label.utf8
    }
    bytes += wire
    return bytes.count <= DNSLimits.nameBytesMax ? DomainName(uncheckedWire: bytes) : nil
  }

  /// The labels, most specific first, without the root.
  public var labels: [ArraySlice<UInt8>] {
    var result: [ArraySlice<UInt8>] = []
    var index = 0
    while index < wire.count, wire[index] != 0 {
      let end = index + 1 + Int(wire[index])
      result.append(wire[index + 1..<end])
      index = end
    }
    return result
  }

  public var parent: DomainName? {
    guard wire[0] != 0 else { return nil }
    return DomainName(uncheckedWire: Array(wire[(1 + Int(wire[0]))...]))
  }

  /// True for the name itself and everything below it.
  public func isWithin(_ zone: DomainName) -> Bool {
    var at = 0
    while wire.count - at > zone.wire.count { at += 1 + Int(wire[at]) }
    return wire.count - at == zone.wire.count
      && zip(wire[at...], zone.wire).allSatisfy { $0 == $1 || foldedByte($0) == foldedByte($1) }
  }

  public var lowercased: DomainName {
    wire.contains { foldedByte($0) != $0 } ? DomainName(uncheckedWire: wire.map(foldedByte)) : self
  }

  /// Length octets stay below 64 and so are never letters: the whole wire form can be folded at once.
  public static func == (a: Self, b: Self) -> Bool {
    a.wire == b.wire
      || a.wire.count == b.wire.count && zip(a.wire, b.wire).allSatisfy { foldedByte($0) == foldedByte($1) }
  }

  public func hash(into hasher: inout Hasher) {
    lowercased.wire.withUnsafeBytes { hasher.combine(bytes: $0) }
  }

  /// The name under `in-addr.arpa` or `ip6.arpa` that holds the PTR of an address (RFC 1035 3.5, RFC 3596 2.5).
  public static func reverse(of address: IPAddress) -> DomainName {
    var labels: [[UInt8]] = []
    switch address {
    case .v4(let four):
      labels = four.bytes.reversed().map { Array(String($0).utf8) } + [Array("in-addr".utf8)]
    case .v6(let six):
      labels =
        (0..<32).map {
          Array(String(UInt8(truncatingIfNeeded: six.bits >> UInt128(4 * $0)) & 15, radix: 16).utf8)
        }
        + [Array("ip6".utf8)]
    }
    return DomainName(labels: labels + [Array("arpa".utf8)]) ?? .root
  }
}

extension DomainName: CustomStringConvertible, LosslessStringConvertible {
  public init?(_ description: String) { self.init(description[...]) }

  /// With the closing dot; octets that are not printable are escaped.
  public var description: String {
    if wire.count == 1 { return "." }
    var out = ""
    for label in labels {
      for byte in label {
        switch byte {
        case UInt8(ascii: "."), UInt8(ascii: "\\"): out += "\\" + String(UnicodeScalar(byte))
        case 0x21...0x7e: out.unicodeScalars.append(UnicodeScalar(byte))
        default:
          let digits = String(byte)
          out += "\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits
        }
      }
      out += "."
    }
    return out
  }
}
