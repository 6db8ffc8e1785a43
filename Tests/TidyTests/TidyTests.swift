// The house rules as a test. Each failure names the file, the line and what to write instead.
import Foundation
import Testing

/// A Swift source file of the project, by its path from the root.
struct SourceFile {
  var path: String
  var lines: [Substring]
  var isGenerated: Bool { path.hasSuffix("+Generated.swift") || path.contains("/Generated/") }
  var isSource: Bool { path.hasPrefix("Sources/") }
}

let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

let files: [SourceFile] = {
  var found: [SourceFile] = []
  for folder in ["Sources", "Tests"] {
    let walker = FileManager.default.enumerator(atPath: root.appending(path: folder).path())
    while let name = walker?.nextObject() as? String {
      guard name.hasSuffix(".swift"),
        let text = try? String(contentsOf: root.appending(path: "\(folder)/\(name)"), encoding: .utf8)
      else { continue }
      found.append(
        SourceFile(
          path: "\(folder)/\(name)", lines: text.split(separator: "\n", omittingEmptySubsequences: false)))
    }
  }
  return found.sorted { $0.path < $1.path }
}()

private let ownPath = "Tests/TidyTests/"

@Test func `the tree is found`() {
  #expect(files.count > 50)
}

@Test(arguments: [
  // Each of these pulls ICU into the binary: 40 MB.
  ("DateFormatter", "Timestamp in Diagnostics"), ("String(format:", "string interpolation"),
  ("NumberFormatter", "string interpolation"), ("NSRegularExpression", "a parser of ours"),
])
func `no API that pulls ICU into the binary`(banned: String, instead: String) {
  for file in files where file.isSource {
    for (number, line) in file.lines.enumerated() where line.contains(banned) {
      Issue.record("\(file.path):\(number + 1): \(banned) is banned; use \(instead)")
    }
  }
}

@Test func `sources import FoundationEssentials at most, and only where they may`() {
  let may = ["ClusterCore/Server", "ClusterCore/Client", "ClusterCore/Node", "ClusterCore/Etcd", "weft/"]
  for file in files where file.isSource && !file.isGenerated {
    for (number, line) in file.lines.enumerated() where line.contains("import Foundation") {
      let isEssentials = line.contains("FoundationEssentials")
      if !isEssentials || !may.contains(where: { file.path.hasPrefix("Sources/\($0)") }) {
        Issue.record("\(file.path):\(number + 1): Foundation is banned here")
      }
    }
  }
}

@Test func `nothing that traps or hides an error is left in sources`() {
  for file in files where file.isSource && !file.isGenerated {
    for (number, line) in file.lines.enumerated() {
      for banned in ["try!", "fatalError(", "as! "] where line.contains(banned) {
        let code = line.prefix { $0 != "/" }
        if code.contains(banned) {
          Issue.record("\(file.path):\(number + 1): \(banned) traps; throw or return instead")
        }
      }
    }
  }
}

@Test func `no marker is left over`() {
  let markers = ["TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK"]
  for file in files where !file.path.hasPrefix(ownPath) && !file.isGenerated {
    for (number, line) in file.lines.enumerated() {
      for marker in markers where line.contains(marker) {
        Issue.record("\(file.path):\(number + 1): \(marker) left over; do it, or file an issue")
      }
    }
  }
}

@Test func `no test is switched off`() {
  for file in files where !file.isSource && !file.path.hasPrefix(ownPath) {
    for (number, line) in file.lines.enumerated() {
      for banned in [".disabled(", "XCTSkip", "withKnownIssue"] where line.contains(banned) {
        Issue.record("\(file.path):\(number + 1): \(banned) hides a test")
      }
    }
  }
}

@Test func `every file opens with a sentence of purpose`() {
  for file in files where file.isSource && !file.isGenerated {
    if file.lines.first?.hasPrefix("//") != true {
      Issue.record("\(file.path): opens without a sentence of purpose")
    }
  }
}

@Test func `every target has a README`() throws {
  let manifest = try String(contentsOf: root.appending(path: "Package.swift"), encoding: .utf8)
  let paths = manifest.matches(of: /path: "(Sources\/[A-Za-z0-9\/-]+)"/).map { String($0.output.1) }
  #expect(paths.count > 15)
  for path in paths
  where !FileManager.default.fileExists(atPath: root.appending(path: "\(path)/README.md").path()) {
    Issue.record("\(path): has no README.md")
  }
}

