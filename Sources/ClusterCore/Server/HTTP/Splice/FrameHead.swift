// The nine octets before every frame of HTTP/2 (RFC 9113, 4.1).

import NIOCore

struct FrameHead: Equatable {
  static let size = 9
  /// Every peer takes a payload of this size (RFC 9113, 4.2).
  static let payloadMax = 16_384

  enum Kind {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let windowUpdate: UInt8 = 8
  }
  enum Flag {
    /// END_STREAM of DATA and HEADERS, ACK of SETTINGS.
    static let end: UInt8 = 1
  }

  /// Octets of the payload.
  var length: Int
  var kind: UInt8
  var flags: UInt8
  var stream: UInt32

  init(length: Int, kind: UInt8, flags: UInt8 = 0, stream: UInt32) {
    self.length = length
    self.kind = kind
    self.flags = flags
    self.stream = stream
  }

  /// Of the frame that begins at `index`; nil when the bytes end before its payload.
  init?(_ bytes: ByteBuffer, at index: Int) {
    guard let first = bytes.getInteger(at: index, as: UInt32.self),
      let flags = bytes.getInteger(at: index + 4, as: UInt8.self),
      let stream = bytes.getInteger(at: index + 5, as: UInt32.self)
    else { return nil }
    length = Int(first >> 8)
    kind = UInt8(truncatingIfNeeded: first)
    self.flags = flags
    self.stream = stream & 0x7fff_ffff
  }

  func write(to bytes: inout ByteBuffer) {
    bytes.writeInteger(UInt32(truncatingIfNeeded: length) << 8 | UInt32(kind))
    bytes.writeInteger(flags)
    bytes.writeInteger(stream)
  }
}
