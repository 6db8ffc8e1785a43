// A request of HTTP/2 put into the one form that everything behind it reads: the head of HTTP/1.1. So matching, forwarding
// and refusing are the same for both, to the byte. What the older form could misunderstand is refused here (RFC 9113
// sections 8.2 and 8.3): line ends in values, names in upper case, connection fields, pseudo-fields twice or late.

/// Collects the fields of one header block; reused by a worker's connections.
final class RequestBuilder {
  /// Bytes of the fields of one request as HPACK counts them; more is answered 431.
  static let listBytesMax = HeadReader.headBytesMax

  private let fields = UnsafeMutableRawBufferPointer.allocate(byteCount: 20 << 10, alignment: 1)
  private let cookies = UnsafeMutableRawBufferPointer.allocate(byteCount: 20 << 10, alignment: 1)
  private let pseudo = UnsafeMutableRawBufferPointer.allocate(byteCount: 20 << 10, alignment: 1)
  private let head = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 1)
  private var fieldsOut = HeadSpace(.init(start: nil, count: 0))
  private var cookiesOut = HeadSpace(.init(start: nil, count: 0))
  private var pseudoOut = HeadSpace(.init(start: nil, count: 0))
  private var method: Range<Int>?
  private var path: Range<Int>?
  private var authority: Range<Int>?
  private var host: Range<Int>?
  private var hasScheme = false
  private var listBytes = 0
  private var isMalformed = false
  private var hasRegular = false
  private var hasLength = false

  deinit { for space in [fields, cookies, pseudo, head] { space.deallocate() } }

  func reset() {
    fieldsOut = HeadSpace(fields)
    cookiesOut = HeadSpace(cookies)
    pseudoOut = HeadSpace(pseudo)
    (method, path, authority, host) = (nil, nil, nil, nil)
    (hasScheme, isMalformed, hasRegular, hasLength) = (false, false, false, false)
    listBytes = 0
  }

  func take(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    listBytes += name.count + value.count + 32
    // The block is read to its end for the table's sake, but nothing more of it is kept.
    guard listBytes <= Self.listBytesMax, !isMalformed else { return }
    guard HTTP2Names.isClean(value), let first = name.first else {
      isMalformed = true
      return
    }
    if first == UInt8(ascii: ":") { return takePseudo(name, value) }
    hasRegular = true
    takeRegular(name, value)
  }

  private func takePseudo(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    let start = pseudoOut.count
    pseudoOut.write(value, 0..<value.count)
    let place = start..<pseudoOut.count
    func take(_ slot: inout Range<Int>?) {
      if slot != nil { isMalformed = true }
      slot = place
    }
    if hasRegular {
      isMalformed = true
    } else if HTTP2Names.isEqual(name, ":method") {
      take(&method)
    } else if HTTP2Names.isEqual(name, ":path") {
      take(&path)
    } else if HTTP2Names.isEqual(name, ":authority") {
      take(&authority)
    } else if HTTP2Names.isEqual(name, ":scheme"), !hasScheme {
      hasScheme = true
      if !HTTP2Names.isEqual(value, "https"), !HTTP2Names.isEqual(value, "http") { isMalformed = true }
    } else {
      isMalformed = true
    }
  }

  private func takeRegular(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    guard HTTP2Names.isName(name) else {
      isMalformed = true
      return
    }
    switch HTTP2Names.kind(name) {
    case .connection: isMalformed = true
    case .te: if !HTTP2Names.isEqual(value, "trailers") { isMalformed = true }
    case .host:
      if host != nil { isMalformed = true }
      let start = pseudoOut.count
      pseudoOut.write(value, 0..<value.count)
      host = start..<pseudoOut.count
    case .cookie:
      // Crumbs of one field (section 8.2.3).
      if cookiesOut.count > 0 { cookiesOut.write("; ") }
      cookiesOut.write(value, 0..<value.count)
    case .contentLength, .other:
      if HTTP2Names.kind(name) == .contentLength { hasLength = true }
      fieldsOut.writeLine(name, value)
    }
  }

  /// The fields of a block that stood behind a body, as lines; nil when they are malformed or too many.
  var trailers: UnsafeRawBufferPointer? {
    guard !isMalformed, method == nil, path == nil, authority == nil, !hasScheme, !fieldsOut.isFull,
      fieldsOut.count < Trailers.bytesMax
    else { return nil }
    return fieldsOut.bytes
  }

  enum Outcome {
    /// A head as HTTP/1.1 has it, its empty line included; until the next request.
    case head(UnsafeRawBufferPointer)
    case tooLarge
    case malformed
  }

  /// - Parameter endsStream: no body follows.
  func finish(endsStream: Bool) -> Outcome {
    if listBytes > Self.listBytesMax { return .tooLarge }
    guard !isMalformed, let method, let path, hasScheme, !method.isEmpty, !path.isEmpty else {
      return .malformed
    }
    let pseudo = UnsafeRawBufferPointer(self.pseudo)
    // A Host beside the authority has to be the same (section 8.3.1): two readings would be two routes.
    if let authority, let host, !pseudo[authority].elementsEqual(pseudo[host]) { return .malformed }
    var out = HeadSpace(head)
    out.write(pseudo, method)
    out.write(" ")
    out.write(pseudo, path)
    out.write(" HTTP/1.1\r\nhost: ")
    if let name = authority ?? host { out.write(pseudo, name) }
    out.write("\r\n")
    out.write(UnsafeRawBufferPointer(fields), 0..<fieldsOut.count)
    if cookiesOut.count > 0 {
      out.write("cookie: ")
      out.write(UnsafeRawBufferPointer(cookies), 0..<cookiesOut.count)
      out.write("\r\n")
    }
    if !hasLength {
      if !endsStream {
        out.write("transfer-encoding: chunked\r\n")
      } else if HeadReader.equals(pseudo, method, "post") || HeadReader.equals(pseudo, method, "put") {
        // Backends that wait for a body have to be told that there is none.
        out.write("content-length: 0\r\n")
      }
    }
    out.write("\r\n")
    let isWhole = !out.isFull && !fieldsOut.isFull && !cookiesOut.isFull && !pseudoOut.isFull
    return isWhole ? .head(out.bytes) : .tooLarge
  }
}