@Test func `files stay short enough to read`() {
  for file in files where file.isSource && !file.isGenerated && file.lines.count > 500 {
    // Shown rather than refused up to 800 lines: look for the second idea in it.
    print("\(file.path): \(file.lines.count) lines")
    if file.lines.count > 800 { Issue.record("\(file.path): \(file.lines.count) lines; move walls") }
  }
}

/// Which targets a target must not see, whatever Package.swift says.
@Test(arguments: [
  ("Sources/Kernel/", ["ClusterObjects", "ClusterView", "ClusterClient", "Proxy", "Policy", "Reactor"]),
  ("Sources/Reactor/", ["ClusterObjects", "ClusterView", "ClusterClient", "Ruleset", "KernelNetlink"]),
  ("Sources/Proxy/", ["Policy", "DNS", "Ingress", "ClusterServer", "ClusterClient", "Observe"]),
  ("Sources/Policy/", ["Proxy", "DNS", "Ingress", "ClusterServer", "ClusterClient", "Observe"]),
  (
    "Sources/DNS/",
    ["Proxy", "Policy", "Ingress", "ClusterServer", "ClusterClient", "Observe", "KernelNftables"]
  ),
  (
    "Sources/Ingress/",
    ["Proxy", "Policy", "DNS", "ClusterServer", "ClusterClient", "Observe", "KernelNftables"]
  ),
  ("Sources/CNI/", ["ClusterObjects", "ClusterView", "Diagnostics", "Logging", "Glibc.Foundation"]),
  ("Sources/ClusterCore/Objects/", ["ClusterStore", "ClusterClient", "ClusterServer", "NIOCore", "Glibc"]),
  ("Sources/ClusterCore/Store/", ["ClusterServer", "ClusterClient", "ClusterView"]),
  ("Sources/ClusterCore/Client/", ["ClusterServer", "ClusterStore", "ClusterControllers"]),
  ("Sources/ClusterCore/Controllers/", ["ClusterServer", "ClusterStore", "ClusterNode", "ClusterScheduler"]),
  ("Sources/ClusterCore/Scheduler/", ["ClusterServer", "ClusterStore", "ClusterNode", "ClusterControllers"]),
  ("Sources/ClusterCore/Node/", ["ClusterServer", "ClusterStore", "ClusterControllers", "Proxy", "Policy"]),
])
func `arrows point down`(folder: String, forbidden: [String]) {
  for file in files where file.path.hasPrefix(folder) {
    for (number, line) in file.lines.enumerated() where line.contains("import ") {
      for target in forbidden where line.hasSuffix("import \(target)") {
        Issue.record("\(file.path):\(number + 1): may not see \(target)")
      }
    }
  }
}

@Test func `C is included by the shims alone`() throws {
  for file in files where file.isSource && !file.path.hasPrefix("Sources/Kernel/Nftables/") {
    for (number, line) in file.lines.enumerated() where line.hasSuffix("import CNetfilter") {
      Issue.record("\(file.path):\(number + 1): only KernelNftables speaks to libnftnl")
    }
  }
}

