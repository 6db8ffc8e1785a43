// Follows a body to its end while its bytes pass by, so that the next message begins where the sender meant
// it to.

/// The state of one body. Feed it bytes in the order in which they arrive.
struct BodyScanner {
  /// Longest chunk-size line, extensions included; more is refused.
  static let chunkLineBytesMax = 256
  /// Longest trailer section.
  static let trailerBytesMax = 4096

  private enum State: Equatable {
    case done
    case length(UInt64)
    case untilClose
    case size(digits: Int, value: UInt64)
    case sizeExtension(value: UInt64)
    case sizeLF(value: UInt64)
    case data(UInt64)
    case dataCR, dataLF
    case trailerStart, trailerName, trailerLine, trailerLF, endLF
  }
  private var state: State
  private var lineBytes = 0
  private var name: UInt64 = 0
  private var nameBytes = 0

  init(_ framing: BodyFraming) {
    state =
      switch framing {
      case .none: .done
      case .length(let length): length == 0 ? .done : .length(length)
      case .chunked: .size(digits: 0, value: 0)
      case .untilClose: .untilClose
      }
  }

  var isDone: Bool { state == .done }
  /// The connection's end is the body's end.
  var endsWithConnection: Bool { state == .untilClose }
  /// Bytes of content that come next, before any framing; 0 when framing does.
  var contentAhead: Int {
    switch state {
    case .length(let left), .data(let left): Int(clamping: left)
    case .untilClose: Int.max
    default: 0
    }
  }
  private var isInTrailers: Bool {
    switch state {
    case .trailerName, .trailerLine, .trailerLF: true
    default: false
    }
  }
  /// Bytes that are still to come; nil when only the bytes themselves will tell.
  var remaining: UInt64? { if case .length(let left) = state { left } else { nil } }

  /// Takes bytes of the body and says how many of them belong to it; fewer than given once it is done.
  /// - Parameters:
  ///   - content: called with each range of content, without the chunk framing.
  ///   - trailer: called with each byte of the fields behind the last chunk, their line ends included.
  /// - Throws: 400 when the framing is not what RFC 9112 section 7.1 says, to the letter.
  mutating func take(
    _ bytes: UnsafeRawBufferPointer, content: (Range<Int>) -> Void = { _ in },
    trailer: (UInt8) -> Void = { _ in }
  ) throws(HTTPRefusal) -> Int {
    var at = 0
    while at < bytes.count {
      switch state {
      case .done: return at
      case .untilClose:
        content(at..<bytes.count)
        return bytes.count
      case .length(let left):
        let count = Int(min(left, UInt64(bytes.count - at)))
        content(at..<at + count)
        at += count
        state = left == UInt64(count) ? .done : .length(left - UInt64(count))
      case .data(let left):
        let count = Int(min(left, UInt64(bytes.count - at)))
        content(at..<at + count)
        at += count
        state = left == UInt64(count) ? .dataCR : .data(left - UInt64(count))
      default:
        let wasInTrailers = isInTrailers
        try takeFraming(bytes[at])
        if wasInTrailers || isInTrailers { trailer(bytes[at]) }
        at += 1
      }
    }
    return at
  }

  private mutating func takeFraming(_ byte: UInt8) throws(HTTPRefusal) {
    lineBytes += 1
    switch state {
    case .size(let digits, let value):
      if let digit = Self.hexadecimal(byte) {
        // 15 digits are an exabyte: more is an attempt at overflow.
        guard digits < 15 else { throw HTTPRefusal(400) }
        state = .size(digits: digits + 1, value: value << 4 | UInt64(digit))
      } else if digits > 0, byte == 13 {
        state = .sizeLF(value: value)
      } else if digits > 0, byte == 59 {
        state = .sizeExtension(value: value)
      } else {
        throw HTTPRefusal(400)
      }
    case .sizeExtension(let value):
      guard lineBytes <= Self.chunkLineBytesMax else { throw HTTPRefusal(400) }
      if byte == 13 {
        state = .sizeLF(value: value)
      } else if byte < 32 && byte != 9 || byte == 127 {
        throw HTTPRefusal(400)
      }
    case .sizeLF(let value):
      guard byte == 10 else { throw HTTPRefusal(400) }
      lineBytes = 0
      state = value == 0 ? .trailerStart : .data(value)
    case .dataCR:
      guard byte == 13 else { throw HTTPRefusal(400) }
      state = .dataLF
    case .dataLF:
      guard byte == 10 else { throw HTTPRefusal(400) }
      lineBytes = 0
      state = .size(digits: 0, value: 0)
    case .trailerStart:
      if byte == 13 {
        state = .endLF
      } else {
        name = 0
        nameBytes = 0
        state = .trailerName
        try takeTrailerName(byte)
      }
    case .trailerName: try takeTrailerName(byte)
    case .trailerLine:
      guard lineBytes <= Self.trailerBytesMax else { throw HTTPRefusal(431) }
      if byte == 13 {
        state = .trailerLF
      } else if byte < 32 && byte != 9 || byte == 127 {
        throw HTTPRefusal(400)
      }
    case .trailerLF:
      guard byte == 10 else { throw HTTPRefusal(400) }
      state = .trailerStart
    case .endLF:
      guard byte == 10 else { throw HTTPRefusal(400) }
      state = .done
    case .done, .length, .data, .untilClose: break
    }
  }

  /// Trailers that name framing or routing could be taken for fields of the head by a careless backend:
  /// refused.
  private mutating func takeTrailerName(_ byte: UInt8) throws(HTTPRefusal) {
    guard lineBytes <= Self.trailerBytesMax else { throw HTTPRefusal(431) }
    if byte == 58 {
      guard nameBytes > 0, !Self.forbidden.contains(where: { $0.hash == name && $0.count == nameBytes })
      else {
        throw HTTPRefusal(400)
      }
      state = .trailerLine
    } else if isToken(byte) {
      name = Self.hash(name, byte)
      nameBytes += 1
    } else {
      throw HTTPRefusal(400)
    }
  }

  /// Whether a field may stand behind a body.
  static func mayTrail(_ name: UnsafeRawBufferPointer) -> Bool {
    var state: UInt64 = 0
    for byte in name { state = hash(state, byte) }
    return !forbidden.contains { $0.hash == state && $0.count == name.count }
  }

  private static func hash(_ state: UInt64, _ byte: UInt8) -> UInt64 {
    (state ^ UInt64(lowercase(byte))) &* 0x100_0000_01b3 &+ 1
  }
  private static let forbidden: [(hash: UInt64, count: Int)] = [
    "content-length", "transfer-encoding", "host", "connection", "upgrade", "te", "trailer", "authorization",
    "content-encoding", "content-type", "content-range", "cookie", "x-forwarded-for", "x-real-ip",
  ].map { text in (text.utf8.reduce(0, hash), text.utf8.count) }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    if byte &- 48 < 10 { return byte - 48 }
    let letter = byte | 0x20
    return letter &- 97 < 6 ? letter - 87 : nil
  }
}
