// A list of megabytes on its way to a client: one part after the other, each when the connection has taken the last. Copied
// together, encrypted and queued whole it would be in memory four times, and most of its cost would be the pages for that.

import NIOCore

/// The body of a list: its objects' own bytes, not yet copied together.
struct ListBody: Sendable {
  private let head: ByteBuffer
  private let objects: [CachedObject]
  private static let tail = "]}\n"
  let readableBytes: Int
  /// The object that comes next; the head counts as one before the first.
  private var next = -1

  /// `head` ends where the first element begins.
  init(head: ByteBuffer, objects: [CachedObject]) {
    self.head = head
    self.objects = objects
    readableBytes =
      objects.reduce(head.readableBytes + Self.tail.utf8.count) { $0 + $1.bytes.readableBytes }
      + max(0, objects.count - 1)
  }

  /// At least `bytes` more, or what is left; nil at the end.
  mutating func part(_ bytes: Int) -> ByteBuffer? {
    if next > objects.count { return nil }
    var out = ByteBuffer()
    out.reserveCapacity(min(bytes + bytes / 8, readableBytes))
    if next < 0 {
      out.writeImmutableBuffer(head)
      next = 0
    }
    while next < objects.count, out.readableBytes < bytes {
      if next > 0 { out.writeInteger(UInt8(ascii: ",")) }
      out.writeImmutableBuffer(objects[next].bytes)
      next += 1
    }
    if next == objects.count, out.readableBytes < bytes {
      out.writeString(Self.tail)
      next += 1
    }
    return out
  }

  /// All of it, for what must see it at once.
  var whole: ByteBuffer {
    var copy = self
    return copy.part(readableBytes + 1) ?? ByteBuffer()
  }
}

/// What is left of one answer's body. Used on its event loop.
struct LargeAnswer {
  /// Bodies up to this size are written at once.
  static let partBytes = 256 << 10
  /// Parts that are copied together stay in the processor's cache until they are encrypted.
  private static let copiedBytes = 64 << 10

  private enum Rest {
    case bytes(ByteBuffer)
    case list(ListBody)
    case nothing
  }
  private var rest: Rest
  /// Parts are being written: a flush may say at once that the connection takes more.
  private var isWriting = false

  init(_ body: ByteBuffer) { rest = .bytes(body) }
  init(_ body: ListBody) { rest = .list(body) }

  var isWhole: Bool {
    if case .nothing = rest { return !isWriting }
    return false
  }

  /// The next part, when the caller does not stand within the writing of another.
  mutating func begin() -> ByteBuffer? {
    if isWriting { return nil }
    var part: ByteBuffer?
    switch rest {
    case .bytes(var bytes):
      part = bytes.readSlice(length: min(Self.partBytes, bytes.readableBytes))
      rest = bytes.readableBytes > 0 ? .bytes(bytes) : .nothing
    case .list(var body):
      // Given up first, so that the change is made in place.
      rest = .nothing
      part = body.part(Self.copiedBytes)
      if part != nil { rest = .list(body) }
    case .nothing: break
    }
    guard let part, part.readableBytes > 0 else { return nil }
    isWriting = true
    return part
  }

  mutating func wrote() { isWriting = false }
}
