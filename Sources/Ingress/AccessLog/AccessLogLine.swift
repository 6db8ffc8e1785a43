// One line of the access log, written field by field into bounded space. Values come from strangers: what could end a line or a
// string is escaped.

import Diagnostics
import Reactor

/// What is known of a request when its line is written. Bytes lie in `text`, cut to what there is room for.
struct AccessLogEntry {
  var client = ""
  var method = 0..<0
  var target = 0..<0
  var host = 0..<0
  var referer = 0..<0
  var userAgent = 0..<0
  var requestID = 0..<0
  var traceParent = 0..<0
  var isHTTP2 = false
  var minor: UInt8 = 1
  var status = 0
  var requestBytes: UInt64 = 0
  var bodyBytes: UInt64 = 0
  var nanoseconds: UInt64 = 0
  var upstreamNanoseconds: UInt64 = 0
  var upstreamStatus = 0
  /// Text of the endpoint that was asked last; empty when none was.
  var endpoint = ""
  var tries = 0
  var backend: RouteBackend?
  /// Host and path of the rule.
  var route = ""
}

/// The two texts of the present second, made once in it.
struct AccessLogClock {
  private var second = Int64.min
  private(set) var local = ""
  private(set) var iso = ""

  /// - Parameter seconds: since 1970.
  mutating func set(_ seconds: Int64) {
    guard seconds != second else { return }
    second = seconds
    iso = String(Timestamp.text(seconds: seconds).dropLast())
    // `22/Nov/2026:09:47:00 +0000`, out of `Sun, 22 Nov 2026 09:47:00 GMT`.
    let parts = OwnResponse.date(seconds: seconds).split(separator: " ")
    local = "\(parts[1])/\(parts[2])/\(parts[3]):\(parts[4]) +0000"
  }
}

extension HeadSpace {
  mutating func write(_ text: String) {
    var text = text
    text.withUTF8 { write($0.baseAddress, $0.count) }
  }

