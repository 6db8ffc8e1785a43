// Results as JUnit's XML, which build servers read.

/// A test suite: one case a line of the file.
public struct JUnitReport: Sendable {
  public var name: String
  public var results: [PolicyTestResult]
  public init(name: String, results: [PolicyTestResult]) {
    self.name = name
    self.results = results
  }

  public var text: String {
    let failures = results.count { !$0.hasPassed }
    var lines = [
      #"<?xml version="1.0" encoding="UTF-8"?>"#,
      #"<testsuites><testsuite name="\#(Self.escaped(name))" tests="\#(results.count)" failures="\#(failures)">"#,
    ]
    for result in results {
      let test =
        #"<testcase classname="\#(Self.escaped(name))" name="line \#(result.expectation.line): "#
        + #"\#(Self.escaped(result.expectation.text))""#
      lines.append(
        result.hasPassed
          ? "\(test)/>" : #"\#(test)><failure message="\#(Self.escaped(result.reason))"/></testcase>"#)
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
