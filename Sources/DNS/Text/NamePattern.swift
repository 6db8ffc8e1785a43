// Regular expressions as Corefiles write them (RE2's syntax), compiled to a small machine. Matching takes time linear in
// text times pattern, whatever the pattern: names come from strangers, and a backtracking engine would be theirs to stall.
// Unlike the patterns of custom resources these are matched to octets and say where their groups are.

/// Why a pattern cannot be read.
struct NamePatternError: Error, Hashable, CustomStringConvertible {
  var description: String
}

/// A compiled pattern. Works on octets; capitals count unless `(?i)` begins the pattern.
struct NamePattern: Sendable, Hashable {
  /// Longer patterns are refused, and so are those that grow by repetition beyond it.
  static let stepsMax = 4096

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
  /// Group numbers by name.
  let names: [String: Int]
  let groupCount: Int
  let text: String

  init(_ text: String) throws(NamePatternError) {
    var parser = NamePatternParser(text)
    let node = try parser.parse()
    self.text = text
    names = parser.names
    groupCount = parser.groups + 1
    try emit(.group(0, node))
    steps.append(.match)
  }

  private mutating func emit(_ node: Node) throws(NamePatternError) {
    guard steps.count < Self.stepsMax else { throw NamePatternError(description: "the pattern is too large") }
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
  func match(_ text: [UInt8]) -> [Range<Int>?]? {
    var machine = Machine(pattern: self)
    return machine.run(text)
  }

  func matches(_ text: [UInt8]) -> Bool { match(text) != nil }

  /// Threads of one run in order of preference; each step holds at most one.
  private struct Machine {
    let pattern: NamePattern
    var best: [Int]?

    mutating func run(_ text: [UInt8]) -> [Range<Int>?]? {
      var threads: [(step: Int, saved: [Int])] = []
      let none = [Int](repeating: -1, count: pattern.groupCount * 2)
      for at in 0...text.count {
        var seen = [Bool](repeating: false, count: pattern.steps.count)
        var current: [(step: Int, saved: [Int])] = []
        for thread in threads { add(thread.step, thread.saved, at, text.count, &current, &seen) }
        if best == nil { add(0, none, at, text.count, &current, &seen) }
        threads = []
        for thread in current {
          switch pattern.steps[thread.step] {
          case .match:
            best = thread.saved
          case .set(let set):
            if at < text.count, set.contains(text[at]) { threads.append((thread.step + 1, thread.saved)) }
            continue
          default: continue
          }
          // What comes after a match is less wanted than it.
          break
        }
        if threads.isEmpty, best != nil { break }
      }
      return best.map { saved in
        (0..<pattern.groupCount).map { group in
          saved[group * 2] >= 0 && saved[group * 2 + 1] >= saved[group * 2]
            ? saved[group * 2]..<saved[group * 2 + 1] : nil
        }
      }
    }

    /// Follows steps that take no octet, with a stack of its own: patterns nest, the thread's stack must not.
    private func add(
      _ step: Int, _ saved: [Int], _ at: Int, _ count: Int, _ list: inout [(step: Int, saved: [Int])],
      _ seen: inout [Bool]
    ) {
      var stack = [(step: step, saved: saved)]
      while let (step, saved) = stack.popLast() {
        if seen[step] { continue }
        seen[step] = true
        switch pattern.steps[step] {
        case .jump(let next): stack.append((next, saved))
        case .split(let first, let second):
          stack.append((second, saved))
          stack.append((first, saved))
        case .save(let slot):
          var saved = saved
          saved[slot] = at
          stack.append((step + 1, saved))
        case .start: if at == 0 { stack.append((step + 1, saved)) }
        case .end: if at == count { stack.append((step + 1, saved)) }
        case .set, .match: list.append((step, saved))
        }
      }
    }
  }
}
