// How the scenarios ended: a line each, JSON, or JUnit's XML.

import ClusterObjects

/// A report; a value.
public struct ConnectivityReport: Sendable, Hashable {
  public enum Outcome: Sendable, Hashable {
    case passed
    case failed(String)
    case skipped(String)

    var word: String {
      switch self {
      case .passed: "passed"
      case .failed: "failed"
      case .skipped: "skipped"
      }
    }
    var reason: String? {
      switch self {
      case .passed: nil
      case .failed(let reason), .skipped(let reason): reason
      }
    }
  }

  public struct Line: Sendable, Hashable {
    public var scenario: ConnectivityScenario
    public var outcome: Outcome
    /// From the pod's creation to its end.
    public var seconds: Double
    public init(_ scenario: ConnectivityScenario, _ outcome: Outcome, seconds: Double) {
      self.scenario = scenario
      self.outcome = outcome
      self.seconds = seconds
    }
  }

  public var lines: [Line]
  public init(_ lines: [Line]) { self.lines = lines }

  public var hasPassed: Bool { !lines.contains { if case .failed = $0.outcome { true } else { false } } }

  /// - Parameter colour: escapes of a terminal.
  public func text(colour: Bool) -> String {
    func paint(_ text: String, _ code: Int) -> String { colour ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text }
    let width = lines.map(\.scenario.title.count).max() ?? 0
    var text = ""
    for line in lines {
      let title = line.scenario.title + String(repeating: " ", count: width - line.scenario.title.count)
      switch line.outcome {
      case .passed: text += "\(paint("√", 32)) \(title)  \(Self.rounded(line.seconds)) s\n"
      case .skipped(let reason): text += "- \(title)  skipped: \(reason)\n"
      case .failed(let reason):
        text += "\(paint("×", 31)) \(title)  CLI0161 \(reason)\n"
        text += String(repeating: " ", count: width + 4) + "→ \(line.scenario.next)\n"
      }
    }
    func count(_ word: String) -> Int { lines.count { $0.outcome.word == word } }
    return text + "\n\(count("passed")) passed, \(count("failed")) failed, \(count("skipped")) skipped\n"
  }

  private static func rounded(_ seconds: Double) -> String { "\((seconds * 10).rounded() / 10)" }

  public var json: JSON {
    [
      "ok": JSON(hasPassed),
      "scenarios": .array(
        lines.map { line in
          var tree: JSON = [
            "name": JSON(line.scenario.name), "title": JSON(line.scenario.title),
            "outcome": JSON(line.outcome.word),
            "milliseconds": JSON(Int(line.seconds * 1000)),
          ]
          if let reason = line.outcome.reason { tree["reason"] = JSON(reason) }
          if case .failed = line.outcome { tree["next"] = JSON(line.scenario.next) }
          return tree
        }),
    ]
  }

  public var junit: String {
    JUnitReport(
      name: "weft test connectivity",
      cases: lines.map { line in
        var test = JUnitReport.Case(line.scenario.title)
        switch line.outcome {
        case .passed: break
        case .failed(let reason): test.failure = reason
        case .skipped(let reason): test.skipped = reason
        }
        test.seconds = line.seconds
        return test
      }
    ).text
  }
}
