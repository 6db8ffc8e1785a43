// The beginning of a TLS connection: which name the client asks for (SNI, RFC 6066 section 3). Read from bytes that are peeked at,
// so that whoever serves the connection reads them again.
//
//   record: 22 | version u16 | length u16 | part of a message        a message may come in several records
//   ClientHello: 1 | length u24 | version u16 | random 32 | session (u8) | suites (u16) | compression (u8) | extensions (u16)

/// What a client's first bytes are.
enum ClientHello: Equatable {
  case unfinished
  /// Not TLS, or longer than `bytesMax`.
  case malformed
  /// Where the name lies in the space that was read, which holds other bytes then; empty: it asks for none.
  case hello(name: Range<Int>)

  /// Bytes of a ClientHello with its record headers. Key shares of today's largest algorithms take 2 KiB.
  static let bytesMax = 16 << 10

  /// Puts the pieces of the message together in `space`, in place, and reads it. Linear.
  init(joining space: UnsafeMutableRawBufferPointer) {
    var (from, filled) = (0, 0)
    var needed = 4
    while filled < needed {
      guard space.count - from >= 5 else {
        self =
          Self.isRecord(UnsafeRawBufferPointer(rebasing: space[from...]))
          ? Self.more(space.count) : .malformed
        return
      }
      let length = Int(space[from + 3]) << 8 | Int(space[from + 4])
      guard space[from] == 22, space[from + 1] == 3, length > 0, length <= 16 << 10 else {
        self = .malformed
        return
      }
      from += 5
      let piece = min(length, space.count - from)
      for index in 0..<piece { space[filled + index] = space[from + index] }
      filled += piece
      from += piece
      if filled >= 4 {
        needed = 4 + (Int(space[1]) << 16 | Int(space[2]) << 8 | Int(space[3]))
        guard space[0] == 1, needed <= Self.bytesMax else {
          self = .malformed
          return
        }
      }
      if piece < length, filled < needed {
        self = Self.more(space.count)
        return
      }
    }
    var cursor = HelloCursor(bytes: UnsafeRawBufferPointer(rebasing: space[..<needed]), offset: 4)
    self = cursor.name().map { .hello(name: $0) } ?? .malformed
  }

  /// Whether bytes may become a record's header.
  private static func isRecord(_ bytes: UnsafeRawBufferPointer) -> Bool {
    (bytes.isEmpty || bytes[0] == 22) && (bytes.count < 2 || bytes[1] == 3)
  }

  private static func more(_ count: Int) -> ClientHello { count < bytesMax ? .unfinished : .malformed }

  /// A fatal alert that nobody is known by this name (RFC 6066 section 3), as a record.
  static let unrecognizedName: [UInt8] = [21, 3, 3, 0, 2, 2, 112]
}

/// A checked reader of a whole ClientHello.
private struct HelloCursor {
  let bytes: UnsafeRawBufferPointer
  var offset: Int

  /// A number of so many bytes; nil behind the end.
  mutating func number(_ width: Int) -> Int? {
    guard bytes.count - offset >= width else { return nil }
    defer { offset += width }
    return bytes[offset..<(offset + width)].reduce(0) { $0 << 8 | Int($1) }
  }

  /// What a length of so many bytes announces.
  mutating func vector(_ width: Int) -> Range<Int>? {
    guard let count = number(width), bytes.count - offset >= count else { return nil }
    defer { offset += count }
    return offset..<(offset + count)
  }

  /// The name asked for; empty for none, nil for what is no ClientHello.
  mutating func name() -> Range<Int>? {
    guard number(2) != nil, bytes.count - offset >= 32 else { return nil }
    offset += 32
    guard let session = vector(1), session.count <= 32, let suites = vector(2), suites.count >= 2,
      suites.count % 2 == 0, let compression = vector(1), !compression.isEmpty
    else { return nil }
    if offset == bytes.count { return 0..<0 }
    guard let extensions = vector(2), offset == bytes.count else { return nil }
    offset = extensions.lowerBound
    var found: Range<Int>?
    while offset < bytes.count {
      guard let type = number(2), let body = vector(2) else { return nil }
      guard type == 0 else { continue }
      // One of a kind, or it is not clear what was asked for.
      guard found == nil, let name = serverName(body) else { return nil }
      found = name
    }
    return found ?? 0..<0
  }

  private func serverName(_ body: Range<Int>) -> Range<Int>? {
    var inner = HelloCursor(
      bytes: UnsafeRawBufferPointer(rebasing: bytes[..<body.upperBound]), offset: body.lowerBound)
    // One entry, a host name: there is no other kind.
    guard let list = inner.vector(2), inner.offset == body.upperBound else { return nil }
    inner.offset = list.lowerBound
    guard inner.number(1) == 0, let name = inner.vector(2), inner.offset == list.upperBound, !name.isEmpty,
      name.count <= 255
    else { return nil }
    let isName = bytes[name].allSatisfy { byte in
      lowercase(byte) &- 97 < 26 || byte &- 48 < 10 || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
        || byte == UInt8(ascii: "_")
    }
    return isName ? name : nil
  }
}
