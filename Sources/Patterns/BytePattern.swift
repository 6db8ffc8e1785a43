// Regular expressions in RE2's syntax, compiled to a small machine. Matching takes time linear in text times pattern, whatever
// the pattern: names and paths come from strangers, and a backtracking engine would be theirs to stall.
// Unlike the patterns of custom resources these are matched to octets and say where their groups are.

/// Why a pattern cannot be read.
public struct BytePatternError: Error, Hashable, Sendable, CustomStringConvertible {
  public var description: String
  public init(description: String) { self.description = description }
}

/// A compiled pattern. Works on octets; capitals count unless `(?i)` begins the pattern. Two of one text are equal.
public struct BytePattern: Sendable, Hashable {
  /// Longer patterns are refused, and so are those that grow by repetition beyond it.
  public static let stepsMax = 4096

  indirect enum Node: Sendable, Hashable {
    case empty, start, end
    case set(ByteSet)
    case all([Node])
    case either([Node])
    case group(Int, Node)
    case loop(Node, min: Int, max: Int?, isLazy: Bool)
  }

  enum Step: Sendable, Hashable {
    case set(ByteSet)
    /// Tries the first way before the second.
    case split(Int, Int)
    case jump(Int)
    case save(Int)
    case start, end, match
  }

  /// 256 bits, one an octet.
  struct ByteSet: Sendable, Hashable {
    private var a: UInt64 = 0
    private var b: UInt64 = 0
    private var c: UInt64 = 0
    private var d: UInt64 = 0
    mutating func insert(_ byte: UInt8) {
      let bit = UInt64(1) << UInt64(byte & 63)
      switch byte >> 6 {
      case 0: a |= bit
      case 1: b |= bit
      case 2: c |= bit
      default: d |= bit
      }
    }
    func contains(_ byte: UInt8) -> Bool {
      let word = byte >> 6 == 0 ? a : byte >> 6 == 1 ? b : byte >> 6 == 2 ? c : d
      return word >> UInt64(byte & 63) & 1 == 1
    }
    mutating func invert() { (a, b, c, d) = (~a, ~b, ~c, ~d) }
    mutating func formUnion(_ other: ByteSet) {
      (a, b, c, d) = (a | other.a, b | other.b, c | other.c, d | other.d)
    }
    mutating func foldCase() {
      for byte in UInt8(ascii: "a")...UInt8(ascii: "z") {
        if contains(byte) { insert(byte - 32) } else if contains(byte - 32) { insert(byte) }
      }
    }
  }

  private(set) var steps: [Step] = []
  /// Begins with `^`: it matches at the text's start or nowhere.
  private(set) var isAnchored = false
  /// Group numbers by name.
  public let names: [String: Int]
  /// Groups, the whole match included.
  public let groupCount: Int
  public let text: String
  /// Capitals do not count, as if `(?i)` began the pattern.
  public let foldsCase: Bool

  /// - Throws: for text that RE2 would not read either, and for patterns of more than `stepsMax` steps.
  public init(_ text: String, foldsCase: Bool = false) throws(BytePatternError) {
    var parser = BytePatternParser(text, foldsCase: foldsCase)
    let node = try parser.parse()
    self.text = text
    self.foldsCase = foldsCase
    names = parser.names
    groupCount = parser.groups + 1
    try emit(.group(0, node))
    steps.append(.match)
    if case .all(let nodes) = node, nodes.first == .start { isAnchored = true }
    if node == .start { isAnchored = true }
  }

  private mutating func emit(_ node: Node) throws(BytePatternError) {
    guard steps.count < Self.stepsMax else { throw BytePatternError(description: "the pattern is too large") }
    switch node {
    case .empty: break
    case .start: steps.append(.start)
    case .end: steps.append(.end)
    case .set(let set): steps.append(.set(set))
    case .all(let nodes): for node in nodes { try emit(node) }
    case .group(let number, let node):
      steps.append(.save(number * 2))
      try emit(node)
      steps.append(.save(number * 2 + 1))
    case .either(let nodes):
      var jumps: [Int] = []
      for (index, node) in nodes.enumerated() {
        if index == nodes.count - 1 {
          try emit(node)
        } else {
          let split = steps.count
          steps.append(.jump(0))
          try emit(node)
          jumps.append(steps.count)
          steps.append(.jump(0))
          steps[split] = .split(split + 1, steps.count)
        }
      }
      for jump in jumps { steps[jump] = .jump(steps.count) }
    case .loop(let node, let min, let max, let isLazy):
      for _ in 0..<min { try emit(node) }
      if let max {
        var splits: [Int] = []
        for _ in min..<Swift.max(min, max) {
          splits.append(steps.count)
          steps.append(.jump(0))
          try emit(node)
        }
        for split in splits {
          steps[split] = isLazy ? .split(steps.count, split + 1) : .split(split + 1, steps.count)
        }
      } else {
        let split = steps.count
        steps.append(.jump(0))
        try emit(node)
        steps.append(.jump(split))
        steps[split] = isLazy ? .split(steps.count, split + 1) : .split(split + 1, steps.count)
      }
    }
  }

  /// The leftmost match: where each group begins and ends, group 0 being the whole; nil for groups that took no part.
  public func match(_ text: [UInt8]) -> [Range<Int>?]? {
    let space = PatternSpace()
    guard text.withUnsafeBytes({ match($0, in: space) }) else { return nil }
    return (0..<groupCount).map { space.group($0) }
  }

  public func matches(_ text: [UInt8]) -> Bool {
    text.withUnsafeBytes { matches($0, in: PatternSpace()) }
  }

  /// The leftmost match, its groups left in `space`. Allocates nothing once `space` has met a pattern of this size.
  public func match(_ text: UnsafeRawBufferPointer, in space: PatternSpace) -> Bool {
    space.run(self, text, slots: groupCount * 2)
  }

  /// Whether the pattern matches anywhere in the text; groups are not looked for. Allocates nothing once `space` has met a
  /// pattern of this size.
  public func matches(_ text: UnsafeRawBufferPointer, in space: PatternSpace) -> Bool {
    space.run(self, text, slots: 0)
  }

  public static func == (a: BytePattern, b: BytePattern) -> Bool {
    a.text == b.text && a.foldsCase == b.foldsCase
  }
  public func hash(into hasher: inout Hasher) { hasher.combine(text) }
}