  mutating func write(decimal value: UInt64) {
    var (rest, divisor) = (value, UInt64(1))
    while rest / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      write(UInt8(48 + rest / divisor))
      rest %= divisor
      divisor /= 10
    }
  }

  /// Sixteen digits.
  mutating func write(hexadecimal value: UInt64) {
    for shift in stride(from: UInt64(60), through: 0, by: -4) {
      let digit = UInt8(truncatingIfNeeded: value >> shift & 15)
      write(digit < 10 ? 48 + digit : 87 + digit)
    }
  }

  /// `0.003`.
  mutating func write(secondsOf nanoseconds: UInt64) {
    let milliseconds = nanoseconds / 1_000_000
    write(decimal: milliseconds / 1000)
    write(".")
    for divisor in [UInt64(100), 10, 1] { write(UInt8(48 + milliseconds / divisor % 10)) }
  }

  private mutating func write(hexadecimal byte: UInt8, capital: Bool) {
    for digit in [byte >> 4, byte & 15] { write(digit < 10 ? 48 + digit : (capital ? 55 : 87) + digit) }
  }

  /// As nginx escapes it by default; `-` for nothing.
  mutating func write(escaped bytes: UnsafeRawBufferPointer) {
    if bytes.isEmpty { return write("-") }
    for byte in bytes {
      if byte < 32 || byte > 126 || byte == 34 || byte == 92 {
        write("\\x")
        write(hexadecimal: byte, capital: true)
      } else {
        write(byte)
      }
    }
  }

  /// The inside of a JSON string. Bytes beyond ASCII are written by their number, each: they may be no text at all.
  mutating func write(json bytes: UnsafeRawBufferPointer) {
    for byte in bytes {
      switch byte {
      case 34, 92:
        write(92)
        write(byte)
      case 32...126: write(byte)
      default:
        write("\\u00")
        write(hexadecimal: byte, capital: false)
      }
    }
  }

  /// Writes one line, its end included.
  mutating func writeLine(
    _ entry: AccessLogEntry, _ text: UnsafeRawBufferPointer, as format: AccessLogFormat,
    _ clock: AccessLogClock,
    milliseconds: Int64
  ) {
    switch format {
    case .json: writeJSON(entry, text, clock, milliseconds)
    case .combined, .upstreaminfo:
      writeCombined(entry, text, clock)
      if format == .upstreaminfo { writeUpstream(entry, text) }
    }
    write("\n")
  }

  private mutating func writeCombined(
    _ entry: AccessLogEntry, _ text: UnsafeRawBufferPointer, _ clock: AccessLogClock
  ) {
    func of(_ place: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: text[place]) }
    write(entry.client)
    write(" - - [")
    write(clock.local)
    write("] \"")
    if !entry.method.isEmpty {
      write(escaped: of(entry.method))
      write(" ")
      write(escaped: of(entry.target))
      write(entry.isHTTP2 ? " HTTP/2.0" : entry.minor == 1 ? " HTTP/1.1" : " HTTP/1.0")
    }
    write("\" ")
    write(decimal: UInt64(entry.status))
    write(" ")
    write(decimal: entry.bodyBytes)
    write(" \"")
    write(escaped: of(entry.referer))
    write("\" \"")
    write(escaped: of(entry.userAgent))
    write("\"")
  }

  /// `request_length request_time [backend] [] endpoint length time status request_id`.
  private mutating func writeUpstream(_ entry: AccessLogEntry, _ text: UnsafeRawBufferPointer) {
    write(" ")
    write(decimal: entry.requestBytes)
    write(" ")
    write(secondsOf: entry.nanoseconds)
    write(" [")
    if let backend = entry.backend {
      write(backend.namespace)
      write("-")
      write(backend.service)
      write("-")
      write(backend.servicePort)
    }
    write("] [] ")
    if entry.endpoint.isEmpty {
      write("- - - -")
    } else {
      write(entry.endpoint)
      write(" ")
      write(decimal: entry.bodyBytes)
      write(" ")
      write(secondsOf: entry.upstreamNanoseconds)
      write(" ")
      if entry.upstreamStatus > 0 { write(decimal: UInt64(entry.upstreamStatus)) } else { write("-") }
    }
    write(" ")
    write(escaped: UnsafeRawBufferPointer(rebasing: text[entry.requestID]))
  }

  private mutating func writeJSON(
    _ entry: AccessLogEntry, _ text: UnsafeRawBufferPointer, _ clock: AccessLogClock, _ milliseconds: Int64
  ) {
    write("{\"time\":\"")
    write(clock.iso)
    write(".")
    for divisor in [Int64(100), 10, 1] { write(UInt8(48 + milliseconds / divisor % 10)) }
    write("Z\"")
    writeMember("client", entry.client)
    for (name, place) in [
      ("method", entry.method), ("target", entry.target), ("host", entry.host), ("referer", entry.referer),
      ("userAgent", entry.userAgent), ("requestID", entry.requestID), ("traceparent", entry.traceParent),
    ] where !place.isEmpty {
      writeName(name)
      write("\"")
      write(json: UnsafeRawBufferPointer(rebasing: text[place]))
      write("\"")
    }
    writeMember("protocol", entry.isHTTP2 ? "HTTP/2.0" : entry.minor == 1 ? "HTTP/1.1" : "HTTP/1.0")
    writeMember("status", UInt64(entry.status))
    writeMember("requestBytes", entry.requestBytes)
    writeMember("bodyBytes", entry.bodyBytes)
    writeName("duration")
    write(secondsOf: entry.nanoseconds)
    if let backend = entry.backend {
      writeMember("namespace", backend.namespace)
      writeMember("ingress", backend.ingress)
      writeMember("service", backend.service)
      writeMember("servicePort", backend.servicePort)
      writeMember("route", entry.route)
    }
    if !entry.endpoint.isEmpty {
      writeMember("endpoint", entry.endpoint)
      writeMember("tries", UInt64(entry.tries))
      writeMember("upstreamStatus", UInt64(entry.upstreamStatus))
      writeName("upstreamDuration")
      write(secondsOf: entry.upstreamNanoseconds)
    }
    write("}")
  }

  private mutating func writeName(_ name: String) {
    write(",\"")
    write(name)
    write("\":")
  }
  private mutating func writeMember(_ name: String, _ value: String) {
    writeName(name)
    write("\"")
    var value = value
    value.withUTF8 { write(json: UnsafeRawBufferPointer($0)) }
    write("\"")
  }
  private mutating func writeMember(_ name: String, _ value: UInt64) {
    writeName(name)
    write(decimal: value)
  }
}
