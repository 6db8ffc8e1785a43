// Heads as they go on: upstream with the forwarding fields that ingress-nginx sets, downstream without
// hop-by-hop fields.

import Reactor

/// Bounded space that a head is written to. Writing past the end sets `isFull` and nothing else.
struct HeadSpace {
  private let base: UnsafeMutableRawBufferPointer
  private(set) var count = 0
  private(set) var isFull = false

  init(_ base: UnsafeMutableRawBufferPointer) { self.base = base }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: base[..<count]) }

  @inline(__always) mutating func write(_ source: UnsafeRawPointer?, _ length: Int) {
    guard length <= base.count - count else {
      isFull = true
      return
    }
    if let source, let base = base.baseAddress { (base + count).copyMemory(from: source, byteCount: length) }
    count += length
  }
  mutating func write(_ text: StaticString) { write(text.utf8Start, text.utf8CodeUnitCount) }
  mutating func write(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
    write(bytes.baseAddress.map { $0 + range.lowerBound }, range.count)
  }
  mutating func write(_ bytes: [UInt8]) { bytes.withUnsafeBytes { write($0.baseAddress, $0.count) } }
  mutating func write(_ byte: UInt8) { withUnsafeBytes(of: byte) { write($0.baseAddress, 1) } }
}

extension HeadReader {
  /// Writes the request that was read as it goes upstream: HTTP/1.1, one Host, our own forwarding fields in
  /// place of the client's, no hop-by-hop field.
  /// - Parameters:
  ///   - client: the lines that are the same for every request of the connection.
  ///   - requestID: 32 hexadecimal digits, used when the client sent no X-Request-ID.
  func writeRequest(
    _ bytes: UnsafeRawBufferPointer, to out: inout HeadSpace, client: [UInt8], requestID: (UInt64, UInt64),
    isUpgrade: Bool, edit: RequestEdit = RequestEdit()
  ) {
    out.write(bytes, 0..<methodEnd)
    out.write(" ")
    if let target = edit.target { out.write(target, 0..<target.count) } else { out.write(bytes, target) }
    out.write(" HTTP/1.1\r\nHost: ")
    if let host = edit.host { out.write(host, 0..<host.count) } else { out.write(bytes, host) }
    out.write("\r\n")
    if let fields = edit.fields, fields.touchesOwn {
      writeOwn(bytes, client, except: fields, to: &out)
    } else {
      out.write("X-Forwarded-Host: ")
      out.write(bytes, host)
      out.write("\r\n")
      out.write(client)
    }
    var hasRequestID = edit.fields?.setsRequestID ?? false
    for index in 0..<lineCount {
      let line = lines[index]
      if let fields = edit.fields, fields.drops(bytes, line.start..<line.nameEnd) { continue }
      switch line.kind {
      case .other:
        if facts.hasConnectionOptions, isConnectionOption(line, bytes) { continue }
        out.write(bytes, line.start..<line.lineEnd + 2)
      case .contentLength:
        // In one form, whatever blanks and zeros the client put around the number: the endpoint shall have nothing to interpret.
        var start = line.valueStart
        while start + 1 < line.valueEnd, bytes[start] == 48 { start += 1 }
        out.write("Content-Length: ")
        out.write(bytes, start..<line.valueEnd)
        out.write("\r\n")
      case .requestID:
        if hasRequestID { continue }
        hasRequestID = true
        out.write(bytes, line.start..<line.lineEnd + 2)
      case .forwardedFor:
        out.write("X-Original-Forwarded-For: ")
        out.write(bytes, line.valueStart..<line.valueEnd)
        out.write("\r\n")
      case .upgrade:
        if isUpgrade { out.write(bytes, line.start..<line.lineEnd + 2) }
      case .transferEncoding: out.write("Transfer-Encoding: chunked\r\n")
      case .host, .connection, .hopByHop, .expect, .forwardedOwn: break
      }
    }
    if !hasRequestID {
      out.write("X-Request-ID: ")
      for word in [requestID.0, requestID.1] {
        for shift in stride(from: UInt64(60), through: 0, by: -4) {
          let digit = UInt8(truncatingIfNeeded: word >> shift & 15)
          out.write(digit < 10 ? 48 + digit : 87 + digit)
        }
      }
      out.write("\r\n")
    }
    if let fields = edit.fields { out.write(fields.lines) }
    if !edit.lines.isEmpty { out.write(edit.lines) }
    out.write(isUpgrade ? "Connection: upgrade\r\n\r\n" : "\r\n")
  }

