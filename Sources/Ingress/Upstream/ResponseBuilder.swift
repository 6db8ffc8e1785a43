// An endpoint's answer of HTTP/2 put into the form that HTTP/1.1 has, as `RequestBuilder` does with requests: everything behind
// it reads one form only. What that form could misunderstand is an error of the endpoint's.

/// Collects the fields of one header block; reused by a worker's sessions.
final class ResponseBuilder {
  private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 20 << 10, alignment: 1)
  private var out = HeadSpace(.init(start: nil, count: 0))
  private var isMalformed = false
  private var hasRegular = false
  private var listBytes = 0
  /// 0 when there was none: trailers.
  private(set) var status = 0
  /// Digits of Content-Length, in `lengthSpace`.
  private(set) var length: UInt64?
  private(set) var isGRPC = false

  deinit { space.deallocate() }

  func reset() {
    out = HeadSpace(space)
    (isMalformed, hasRegular, isGRPC) = (false, false, false)
    (listBytes, status, length) = (0, 0, nil)
  }

  func take(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    listBytes += name.count + value.count + 32
    guard listBytes <= RequestBuilder.listBytesMax, !isMalformed else { return }
    guard HTTP2Names.isClean(value), let first = name.first else {
      isMalformed = true
      return
    }
    if first == UInt8(ascii: ":") {
      guard status == 0, !hasRegular, HTTP2Names.isEqual(name, ":status"), value.count == 3 else {
        isMalformed = true
        return
      }
      for digit in value {
        guard digit &- 48 < 10 else { isMalformed = true; return }
        status = status * 10 + Int(digit - 48)
      }
      if status < 100 || status == 101 { isMalformed = true }
      return
    }
    hasRegular = true
    guard HTTP2Names.isName(name) else {
      isMalformed = true
      return
    }
    switch HTTP2Names.kind(name) {
    case .connection: isMalformed = true
    case .te, .host: return
    case .contentLength:
      guard length == nil, !value.isEmpty, value.count <= 18 else {
        isMalformed = true
        return
      }
      var number: UInt64 = 0
      for digit in value {
        guard digit &- 48 < 10 else { isMalformed = true; return }
        number = number * 10 + UInt64(digit - 48)
      }
      length = number
    case .cookie, .other:
      if HTTP2Names.isEqual(name, "content-type"), value.count >= 16 {
        isGRPC = HTTP2Names.isEqual(UnsafeRawBufferPointer(rebasing: value[..<16]), "application/grpc")
      }
      out.writeLine(name, value)
    }
  }

  /// The fields that were taken, as lines; nil when they are malformed or too many.
  var lines: UnsafeRawBufferPointer? {
    isMalformed || out.isFull || listBytes > RequestBuilder.listBytesMax ? nil : out.bytes
  }
}

extension HeadSpace {
  /// `name: value` CR LF.
  mutating func writeLine(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    write(name, 0..<name.count)
    write(": ")
    write(value, 0..<value.count)
    write("\r\n")
  }

  /// The line before a chunk's bytes.
  mutating func writeChunkSize(_ size: Int) {
    var shift = 60
    while shift > 0, size >> shift & 15 == 0 { shift -= 4 }
    for step in stride(from: shift, through: 0, by: -4) {
      let digit = UInt8(size >> step & 15)
      write(digit < 10 ? 48 + digit : 87 + digit)
    }
    write("\r\n")
  }

  /// A body's end, with the trailers that may go on.
  mutating func writeLastChunk(trailers: UnsafeRawBufferPointer) {
    write("0\r\n")
    Trailers.forEach(in: trailers) { name, value in
      writeLine(
        UnsafeRawBufferPointer(rebasing: trailers[name]), UnsafeRawBufferPointer(rebasing: trailers[value]))
    }
    write("\r\n")
  }

  /// Trailers as a header block.
  mutating func writeTrailers(_ trailers: UnsafeRawBufferPointer) {
    Trailers.forEach(in: trailers) { name, value in writeField(trailers, name: name, value: value) }
  }
}

/// Fields behind a body (RFC 9110 section 6.5), kept as lines of HTTP/1.1.
enum Trailers {
  /// Bytes of them all.
  static let bytesMax = BodyScanner.trailerBytesMax

  /// Calls `body` for each field that may go on: those that name framing or routing do not.
  static func forEach(
    in lines: UnsafeRawBufferPointer, _ body: (_ name: Range<Int>, _ value: Range<Int>) -> Void
  ) {
    forEachLine(in: lines) { name, value in
      if BodyScanner.mayTrail(UnsafeRawBufferPointer(rebasing: lines[name])) { body(name, value) }
    }
  }

  /// Calls `body` for each line that is a field.
  static func forEachLine(
    in lines: UnsafeRawBufferPointer, _ body: (_ name: Range<Int>, _ value: Range<Int>) -> Void
  ) {
    var at = 0
    while at < lines.count {
      let start = at
      while at < lines.count, lines[at] != 58, lines[at] != 10 { at += 1 }
      let nameEnd = at
      while at < lines.count, lines[at] != 10 { at += 1 }
      let end = at
      at += 1
      guard nameEnd > start, nameEnd < end else { continue }
      var from = nameEnd + 1
      var to = end
      while to > from, lines[to - 1] == 13 || lines[to - 1] == 32 || lines[to - 1] == 9 { to -= 1 }
      while from < to, lines[from] == 32 || lines[from] == 9 { from += 1 }
      body(start..<nameEnd, from..<to)
    }
  }
}
