// The constants of HPACK (RFC 7541 appendices A and B), laid out for look-up over bytes. One for each worker.

/// The static table and the Huffman code. The code is canonical: its lengths alone make it.
final class HPACKTables {
  /// The static table's names and values, one behind the other.
  private let text: UnsafeMutableRawBufferPointer
  private let places: [(name: Range<Int>, value: Range<Int>)]
  /// By the next eight bits: length and symbol of a code of at most eight bits; 0 for longer ones.
  let short: [UInt16]
  /// Of each length: the first code, how many there are, and where their symbols begin in `symbols`.
  let first: [UInt32]
  let counts: [UInt32]
  let starts: [Int]
  let symbols: [UInt16]

  static let staticCount = 61
  static let longestCode = 30
  static let endOfString: UInt16 = 256

  init() {
    var bytes: [UInt8] = []
    var places: [(name: Range<Int>, value: Range<Int>)] = []
    for (name, value) in Self.entries {
      let start = bytes.count
      bytes += Array(name.utf8)
      let middle = bytes.count
      bytes += Array(value.utf8)
      places.append((start..<middle, middle..<bytes.count))
    }
    let text = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    bytes.withUnsafeBytes { text.copyMemory(from: $0) }
    self.text = text
    self.places = places
    var first = [UInt32](repeating: 0, count: Self.longestCode + 1)
    var counts = first
    var starts = [Int](repeating: 0, count: Self.longestCode + 1)
    var symbols: [UInt16] = []
    var short = [UInt16](repeating: 0, count: 256)
    var code: UInt32 = 0
    for length in 1...Self.longestCode {
      code <<= 1
      first[length] = code
      starts[length] = symbols.count
      for symbol in Self.lengths.indices where Int(Self.lengths[symbol]) == length {
        if length <= 8 {
          for rest in 0..<(1 << (8 - length)) {
            short[Int(code) << (8 - length) | rest] = UInt16(length) << 8 | UInt16(symbol)
          }
        }
        symbols.append(UInt16(symbol))
        counts[length] += 1
        code += 1
      }
    }
    (self.first, self.counts, self.starts, self.symbols, self.short) = (first, counts, starts, symbols, short)
  }

  deinit { text.deallocate() }

  /// - Parameter index: from 1.
  func entry(_ index: Int) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    let place = places[index - 1]
    return (
      UnsafeRawBufferPointer(rebasing: text[place.name]), UnsafeRawBufferPointer(rebasing: text[place.value])
    )
  }

  /// Lengths of the codes of the 256 bytes and of the string's end.
  private static let lengths: [UInt8] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8,
    7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
    7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23,
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24,
    20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26, 30,
  ]

  private static let entries: [(String, String)] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
    ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
    ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""),
    ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
  ]
}
