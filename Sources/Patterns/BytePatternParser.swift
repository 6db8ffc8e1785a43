// Reads the text of a pattern: literals, classes, groups, alternatives, repetition, anchors. No look-around and no
// back-references, as in RE2.

struct BytePatternParser {
  private let text: [UInt8]
  private var at = 0
  private var isFolding = false
  private var depth = 0
  private(set) var groups = 0
  private(set) var names: [String: Int] = [:]
  static let depthMax = 64
  static let repetitionMax = 1000

  init(_ text: String, foldsCase: Bool) {
    self.text = Array(text.utf8)
    isFolding = foldsCase
  }

  mutating func parse() throws(BytePatternError) -> BytePattern.Node {
    let node = try either()
    guard at == text.count else { throw BytePatternError(description: "unmatched ) at octet \(at)") }
    return node
  }

  private var next: UInt8? { at < text.count ? text[at] : nil }

  private mutating func take(_ character: Character) -> Bool {
    guard let byte = character.asciiValue, next == byte else { return false }
    at += 1
    return true
  }

  private mutating func either() throws(BytePatternError) -> BytePattern.Node {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthMax else { throw BytePatternError(description: "groups are nested too deeply") }
    var ways = [try sequence()]
    while take("|") { ways.append(try sequence()) }
    return ways.count == 1 ? ways[0] : .either(ways)
  }

  private mutating func sequence() throws(BytePatternError) -> BytePattern.Node {
    var nodes: [BytePattern.Node] = []
    while let byte = next, byte != UInt8(ascii: "|"), byte != UInt8(ascii: ")") {
      nodes.append(try repeated(try atom()))
    }
    return nodes.count == 1 ? nodes[0] : .all(nodes)
  }

  private mutating func repeated(_ node: BytePattern.Node) throws(BytePatternError) -> BytePattern.Node {
    var node = node
    while let byte = next {
      var bounds: (Int, Int?)
      switch byte {
      case UInt8(ascii: "*"): bounds = (0, nil)
      case UInt8(ascii: "+"): bounds = (1, nil)
      case UInt8(ascii: "?"): bounds = (0, 1)
      case UInt8(ascii: "{"):
        guard let read = try braces() else { return node }
        bounds = read
        at -= 1
      default: return node
      }
      at += 1
      let isLazy = take("?")
      node = .loop(node, min: bounds.0, max: bounds.1, isLazy: isLazy)
    }
    return node
  }

  /// `{2}`, `{2,}`, `{2,5}`; anything else is the brace itself.
  private mutating func braces() throws(BytePatternError) -> (Int, Int?)? {
    guard let end = text[at...].firstIndex(of: UInt8(ascii: "}")) else { return nil }
    let parts = text[(at + 1)..<end].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let low = Int(String(decoding: parts[0], as: UTF8.self)), low >= 0
    else {
      return nil
    }
    var high: Int? = low
    if parts.count == 2 {
      if parts[1].isEmpty {
        high = nil
      } else {
        guard let number = Int(String(decoding: parts[1], as: UTF8.self)), number >= low else { return nil }
        high = number
      }
    }
    guard max(low, high ?? 0) <= Self.repetitionMax else {
      throw BytePatternError(description: "repeated more than \(Self.repetitionMax) times")
    }
    at = end + 1
    return (low, high)
  }

  private func literal(_ byte: UInt8) -> BytePattern.Node {
    var set = BytePattern.ByteSet()
    set.insert(byte)
    if isFolding { set.foldCase() }
    return .set(set)
  }

  private mutating func atom() throws(BytePatternError) -> BytePattern.Node {
    let byte = text[at]
    at += 1
    switch byte {
    case UInt8(ascii: "^"): return .start
    case UInt8(ascii: "$"): return .end
    case UInt8(ascii: "."):
      var set = BytePattern.ByteSet()
      set.insert(10)
      set.invert()
      return .set(set)
    case UInt8(ascii: "("): return try group()
    case UInt8(ascii: "["): return .set(try characterClass())
    case UInt8(ascii: "\\"): return try escape()
    case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"):
      throw BytePatternError(description: "nothing to repeat at octet \(at - 1)")
    default: return literal(byte)
    }
  }

