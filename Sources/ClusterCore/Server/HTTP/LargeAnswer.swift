// A list of megabytes on its way to a client: one part after the other, each when the connection has taken the last. Encrypted
// and queued whole it would be in memory three times, and most of its cost would be the pages for that.

import NIOCore

/// What is left of one answer's body. Used on its event loop.
struct LargeAnswer {
  /// Bodies up to this size are written at once.
  static let partBytes = 256 << 10

  private var rest: ByteBuffer
  /// Parts are being written: a flush may say at once that the connection takes more.
  private var isWriting = false

  init(_ body: ByteBuffer) { rest = body }

  var isWhole: Bool { rest.readableBytes == 0 && !isWriting }

  /// The next part, when the caller does not stand within the writing of another.
  mutating func begin() -> ByteBuffer? {
    guard !isWriting, let part = rest.readSlice(length: min(Self.partBytes, rest.readableBytes)),
      part.readableBytes > 0
    else { return nil }
    isWriting = true
    return part
  }

  mutating func wrote() { isWriting = false }
}
