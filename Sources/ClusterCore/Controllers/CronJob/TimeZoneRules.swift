// The offset of a time zone at a moment, from compiled zone files (RFC 9636, TZif): changes that happened,
// and the rule in the footer for all that come after the last of them.

import Diagnostics

/// One time zone. A value; a question costs a binary search.
struct TimeZoneRules: Equatable, Sendable {
  /// Changes in a file that are read; real ones have fewer than 300.
  static let changesMax = 2000
  static let utc = TimeZoneRules(changes: [], initial: 0, rule: nil)

  fileprivate struct Change: Equatable, Sendable {
    var at: Int64
    var offset: Int
  }
  private var changes: [Change]
  private var initial: Int
  private var rule: ZoneRule?

  private init(changes: [Change], initial: Int, rule: ZoneRule?) {
    self.changes = changes
    self.initial = initial
    self.rule = rule
  }

  /// Seconds east of Greenwich at a moment (seconds since 1970).
  func offset(at seconds: Int64) -> Int {
    if let rule, changes.last.map({ seconds >= $0.at }) ?? true { return rule.offset(at: seconds) }
    var low = 0
    var high = changes.count
    while low < high {
      let middle = (low + high) / 2
      if changes[middle].at <= seconds { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? initial : changes[low - 1].offset
  }

  // MARK: Reading TZif

  /// Nil when the bytes are no zone file of version 1 to 4.
  init?(tzif bytes: [UInt8]) {
    var reader = ZoneReader(bytes)
    guard var header = reader.header() else { return nil }
    var width = 4
    if header.version >= 2 {
      // The first part is for readers that know 32 bits only.
      guard reader.skip(header.size(width: 4)), let second = reader.header() else { return nil }
      header = second
      width = 8
    }
    guard header.changes <= Self.changesMax, header.types > 0, header.types <= 256 else { return nil }
    var times: [Int64] = []
    for _ in 0..<header.changes {
      guard let time = reader.integer(width) else { return nil }
      if let last = times.last, time <= last { return nil }
      times.append(time)
    }
    var kinds: [Int] = []
    for _ in 0..<header.changes {
      guard let kind = reader.byte() else { return nil }
      kinds.append(Int(kind))
    }
    var offsets: [Int] = []
    for _ in 0..<header.types {
      guard let offset = reader.integer(4), reader.skip(2), abs(offset) < 90_000 else { return nil }
      offsets.append(Int(offset))
    }
    guard kinds.allSatisfy({ $0 < offsets.count }),
      reader.skip(
        header.characters + header.leaps * (width + 4) + header.standards + header.universals)
    else { return nil }
    changes = zip(times, kinds).map { Change(at: $0, offset: offsets[$1]) }
    initial = offsets[0]
    rule = width == 8 ? reader.footer().flatMap { ZoneRule($0) } : nil
  }
}

/// A cursor over a zone file; every step may fail.
private struct ZoneReader {
  struct Header {
    var version: Int
    var universals: Int
    var standards: Int
    var leaps: Int
    var changes: Int
    var types: Int
    var characters: Int
    func size(width: Int) -> Int {
      changes * (width + 1) + types * 6 + characters + leaps * (width + 4) + standards + universals
    }
  }
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func byte() -> UInt8? {
    guard position < bytes.count else { return nil }
    defer { position += 1 }
    return bytes[position]
  }

  mutating func skip(_ count: Int) -> Bool {
    guard count >= 0, count <= bytes.count - position else { return false }
    position += count
    return true
  }

  /// Big-endian, signed.
  mutating func integer(_ width: Int) -> Int64? {
    guard width <= bytes.count - position else { return nil }
    var value: Int64 = bytes[position] & 0x80 != 0 ? -1 : 0
    for offset in 0..<width { value = value << 8 | Int64(bytes[position + offset]) }
    position += width
    return value
  }

  mutating func header() -> Header? {
    guard bytes.count - position >= 44, Array(bytes[position..<position + 4]) == Array("TZif".utf8) else {
      return nil
    }
    let mark = bytes[position + 4]
    guard mark == 0 || (0x32...0x34).contains(mark), skip(20) else { return nil }
    var counts: [Int] = []
    for _ in 0..<6 {
      // No count is larger than the file, so nothing below overflows.
      guard let count = integer(4), count >= 0, count <= bytes.count else { return nil }
      counts.append(Int(count))
    }
    return Header(
      version: mark == 0 ? 1 : Int(mark - 0x30), universals: counts[0], standards: counts[1],
      leaps: counts[2],
      changes: counts[3], types: counts[4], characters: counts[5])
  }

  /// The text between two newlines at the end.
  mutating func footer() -> String? {
    guard byte() == 10, let end = bytes[position...].firstIndex(of: 10), end - position <= 128 else {
      return nil
    }
    return String(decoding: bytes[position..<end], as: UTF8.self)
  }
}