  /// The forwarding fields without those that a filter has taken over.
  private func writeOwn(
    _ bytes: UnsafeRawBufferPointer, _ client: [UInt8], except edit: FieldEdit, to out: inout HeadSpace
  ) {
    let name: StaticString = "x-forwarded-host"
    if !edit.drops(
      UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount),
      0..<name.utf8CodeUnitCount)
    {
      out.write("X-Forwarded-Host: ")
      out.write(bytes, host)
      out.write("\r\n")
    }
    client.withUnsafeBytes { lines in
      var at = 0
      while at < lines.count, let colon = lines[at...].firstIndex(of: 58),
        let end = lines[colon...].firstIndex(of: 10)
      {
        if !edit.drops(lines, at..<colon) { out.write(lines, at..<end + 1) }
        at = end + 1
      }
    }
  }

  /// Writes the response that was read as it goes to the client.
  /// - Parameters:
  ///   - extra: lines of our own, in front of the endpoint's.
  ///   - exchange: whose filters change the lines; nil when it has none.
  ///   - keepsChunks: the body goes on chunked; otherwise a chunked body is unwrapped and ends with the
  ///     connection.
  func writeResponse(
    _ bytes: UnsafeRawBufferPointer, to out: inout HeadSpace, extra: [UInt8] = [], connection: StaticString,
    keepsChunks: Bool, isUpgrade: Bool = false, of exchange: Exchange? = nil
  ) {
    out.write("HTTP/1.1 ")
    out.write(bytes, 9..<statusLineEnd)
    if !extra.isEmpty { out.write(extra) }
    if let exchange {
      out.write(exchange.answerLines)
      if let edit = exchange.action?.answer { out.write(edit.lines) }
    }
    for index in 0..<lineCount {
      let line = lines[index]
      if let exchange, exchange.dropsAnswerLine(line, bytes) { continue }
      switch line.kind {
      case .connection, .hopByHop: continue
      case .upgrade: if !isUpgrade { continue }
      case .transferEncoding: if !keepsChunks { continue }
      case .contentLength: if status < 200 || status == 204 { continue }
      default: if facts.hasConnectionOptions, isConnectionOption(line, bytes) { continue }
      }
      out.write(bytes, line.start..<line.lineEnd + 2)
    }
    out.write(connection)
    out.write("\r\n")
  }
}

/// Answers that the proxy gives itself, in full.
enum OwnResponse {
  /// RFC 9110 section 5.6.7: `Sat, 21 Nov 2026 04:25:01 GMT`.
  static func date(seconds: Int64) -> String {
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let day = seconds / 86_400
    let time = seconds % 86_400
    // Days since 1 March of year 0, in cycles of 400 years.
    let shifted = day + 719_468
    let ofEra = shifted % 146_097
    let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let month = (5 * ofYear + 2) / 153
    let date = ofYear - (153 * month + 2) / 5 + 1
    let number = month < 10 ? month + 3 : month - 9
    let year = yearOfEra + shifted / 146_097 * 400 + (number <= 2 ? 1 : 0)
    return "\(days[Int(day % 7)]), \(two(date)) \(months[Int(number - 1)]) \(year) "
      + "\(two(time / 3600)):\(two(time / 60 % 60)):\(two(time % 60)) GMT"
  }

  static let reasons: [Int: String] = [
    204: "No Content", 301: "Moved Permanently", 302: "Found", 303: "See Other", 307: "Temporary Redirect",
    308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large", 414: "URI Too Long", 417: "Expectation Failed", 421: "Misdirected Request",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
  ]

  static func content(status: Int) -> (type: String, body: String) {
    // What users of other controllers expect of a host that nobody serves.
    if status == 404 { return ("text/plain; charset=utf-8", "default backend - 404") }
    let reason = reasons[status] ?? "Error"
    let body =
      "<html>\r\n<head><title>\(status) \(reason)</title></head>\r\n<body>\r\n<h1>\(status) \(reason)</h1>\r\n"
      + "<hr><p>weft ingress</p>\r\n</body>\r\n</html>\r\n"
    return ("text/html", body)
  }

  /// - Parameter lines: `Name: value` CR LF each, of our own making.
  static func bytes(
    status: Int, seconds: Int64, closes: Bool, isHead: Bool, lines: [UInt8] = []
  ) -> [UInt8] {
    let reason = reasons[status] ?? "Error"
    let (type, body) = content(status: status)
    let text =
      "HTTP/1.1 \(status) \(reason)\r\nServer: weft\r\nDate: \(date(seconds: seconds))\r\n"
      // RFC 9110 section 8.6: 204 has no length.
      + (status == 204 ? "" : "Content-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n")
      + (closes ? "Connection: close\r\n" : "")
    return Array(text.utf8) + lines + [13, 10] + (isHead || status == 204 ? [] : Array(body.utf8))
  }
}
