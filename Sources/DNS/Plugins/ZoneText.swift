// Master files (RFC 1035 section 5): records as text, with `$ORIGIN`, `$TTL`, parentheses, quotes and what is left out
// taken from the line before.

import Addresses

/// Why a zone file cannot be read.
struct ZoneTextError: Error, Hashable, CustomStringConvertible {
  var line: Int
  var description: String
}

struct ZoneText {
  /// Records read from one file; a longer one is refused.
  static let recordsMax = 1_000_000

  private struct Word {
    var text: [UInt8]
    var isQuoted = false
    var string: String { String(decoding: text, as: UTF8.self) }
  }

  private let bytes: [UInt8]
  private var at = 0
  private var line = 1
  private var origin: DomainName
  private var ttl: UInt32?
  private var owner: DomainName?

  private init(_ text: String, origin: DomainName) {
    bytes = Array(text.utf8)
    self.origin = origin
  }

  /// Every record of a file.
  static func records(_ text: String, origin: DomainName) throws(ZoneTextError) -> [ResourceRecord] {
    var reader = ZoneText(text, origin: origin)
    var records: [ResourceRecord] = []
    while let record = try reader.next() {
      records.append(record)
      guard records.count <= recordsMax else { throw reader.error("more than \(recordsMax) records") }
    }
    return records
  }

  /// One record on one line.
  static func record(_ text: String, origin: DomainName) throws(ZoneTextError) -> ResourceRecord {
    var reader = ZoneText(text, origin: origin)
    reader.ttl = 3600
    guard let record = try reader.next() else { throw reader.error("no record") }
    guard try reader.next() == nil else { throw reader.error("more than one record") }
    return record
  }

  private func error(_ text: String) -> ZoneTextError { ZoneTextError(line: line, description: text) }

  // MARK: - Words

  /// The words of the next entry, which goes on over lines in parentheses; nil at the end. `isIndented`: no owner.
  private mutating func entry() throws(ZoneTextError) -> (words: [Word], isIndented: Bool)? {
    var words: [Word] = []
    var depth = 0
    var isIndented = false
    var isAtStart = true
    while at < bytes.count {
      let byte = bytes[at]
      switch byte {
      case UInt8(ascii: "\n"):
        at += 1
        if depth == 0 {
          line += 1
          if !words.isEmpty { return (words, isIndented) }
          isAtStart = true
          isIndented = false
          continue
        }
        line += 1
      case UInt8(ascii: " "), UInt8(ascii: "\t"), 13:
        if isAtStart, byte != 13 { isIndented = true }
        at += 1
      case UInt8(ascii: ";"):
        while at < bytes.count, bytes[at] != UInt8(ascii: "\n") { at += 1 }
      case UInt8(ascii: "("):
        depth += 1
        at += 1
      case UInt8(ascii: ")"):
        guard depth > 0 else { throw error("a parenthesis closes that was not opened") }
        depth -= 1
        at += 1
      case UInt8(ascii: "\""): words.append(try quoted())
      default: words.append(plain())
      }
      isAtStart = false
    }
    guard depth == 0 else { throw error("a parenthesis is not closed") }
    return words.isEmpty ? nil : (words, isIndented)
  }

