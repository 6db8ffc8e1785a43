// One test for each MUST of the CNI specification; docs/cni-conformance.md says who passes what.
//
// `WEFT_CONFORMANCE_PAGE=1 swift test --filter Conformance` writes the page anew, with the reference plugins beside ours.
import CNI
import Glibc
import Testing

private let pagePath =
  "\(#filePath.split(separator: "/").dropLast(4).map { "/\($0)" }.joined())/docs/cni-conformance.md"

@Suite(.timeLimit(.minutes(5))) struct Conformance {
  @Test(arguments: requirements) func `a requirement of the specification is met`(requirement: Requirement)
    throws
  {
    try requirement.check(.ours)
  }

  @Test func `the page has a row for every requirement, and ours are all met`() throws {
    if getenv("WEFT_CONFORMANCE_PAGE") != nil { try installConflist(try page(), at: pagePath) }
    let text = String(decoding: Scratch.read(pagePath), as: UTF8.self)
    for requirement in requirements {
      #expect(text.contains("| \(requirement.id) | \(requirement.text) | yes |"), "\(requirement.id)")
    }
  }
}

/// The table, with the reference plugins asked now.
private func page() throws -> String {
  let reference = Subject.reference
  var met = 0
  let rows = requirements.map { requirement in
    var verdict = "not installed"
    if let reference {
      do {
        try requirement.check(reference)
        verdict = "yes"
        met += 1
      } catch {
        let reason = "\(error)".split(separator: "\n").first.map(String.init) ?? ""
        verdict = "no: " + String(reason.prefix(120)).replacing("|", with: "/")
      }
    }
    return "| \(requirement.id) | \(requirement.text) | yes | \(verdict) |"
  }
  return """
    # The CNI specification, requirement by requirement

    What the specification 1.1.0 asks of a plugin, in our words, and who does it. The same suite (Tests/CNITests/Conformance) asks
    `weft-cni` under the reference plugins' names and, where Debian's package containernetworking-plugins is installed, those
    plugins: \(reference == nil ? "it was not when this page was written" : "\(met) of \(requirements.count) then").

    | | requirement | weft-cni | containernetworking-plugins 1.1.1 (Debian) |
    |---|---|---|---|
    \(rows.joined(separator: "\n"))

    Debian's plugins are of the time before specification 1.1: they cannot know GC, STATUS and version 1.1.0. Written by
    `WEFT_CONFORMANCE_PAGE=1 swift test --filter Conformance`.

    """
}
