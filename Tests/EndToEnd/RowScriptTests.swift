// Rows of docs/workloads.md on a node with real containers: Rows/rows.script says what each must show.
import Foundation
import Testing

@Suite(.serialized) struct RowScriptTests {
  @Test(.timeLimit(.minutes(8)))
  func `each row of workloads, volumes and autoscaling shows what it promises`()
    throws
  {
    let problems = try KubectlScriptTests.run(
      "kubectl", "1.37", "rows.script", in: Project.root.appending(path: "Tests/EndToEnd/Rows"))
    for problem in problems { Issue.record("\(problem)") }
  }
}
