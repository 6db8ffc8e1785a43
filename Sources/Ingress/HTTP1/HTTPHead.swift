// One HTTP/1.1 message head, read strictly and in place: positions into the bytes, no header objects.
//
// What two parsers could read differently is refused (RFC 9112 sections 2.2, 3.2, 5.1, 6.1, 6.3, 11.2): bare
// CR or LF, NUL and other controls, blanks before the colon, folded lines, Content-Length twice or beside
// Transfer-Encoding, any coding but one `chunked`, Host missing or twice.

/// Field names that a proxy treats in its own way.
enum FieldKind: UInt8 {
  case other, host, connection, contentLength, transferEncoding, hopByHop, upgrade, expect
  case forwardedFor, forwardedOwn, requestID
}

/// One field line: `name: value` at these positions. The line ends with CR LF behind `lineEnd`.
struct FieldLine {
  var start: Int
  var nameEnd: Int
  var valueStart: Int
  var valueEnd: Int
  var lineEnd: Int
  var kind: FieldKind
}

/// A refused request: the status to answer with.
struct HTTPRefusal: Error, Equatable {
  var status: Int
  init(_ status: Int) { self.status = status }
}

/// How a message's body ends.
enum BodyFraming: Equatable {
  case none
  case length(UInt64)
  case chunked
  /// Until the connection closes (responses only).
  case untilClose
}

/// The connection options and framing fields of one head.
struct HeadFacts {
  var minor: UInt8 = 1
  var framing = BodyFraming.none
  var hasLength = false
  var closes = false
  var keepsAlive = false
  var upgrades = false
  var expectsContinue = false
  /// `Connection` names a field that must go, beyond the usual ones.
  var hasConnectionOptions = false
}

/// Method names that matter here.
enum HTTPMethod: Int {
  case get, head, post, put, delete, options, patch, trace, other
  static let names = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "OTHER"]
  var name: String { Self.names[rawValue] }
  /// Repeating it does nothing more (RFC 9110 section 9.2.2).
  var isIdempotent: Bool { self != .post && self != .patch && self != .other }
}

/// Reads heads; one per reactor, its line table is reused. Not thread-safe.
final class HeadReader {
  /// Field lines of one head.
  static let linesMax = 128
  /// Bytes of one head, request line included.
  static let headBytesMax = 16 << 10
  /// Bytes of a request target.
  static let targetBytesMax = 8 << 10
  static let hostBytesMax = 261

  let lines = UnsafeMutablePointer<FieldLine>.allocate(capacity: linesMax)
  private(set) var lineCount = 0
  private(set) var facts = HeadFacts()

  // Requests.
  private(set) var method = HTTPMethod.other
  /// The whole target as it goes upstream, in origin form (or `*`).
  private(set) var methodEnd = 0
  private(set) var target = 0..<0
  private(set) var path = 0..<0
  private(set) var host = 0..<0
  // Responses.
  private(set) var status = 0

  deinit { lines.deallocate() }

  /// Index behind the empty line that ends a head; nil when it has not arrived. Throws for a bare LF and for
  /// a head that is too long, so that neither waits for a timeout.
  static func end(of bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) -> Int? {
    var index = 0
    let limit = min(bytes.count, headBytesMax)
    while index < limit {
      if bytes[index] == 10 {
        guard index > 0, bytes[index - 1] == 13 else { throw HTTPRefusal(400) }
        if index >= 3, bytes[index - 2] == 10 { return index + 1 }
      }
      index += 1
    }
    if bytes.count >= headBytesMax {
      // The request line alone is too long, or the fields are.
      let line = bytes.firstIndex(of: 10) ?? bytes.count
      throw HTTPRefusal(line > targetBytesMax ? 414 : 431)
    }
    return nil
  }

  // MARK: - Requests

