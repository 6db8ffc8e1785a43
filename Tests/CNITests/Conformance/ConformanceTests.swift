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
      #expect(!requirement.chapter.isEmpty, "\(requirement.id)")
      let row = "| \(requirement.id) | \(requirement.chapter) | \(requirement.text) | yes |"
      #expect(text.contains(row), "\(requirement.id)")
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
    return "| \(requirement.id) | \(requirement.chapter) | \(requirement.text) | yes | \(verdict) |"
  }
  return """
    # The CNI specification, requirement by requirement

    What the specification 1.1.0 asks of a plugin, in our words, by its sections, and who does it. The same suite
    (Tests/CNITests/Conformance) asks `weft-cni` under the reference plugins' names and, where Debian's package
    containernetworking-plugins is installed, those plugins: \(
      reference == nil ? "it was not when this page was written" : "\(met) of \(requirements.count) then").

    | | section | requirement | weft-cni | containernetworking-plugins 1.1.1 (Debian) |
    |---|---|---|---|---|
    \(rows.joined(separator: "\n"))

    Debian's plugins are of the time before specification 1.1: they cannot know GC, STATUS and version 1.1.0. Written by
    `WEFT_CONFORMANCE_PAGE=1 swift test --filter Conformance`.

    ## What it asks of a runtime

    containerd, CRI-O or podman call ADD, DEL and CHECK; Weft's node agent calls GC and STATUS, which they do not.

    | section | requirement | who, and what shows it |
    |---|---|---|
    \(runtimeRows.map { "| \($0.chapter) | \($0.text) | \($0.shownBy) |" }.joined(separator: "\n"))

    """
}

/// Requirements of runtimes: those that concern the node agent with the test that shows them.
private let runtimeRows: [(chapter: String, text: String, shownBy: String)] = [
  (
    "1 `disableGC`, MUST NOT", "no GC for a network that says so",
    "agent: `NetworkUpkeepTests`, `a list that is older …`"
  ),
  (
    "1 versions, MUST", "the newest of `cniVersion` and `cniVersions` that is known is spoken",
    "agent: `NetworkUpkeepTests`, `a round tells every plugin …`"
  ),
  (
    "1 plugin objects, 3 deriving, MUST", "keys of plugins are passed on unchanged",
    "agent: `a round tells every plugin …` (`mtu`)"
  ),
  ("3 deriving, MUST", "`name` and `cniVersion` are put in, `capabilities` is left out", "agent: the same"),
  (
    "2 GC, MUST", "the configuration names the attachments that are still valid",
    "agent: the same; `nothing is garbage …`"
  ),
  (
    "2 GC, MUST NOT", "GC is no substitute for DEL",
    "containerd calls DEL for each sandbox; the agent's GC comes besides"
  ),
  (
    "3 lifecycle, MUST", "GC runs with no ADD and no DEL beside it",
    "agent: `a sweep waits for no call and no call runs beside a sweep`"
  ),
  (
    "2 overview, MUST", "plugins run in the network of the runtime",
    "agent: `EndToEnd/DemoTests` (a node in a namespace)"
  ),
  (
    "3 attachment, MUST", "plugins are told where to look for others: `CNI_PATH`",
    "agent: the same"
  ),
  (
    "3 lifecycle, MUST",
    "a namespace before ADD, no two calls for one container, DEL after a failed ADD, the result kept",
    "containerd (`EndToEnd/DemoTests`) and podman (`scripts/podman.sh`)"
  ),
  (
    "1 `disableCheck`, 2 CHECK, MUST NOT", "no CHECK where it is disabled, before ADD or after DEL",
    "nobody here calls CHECK"
  ),
]
