// What `weft policy test` shows: a line for each expectation, and why one does not hold.

import ClusterObjects

/// Results in the order of their file; a value.
public struct PolicyTestReport: Sendable {
  public var results: [PolicyTestResult]
  public init(_ results: [PolicyTestResult]) { self.results = results }

  public var hasPassed: Bool { results.allSatisfy(\.hasPassed) }

  public var text: String {
    results.map { result in
      "\(result.hasPassed ? "ok  " : "FAIL") line \(result.expectation.line): \(result.expectation.text)\n"
        + (result.hasPassed ? "" : "       \(result.reason)\n")
    }.joined() + "\(results.count) expectations, \(results.count { !$0.hasPassed }) failed\n"
  }

  public var json: JSON {
    [
      "expectations": .array(
        results.map {
          [
            "line": JSON($0.expectation.line), "text": JSON($0.expectation.text),
            "passed": .bool($0.hasPassed), "reason": JSON($0.reason),
          ]
        })
    ]
  }
}