/// Pages that name tests by file and name: `File`: the test's name, several apart by a middle dot; or a path, with a line that it
/// holds. Of a page with other tables, only the part under this heading.
@Test(arguments: [
  ("docs/api-server.md", nil, 150), ("docs/cni.md", nil, 70), ("docs/network-policy.md", nil, 45),
  ("docs/dns.md", nil, 100), ("docs/gateway-api.md", nil, 130), ("docs/ingress-nginx.md", nil, 50),
  ("docs/ingress-compared.md", nil, 30),
  ("docs/ingress-faults.md", nil, 60),
  ("docs/workloads.md", "## What is shown where", 120),
])
func `every test that a page names with its words is there`(path: String, heading: String?, least: Int) throws
{
  var page = try String(contentsOf: root.appending(path: path), encoding: .utf8)
  if let heading {
    let parts = page.components(separatedBy: "\n\(heading)\n")
    try #require(parts.count == 2, "\(path) has no \(heading)")
    let (before, part) = (parts[0], parts[1].components(separatedBy: "\n## ")[0])
    // Lines keep their numbers.
    page = String(repeating: "\n", count: before.count { $0 == "\n" } + 2) + part
  }
  var texts: [String: [String]] = [:]
  for file in files where !file.isSource && file.path.hasSuffix(".swift") {
    let name = file.path.split(separator: "/").last.map { String($0.dropLast(".swift".count)) } ?? ""
    texts[name, default: []].append(file.lines.joined(separator: "\n"))
  }
  var entries = 0
  for (number, line) in page.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
  where line.hasPrefix("| ") && line.hasSuffix("` |") || line.hasPrefix("| ") && line.contains("`: ") {
    for entry in line.dropLast(2).split(separator: "|").last.map(String.init)?.components(separatedBy: " · ")
      ?? []
    {
      let words = entry.trimmingCharacters(in: .whitespaces).components(separatedBy: "`: ")
      let name = words[0].trimmingCharacters(in: ["`"])
      let claim = words.count == 2 ? words[1] : nil
      entries += 1
      let place = "\(path):\(number + 1): \(name)"
      if name.contains("/") {
        let named = root.appending(path: name).path()
        #expect(FileManager.default.fileExists(atPath: named), "\(place) is not there")
        guard let claim else { continue }
        let text = try String(contentsOfFile: named, encoding: .utf8)
        #expect(text.components(separatedBy: "\n").contains(claim), "\(place) has no line \(claim)")
      } else if let claim {
        let isThere = texts[name]?.contains { $0.contains("`\(claim)`(") } ?? false
        #expect(isThere, "\(place) has no test named: \(claim)")
      } else {
        Issue.record("\(place): which test?")
      }
    }
  }
  #expect(entries > least)
}

/// Other pages name suites by one word, and rows by their number.
@Test(arguments: ["docs/workloads.md", "docs/node-agent.md", "docs/scheduling.md"])
func `every suite and every row that a page names is there`(path: String) throws {
  let page = try String(contentsOf: root.appending(path: path), encoding: .utf8)
  var known: Set<String> = []
  for file in files where !file.isSource {
    known.formUnion(
      file.path.split(separator: "/").map { $0.hasSuffix(".swift") ? String($0.dropLast(6)) : String($0) })
    for line in file.lines where line.contains("struct ") || line.contains("class ") {
      known.formUnion(line.split { !$0.isLetter && !$0.isNumber }.map(String.init))
    }
  }
  let words = page.split { !$0.isASCII || !$0.isLetter && !$0.isNumber }.map(String.init)
  let suites = Set(words.filter { $0.hasSuffix("Tests") && $0.count > 5 })
  #expect(suites.count > 5)
  for suite in suites.sorted() where suite != "TidyTests" {
    #expect(known.contains(suite), "\(path): \(suite)")
  }
  guard path == "docs/workloads.md" else { return }
  let script = try String(
    contentsOf: root.appending(path: "Tests/EndToEnd/Rows/rows.script"), encoding: .utf8)
  let shown = Set(
    script.split(separator: "\n").filter { $0.hasPrefix("== ") && $0.contains(":") }
      .flatMap { $0.dropFirst(3).prefix { $0 != ":" }.split(separator: ",") }
      .compactMap { Int($0.filter(\.isNumber)) })
  var named: Set<Int> = []
  for part in page.components(separatedBy: "`rows.script` ").dropFirst() {
    // `19 to 24`, `61, 62`: as far as there are numbers.
    let text = part.replacingOccurrences(of: " to ", with: "-").prefix { "0123456789,- ".contains($0) }
    for range in text.split(separator: ",") {
      let ends = range.split(separator: "-").compactMap { Int($0.filter(\.isNumber)) }
      if let first = ends.first, let last = ends.last, first <= last { named.formUnion(first...last) }
    }
  }
  #expect(named.count > 30)
  #expect(named.isSubset(of: shown), "no section of rows.script: \(named.subtracting(shown).sorted())")
  #expect(shown.isSubset(of: named), "rows.script has more: \(shown.subtracting(named).sorted())")
}