/// Names that HTTP/2 treats in its own way. They are lower case or malformed.
enum HTTP2Names {
  /// A value without line end, NUL, or blank at either end.
  static func isClean(_ value: UnsafeRawBufferPointer) -> Bool {
    for byte in value where byte < 32 && byte != 9 || byte == 127 { return false }
    guard let first = value.first, let last = value.last else { return true }
    return first != 32 && first != 9 && last != 32 && last != 9
  }

  /// A field name as HTTP/2 has it: without capital letters.
  static func isName(_ name: UnsafeRawBufferPointer) -> Bool {
    for byte in name where !isToken(byte) || byte &- 65 < 26 { return false }
    return true
  }

  enum Kind {
    case other, connection, te, host, cookie, contentLength
  }

  static func isEqual(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard bytes.count == text.utf8CodeUnitCount else { return false }
    for index in 0..<bytes.count where bytes[index] != text.utf8Start[index] { return false }
    return true
  }

  static func kind(_ name: UnsafeRawBufferPointer) -> Kind {
    switch name.count {
    case 2: isEqual(name, "te") ? .te : .other
    case 4: isEqual(name, "host") ? .host : .other
    case 6: isEqual(name, "cookie") ? .cookie : .other
    case 7: isEqual(name, "upgrade") ? .connection : .other
    case 10: isEqual(name, "connection") || isEqual(name, "keep-alive") ? .connection : .other
    case 14: isEqual(name, "content-length") ? .contentLength : .other
    case 16: isEqual(name, "proxy-connection") ? .connection : .other
    case 17: isEqual(name, "transfer-encoding") ? .connection : .other
    default: .other
    }
  }
}