  private mutating func quoted() throws(ZoneTextError) -> Word {
    at += 1
    var text: [UInt8] = []
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      if byte == UInt8(ascii: "\"") { return Word(text: text, isQuoted: true) }
      if byte == UInt8(ascii: "\n") { line += 1 }
      if byte == UInt8(ascii: "\\") { text += escaped() } else { text.append(byte) }
    }
    throw error("a quote is not closed")
  }

  /// What follows a backslash in a string: three digits or one octet.
  private mutating func escaped() -> [UInt8] {
    guard at < bytes.count else { return [] }
    if at + 3 <= bytes.count, let value = UInt8(String(decoding: bytes[at..<at + 3], as: UTF8.self)) {
      at += 3
      return [value]
    }
    defer { at += 1 }
    return [bytes[at]]
  }

  /// Escapes stay in a plain word: names read them themselves.
  private mutating func plain() -> Word {
    let start = at
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), 13, UInt8(ascii: ";"),
        UInt8(ascii: "("),
        UInt8(ascii: ")"), UInt8(ascii: "\""):
        return Word(text: Array(bytes[start..<at]))
      case UInt8(ascii: "\\"): at = min(bytes.count, at + 2)
      default: at += 1
      }
    }
    return Word(text: Array(bytes[start..<at]))
  }

  // MARK: - Records

  private mutating func next() throws(ZoneTextError) -> ResourceRecord? {
    while let (words, isIndented) = try entry() {
      var words = words[...]
      switch words.first?.string.uppercased() {
      case "$ORIGIN":
        guard words.count == 2 else { throw error("$ORIGIN needs a name") }
        origin = try name(words[1])
        continue
      case "$TTL":
        guard words.count == 2, let seconds = Self.seconds(words[1].string) else {
          throw error("$TTL needs seconds")
        }
        ttl = seconds
        continue
      case let word? where word.hasPrefix("$"): throw error("\(word) is not supported")
      default: break
      }
      if !isIndented { owner = try name(words.removeFirst()) }
      guard let owner else { throw error("the first record has no owner") }
      var own: UInt32?
      while let word = words.first?.string {
        if let seconds = Self.seconds(word), own == nil, RecordType(word) == nil {
          own = seconds
        } else if ["IN", "CH", "HS"].contains(word.uppercased()) {
          guard word.uppercased() == "IN" else { throw error("only class IN is served") }
        } else {
          break
        }
        words.removeFirst()
      }
      guard let kind = words.popFirst()?.string, let type = RecordType(kind) else {
        throw error("no record type")
      }
      let data = try data(type, Array(words))
      if ttl == nil, case .soa(let soa) = data { ttl = soa.minimum }
      return ResourceRecord(owner: owner, ttl: own ?? ttl ?? 3600, data: data)
    }
    return nil
  }

  private func name(_ word: Word) throws(ZoneTextError) -> DomainName {
    let text = word.string
    if text == "@" { return origin }
    guard let name = DomainName(text) else { throw error("\(text) is not a name") }
    if text.hasSuffix("."), !text.hasSuffix("\\.") || text == "." { return name }
    guard let whole = DomainName(labels: name.labels.map(Array.init) + origin.labels.map(Array.init)) else {
      throw error("\(text) is too long")
    }
    return whole
  }

  /// `300`, `5m`, `1h30m`, `2w`.
  static func seconds(_ text: String) -> UInt32? {
    var total: UInt64 = 0
    var number: UInt64?
    for byte in text.utf8 {
      if byte &- 48 < 10 {
        number = (number ?? 0) * 10 + UInt64(byte - 48)
        if number ?? 0 > UInt64(UInt32.max) { return nil }
        continue
      }
      guard let value = number else { return nil }
      switch byte | 0x20 {
      case UInt8(ascii: "s"): total += value
      case UInt8(ascii: "m"): total += value * 60
      case UInt8(ascii: "h"): total += value * 3600
      case UInt8(ascii: "d"): total += value * 86400
      case UInt8(ascii: "w"): total += value * 604_800
      default: return nil
      }
      number = nil
    }
    total += number ?? 0
    return text.isEmpty ? nil : UInt32(exactly: total)
  }

  private func data(_ type: RecordType, _ words: [Word]) throws(ZoneTextError) -> RecordData {
    func need(_ count: Int) throws(ZoneTextError) {
      guard words.count == count else { throw error("\(type) needs \(count) values, not \(words.count)") }
    }
    func number<N: FixedWidthInteger>(_ index: Int, _: N.Type) throws(ZoneTextError) -> N {
      guard let value = N(words[index].string) else { throw error("\(words[index].string) is not a number") }
      return value
    }
    if words.first?.string == "\\#" { return try generic(type, words) }
    switch type {
    case .a:
      try need(1)
      guard let address = IPv4Address(words[0].string) else {
        throw error("\(words[0].string) is not an address")
      }
      return .a(address)
    case .aaaa:
      try need(1)
      guard let address = IPv6Address(words[0].string) else {
        throw error("\(words[0].string) is not an address")
      }
      return .aaaa(address)
    case .cname, .ns, .ptr:
      try need(1)
      let target = try name(words[0])
      return type == .cname ? .cname(target) : type == .ns ? .ns(target) : .ptr(target)
    case .dname:
      try need(1)
      return .other(.dname, try name(words[0]).wire)
    case .mx:
      try need(2)
      return .mx(preference: try number(0, UInt16.self), try name(words[1]))
    case .srv:
      try need(4)
      return .srv(
        priority: try number(0, UInt16.self), weight: try number(1, UInt16.self),
        port: try number(2, UInt16.self),
        try name(words[3]))
    case .soa:
      try need(7)
      var times: [UInt32] = []
      for word in words[3...] {
        guard let seconds = Self.seconds(word.string) else { throw error("\(word.string) is not a time") }
        times.append(seconds)
      }
      return .soa(
        StartOfAuthority(
          primary: try name(words[0]), mailbox: try name(words[1]), serial: try number(2, UInt32.self),
          refresh: times[0], retry: times[1], expire: times[2], minimum: times[3]))
    case .txt:
      guard !words.isEmpty, words.allSatisfy({ $0.text.count <= 255 }) else {
        throw error("TXT needs strings of 255 octets at most")
      }
      return .txt(words.map(\.text))
    case .hinfo:
      try need(2)
      guard words.allSatisfy({ $0.text.count <= 255 }) else { throw error("a string is too long") }
      return .other(.hinfo, words.flatMap { [UInt8($0.text.count)] + $0.text })
    case .caa:
      try need(3)
      let tag = words[1].text
      guard (1...255).contains(tag.count) else { throw error("the tag is too long") }
      return .other(.caa, [try number(0, UInt8.self), UInt8(tag.count)] + tag + words[2].text)
    default: throw error("\(type) is written as \\# LENGTH HEX")
    }
  }

  /// RFC 3597: `\# 4 0a000001`.
  private func generic(_ type: RecordType, _ words: [Word]) throws(ZoneTextError) -> RecordData {
    guard words.count >= 2, let count = UInt16(words[1].string) else { throw error("\\# needs a length") }
    let digits = words.dropFirst(2).flatMap(\.text)
    guard digits.count == Int(count) * 2 else { throw error("\\# \(count) needs \(Int(count) * 2) digits") }
    var octets: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let octet = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
        throw error("not hexadecimal")
      }
      octets.append(octet)
    }
    return .other(type, octets)
  }
}
