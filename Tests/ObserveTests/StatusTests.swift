// What `weft status` prints: its table and its JSON, and what it makes of a node's answer.

import ClusterObjects
import Testing

@testable import Observe

private let parts = [
  PartStatus("API server", version: "v1.37.0+weft", text: "ready"),
  PartStatus("node agent", node: "n1", version: "v1.37.0+weft", text: "ready"),
  PartStatus(
    "rules", node: "n1", version: "0.1.0", behindMilliseconds: 0, commitAgeMilliseconds: 12_300, drops: 0,
    text: "in force as planned, 4 operations last"),
  PartStatus(
    "rules", node: "n2", .failed, version: "0.1.0", behindMilliseconds: 7_000, commitAgeMilliseconds: 125_000,
    drops: 3, text: "the last change is not in force: EBUSY", next: "weft diff"),
  PartStatus("ingress", node: "n1", .warning, version: "0.1.0", text: "was started anew 2 times"),
]

@Suite struct StatusTests {
  @Test func `the table of parts`() {
    let report = StatusReport(
      parts: parts, objects: [.init("services", 4), .init("pods", 7)], leftOut: ["Service demo/x: no port"])
    #expect(
      report.text(colour: false) == """
             PART         NODE   VERSION        BEHIND   LAST COMMIT   DROPS
        ok   API server   -      v1.37.0+weft   -        -             -       ready
        ok   node agent   n1     v1.37.0+weft   -        -             -       ready
        ok   rules        n1     0.1.0          0ms      12s ago       0       in force as planned, 4 operations last
        !!   rules        n2     0.1.0          7s       2m ago        3       the last change is not in force: EBUSY
                                                                               → weft diff
        !    ingress      n1     0.1.0          -        -             -       was started anew 2 times

        objects    4 services, 7 pods
        left out   1 objects
                   Service demo/x: no port

        """, "\(report.text(colour: false))")
    #expect(!report.isWell)
    let coloured = report.text(colour: true)
    #expect(
      coloured.contains("\u{1b}[31m!!\u{1b}[0m   rules") && coloured.contains("\u{1b}[32mok\u{1b}[0m   API"))
    #expect(coloured.contains("\u{1b}[33m! \u{1b}[0m   ingress"))
  }

  @Test func `a warning leaves all well, an object that is left out does not`() {
    #expect(StatusReport(parts: [parts[0], parts[4]]).isWell)
    #expect(!StatusReport(parts: [parts[0]], leftOut: ["Service demo/x: no port"]).isWell)
    #expect(StatusReport(parts: [parts[0]]).text(colour: false).hasSuffix("left out   nothing\n"))
  }

  @Test func `of many rows those that are not well come first`() {
    let many = (0..<300).map { PartStatus("rules", node: "n\($0)", $0 == 299 ? .failed : .ok, text: "x") }
    let lines = StatusReport(parts: many).text(colour: false).split(separator: "\n")
    #expect(lines[1].hasPrefix("!!   rules   n299") && lines.contains("and 100 more: -o json"))
    #expect(StatusReport(parts: many).json["parts"]?.elements.count == 300)
  }

  @Test(arguments: [
    (0, "0ms"), (999, "999ms"), (1000, "1s"), (119_999, "119s"), (120_000, "2m"), (7_200_000, "2h"),
    (172_800_000, "2d"),
  ])
  func `times are short`(milliseconds: Int64, text: String) {
    #expect(StatusReport.span(milliseconds) == text)
  }

  @Test func `a node's answer survives the way, and cannot speak to the terminal`() throws {
    let status = NodeStatus(node: "n1", parts: Array(parts[2...3]), leftOut: ["Service demo/x: no port"])
    #expect(NodeStatus(try JSON(parsing: status.json.bytes)) == status)
    let hostile: JSON = [
      "node": "n1\u{1b}[2J",
      "parts": [
        [
          "part": "rules\u{7}", "state": "ok", "text": JSON(String(repeating: "x", count: 9000)), "drops": -1,
        ],
        ["part": "dns", "state": "perhaps"], 3,
        ["part": "flows", "state": "ok", "behindMilliseconds": 9_223_372_036_854_775_807, "text": ""],
      ],
    ]
    let read = try #require(NodeStatus(hostile))
    #expect(read.node == "n1[2J" && read.parts.map(\.name) == ["rules", "flows"])
    #expect(read.parts[0].text.count == PartStatus.textMax && read.parts[0].drops == nil)
    #expect(read.parts[1].behindMilliseconds == nil)
    #expect(NodeStatus(["node": "n1"]) == nil)
  }

  @Test func `a node's parts are items of a check`() {
    let category = NodeStatus(node: "n2", parts: [parts[3]]).category
    #expect(
      category.items == [
        .failed("rules", "CLI0170", "the last change is not in force: EBUSY", next: "weft diff")
      ])
  }
}