  private mutating func group() throws(BytePatternError) -> BytePattern.Node {
    var number: Int?
    let wasFolding = isFolding
    if take("?") {
      if take("P") || next == UInt8(ascii: "<") {
        guard take("<"), let end = text[at...].firstIndex(of: UInt8(ascii: ">")) else {
          throw BytePatternError(description: "a group's name is not closed")
        }
        groups += 1
        number = groups
        names[String(decoding: text[at..<end], as: UTF8.self)] = groups
        at = end + 1
      } else {
        var isOn = true
        while let byte = next, byte != UInt8(ascii: ":"), byte != UInt8(ascii: ")") {
          switch byte {
          case UInt8(ascii: "i"): isFolding = isOn
          case UInt8(ascii: "-"): isOn = false
          case UInt8(ascii: "s"), UInt8(ascii: "m"), UInt8(ascii: "U"): break
          default: throw BytePatternError(description: "unknown group at octet \(at)")
          }
          at += 1
        }
        // `(?i)` holds to the end of the group around it.
        if take(")") { return .empty }
        guard take(":") else { throw BytePatternError(description: "a group is not closed") }
      }
    } else {
      groups += 1
      number = groups
    }
    let node = try either()
    guard take(")") else { throw BytePatternError(description: "a group is not closed") }
    isFolding = wasFolding
    return number.map { .group($0, node) } ?? node
  }

  private mutating func escape() throws(BytePatternError) -> BytePattern.Node {
    guard let byte = next else { throw BytePatternError(description: "a backslash at the end") }
    at += 1
    if let set = Self.named(byte) { return .set(set) }
    switch byte {
    case UInt8(ascii: "A"): return .start
    case UInt8(ascii: "z"): return .end
    case UInt8(ascii: "n"): return literal(10)
    case UInt8(ascii: "t"): return literal(9)
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      throw BytePatternError(description: "\\\(String(UnicodeScalar(byte))) is not known")
    default: return literal(byte)
    }
  }

  /// `\d`, `\w`, `\s` and their opposites.
  private static func named(_ byte: UInt8) -> BytePattern.ByteSet? {
    var set = BytePattern.ByteSet()
    switch byte | 0x20 {
    case UInt8(ascii: "d"): for digit in UInt8(ascii: "0")...UInt8(ascii: "9") { set.insert(digit) }
    case UInt8(ascii: "w"):
      for other in UInt8.min...UInt8.max
      where other == UInt8(ascii: "_") || (48...57).contains(other)
        || (97...122).contains(other | 0x20) && other > 64 && other < 123
      {
        set.insert(other)
      }
    case UInt8(ascii: "s"): for blank in [9, 10, 12, 13, 32] as [UInt8] { set.insert(blank) }
    default: return nil
    }
    if byte & 0x20 == 0 { set.invert() }
    return set
  }

  private mutating func characterClass() throws(BytePatternError) -> BytePattern.ByteSet {
    var set = BytePattern.ByteSet()
    let isInverted = take("^")
    var isFirst = true
    while let byte = next, isFirst || byte != UInt8(ascii: "]") {
      isFirst = false
      at += 1
      var low = byte
      if byte == UInt8(ascii: "\\") {
        guard let escaped = next else { break }
        at += 1
        if let named = Self.named(escaped) {
          set.formUnion(named)
          continue
        }
        low = escaped
      }
      var high = low
      if next == UInt8(ascii: "-"), at + 1 < text.count, text[at + 1] != UInt8(ascii: "]") {
        high = text[at + 1]
        at += 2
        if high == UInt8(ascii: "\\"), let escaped = next {
          high = escaped
          at += 1
        }
      }
      guard low <= high else { throw BytePatternError(description: "a range runs backwards") }
      for member in low...high { set.insert(member) }
    }
    guard take("]") else { throw BytePatternError(description: "a character class is not closed") }
    if isFolding { set.foldCase() }
    if isInverted { set.invert() }
    return set
  }
}