  /// Reads the head in `bytes`, which end with its empty line.
  func readRequest(_ bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) {
    reset()
    var at = 0
    while at < bytes.count, isToken(bytes[at]) { at += 1 }
    guard at > 0, at < bytes.count, bytes[at] == 32 else { throw HTTPRefusal(400) }
    methodEnd = at
    method = Self.method(UnsafeRawBufferPointer(rebasing: bytes[..<at]))
    if Self.equals(bytes, 0..<at, "connect") { throw HTTPRefusal(405) }
    at += 1
    let start = at
    while bytes[at] > 32, bytes[at] != 127, bytes[at] != 35 { at += 1 }
    guard at > start, bytes[at] == 32 else { throw HTTPRefusal(400) }
    if at - start > Self.targetBytesMax { throw HTTPRefusal(414) }
    target = start..<at
    // "HTTP/1.x" CR LF
    guard at + 11 <= bytes.count, Self.equals(bytes, at + 1..<at + 6, "http/"), bytes[at + 1] == 72 else {
      throw HTTPRefusal(400)
    }
    guard bytes[at + 9] == 13, bytes[at + 10] == 10, bytes[at + 7] == 46 else { throw HTTPRefusal(400) }
    guard bytes[at + 6] == 49, bytes[at + 8] == 48 || bytes[at + 8] == 49 else { throw HTTPRefusal(505) }
    facts.minor = bytes[at + 8] - 48
    try readLines(bytes, from: at + 11)
    var hosts = 0
    for index in 0..<lineCount where lines[index].kind == .host {
      hosts += 1
      host = lines[index].valueStart..<lines[index].valueEnd
    }
    guard hosts == 1 || (hosts == 0 && facts.minor == 0) else { throw HTTPRefusal(400) }
    try readTarget(bytes)
    guard host.count <= Self.hostBytesMax else { throw HTTPRefusal(400) }
    for index in host where !Self.isHost(bytes[index]) { throw HTTPRefusal(400) }
    if facts.framing == .chunked, facts.minor == 0 { throw HTTPRefusal(400) }
    if facts.framing == .chunked, facts.hasLength { throw HTTPRefusal(400) }
  }

  private func readTarget(_ bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) {
    if bytes[target.lowerBound] != 47 {
      if target.count == 1, bytes[target.lowerBound] == 42, method == .options {
        path = target
        return
      }
      // Absolute form: its authority replaces Host (RFC 9112 section 3.2.2).
      var begin = target.lowerBound
      if target.count > 7, Self.equals(bytes, begin..<begin + 7, "http://") {
        begin += 7
      } else if target.count > 8, Self.equals(bytes, begin..<begin + 8, "https://") {
        begin += 8
      } else {
        throw HTTPRefusal(400)
      }
      var end = begin
      while end < target.upperBound, bytes[end] != 47, bytes[end] != 63 { end += 1 }
      // Without a path there would be nothing to send on in origin form; no client of a reverse proxy writes
      // that.
      guard end > begin, end < target.upperBound, bytes[end] == 47 else { throw HTTPRefusal(400) }
      host = begin..<end
      target = end..<target.upperBound
    }
    var end = target.lowerBound
    while end < target.upperBound, bytes[end] != 63 { end += 1 }
    path = target.lowerBound..<end
  }

  // MARK: - Responses

  /// Reads a response head. Throws 502 for one that cannot be trusted.
  /// - Parameter toHead: the request was a HEAD: no body follows whatever the fields say.
  func readResponse(_ bytes: UnsafeRawBufferPointer, toHead: Bool) throws(HTTPRefusal) {
    reset()
    guard bytes.count >= 15, Self.equals(bytes, 0..<7, "http/1."), bytes[7] == 48 || bytes[7] == 49,
      bytes[8] == 32
    else { throw HTTPRefusal(502) }
    facts.minor = bytes[7] - 48
    for index in 9..<12 {
      guard bytes[index] &- 48 < 10 else { throw HTTPRefusal(502) }
      status = status * 10 + Int(bytes[index] - 48)
    }
    guard status >= 100, bytes[12] == 32 || bytes[12] == 13 else { throw HTTPRefusal(502) }
    var at = 12
    while bytes[at] != 13 {
      guard bytes[at] >= 32 || bytes[at] == 9, bytes[at] != 127 else { throw HTTPRefusal(502) }
      at += 1
    }
    guard at + 1 < bytes.count, bytes[at + 1] == 10 else { throw HTTPRefusal(502) }
    methodEnd = at + 2
    do throws(HTTPRefusal) { try readLines(bytes, from: at + 2) } catch { throw HTTPRefusal(502) }
    if facts.framing == .chunked, facts.hasLength { throw HTTPRefusal(502) }
    if toHead || status < 200 || status == 204 || status == 304 {
      facts.framing = .none
    } else if facts.framing == .none, !facts.hasLength {
      facts.framing = .untilClose
    }
  }

  /// Whether there is one Upgrade field, and it does not ask for HTTP/2, whose requests nobody here would
  /// check.
  private(set) var namesUpgrade = false

