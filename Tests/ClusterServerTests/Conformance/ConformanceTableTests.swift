// docs/conformance.md and the tests it names are held together: neither changes without the other.

import Testing

private struct Row {
  var section: String
  var name: String
  var state: String
  var suite: String
  var test: String
}

private let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 }
private let root = folder.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 }

private func rows() -> [Row] {
  var rows: [Row] = []
  var section = ""
  for line in Program.read(root + "/docs/conformance.md").split(separator: "\n") {
    if line.hasPrefix("## ") { section = String(line.dropFirst(3)) }
    let cells = line.split(separator: "|").map { $0.drop { $0 == " " } }.map { String($0.trimmingSpaces) }
    guard line.hasPrefix("| "), cells.count == 3, cells[0] != "case" else { continue }
    let shown = cells[2].split(separator: "`", maxSplits: 1).map(String.init)
    rows.append(
      Row(
        section: section, name: cells[0], state: cells[1], suite: shown.first ?? "",
        test: String(shown.last?.dropFirst(2) ?? "")))
  }
  return rows
}

extension Substring {
  fileprivate var trimmingSpaces: Substring {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }
}

@Suite(.timeLimit(.minutes(10))) struct ConformanceTableTests {
  @Test func `the table has upstream's ninety-three cases, each once`() {
    let rows = rows()
    #expect(rows.count == 93)
    #expect(Set(rows.map { $0.section + $0.name }).count == 93)
  }

  @Test func `every row names a test that exists, and says how it stands`() {
    for row in rows() {
      let files = ["\(folder)/Conformance/\(row.suite).swift", "\(folder)/\(row.suite).swift"]
      let text = files.map(Program.read).first { !$0.isEmpty } ?? ""
      #expect(text.contains("`\(row.test)`("), "\(row.suite) has no test named: \(row.test)")
      #expect(row.state == "passes" || row.state.hasPrefix("needs CEL: "), "\(row.name): \(row.state)")
    }
  }

  @Test func `every case of this folder is in the table`() async throws {
    let shown = Set(rows().map { "\($0.suite) \($0.test)" })
    let listing = try await Program.run("/bin/ls", ["\(folder)/Conformance"])
    let suites = listing.output.split(separator: "\n").filter { $0.hasSuffix("Conformance.swift") }
    #expect(suites.count > 8)
    for file in suites {
      let suite = file.dropLast(".swift".count)
      let text = Program.read("\(folder)/Conformance/\(file)")
      for part in text.split(separator: "@Test").dropFirst() {
        let names = part.split(separator: "`", maxSplits: 2)
        guard names.count == 3 else { continue }
        #expect(shown.contains("\(suite) \(names[1])"), "not in the table: \(suite): \(names[1])")
      }
    }
  }

  @Test func `the sum on the page is that of its rows`() {
    let rows = rows()
    let passing = rows.count { $0.state == "passes" }
    let page = Program.read(root + "/docs/conformance.md")
    #expect(page.contains("**\(passing) pass, \(rows.count - passing) need CEL.**"))
  }
}
