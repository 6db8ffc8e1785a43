// The paths of printer columns, scale and selectable fields: `.spec.replicas`, `.status.conditions[?(@.type==
// "Ready")].status`, `.spec.list[*].name`, `.metadata.labels.app\.kubernetes\.io/name`.

/// A compiled JSONPath of kubectl's dialect. Values found are at most `resultsMax`.
public struct JSONPath: Sendable {
  static let resultsMax = 1_000
  static let stepsMax = 64

  enum Step: Sendable {
    case field(String)
    case wildcard
    case recursive
    case range(from: Int?, to: Int?, step: Int)
    case filter(Filter)
    case fields([String])
  }
  struct Filter: Sendable {
    var left: Operand
    var comparison: String
    var right: Operand
  }
  enum Operand: Sendable {
    case path([Step])
    case literal(JSON)
  }
  let steps: [Step]

  public init(_ text: String) throws(JSONPathError) {
    var parser = JSONPathParser(text)
    steps = try parser.parse()
  }

  /// The names of a path of plain fields, such as `spec`, `replicas`; nil for any other.
  public var names: [String]? {
    var names: [String] = []
    for step in steps {
      guard case .field(let name) = step else { return nil }
      names.append(name)
    }
    return names
  }

  /// Every value at the path, in order.
  public func values(in tree: JSON) -> [JSON] { Self.walk(steps[...], [tree]) }

  private static func walk(_ steps: ArraySlice<Step>, _ start: [JSON]) -> [JSON] {
    var values = start
    for step in steps {
      var next: [JSON] = []
      for value in values {
        if next.count > resultsMax { break }
        next += one(step, value)
      }
      values = Array(next.prefix(resultsMax))
    }
    return values
  }

  private static func one(_ step: Step, _ value: JSON) -> [JSON] {
    switch step {
    case .field(let name): return value[name].map { [$0] } ?? []
    case .fields(let names): return names.compactMap { value[$0] }
    case .wildcard:
      if let object = value.object { return object.map(\.value) }
      return value.elements
    case .recursive:
      var all = [value]
      var position = 0
      while position < all.count, all.count < resultsMax {
        all += one(.wildcard, all[position])
        position += 1
      }
      return Array(all.prefix(resultsMax))
    case .range(let from, let to, let step):
      guard let elements = value.array else { return [] }
      let count = elements.count
      func index(_ position: Int) -> Int { max(0, min(count, position < 0 ? position + count : position)) }
      let low = index(from ?? 0)
      let high = index(to ?? count)
      guard low < high else { return [] }
      return stride(from: low, to: high, by: step).map { elements[$0] }
    case .filter(let filter):
      return value.elements.filter { filter.holds($0) }
    }
  }
}

extension JSONPath.Filter {
  func holds(_ element: JSON) -> Bool {
    func value(_ operand: JSONPath.Operand) -> JSON? {
      switch operand {
      case .literal(let value): value
      case .path(let steps): JSONPath(steps: steps).values(in: element).first
      }
    }
    let a = value(left)
    if comparison == "exists" { return a != nil }
    guard let a, let b = value(right) else { return false }
    switch comparison {
    case "==": return a.isSameValue(as: b)
    case "!=": return !a.isSameValue(as: b)
    default: break
    }
    let order: Int
    if let x = a.double, let y = b.double {
      order = x < y ? -1 : x > y ? 1 : 0
    } else if let x = a.string, let y = b.string {
      order = x < y ? -1 : x > y ? 1 : 0
    } else {
      return false
    }
    return switch comparison {
    case "<": order < 0
    case "<=": order <= 0
    case ">": order > 0
    default: order >= 0
    }
  }
}

extension JSONPath {
  init(steps: [Step]) { self.steps = steps }
}

/// What is wrong with a path.
public struct JSONPathError: Error, Sendable, Hashable, CustomStringConvertible {
  public var description: String
}

private struct JSONPathParser {
  private let text: [Character]
  private var position = 0

  init(_ text: String) { self.text = Array(text) }

  private var peek: Character? { position < text.count ? text[position] : nil }
  private func error(_ text: String) -> JSONPathError { JSONPathError(description: text) }

  mutating func parse() throws(JSONPathError) -> [JSONPath.Step] {
    // `{.spec.x}` and `$.spec.x` mean `.spec.x`.
    if peek == "{" {
      guard text.last == "}" else { throw error("unclosed action") }
      var inner = JSONPathParser(String(text[1..<(text.count - 1)]))
      return try inner.parse()
    }
    if peek == "$" || peek == "@" { position += 1 }
    let steps = try steps(until: [])
    guard position == text.count else { throw error("unrecognized character in action: \(text[position])") }
    return steps
  }

