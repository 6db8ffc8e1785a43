// Room for values whose number is not known yet: the parser gathers an object's fields here and then makes an array of just
// their size, instead of growing one for each object.

/// A stack with one owner. Elements are moved in and out, never copied.
struct ScratchStack<Element>: ~Copyable {
  private var base: UnsafeMutablePointer<Element>
  private var capacity: Int
  private(set) var count = 0

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
  }

  deinit {
    base.deinitialize(count: count)
    base.deallocate()
  }

  mutating func push(_ element: consuming Element) {
    if count == capacity { grow() }
    (base + count).initialize(to: element)
    count += 1
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Element>.allocate(capacity: 2 * capacity)
    larger.moveInitialize(from: base, count: count)
    base.deallocate()
    base = larger
    capacity *= 2
  }

  /// Takes what was pushed after the first `start` elements.
  mutating func take(from start: Int) -> [Element] {
    let taken = count - start
    precondition(taken >= 0, "more is taken than there is")
    let source = base + start
    let result = [Element](unsafeUninitializedCapacity: taken) { buffer, initialized in
      buffer.baseAddress?.moveInitialize(from: source, count: taken)
      initialized = taken
    }
    count = start
    return result
  }

  /// The first element from `start` on for which `matches` holds.
  func firstIndex(from start: Int, where matches: (borrowing Element) -> Bool) -> Int? {
    var index = start
    while index < count {
      if matches(base[index]) { return index }
      index += 1
    }
    return nil
  }

  mutating func change(_ index: Int, _ body: (inout Element) -> Void) {
    precondition(index < count, "no such element")
    body(&base[index])
  }
}

/// Looks at eight bytes at once for what ends a run of plain text in JSON: a quote, a backslash, a control character.
enum PlainText {
  private static let ones: UInt64 = 0x0101_0101_0101_0101
  private static let highs: UInt64 = 0x8080_8080_8080_8080

  /// How many of the bytes from `start` on are plain.
  @inline(__always)
  static func length(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var at = start
    while at + 8 <= bytes.count {
      let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      let quote = word ^ (ones &* 0x22)
      let backslash = word ^ (ones &* 0x5c)
      // A byte's high bit is set when it is zero, or below 0x20. Carries only disturb bytes above the first hit.
      let hits =
        ((quote &- ones) & ~quote | (backslash &- ones) & ~backslash | (word &- (ones &* 0x20)) & ~word)
        & highs
      if hits != 0 { return at - start + hits.trailingZeroBitCount / 8 }
      at += 8
    }
    while at < bytes.count {
      let byte = bytes[at]
      if byte < 0x20 || byte == 0x22 || byte == 0x5c { break }
      at += 1
    }
    return at - start
  }
}
