// Scripts of commands with what they must print:
//
//   # a remark
//   == a section
//   $ COMMAND             run by bash; must end with status 0
//   ~ COMMAND             asked again until it prints what it must, for two minutes at most
//   $1.37 COMMAND         with this version alone
//     text                a line of the output, after those above it, contains this; … stands for anything
//     ! text              no line contains this
//     => 1                the exit status
//     [1.20] text         with this version alone
//
// Standard output and error are one. Blanks count as one.
import Foundation

/// The commands of one version of a program.
struct CommandScript {
  struct Step {
    var section: String
    var line: Int
    var command: String
    var isRepeated: Bool
    var present: [String] = []
    var absent: [String] = []
    var status: Int32 = 0
  }
  struct Malformed: Error { var line: Int }

  private(set) var steps: [Step] = []

  init(_ text: String, version: String) throws {
    var section = ""
    // Nil while the lines belong to a command of another version.
    var step: Step?
    for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let words = line.trimmingCharacters(in: .whitespaces)
      if words.isEmpty || line.hasPrefix("#") { continue }
      if line.hasPrefix("  ") {
        try step?.expect(words, version: version, line: number + 1)
        continue
      }
      if let step { steps.append(step) }
      step = nil
      guard let space = line.firstIndex(of: " ") else { throw Malformed(line: number + 1) }
      let (mark, rest) = (String(line[..<space]), String(line[space...].dropFirst()))
      if mark == "==" {
        section = rest
        continue
      }
      guard let first = mark.first, first == "$" || first == "~", !section.isEmpty else {
        throw Malformed(line: number + 1)
      }
      if mark.count > 1, mark.dropFirst() != version { continue }
      step = Step(section: section, line: number + 1, command: rest, isRepeated: first == "~")
    }
    if let step { steps.append(step) }
  }

  var sections: [String] {
    steps.map(\.section).reduce(into: []) { if $0.last != $1 { $0.append($1) } }
  }
}

extension CommandScript.Step {
  fileprivate mutating func expect(_ words: String, version: String, line: Int) throws {
    var words = words[...]
    if words.hasPrefix("["), let end = words.firstIndex(of: "]") {
      let wanted = words[words.index(after: words.startIndex)..<end]
      if wanted.allSatisfy({ $0.isNumber || $0 == "." }) {
        guard wanted == version else { return }
        words = words[words.index(after: end)...].drop { $0 == " " }
      }
    }
    if words.hasPrefix("=> ") {
      guard let status = Int32(words.dropFirst(3)) else { throw CommandScript.Malformed(line: line) }
      self.status = status
    } else if words.hasPrefix("! ") {
      absent.append(Self.single(words.dropFirst(2)))
    } else {
      present.append(Self.single(words))
    }
  }

  /// What is wrong with an outcome; nil when nothing is.
  func problem(_ output: String, status found: Int32) -> String? {
    let lines = output.split(separator: "\n").map(Self.single)
    var next = 0
    for wanted in present {
      guard let at = lines[next...].firstIndex(where: { Self.contains($0, wanted) }) else {
        return "no line has: \(wanted)"
      }
      next = at + 1
    }
    for unwanted in absent where lines.contains(where: { Self.contains($0, unwanted) }) {
      return "a line has: \(unwanted)"
    }
    return found == status ? nil : "status \(found), not \(status)"
  }

  private static func single(_ text: some StringProtocol) -> String {
    text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  private static func contains(_ line: String, _ pattern: String) -> Bool {
    var rest = line[...]
    for part in pattern.components(separatedBy: "…") where !part.isEmpty {
      guard let range = rest.range(of: part) else { return false }
      rest = rest[range.upperBound...]
    }
    return true
  }
}