  private mutating func steps(until ends: Set<Character>) throws(JSONPathError) -> [JSONPath.Step] {
    var steps: [JSONPath.Step] = []
    while let next = peek, !ends.contains(next) {
      guard steps.count < JSONPath.stepsMax else { throw error("the path is too long") }
      switch next {
      case ".":
        position += 1
        if peek == "." {
          steps.append(.recursive)
          position += 1
        }
        if peek == "*" {
          steps.append(.wildcard)
          position += 1
        } else if peek != "[" {
          let name = name(until: ends)
          if name.isEmpty {
            // A lone dot is the object itself.
            if peek == nil || ends.contains(peek ?? " ") { break }
            throw error("unrecognized character in action: \(String(peek ?? " "))")
          }
          steps.append(.field(name))
        }
      case "[": steps.append(try bracket())
      default: throw error("unrecognized character in action: \(next)")
      }
    }
    return steps
  }

  private mutating func name(until ends: Set<Character>) -> String {
    var name = ""
    while let next = peek {
      if next == "\\", position + 1 < text.count {
        name.append(text[position + 1])
        position += 2
        continue
      }
      if next == "." || next == "[" || next == "]" || next == "}" || ends.contains(next) { break }
      name.append(next)
      position += 1
    }
    return name
  }

  private mutating func bracket() throws(JSONPathError) -> JSONPath.Step {
    position += 1
    skipBlanks()
    switch peek {
    case "?":
      position += 1
      guard peek == "(" else { throw error("unterminated filter") }
      position += 1
      let filter = try filter()
      skipBlanks()
      guard peek == ")" else { throw error("unterminated filter") }
      position += 1
      try close()
      return .filter(filter)
    case "*":
      position += 1
      try close()
      return .wildcard
    case "'", "\"":
      var names = [try quoted()]
      skipBlanks()
      while peek == "," {
        position += 1
        skipBlanks()
        names.append(try quoted())
        skipBlanks()
      }
      try close()
      return names.count == 1 ? .field(names[0]) : .fields(names)
    default:
      let from = number()
      skipBlanks()
      guard peek == ":" else {
        try close()
        guard let from else { throw error("invalid array index") }
        return .range(from: from, to: from == -1 ? nil : from + 1, step: 1)
      }
      position += 1
      let to = number()
      var step = 1
      if peek == ":" {
        position += 1
        step = number() ?? 1
      }
      try close()
      guard step > 0 else { throw error("step must be > 0") }
      return .range(from: from, to: to, step: step)
    }
  }

  private mutating func close() throws(JSONPathError) {
    skipBlanks()
    guard peek == "]" else { throw error("unterminated array") }
    position += 1
  }

  private mutating func skipBlanks() { while peek == " " { position += 1 } }

  private mutating func number() -> Int? {
    skipBlanks()
    var digits = ""
    while let next = peek, next == "-" || next.isASCII && next.isNumber, digits.count < 9 {
      digits.append(next)
      position += 1
    }
    skipBlanks()
    return Int(digits)
  }

  private mutating func quoted() throws(JSONPathError) -> String {
    guard let quote = peek, quote == "'" || quote == "\"" else { throw error("invalid array index") }
    position += 1
    var name = ""
    while let next = peek, next != quote {
      if next == "\\", position + 1 < text.count { position += 1 }
      name.append(text[position])
      position += 1
    }
    guard peek == quote else { throw error("unterminated quoted string") }
    position += 1
    return name
  }

  private mutating func filter() throws(JSONPathError) -> JSONPath.Filter {
    let left = try operand()
    skipBlanks()
    for comparison in ["==", "!=", "<=", ">=", "<", ">"]
    where text[position...].starts(with: comparison) {
      position += comparison.count
      return JSONPath.Filter(left: left, comparison: comparison, right: try operand())
    }
    return JSONPath.Filter(left: left, comparison: "exists", right: .literal(.null))
  }

  private mutating func operand() throws(JSONPathError) -> JSONPath.Operand {
    skipBlanks()
    switch peek {
    case "'", "\"": return .literal(JSON(try quoted()))
    case "@", "$":
      position += 1
      return .path(try steps(until: [" ", "=", "!", "<", ">", ")"]))
    case nil: throw error("unterminated filter")
    default:
      var word = ""
      while let next = peek, next != ")", next != " ", next != "=" {
        word.append(next)
        position += 1
      }
      if let value = try? JSON(parsing: word) { return .literal(value) }
      throw error("unrecognized operand \(word)")
    }
  }
}
