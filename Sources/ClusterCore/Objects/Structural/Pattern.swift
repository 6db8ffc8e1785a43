// Regular expressions of strangers: the `pattern` of a custom resource's schema. RE2's syntax, matched by
// following all alternatives at once, so that time grows with text times program and never with the number of
// ways to match. Bounds: nesting, program size, steps of one match.

/// A compiled regular expression. Finds a match anywhere in a text, as Go's `MatchString` does.
public struct Pattern: Sendable {
  /// Instructions of one program; `a{1000}` repeated in itself would make millions.
  static let programMax = 20_000
  static let depthMax = 200
  /// Instructions looked at for one text.
  public static let stepsMax = 10_000_000

  indirect enum Node {
    case empty
    case set(PatternSet)
    case assertion(Assertion)
    case sequence([Node])
    case either([Node])
    case repeated(Node, least: Int, most: Int?)
  }

  enum Assertion: Sendable {
    case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary
  }

  enum Instruction: Sendable {
    case set(PatternSet)
    case assertion(Assertion)
    case split(Int, Int)
    case jump(Int)
    case match
  }

  let program: [Instruction]

  /// Throws `PatternError` for what is no RE2 expression or past a bound.
  public init(_ text: String) throws(PatternError) {
    var parser = PatternParser(text)
    let node = try parser.parse()
    var compiler = Compiler()
    try compiler.add(node)
    compiler.program.append(.match)
    program = compiler.program
  }

  private struct Compiler {
    var program: [Instruction] = []

    mutating func emit(_ instruction: Instruction) throws(PatternError) {
      guard program.count < Pattern.programMax else { throw PatternError("expression too large") }
      program.append(instruction)
    }

    mutating func add(_ node: Node) throws(PatternError) {
      switch node {
      case .empty: break
      case .set(let set): try emit(.set(set))
      case .assertion(let assertion): try emit(.assertion(assertion))
      case .sequence(let nodes): for node in nodes { try add(node) }
      case .either(let nodes):
        var ends: [Int] = []
        for (position, node) in nodes.enumerated() {
          if position == nodes.count - 1 {
            try add(node)
            break
          }
          let split = program.count
          try emit(.jump(0))
          try add(node)
          ends.append(program.count)
          try emit(.jump(0))
          program[split] = .split(split + 1, program.count)
        }
        for end in ends { program[end] = .jump(program.count) }
      case .repeated(let node, let least, let most):
        for _ in 0..<least {
          let start = program.count
          try add(node)
          // What takes no instruction may be repeated as often as one likes: once is enough.
          if program.count == start { break }
        }
        guard let most else {
          let split = program.count
          try emit(.jump(0))
          try add(node)
          try emit(.jump(split))
          program[split] = .split(split + 1, program.count)
          return
        }
        var splits: [Int] = []
        for _ in least..<max(least, most) {
          splits.append(program.count)
          try emit(.jump(0))
          try add(node)
        }
        for split in splits { program[split] = .split(split + 1, program.count) }
      }
    }
  }

  /// Whether the text holds a match; nil when that would take more than `stepsMax` steps.
  public func matches(_ text: String) -> Bool? {
    var now = Threads(program.count)
    var next = Threads(program.count)
    var steps = 0
    var before: Unicode.Scalar?
    var scalars = text.unicodeScalars.makeIterator()
    var current = scalars.next()
    while true {
      // A match may begin at every position.
      if follow(0, &now, before: before, after: current, &steps) { return true }
      guard let scalar = current else { return false }
      let after = scalars.next()
      for position in now.list {
        steps += 1
        if case .set(let set) = program[position], set.contains(scalar),
          follow(position + 1, &next, before: scalar, after: after, &steps)
        {
          return true
        }
      }
      if steps > Self.stepsMax { return nil }
      swap(&now, &next)
      next.clear()
      before = scalar
      current = after
    }
  }

  /// Adds every instruction that can be reached without reading; true when one of them is the match.
  private func follow(
    _ start: Int, _ threads: inout Threads, before: Unicode.Scalar?, after: Unicode.Scalar?,
    _ steps: inout Int
  ) -> Bool {
    threads.pending.append(start)
    while let position = threads.pending.popLast() {
      guard threads.insert(position) else { continue }
      steps += 1
      switch program[position] {
      case .match:
        threads.pending = []
        return true
      case .jump(let target): threads.pending.append(target)
      case .split(let first, let second):
        threads.pending.append(second)
        threads.pending.append(first)
      case .assertion(let assertion):
        if Self.holds(assertion, before, after) { threads.pending.append(position + 1) }
      case .set: break
      }
    }
    return false
  }