  /// The status line of a response, CR LF included, lies in `0..<methodEnd`.
  var statusLineEnd: Int { methodEnd }

  // MARK: - Fields

  private var hasUpgrade = false

  private func reset() {
    hasUpgrade = false
    namesUpgrade = false
    lineCount = 0
    facts = HeadFacts()
    status = 0
    host = 0..<0
  }

  private func readLines(_ bytes: UnsafeRawBufferPointer, from start: Int) throws(HTTPRefusal) {
    var at = start
    let count = bytes.count
    while true {
      guard at + 1 < count else { throw HTTPRefusal(400) }
      if bytes[at] == 13 {
        guard bytes[at + 1] == 10, at + 2 == count else { throw HTTPRefusal(400) }
        return
      }
      let begin = at
      while at < count, isToken(bytes[at]) { at += 1 }
      // A blank first is a folded line, a blank before the colon is somebody's trick.
      guard at > begin, at < count, bytes[at] == 58 else { throw HTTPRefusal(400) }
      let nameEnd = at
      at += 1
      while at < count, bytes[at] == 32 || bytes[at] == 9 { at += 1 }
      let valueStart = at
      while at < count, bytes[at] != 13 {
        guard bytes[at] >= 32 || bytes[at] == 9, bytes[at] != 127 else { throw HTTPRefusal(400) }
        at += 1
      }
      guard at + 1 < count, bytes[at + 1] == 10 else { throw HTTPRefusal(400) }
      var valueEnd = at
      while valueEnd > valueStart, bytes[valueEnd - 1] == 32 || bytes[valueEnd - 1] == 9 { valueEnd -= 1 }
      guard lineCount < Self.linesMax else { throw HTTPRefusal(431) }
      let kind = Self.kind(bytes, begin..<nameEnd)
      lines[lineCount] = FieldLine(
        start: begin, nameEnd: nameEnd, valueStart: valueStart, valueEnd: valueEnd, lineEnd: at, kind: kind)
      lineCount += 1
      at += 2
      if kind != .other { try note(kind, bytes, valueStart..<valueEnd) }
    }
  }

  private func note(
    _ kind: FieldKind, _ bytes: UnsafeRawBufferPointer, _ value: Range<Int>
  ) throws(HTTPRefusal) {
    switch kind {
    case .contentLength:
      guard !facts.hasLength, !value.isEmpty, value.count <= 18 else { throw HTTPRefusal(400) }
      var length: UInt64 = 0
      for index in value {
        guard bytes[index] &- 48 < 10 else { throw HTTPRefusal(400) }
        length = length * 10 + UInt64(bytes[index] - 48)
      }
      facts.hasLength = true
      if facts.framing == .none, length > 0 { facts.framing = .length(length) }
    case .transferEncoding:
      guard facts.framing != .chunked else { throw HTTPRefusal(400) }
      guard Self.equals(bytes, value, "chunked") else { throw HTTPRefusal(501) }
      facts.framing = .chunked
    case .connection: noteConnection(bytes, value)
    case .expect:
      guard Self.equals(bytes, value, "100-continue") else { throw HTTPRefusal(417) }
      facts.expectsContinue = true
    case .upgrade:
      namesUpgrade =
        !hasUpgrade && !value.isEmpty && !Self.equals(bytes, value, "h2c") && !bytes[value].contains(44)
      hasUpgrade = true
    default: break
    }
  }

  private func noteConnection(_ bytes: UnsafeRawBufferPointer, _ value: Range<Int>) {
    Self.forEachElement(bytes, value) { option in
      if Self.equals(bytes, option, "close") {
        facts.closes = true
      } else if Self.equals(bytes, option, "keep-alive") {
        facts.keepsAlive = true
      } else if Self.equals(bytes, option, "upgrade") {
        facts.upgrades = true
      } else {
        facts.hasConnectionOptions = true
      }
    }
  }

  /// Whether `Connection` names this field.
  func isConnectionOption(_ line: FieldLine, _ bytes: UnsafeRawBufferPointer) -> Bool {
    var isNamed = false
    for index in 0..<lineCount where lines[index].kind == .connection {
      Self.forEachElement(bytes, lines[index].valueStart..<lines[index].valueEnd) { option in
        if option.count == line.nameEnd - line.start {
          let pairs = zip(bytes[option], bytes[line.start..<line.nameEnd])
          if pairs.allSatisfy({ lowercase($0) == lowercase($1) }) { isNamed = true }
        }
      }
    }
    return isNamed
  }

