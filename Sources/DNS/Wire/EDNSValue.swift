// EDNS options as values (RFC 6891 section 6.1.2): for rules that change them. The query path reads the few it answers in place.

import Addresses

/// One option of an OPT record.
struct EDNSValue: Hashable, Sendable {
  var code: UInt16
  var octets: [UInt8]
}

/// A cause with words of its own for a reply (RFC 8914 section 2).
public struct ExtendedErrorNote: Hashable, Sendable {
  /// Octets of the text; longer ones are cut.
  static let textBytesMax = 128
  public var code: UInt16
  public var text: String

  var option: EDNSValue {
    let number: [UInt8] = [UInt8(code >> 8), UInt8(code & 255)]
    return EDNSValue(
      code: EDNSOption.extendedError, octets: number + Array(text.utf8.prefix(Self.textBytesMax)))
  }
}

extension [EDNSValue] {
  /// Octets of options taken from one query; further ones are left out.
  static let bytesMax = 512

  /// As they stand in an OPT record.
  var encoded: [UInt8] {
    var writer = WireWriter()
    for value in self {
      writer.uint16(value.code)
      writer.uint16(UInt16(truncatingIfNeeded: value.octets.count))
      writer.append(value.octets)
    }
    return writer.bytes
  }

  /// The options of a query, those left out that mean this hop alone (cookie, padding). A record that does not hold together has none.
  init(query packet: RawSpan, questionEnd: Int) {
    self = (try? Self.read(packet, questionEnd)) ?? []
  }

  private static func read(_ packet: RawSpan, _ questionEnd: Int) throws(WireError) -> [EDNSValue] {
    guard questionEnd >= Header.byteCount, questionEnd <= packet.byteCount else { return [] }
    var reader = WireReader(packet, at: questionEnd)
    var values: [EDNSValue] = []
    var octets = 0
    let records =
      Int(packet.uint16(at: 6)) + Int(packet.uint16(at: 8)) + Int(packet.uint16(at: 10))
    for _ in 0..<records {
      try reader.skipName()
      let type = try reader.uint16()
      try reader.skip(6)
      let end = Int(try reader.uint16()) + reader.offset
      guard type == RecordType.opt.rawValue else {
        try reader.skip(end - reader.offset)
        continue
      }
      while reader.offset < end {
        let code = try reader.uint16()
        let value = EDNSValue(code: code, octets: try reader.bytes(Int(try reader.uint16())))
        octets += value.octets.count
        guard reader.offset <= end, octets <= bytesMax else { return values }
        if code != EDNSOption.cookie, code != EDNSOption.padding { values.append(value) }
      }
      return values
    }
    return values
  }
}
