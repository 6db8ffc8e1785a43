// Frames of HTTP/2 as bytes (RFC 9113 sections 4 and 6), and header blocks written without a table.
//
//   length u24 | type u8 | flags u8 | stream u31

/// Why a stream or a connection ends (section 7).
enum HTTP2Error: UInt32, Error {
  case none = 0, protocolError, internalError, flowControl, settingsTimeout, streamClosed, frameSize, refused
  case cancel, compression, connect, enhanceYourCalm, inadequateSecurity, http11Required
}

enum HTTP2FrameKind: UInt8 {
  case data = 0, headers, priority, resetStream, settings, pushPromise, ping, goAway, windowUpdate,
    continuation
}

struct HTTP2FrameHeader {
  static let bytes = 9
  static let endStream: UInt8 = 0x1
  static let acknowledged: UInt8 = 0x1
  static let endHeaders: UInt8 = 0x4
  static let padded: UInt8 = 0x8
  static let prioritized: UInt8 = 0x20

  var length: Int
  /// Nil for kinds that nobody knows: such frames are passed over.
  var kind: HTTP2FrameKind?
  var flags: UInt8
  var stream: UInt32

  /// - Precondition: at least nine bytes.
  init(_ bytes: UnsafeRawBufferPointer) {
    length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
    kind = HTTP2FrameKind(rawValue: bytes[3])
    flags = bytes[4]
    stream = bigEndian(bytes, 5) & 0x7fff_ffff
  }

  func has(_ flag: UInt8) -> Bool { flags & flag != 0 }
}

/// Four bytes as a number. The caller has looked that they are there.
@inline(__always) func bigEndian(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt32 {
  UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16 | UInt32(bytes[at + 2]) << 8 | UInt32(bytes[at + 3])
}

extension HeadSpace {
  mutating func write(bigEndian value: UInt32) {
    withUnsafeBytes(of: value.bigEndian) { write($0.baseAddress, 4) }
  }

  mutating func writeFrameHeader(length: Int, _ kind: HTTP2FrameKind, flags: UInt8 = 0, stream: UInt32) {
    var bytes: (UInt64, UInt8) = (0, 0)
    bytes.0 =
      UInt64(length & 0xff_ffff) << 40 | UInt64(kind.rawValue) << 32 | UInt64(flags) << 24
      | UInt64(stream >> 8)
    bytes.0 = bytes.0.bigEndian
    bytes.1 = UInt8(truncatingIfNeeded: stream)
    withUnsafeBytes(of: bytes) { write($0.baseAddress, HTTP2FrameHeader.bytes) }
  }

  // MARK: - Header blocks: static names and literals, nothing that the peer would have to remember

  mutating func writeInteger(_ value: Int, bits: UInt8, pattern: UInt8) {
    let mask = 1 << Int(bits) - 1
    if value < mask { return write(pattern | UInt8(value)) }
    write(pattern | UInt8(mask))
    var rest = value - mask
    while rest >= 128 {
      write(UInt8(rest & 0x7f) | 0x80)
      rest >>= 7
    }
    write(UInt8(rest))
  }

  mutating func writeStatus(_ status: Int) {
    switch status {
    case 200: write(0x88)
    case 204: write(0x89)
    case 206: write(0x8a)
    case 304: write(0x8b)
    case 400: write(0x8c)
    case 404: write(0x8d)
    case 500: write(0x8e)
    default:
      write(0x08)
      write(3)
      write(UInt8(48 + status / 100 % 10))
      write(UInt8(48 + status / 10 % 10))
      write(UInt8(48 + status % 10))
    }
  }

  /// A field, its name in lower case whatever it came in.
  mutating func writeField(
    _ bytes: UnsafeRawBufferPointer, name: Range<Int>, value: Range<Int>
  ) {
    let index = HPACKNames.index(bytes, name)
    if index > 0 {
      writeInteger(index, bits: 4, pattern: 0)
    } else {
      write(0)
      writeInteger(name.count, bits: 7, pattern: 0)
      for at in name { write(lowercase(bytes[at])) }
    }
    writeInteger(value.count, bits: 7, pattern: 0)
    write(bytes, value)
  }

  mutating func writeField(_ name: StaticString, _ value: String) {
    var value = value
    writeInteger(0, bits: 4, pattern: 0)
    writeInteger(name.utf8CodeUnitCount, bits: 7, pattern: 0)
    write(name)
    value.withUTF8 { bytes in
      writeInteger(bytes.count, bits: 7, pattern: 0)
      write(bytes.baseAddress, bytes.count)
    }
  }
}

/// Names of answers in the static table (RFC 7541 appendix A).
enum HPACKNames {
  static func index(_ bytes: UnsafeRawBufferPointer, _ name: Range<Int>) -> Int {
    func isNamed(_ text: StaticString) -> Bool { HeadReader.equals(bytes, name, text) }
    switch name.count {
    case 3: return isNamed("age") ? 21 : isNamed("via") ? 60 : 0
    case 4:
      return isNamed("date") ? 33 : isNamed("etag") ? 34 : isNamed("vary") ? 59 : isNamed("link") ? 45 : 0
    case 5: return isNamed("allow") ? 22 : 0
    case 6: return isNamed("server") ? 54 : 0
    case 7: return isNamed("expires") ? 36 : 0
    case 8: return isNamed("location") ? 46 : 0
    case 10: return isNamed("set-cookie") ? 55 : 0
    case 11: return isNamed("retry-after") ? 53 : 0
    case 12: return isNamed("content-type") ? 31 : 0
    case 13:
      return isNamed("cache-control")
        ? 24
        : isNamed("last-modified") ? 44 : isNamed("accept-ranges") ? 18 : isNamed("content-range") ? 30 : 0
    case 14: return isNamed("content-length") ? 28 : 0
    case 16: return isNamed("content-encoding") ? 26 : isNamed("www-authenticate") ? 61 : 0
    case 19: return isNamed("content-disposition") ? 25 : 0
    case 25: return isNamed("strict-transport-security") ? 56 : 0
    case 27: return isNamed("access-control-allow-origin") ? 20 : 0
    default: return 0
    }
  }
}
