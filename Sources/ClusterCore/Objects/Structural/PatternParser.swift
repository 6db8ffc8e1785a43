// RE2's syntax to a tree: alternatives, repetitions, groups with flags, classes, escapes. No back references and
// no look-around, which RE2 has not either.

struct PatternParser {
  private struct Flags {
    var foldsCase = false
    var isMultiline = false
    var dotTakesNewline = false
  }
  private let text: [Unicode.Scalar]
  private var position = 0
  private var flags = Flags()
  /// RE2's own bound on counts.
  private static let countMax = 1000

  init(_ text: String) { self.text = Array(text.unicodeScalars) }

  mutating func parse() throws(PatternError) -> Pattern.Node {
    let node = try alternatives(depth: 0)
    guard position == text.count else { throw PatternError("unexpected ): `\(source)`") }
    return node
  }

  private var source: String { String(String.UnicodeScalarView(text)) }
  private var peek: Unicode.Scalar? { position < text.count ? text[position] : nil }
  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard peek == scalar else { return false }
    position += 1
    return true
  }

  private mutating func alternatives(depth: Int) throws(PatternError) -> Pattern.Node {
    guard depth < Pattern.depthMax else { throw PatternError("expression nests too deeply") }
    var branches = [try sequence(depth: depth)]
    while take("|") { branches.append(try sequence(depth: depth)) }
    return branches.count == 1 ? branches[0] : .either(branches)
  }

  private mutating func sequence(depth: Int) throws(PatternError) -> Pattern.Node {
    var nodes: [Pattern.Node] = []
    while let scalar = peek, scalar != "|", scalar != ")" {
      let atom = try atom(depth: depth)
      nodes.append(try repetition(of: atom))
    }
    return nodes.count == 1 ? nodes[0] : nodes.isEmpty ? .empty : .sequence(nodes)
  }

  private mutating func repetition(of atom: Pattern.Node) throws(PatternError) -> Pattern.Node {
    var node = atom
    var isRepeated = false
    while let scalar = peek {
      let least: Int
      let most: Int?
      switch scalar {
      case "*": (least, most) = (0, nil)
      case "+": (least, most) = (1, nil)
      case "?": (least, most) = (0, 1)
      case "{":
        guard let (count, end) = counts() else { return node }
        guard count.least <= Self.countMax, (count.most ?? 0) <= Self.countMax,
          count.most.map({ $0 >= count.least }) ?? true
        else { throw PatternError("invalid repeat count") }
        (least, most) = count
        position = end - 1
      default: return node
      }
      // `a**` is refused; `a*?` asks for the shortest match, which changes nothing here.
      guard !isRepeated else { throw PatternError("invalid nested repetition operator") }
      position += 1
      _ = take("?")
      isRepeated = true
      node = .repeated(node, least: least, most: most)
    }
    return node
  }

  /// `{n}`, `{n,}` or `{n,m}` from here, and where it ends; nil when the brace is a brace.
  private func counts() -> ((least: Int, most: Int?), Int)? {
    var at = position + 1
    func number() -> (Int?, Int) {
      var value: Int?
      var index = at
      while index < text.count, let digit = Self.digit(text[index]), index - at < 6 {
        value = (value ?? 0) * 10 + digit
        index += 1
      }
      return (value, index)
    }
    let (first, next) = number()
    guard let first, next < text.count else { return nil }
    at = next
    if text[at] == "}" { return ((first, first), at + 1) }
    guard text[at] == "," else { return nil }
    at += 1
    guard at < text.count else { return nil }
    if text[at] == "}" { return ((first, nil), at + 1) }
    let (second, end) = number()
    guard let second, end < text.count, text[end] == "}" else { return nil }
    return ((first, second), end + 1)
  }

  private static func digit(_ scalar: Unicode.Scalar) -> Int? {
    (48...57).contains(scalar.value) ? Int(scalar.value) - 48 : nil
  }

  private mutating func atom(depth: Int) throws(PatternError) -> Pattern.Node {
    let scalar = text[position]
    position += 1
    switch scalar {
    case "(": return try group(depth: depth)
    case "[": return .set(try bracket())
    case ".": return .set(flags.dotTakesNewline ? .any : .anyButNewline)
    case "^": return .assertion(flags.isMultiline ? .lineStart : .textStart)
    case "$": return .assertion(flags.isMultiline ? .lineEnd : .textEnd)
    case "*", "+", "?": throw PatternError("missing argument to repetition operator: `\(scalar)`")
    case "\\": return try escape()
    default: return literal(scalar)
    }
  }

  private func literal(_ scalar: Unicode.Scalar) -> Pattern.Node {
    .set(PatternSet(ranges: [scalar.value...scalar.value], foldsCase: flags.foldsCase))
  }

  private mutating func group(depth: Int) throws(PatternError) -> Pattern.Node {
    let outer = flags
    if take("?") {
      if take("P") || peek == "<" {
        guard take("<") else { throw PatternError("invalid named capture") }
        while let scalar = peek, scalar != ">" {
          guard PatternSet.word.contains(scalar) else { throw PatternError("invalid named capture") }
          position += 1
        }
        guard take(">") else { throw PatternError("invalid named capture") }
      } else {
        var isOn = true
        flagging: while true {
          guard let scalar = peek else { throw PatternError("missing argument to flags") }
          position += 1
          switch scalar {
          case "i": flags.foldsCase = isOn
          case "m": flags.isMultiline = isOn
          case "s": flags.dotTakesNewline = isOn
          case "U": break
          case "-" where isOn: isOn = false
          // Flags alone hold to the end of the group around them.
          case ")": return .empty
          case ":": break flagging
          default: throw PatternError("invalid or unsupported Perl syntax: `(?\(scalar)`")
          }
        }
      }
    }
    let node = try alternatives(depth: depth + 1)
    guard take(")") else { throw PatternError("missing closing ): `\(source)`") }
    flags = outer
    return node
  }

  private mutating func escape() throws(PatternError) -> Pattern.Node {
    guard let scalar = peek else { throw PatternError("trailing backslash at end of expression") }
    switch scalar {
    case "A", "z", "b", "B":
      position += 1
      return .assertion(
        scalar == "A"
          ? .textStart : scalar == "z" ? .textEnd : scalar == "b" ? .wordBoundary : .noWordBoundary)
    case "Q":
      position += 1
      var nodes: [Pattern.Node] = []
      while let next = peek {
        if next == "\\", position + 1 < text.count, text[position + 1] == "E" {
          position += 2
          break
        }
        nodes.append(literal(next))
        position += 1
      }
      return .sequence(nodes)
    default: break
    }
    if var set = try classEscape() {
      set.foldsCase = flags.foldsCase
      return .set(set)
    }
    return literal(try scalarEscape())
  }

  /// `\d \w \s \pL` and their complements, after the backslash; nil for anything else.
  private mutating func classEscape() throws(PatternError) -> PatternSet? {
    guard let scalar = peek else { throw PatternError("trailing backslash at end of expression") }
    let set: PatternSet
    switch scalar {
    case "d": set = .digit
    case "D": set = PatternSet.digit.negated
    case "w": set = .word
    case "W": set = PatternSet.word.negated
    case "s": set = .blank
    case "S": set = PatternSet.blank.negated
    case "p", "P":
      position += 1
      var name = ""
      if take("{") {
        while let next = peek, next != "}", name.count < 32 {
          name.unicodeScalars.append(next)
          position += 1
        }
        guard take("}") else { throw PatternError("invalid character class range: `\\p{\(name)`") }
      } else if let next = peek {
        name.unicodeScalars.append(next)
        position += 1
      }
      var isNegated = scalar == "P"
      if name.first == "^" {
        isNegated.toggle()
        name.removeFirst()
      }
      if name == "Any" { return isNegated ? PatternSet.any.negated : .any }
      guard Self.categories.contains(name) else {
        throw PatternError("invalid character class range: `\\p{\(name)}`")
      }
      return PatternSet(categories: [name], isNegated: isNegated)
    default: return nil
    }
    position += 1
    return set
  }

  private static let categories: Set<String> = [
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Co", "Cs",
  ]

  private mutating func scalarEscape() throws(PatternError) -> Unicode.Scalar {
    let scalar = text[position]
    position += 1
    switch scalar {
    case "n": return "\n"
    case "r": return "\r"
    case "t": return "\t"
    case "f": return "\u{0c}"
    case "v": return "\u{0b}"
    case "a": return "\u{07}"
    case "x":
      var digits = ""
      if take("{") {
        while let next = peek, next != "}", digits.count < 7 {
          digits.unicodeScalars.append(next)
          position += 1
        }
        guard take("}") else { throw PatternError("invalid escape sequence: `\\x`") }
      } else {
        for _ in 0..<2 {
          guard let next = peek else { break }
          digits.unicodeScalars.append(next)
          position += 1
        }
      }
      guard let value = UInt32(digits, radix: 16), let made = Unicode.Scalar(value) else {
        throw PatternError("invalid escape sequence: `\\x\(digits)`")
      }
      return made
    case "0"..."7":
      var value = scalar.value - 48
      for _ in 0..<2 {
        guard scalar == "0" || value < 8, let next = peek, (48...55).contains(next.value) else { break }
        value = value * 8 + next.value - 48
        position += 1
      }
      // `\1` would be a back reference.
      guard scalar == "0" || value >= 8, let made = Unicode.Scalar(value) else {
        throw PatternError("invalid escape sequence: `\\\(scalar)`")
      }
      return made
    default:
      guard scalar.value < 128, !PatternSet.word.contains(scalar) || scalar == "_" else {
        throw PatternError("invalid escape sequence: `\\\(scalar)`")
      }
      return scalar
    }
  }

  private mutating func bracket() throws(PatternError) -> PatternSet {
    var set = PatternSet(foldsCase: flags.foldsCase)
    if take("^") { set.isNegated = true }
    var isFirst = true
    while true {
      guard let scalar = peek else { throw PatternError("missing closing ]: `\(source)`") }
      if scalar == "]", !isFirst {
        position += 1
        return set
      }
      isFirst = false
      if scalar == "[", position + 1 < text.count, text[position + 1] == ":", let named = try named() {
        set.others.append(named)
        continue
      }
      position += 1
      var low = scalar
      if scalar == "\\" {
        if let other = try classEscape() {
          set.others.append(other)
          continue
        }
        low = try scalarEscape()
      }
      var high = low
      if peek == "-", position + 1 < text.count, text[position + 1] != "]" {
        position += 1
        high = text[position]
        position += 1
        if high == "\\" {
          guard position < text.count else { throw PatternError("missing closing ]: `\(source)`") }
          high = try scalarEscape()
        }
      }
      guard low <= high else { throw PatternError("invalid character class range: `\(low)-\(high)`") }
      set.ranges.append(low.value...high.value)
    }
  }

  /// `[:alpha:]` and friends within brackets.
  private mutating func named() throws(PatternError) -> PatternSet? {
    var at = position + 2
    var name = ""
    while at < text.count, text[at] != ":", name.count < 16 {
      name.unicodeScalars.append(text[at])
      at += 1
    }
    guard at + 1 < text.count, text[at] == ":", text[at + 1] == "]" else { return nil }
    var isNegated = false
    if name.first == "^" {
      isNegated = true
      name.removeFirst()
    }
    guard let ranges = Self.names[name] else {
      throw PatternError("invalid character class range: `[:\(name):]`")
    }
    position = at + 2
    return PatternSet(ranges: ranges, isNegated: isNegated)
  }

  private static let names: [String: [ClosedRange<UInt32>]] = [
    "alnum": [48...57, 65...90, 97...122], "alpha": [65...90, 97...122], "ascii": [0...127],
    "blank": [9...9, 32...32], "cntrl": [0...31, 127...127], "digit": [48...57], "graph": [33...126],
    "lower": [97...122], "print": [32...126], "punct": [33...47, 58...64, 91...96, 123...126],
    "space": [9...13, 32...32], "upper": [65...90], "word": [48...57, 65...90, 95...95, 97...122],
    "xdigit": [48...57, 65...70, 97...102],
  ]
}
