// Zone files of every shape, served by us, by Knot and by NSD: where those two agree, we do too (T-D2).

import Addresses
import Diagnostics
import NameServerLab
import SoakLab
import Testing

@testable import DNS

/// A small valid zone: delegations with and without glue, wildcards, aliases of names and of subtrees.
private struct SmallZone {
  let apex: DomainName
  var text: String
  private var types: [String: Set<String>] = [:]

  init(_ number: Int, _ random: inout SeededGenerator) throws {
    apex = try #require(DomainName("z\(number).test"))
    text = """
      $ORIGIN \(apex)
      @ 60 IN SOA ns hostmaster 1 7200 1800 86400 30
      @ 60 IN NS ns
      ns 60 IN A 192.0.2.53

      """
    types = ["@": ["NS", "SOA"], "ns": ["A"]]
    for _ in 0..<Int.random(in: 2...9, using: &random) { add(&random) }
  }

  private mutating func add(_ random: inout SeededGenerator) {
    var labels = (0..<Int.random(in: 1...3, using: &random)).map { _ in Self.label(&random) }
    if Int.random(in: 0..<4, using: &random) == 0 { labels[0] = "*" }
    let name = labels.joined(separator: ".")
    let type =
      ["A", "A", "AAAA", "TXT", "MX", "NS", "CNAME", "CNAME", "DNAME"].randomElement(using: &random) ?? "A"
    guard isAllowed(type, labels) else { return }
    let target =
      Int.random(in: 0..<6, using: &random) == 0
      ? "www.other.test."
      : (0..<Int.random(in: 1...3, using: &random)).map { _ in Self.label(&random) }.joined(separator: ".")
    let data =
      switch type {
      case "A": "192.0.2.\(Int.random(in: 1...20, using: &random))"
      case "AAAA": "2001:db8::\(Int.random(in: 1...20, using: &random))"
      case "TXT": "\"text\""
      case "MX": "10 \(target)"
      default: target
      }
    text += "\(name) 60 IN \(type) \(data)\n"
    types[name, default: []].insert(type)
  }

  /// Whether the zone stays valid with it.
  private func isAllowed(_ type: String, _ labels: [String]) -> Bool {
    let name = labels.joined(separator: ".")
    let here = types[name] ?? []
    if ["NS", "DNAME"].contains(type), labels[0] == "*" { return false }
    if type == "CNAME" || here.contains("CNAME") { guard here.isEmpty else { return false } }
    if type == "DNAME", !here.isDisjoint(with: ["DNAME", "NS"]) { return false }
    if type == "NS", !here.subtracting(["NS"]).isEmpty { return false }
    if here.contains("NS"), type != "NS" { return false }
    // Nothing stands below an alias of a subtree, and only glue below a delegation.
    for count in 1..<max(labels.count, 1) {
      let above = types[labels.dropFirst(count).joined(separator: ".")] ?? []
      if above.contains("DNAME") || above.contains("NS") && !["A", "AAAA"].contains(type) { return false }
      if above.contains("NS"), labels[0] == "*" { return false }
    }
    let below = types.filter { $0.key.hasSuffix("." + name) }
    if type == "DNAME", !below.isEmpty { return false }
    if type == "NS", !below.allSatisfy({ $0.value.isSubset(of: ["A", "AAAA"]) && !$0.key.hasPrefix("*") }) {
      return false
    }
    return true
  }

  static func label(_ random: inout SeededGenerator) -> String {
    ["a", "b", "c"].randomElement(using: &random) ?? "a"
  }

  func query(_ random: inout SeededGenerator) -> Message {
    var name = apex
    for _ in 0..<Int.random(in: 0...4, using: &random) {
      name = name.child(Int.random(in: 0..<12, using: &random) == 0 ? "*" : Self.label(&random)) ?? name
    }
    let types: [RecordType] = [.a, .a, .a, .aaaa, .txt, .mx, .ns, .cname, .dname, .soa, .ds]
    return Message(
      query: name, types.randomElement(using: &random) ?? .a, id: .random(in: 1...UInt16.max, using: &random))
  }
}

@Suite(.serialized, .timeLimit(.minutes(20))) struct ZoneFileOracleTests {
  @Test func `zone files are answered as Knot and NSD answer them where these agree`() throws {
    var random = SeededGenerator(seed: Soak.seed)
    let zones = try (0..<Soak.rounds(60, long: 500)).map { try SmallZone($0, &random) }
    let queries = Soak.rounds(50, long: 200)
    let served = zones.map { (name: $0.apex, text: $0.text) }
    let knot = try OtherServer(.knot, served)
    let nsd = try OtherServer(.nsd, served)
    var settings = DNSServerSettings()
    var block = ServerBlock()
    block.files = try zones.map { try ServedZone($0.text, zone: $0.apex) }
    settings.blocks = [block]
    var agreed = 0
    var differences: [String] = []
    try withServer(settings) { _, port in
      let ours = try QueryClient(port)
      let first = try QueryClient(knot.port)
      let second = try QueryClient(nsd.port)
      for zone in zones {
        for _ in 0..<queries {
          let query = zone.query(&random)
          guard let other = first.ask(query)?.essenceWithoutRepeats,
            second.ask(query)?.essenceWithoutRepeats == other
          else { continue }
          agreed += 1
          let mine = ours.ask(query)?.essence
          guard mine != other else { continue }
          let question = query.question.map { "\($0.name) \($0.type)" } ?? ""
          differences.append("\(question)\n  ours \(mine ?? "nothing")\n  they \(other)\n\(zone.text)")
        }
      }
    }
    #expect(agreed > zones.count * queries * 8 / 10, "\(agreed)")
    #expect(
      differences.isEmpty,
      "seed \(Soak.seed), \(differences.count) of \(agreed): \(differences.prefix(3).joined(separator: "\n"))"
    )
    Soak.report(
      "zone files: \(zones.count) zones, \(agreed) queries on which Knot and NSD agree, \(differences.count) differences"
    )
  }
}
