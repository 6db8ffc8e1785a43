// Ferret's data set (dns-groot/FerretDataset, MIT licence): 12,673 zones, a query each, and what BIND, Knot, NSD and PowerDNS said of it
// (T-D2). Too large to stand here: WEFT_FERRET names the folder it was unpacked in, and without it nothing of this runs.

import Addresses
import ClusterObjects
import Glibc
import SoakLab
import Testing

@testable import DNS

private let folder = getenv("WEFT_FERRET").map { String(cString: $0) }

private func text(_ path: String) -> String? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65536)
  while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
  return String(decoding: bytes, as: UTF8.self)
}

private func names(_ path: String) -> [String] {
  guard let directory = opendir(path) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name.hasSuffix(".txt") { names.append(String(name.dropLast(4))) }
  }
  return names.sorted { (Int($0) ?? 0) < (Int($1) ?? 0) }
}

/// What servers have to agree on: code, authority, the answer, and which denial or referral it is. Times are left out: some servers
/// give an alias that they made up another.
private struct Essence: Hashable, CustomStringConvertible {
  var code = ""
  var isAuthoritative = false
  var answer: Set<String> = []
  var authority: Set<String> = []
  var description: String {
    "\(code)\(isAuthoritative ? " aa" : "") \(answer.sorted()) \(authority.sorted())"
  }

  private static func plain(_ record: ResourceRecord) -> String {
    var record = record
    record.ttl = 0
    return "\(record)".lowercased()
  }

  private mutating func keep(_ authorities: [ResourceRecord]) {
    for record in authorities {
      if record.data.type == .soa { authority.insert("soa \(record.owner)".lowercased()) }
      // Beside an answer the zone's servers are an extra that some leave out.
      if record.data.type == .ns, answer.isEmpty { authority.insert(Self.plain(record)) }
    }
  }

  init(_ message: Message) {
    code = "\(message.code)"
    isAuthoritative = message.isAuthoritative
    answer = Set(message.answer.map(Self.plain))
    keep(message.authority)
  }

  /// The lines of the data set; nil for a server that said nothing.
  init?(_ lines: [String]) {
    var section = ""
    var authorities: [ResourceRecord] = []
    for line in lines {
      if line.hasPrefix("rcode ") { code = String(line.dropFirst(6)) }
      if line.hasPrefix("flags ") { isAuthoritative = line.split(separator: " ").contains("AA") }
      if line.hasPrefix(";") { section = line }
      guard !line.hasPrefix(";"), section == ";ANSWER" || section == ";AUTHORITY" else { continue }
      guard let record = try? ZoneText.record(line, origin: .root) else { return nil }
      if section == ";ANSWER" { answer.insert(Self.plain(record)) } else { authorities.append(record) }
    }
    guard !code.isEmpty else { return nil }
    keep(authorities)
  }
}

/// A question of the data set and what each group of servers said.
private struct Case {
  var query: Message
  /// By how many servers said it.
  var said: [Essence: Int] = [:]

  init?(_ tree: JSON) {
    guard let name = tree.at("Query", "Name")?.string.flatMap({ DomainName($0) }),
      let type = tree.at("Query", "Type")?.string.flatMap({ RecordType($0) })
    else { return nil }
    query = Message(query: name, type, id: 1)
    for group in tree["Expected Response"]?.elements ?? [] {
      let lines = (group["Response"]?.elements ?? []).compactMap(\.string)
      guard let essence = Essence(lines) else { continue }
      said[essence, default: 0] += group["Server/s"]?.string?.split(separator: " ").count ?? 0
    }
  }

  static func read(_ path: String) -> [Case] {
    guard let text = text(path), let tree = try? JSON(parsing: Array(text.utf8)) else { return [] }
    return (tree.array ?? []).compactMap { Case($0) }
  }
}

private func zone(_ path: String) -> ServedZone? {
  guard let text = text(path), let records = try? ZoneText.records(text, origin: .root),
    let apex = records.first(where: { $0.data.type == .soa })?.owner
  else { return nil }
  return try? ServedZone(text, zone: apex)
}

/// What a server of that zone alone says.
private func answers(_ zone: ServedZone, _ cases: [Case]) throws -> [Essence?] {
  var settings = DNSServerSettings()
  var block = ServerBlock()
  block.files = [zone]
  settings.blocks = [block]
  return try withServer(settings) { _, port in
    let client = try QueryClient(port)
    return cases.map { client.ask($0.query).map { Essence($0) } }
  }
}

@Suite(.serialized, .enabled(if: folder != nil), .timeLimit(.minutes(120))) struct FerretTests {
  @Test func `valid zones are answered as most of BIND, Knot, NSD and PowerDNS answer them`() throws {
    let base = "\(folder ?? "")/ValidZoneFileTests"
    var counts = (all: 0, most: 0, divided: 0)
    var others: [String] = []
    for name in names("\(base)/ZoneFiles") {
      let cases = Case.read("\(base)/ExpectedResponses/\(name).json")
      guard let zone = zone("\(base)/ZoneFiles/\(name).txt") else {
        counts.all += cases.count
        others.append("\(name): the zone is not read")
        continue
      }
      for (asked, ours) in zip(cases, try answers(zone, cases)) {
        counts.all += 1
        let most = asked.said.values.max() ?? 0
        guard let ours, asked.said[ours] == most else {
          let said = asked.said.sorted { $0.value > $1.value }.map { "  \($0.value): \($0.key)" }
          let question = asked.query.question.map { "\($0.name) \($0.type)" } ?? ""
          others.append(
            "\(name) \(question)\n  ours: \(ours.map { "\($0)" } ?? "nothing")\n"
              + said.joined(separator: "\n"))
          continue
        }
        if asked.said.values.filter({ $0 == most }).count > 1 {
          counts.divided += 1
        } else {
          counts.most += 1
        }
      }
    }
    Soak.report(
      "Ferret, valid zones: \(counts.all) queries, \(counts.most) as most servers, \(counts.divided) as one half of them, \(others.count) otherwise"
    )
    for other in others.prefix(400) { Soak.report(other) }
    #expect(counts.all > 12_000)
    #expect(others.count * 1000 <= counts.all * 5, "\(others.count) of \(counts.all)")
  }

  /// Nobody says what is right for a zone that breaks the rules: it is refused, or answered somehow.
  @Test func `invalid zones are refused or answered, and stop nothing`() throws {
    var counts = (zones: 0, refused: 0, queries: 0, shared: 0, silent: 0)
    for condition in 1...9 {
      let base = "\(folder ?? "")/InvalidZoneFileTests/FalseCond_\(condition)"
      for name in names("\(base)/ZoneFiles") {
        counts.zones += 1
        guard let zone = zone("\(base)/ZoneFiles/\(name).txt") else {
          counts.refused += 1
          continue
        }
        let cases = Case.read("\(base)/ExpectedResponses/\(name).json")
        for (asked, ours) in zip(cases, try answers(zone, cases)) {
          counts.queries += 1
          if ours == nil { counts.silent += 1 }
          if let ours, asked.said[ours] != nil { counts.shared += 1 }
        }
      }
    }
    Soak.report(
      "Ferret, invalid zones: \(counts.zones), \(counts.refused) refused; \(counts.queries) queries of the others, \(counts.shared) answered as one of four servers at least, \(counts.silent) not at all"
    )
    #expect(counts.zones > 500 && counts.silent == 0, "\(counts)")
  }
}
