// A JSON value as a list of marks over its own bytes, for readers that need a few fields of very many objects.
//
//   {"kind":"Service","spec":{}}  ->  object | "kind" | "Service" | "spec" | object
//
// The grammar is `JSONParser`'s, to the last byte. What is written in a way that a mark cannot say (escapes in a field's name, more
// marks than `marksMax`) is not read here at all: whoever gets nothing makes a tree, which also says what is wrong.

/// Room for the marks of one value after another. Once it has grown, reading allocates nothing. Has one owner.
public struct JSONTape: ~Copyable {
  /// A value or a field's name. Names stand before their values.
  struct Mark {
    enum Kind: UInt8 { case null, yes, no, number, string, array, object }
    var start: UInt32
    var count: UInt32
    /// The first mark behind this value.
    var next: UInt32
    var kind: Kind
    var isEscaped = false
  }
  /// About 40,000 fields; objects of the API have some hundreds.
  static let marksMax = 65_536

  private var marks: UnsafeMutablePointer<Mark>
  private var capacity = 256
  private var count = 0
  private var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
  private var at = 0

  public init() { marks = .allocate(capacity: capacity) }

  deinit { marks.deallocate() }

  /// Reads the value that `bytes` begin with and hands it to `body` with the number of its bytes. Nil, and `body` is not called,
  /// when they begin with none, with a part of one, or with one that is not written plainly.
  public mutating func read<Result>(
    _ bytes: UnsafeBufferPointer<UInt8>, _ body: (TapeValue, Int) -> Result
  ) -> Result? {
    guard let base = bytes.baseAddress, bytes.count <= Int(UInt32.max) else { return nil }
    self.bytes = UnsafeRawBufferPointer(bytes)
    at = 0
    count = 0
    guard value(depth: 0) else { return nil }
    return body(TapeValue(bytes: base, marks: marks, index: 0), at)
  }

  // MARK: - Grammar

  private var byte: UInt8? { at < bytes.count ? bytes[at] : nil }

  private mutating func skipBlanks() {
    while at < bytes.count {
      switch bytes[at] {
      case 0x20, 0x0a, 0x0d, 0x09: at += 1
      default: return
      }
    }
  }

  private mutating func push(_ kind: Mark.Kind, from start: Int, isEscaped: Bool = false) -> Bool {
    if count == capacity {
      guard capacity < Self.marksMax else { return false }
      let larger = UnsafeMutablePointer<Mark>.allocate(capacity: 2 * capacity)
      larger.moveInitialize(from: marks, count: count)
      marks.deallocate()
      marks = larger
      capacity *= 2
    }
    (marks + count).initialize(
      to: Mark(
        start: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: at - start),
        next: UInt32(truncatingIfNeeded: count + 1), kind: kind, isEscaped: isEscaped))
    count += 1
    return true
  }

  private mutating func value(depth: Int) -> Bool {
    guard depth < JSON.depthMax, let first = byte else { return false }
    switch first {
    case UInt8(ascii: "\""): return string(isName: false)
    case UInt8(ascii: "{"): return list(.object, UInt8(ascii: "}"), depth)
    case UInt8(ascii: "["): return list(.array, UInt8(ascii: "]"), depth)
    case UInt8(ascii: "t"): return word("true", .yes)
    case UInt8(ascii: "f"): return word("false", .no)
    case UInt8(ascii: "n"): return word("null", .null)
    default: return number()
    }
  }

  private mutating func word(_ text: StaticString, _ kind: Mark.Kind) -> Bool {
    let start = at
    guard at + text.utf8CodeUnitCount <= bytes.count else { return false }
    for index in 0..<text.utf8CodeUnitCount where bytes[at + index] != text.utf8Start[index] { return false }
    at += text.utf8CodeUnitCount
    return push(kind, from: start)
  }

  /// An object or an array.
  private mutating func list(_ kind: Mark.Kind, _ closing: UInt8, _ depth: Int) -> Bool {
    let own = count
    guard push(kind, from: at) else { return false }
    at += 1
    skipBlanks()
    if byte == closing {
      at += 1
      close(own)
      return true
    }
    while true {
      if kind == .object {
        guard byte == UInt8(ascii: "\""), string(isName: true) else { return false }
        skipBlanks()
        guard byte == UInt8(ascii: ":") else { return false }
        at += 1
        skipBlanks()
      }
      guard value(depth: depth + 1) else { return false }
      skipBlanks()
      guard let next = byte else { return false }
      at += 1
      if next == closing {
        close(own)
        return true
      }
      guard next == UInt8(ascii: ",") else { return false }
      skipBlanks()
    }
  }

  private func close(_ own: Int) {
    marks[own].next = UInt32(truncatingIfNeeded: count)
    marks[own].count = UInt32(truncatingIfNeeded: at) - marks[own].start
  }

  private mutating func string(isName: Bool) -> Bool {
    at += 1
    let start = at
    at += PlainText.length(bytes, from: at)
    var isEscaped = false
    while let next = byte, next == UInt8(ascii: "\\") {
      isEscaped = true
      guard escape() else { return false }
      at += PlainText.length(bytes, from: at)
    }
    guard byte == UInt8(ascii: "\""), !(isName && isEscaped) else { return false }
    guard push(.string, from: start, isEscaped: isEscaped) else { return false }
    at += 1
    return true
  }

  private mutating func escape() -> Bool {
    guard at + 1 < bytes.count else { return false }
    let kind = bytes[at + 1]
    at += 2
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      return true
    case UInt8(ascii: "u"):
      guard at + 4 <= bytes.count else { return false }
      for offset in 0..<4 {
        switch bytes[at + offset] {
        case 48...57, 65...70, 97...102: break
        default: return false
        }
      }
      at += 4
      return true
    default: return false
    }
  }

  private mutating func digits() -> Int {
    let start = at
    while let next = byte, next >= 48, next <= 57 { at += 1 }
    return at - start
  }

  private mutating func number() -> Bool {
    let start = at
    if byte == UInt8(ascii: "-") { at += 1 }
    let isZero = byte == UInt8(ascii: "0")
    let count = digits()
    guard count == 1 || count > 1 && !isZero else { return false }
    if byte == UInt8(ascii: ".") {
      at += 1
      guard digits() > 0 else { return false }
    }
    if let next = byte, next | 0x20 == UInt8(ascii: "e") {
      at += 1
      if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { at += 1 }
      guard digits() > 0 else { return false }
    }
    return push(.number, from: start)
  }
}
