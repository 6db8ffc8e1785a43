// Results as JUnit's XML, which build servers read.

/// A test suite.
public struct JUnitReport: Sendable {
  public struct Case: Sendable {
    public var name: String
    /// Why it failed, and why it was not tried; nil for both: it passed.
    public var failure: String?
    public var skipped: String?
    public var seconds: Double?
    public init(_ name: String) { self.name = name }
  }

  public var name: String
  public var cases: [Case]
  public init(name: String, cases: [Case]) {
    self.name = name
    self.cases = cases
  }

  /// One case a line of a file of expectations.
  public init(name: String, results: [PolicyTestResult]) {
    self.init(
      name: name,
      cases: results.map { result in
        var test = Case("line \(result.expectation.line): \(result.expectation.text)")
        if !result.hasPassed { test.failure = result.reason }
        return test
      })
  }

  public var text: String {
    let failures = cases.count { $0.failure != nil }
    let skipped = cases.count { $0.skipped != nil }
    let suite =
      #"<testsuites><testsuite name="\#(Self.escaped(name))" tests="\#(cases.count)" failures="\#(failures)""#
      + (skipped > 0 ? #" skipped="\#(skipped)">"# : ">")
    var lines = [#"<?xml version="1.0" encoding="UTF-8"?>"#, suite]
    for test in cases {
      let time = test.seconds.map { #" time="\#(($0 * 1000).rounded() / 1000)""# } ?? ""
      let begin =
        #"<testcase classname="\#(Self.escaped(name))" name="\#(Self.escaped(test.name))"\#(time)"#
      if let reason = test.failure {
        lines.append(#"\#(begin)><failure message="\#(Self.escaped(reason))"/></testcase>"#)
      } else if let reason = test.skipped {
        lines.append(#"\#(begin)><skipped message="\#(Self.escaped(reason))"/></testcase>"#)
      } else {
        lines.append("\(begin)/>")
      }
    }
    lines.append("</testsuite></testsuites>")
    return lines.joined(separator: "\n") + "\n"
  }

  /// For an attribute's value. What XML 1.0 cannot hold is left out.
  static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "\t", "\n", "\r": result += "&#\(scalar.value);"
      default:
        if scalar.value >= 0x20, scalar.value < 0xfffe { result.unicodeScalars.append(scalar) }
      }
    }
    return result
  }
}