  private static func holds(
    _ assertion: Assertion, _ before: Unicode.Scalar?, _ after: Unicode.Scalar?
  ) -> Bool {
    func isWord(_ scalar: Unicode.Scalar?) -> Bool { scalar.map { PatternSet.word.contains($0) } ?? false }
    return switch assertion {
    case .textStart: before == nil
    case .textEnd: after == nil
    case .lineStart: before == nil || before == "\n"
    case .lineEnd: after == nil || after == "\n"
    case .wordBoundary: isWord(before) != isWord(after)
    case .noWordBoundary: isWord(before) == isWord(after)
    }
  }

  /// Instructions that wait for the next character, each once.
  private struct Threads {
    var list: [Int] = []
    var pending: [Int] = []
    private var mark: [UInt32]
    private var round: UInt32 = 1

    init(_ size: Int) { mark = Array(repeating: 0, count: size) }

    mutating func insert(_ position: Int) -> Bool {
      if mark[position] == round { return false }
      mark[position] = round
      list.append(position)
      return true
    }

    mutating func clear() {
      list.removeAll(keepingCapacity: true)
      round += 1
    }
  }
}

/// What is wrong with an expression.
public struct PatternError: Error, Sendable, Hashable, CustomStringConvertible {
  public var description: String
  init(_ text: String) { description = text }
}

/// A set of characters.
struct PatternSet: Sendable {
  var ranges: [ClosedRange<UInt32>] = []
  /// General categories such as `Lu`, or their first letter.
  var categories: [String] = []
  /// Sets that are complements themselves (`\D` within brackets).
  var others: [PatternSet] = []
  var isNegated = false
  var foldsCase = false

  static let any = PatternSet(ranges: [0...0x10ffff])
  static let anyButNewline = PatternSet(ranges: [0...9, 11...0x10ffff])
  static let digit = PatternSet(ranges: [48...57])
  static let word = PatternSet(ranges: [48...57, 65...90, 95...95, 97...122])
  static let blank = PatternSet(ranges: [9...10, 12...13, 32...32])

  var negated: PatternSet {
    var set = self
    set.isNegated.toggle()
    return set
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    var isIn = holds(scalar)
    if !isIn, foldsCase { isIn = Self.folds(scalar).contains { holds($0) } }
    return isIn != isNegated
  }

  private func holds(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    for range in ranges where range.contains(value) { return true }
    for set in others where set.contains(scalar) { return true }
    if categories.isEmpty { return false }
    let category = Self.category(scalar)
    return categories.contains { category == $0 || category.hasPrefix($0) }
  }

  /// The other cases of a letter.
  private static func folds(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    let value = scalar.value
    if value < 128 {
      guard let other = Unicode.Scalar(value ^ 0x20) else { return [] }
      return (65...90).contains(value & ~0x20) ? [other] : []
    }
    let properties = scalar.properties
    return [properties.lowercaseMapping, properties.uppercaseMapping].compactMap { text in
      let scalars = text.unicodeScalars
      return scalars.count == 1 && scalars.first != scalar ? scalars.first : nil
    }
  }

  private static func category(_ scalar: Unicode.Scalar) -> String {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter: "Lu"
    case .lowercaseLetter: "Ll"
    case .titlecaseLetter: "Lt"
    case .modifierLetter: "Lm"
    case .otherLetter: "Lo"
    case .nonspacingMark: "Mn"
    case .spacingMark: "Mc"
    case .enclosingMark: "Me"
    case .decimalNumber: "Nd"
    case .letterNumber: "Nl"
    case .otherNumber: "No"
    case .connectorPunctuation: "Pc"
    case .dashPunctuation: "Pd"
    case .openPunctuation: "Ps"
    case .closePunctuation: "Pe"
    case .initialPunctuation: "Pi"
    case .finalPunctuation: "Pf"
    case .otherPunctuation: "Po"
    case .mathSymbol: "Sm"
    case .currencySymbol: "Sc"
    case .modifierSymbol: "Sk"
    case .otherSymbol: "So"
    case .spaceSeparator: "Zs"
    case .lineSeparator: "Zl"
    case .paragraphSeparator: "Zp"
    case .control: "Cc"
    case .format: "Cf"
    case .surrogate: "Cs"
    case .privateUse: "Co"
    case .unassigned: "Cn"
    @unknown default: "Cn"
    }
  }
}