  private static func forEachElement(
    _ bytes: UnsafeRawBufferPointer, _ value: Range<Int>, _ body: (Range<Int>) -> Void
  ) {
    var at = value.lowerBound
    while at < value.upperBound {
      var end = at
      while end < value.upperBound, bytes[end] != 44 { end += 1 }
      var from = at
      var to = end
      while from < to, bytes[from] == 32 || bytes[from] == 9 { from += 1 }
      while to > from, bytes[to - 1] == 32 || bytes[to - 1] == 9 { to -= 1 }
      if from < to { body(from..<to) }
      at = end + 1
    }
  }

  /// Case-insensitive; `text` is lower case.
  static func equals(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ text: StaticString) -> Bool {
    guard range.count == text.utf8CodeUnitCount else { return false }
    for index in 0..<range.count
    where lowercase(bytes[range.lowerBound + index]) != text.utf8Start[index] { return false }
    return true
  }

  /// Methods are case-sensitive: `get` is some other method.
  private static func method(_ bytes: UnsafeRawBufferPointer) -> HTTPMethod {
    func isNamed(_ text: StaticString) -> Bool {
      for index in 0..<bytes.count where bytes[index] != text.utf8Start[index] { return false }
      return true
    }
    switch bytes.count {
    case 3: return isNamed("GET") ? .get : isNamed("PUT") ? .put : .other
    case 4: return isNamed("POST") ? .post : isNamed("HEAD") ? .head : .other
    case 5: return isNamed("PATCH") ? .patch : isNamed("TRACE") ? .trace : .other
    case 6: return isNamed("DELETE") ? .delete : .other
    case 7: return isNamed("OPTIONS") ? .options : .other
    default: return .other
    }
  }

  private static func kind(_ bytes: UnsafeRawBufferPointer, _ name: Range<Int>) -> FieldKind {
    func isNamed(_ text: StaticString) -> Bool { equals(bytes, name, text) }
    switch name.count {
    case 2: return isNamed("te") ? .hopByHop : .other
    case 4: return isNamed("host") ? .host : .other
    // CGI makes a variable of it that clients of HTTP go by (httpoxy, CVE-2016-5385).
    case 5: return isNamed("proxy") ? .hopByHop : .other
    case 6: return isNamed("expect") ? .expect : .other
    case 7:
      if isNamed("upgrade") { return .upgrade }
      return isNamed("trailer") ? .hopByHop : .other
    case 8: return isNamed("x-scheme") ? .forwardedOwn : .other
    case 9: return isNamed("x-real-ip") ? .forwardedOwn : .other
    case 10:
      if isNamed("connection") { return .connection }
      return isNamed("keep-alive") ? .hopByHop : .other
    case 12: return isNamed("x-request-id") ? .requestID : .other
    case 14: return isNamed("content-length") ? .contentLength : .other
    case 15: return isNamed("x-forwarded-for") ? .forwardedFor : .other
    case 16:
      if isNamed("x-forwarded-host") || isNamed("x-forwarded-port") { return .forwardedOwn }
      return isNamed("proxy-connection") ? .hopByHop : .other
    case 17:
      if isNamed("transfer-encoding") { return .transferEncoding }
      return isNamed("x-forwarded-proto") ? .forwardedOwn : .other
    case 18: return isNamed("x-forwarded-scheme") ? .forwardedOwn : .other
    case 24: return isNamed("x-original-forwarded-for") ? .forwardedOwn : .other
    default: return .other
    }
  }

  private static func isHost(_ byte: UInt8) -> Bool {
    // Letters, digits and what reg-name, ports and bracketed addresses are written with.
    switch byte {
    case 48...58, 65...91, 93, 95, 97...122, 45, 46, 126, 37, 33, 36, 38...44, 59, 61: true
    default: false
    }
  }
}

/// RFC 9110 token characters.
@inline(__always) func isToken(_ byte: UInt8) -> Bool {
  byte < 128 && (byte < 64 ? tokenLow : tokenHigh) &>> UInt64(byte & 63) & 1 == 1
}
// Literals, not computed: a computed global costs a check whether it exists at each byte.
private let tokenLow: UInt64 = 0x03ff_6cfa_0000_0000
private let tokenHigh: UInt64 = 0x57ff_ffff_c7ff_fffe
