// What matching and filters see of a request: places in the bytes of its head. Valid while the head lies where it was read.

import Patterns

/// A request's head, read. Points into bytes and into a reader's lines; nothing is copied.
struct RouteRequest {
  let bytes: UnsafeRawBufferPointer
  let host: UnsafeRawBufferPointer
  /// Without query.
  let path: UnsafeRawBufferPointer
  let reader: HeadReader

  /// - Parameter head: what `reader` has just read.
  init(_ head: UnsafeRawBufferPointer, _ reader: HeadReader) {
    bytes = head
    self.reader = reader
    host = UnsafeRawBufferPointer(rebasing: head[reader.host])
    path = UnsafeRawBufferPointer(rebasing: head[reader.path])
  }

  var method: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[..<reader.methodEnd]) }

  /// Path and query.
  var target: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[reader.target]) }

  /// What stands behind the first question mark; nil without one.
  var query: UnsafeRawBufferPointer? {
    let start = reader.path.upperBound
    guard start < reader.target.upperBound else { return nil }
    return UnsafeRawBufferPointer(rebasing: bytes[start + 1..<reader.target.upperBound])
  }

  /// Value of the first line of a field. - Parameter name: lower case.
  func field(_ name: [UInt8]) -> UnsafeRawBufferPointer? {
    for index in 0..<reader.lineCount where isNamed(reader.lines[index], name) {
      return value(reader.lines[index])
    }
    return nil
  }

  private func value(_ line: FieldLine) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[line.valueStart..<line.valueEnd])
  }

  private func isNamed(_ line: FieldLine, _ name: [UInt8]) -> Bool {
    guard line.nameEnd - line.start == name.count else { return false }
    for index in name.indices where lowercase(bytes[line.start + index]) != name[index] { return false }
    return true
  }

  // MARK: - Conditions

  func meets(_ conditions: RouteConditions, _ space: MatchSpace) -> Bool {
    if !conditions.method.isEmpty, !method.elementsEqual(conditions.method) { return false }
    for field in conditions.fields where !hasField(field, space) { return false }
    for parameter in conditions.query where !hasParameter(parameter, space) { return false }
    for cookie in conditions.cookies where !hasCookie(cookie, space) { return false }
    return true
  }

  private func hasField(_ match: FieldMatch, _ space: MatchSpace) -> Bool {
    var found: UnsafeRawBufferPointer?
    for index in 0..<reader.lineCount where isNamed(reader.lines[index], match.name) {
      let next = value(reader.lines[index])
      found = found.map { space.join($0, next) } ?? next
    }
    return found.map { space.holds(match.value, $0) } ?? false
  }

  private func hasParameter(_ match: FieldMatch, _ space: MatchSpace) -> Bool {
    guard let query, let value = Self.element(match.name, in: query, separator: UInt8(ascii: "&")) else {
      return false
    }
    return space.holds(match.value, value)
  }

  private func hasCookie(_ match: FieldMatch, _ space: MatchSpace) -> Bool {
    cookie(match.name).map { space.holds(match.value, $0) } ?? false
  }

  /// Value of a cookie, of the first that has the name.
  func cookie(_ name: [UInt8]) -> UnsafeRawBufferPointer? {
    for index in 0..<reader.lineCount where isNamed(reader.lines[index], Self.cookieName) {
      let crumbs = value(reader.lines[index])
      if let found = Self.element(name, in: crumbs, separator: UInt8(ascii: ";")) { return found }
    }
    return nil
  }
  private static let cookieName = Array("cookie".utf8)

  /// `name=value` among elements with a separator between them; blanks in front of names are passed over. An element without
  /// `=` has an empty value.
  private static func element(
    _ name: [UInt8], in list: UnsafeRawBufferPointer, separator: UInt8
  ) -> UnsafeRawBufferPointer? {
    var at = 0
    while at < list.count {
      while at < list.count, list[at] == 32 { at += 1 }
      var end = at
      while end < list.count, list[end] != separator { end += 1 }
      var equals = at
      while equals < end, list[equals] != UInt8(ascii: "=") { equals += 1 }
      if list[at..<equals].elementsEqual(name) {
        return UnsafeRawBufferPointer(rebasing: list[min(equals + 1, end)..<end])
      }
      at = end + 1
    }
    return nil
  }
}

/// Working memory of matching and filters. One for each worker, used by one request at a time.
final class MatchSpace {
  let patterns = PatternSpace()
  /// A target or location that a filter writes: as long as what a head can hold.
  let target = UnsafeMutableRawBufferPointer.allocate(byteCount: HeadReader.targetBytesMax, alignment: 1)
  let host = UnsafeMutableRawBufferPointer.allocate(byteCount: HeadReader.hostBytesMax, alignment: 1)
  private let joined = UnsafeMutableRawBufferPointer.allocate(
    byteCount: HeadReader.headBytesMax, alignment: 1)

  deinit { for space in [joined, target, host] { space.deallocate() } }

  func holds(_ match: ValueMatch, _ value: UnsafeRawBufferPointer) -> Bool {
    switch match {
    case .present: true
    case .exact(let wanted): value.elementsEqual(wanted)
    case .pattern(let pattern): pattern.matches(value, in: patterns)
    }
  }

  /// Two values of one field. The first may be what was joined before; values of one head always fit.
  func join(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    guard first.count + 1 + second.count <= joined.count else { return first }
    if first.baseAddress != UnsafeRawPointer(joined.baseAddress) { joined.copyMemory(from: first) }
    joined[first.count] = UInt8(ascii: ",")
    UnsafeMutableRawBufferPointer(rebasing: joined[(first.count + 1)...]).copyMemory(from: second)
    return UnsafeRawBufferPointer(rebasing: joined[..<(first.count + 1 + second.count)])
  }
}
