// The last known names on disk: what is read back gives the same zone, and what is damaged is passed over.

import ClusterObjects
import ClusterView
import Diagnostics
import FuzzLab
import Glibc
import SoakLab
import Testing

@testable import DNS

private let everything: NameBook.Wants = [.labels, .zones, .endpointPods, .pods]

private func text(_ book: NameBook, cluster: String = "https://c.test:6443") throws -> [UInt8] {
  var bytes: [UInt8] = []
  try NameSnapshot(cluster: cluster, written: 1_800_000_000, book: book).write { piece throws(WeftError) in
    bytes += piece
  }
  return bytes
}

/// Reads text that comes in pieces of this size.
private func read(_ bytes: [UInt8], wants: NameBook.Wants = everything, pieces: Int = 1 << 20) throws
  -> NameSnapshot
{
  var reader = NameSnapshotReader(wants: wants)
  for start in stride(from: 0, to: bytes.count, by: pieces) {
    let piece = Array(bytes[start..<min(start + pieces, bytes.count)])
    var failure: SnapshotError?
    piece.withUnsafeBufferPointer { piece in
      do throws(SnapshotError) { try reader.feed(piece) } catch { failure = error }
    }
    if let failure { throw failure }
  }
  return try reader.end()
}

private func zone(_ book: NameBook, _ change: (inout ZoneSettings) -> Void = { _ in }) -> Zone {
  var settings = Fixture.settings
  settings.compatibility = .coreDNS
  settings.isZonal = true
  settings.endpointPodNames = true
  settings.pods = .verified
  change(&settings)
  var planner = ZonePlanner(settings: settings)
  book.everything { planner.stage($0) }
  return planner.plan(ViewChanges())
}

private func book(_ seed: Int) -> NameBook {
  var cluster = Changing(seed, everything)
  for number in 0..<80 { cluster.step(number) }
  for number in 1...3 {
    let key = ObjectKey("demo", "p\(number)")
    cluster.book.apply(
      "Pod", key,
      [
        "kind": "Pod", "metadata": ["name": JSON(key.name), "namespace": "demo"],
        "status": ["phase": "Running", "podIPs": [["ip": JSON("10.42.7.\(number)")]]],
      ])
  }
  return cluster.book
}

@Suite(.serialized) struct SnapshotTests {
  @Test(arguments: 1...6) func `a zone planned from what is read back is the zone of before`(seed: Int) throws
  {
    let before = book(seed)
    let bytes = try text(before)
    for pieces in [1 << 20, 1000, 7] {
      let after = try read(bytes, pieces: pieces)
      #expect(after.cluster == "https://c.test:6443" && after.written == 1_800_000_000)
      #expect(after.book.serviceCount == before.serviceCount)
      #expect(Contents(zone(after.book)) == Contents(zone(before)), "seed \(seed), pieces of \(pieces)")
      let chosen: (inout ZoneSettings) -> Void = {
        $0.namespaceSelector = try? LabelSelector(["matchLabels": ["team": "a"]])
        $0.serviceSelector = try? LabelSelector(["matchLabels": ["tier": "back"]])
      }
      #expect(Contents(zone(after.book, chosen)) == Contents(zone(before, chosen)), "seed \(seed), by labels")
      let name = try #require(DomainName("10-42-7-2.demo.pod.cluster.local"))
      #expect(zone(after.book).lookup(name, .a).addresses.count == 1)
    }
  }

  @Test func `what is kept for less is not read for more, and less is read from more`() throws {
    let plain = try text(NameBook())
    #expect(throws: Never.self) { try read(plain, wants: []) }
    #expect(throws: SnapshotError.self) { try read(plain, wants: [.labels]) }
    // Where imports had not been read their names are SERVFAIL.
    let imports = try read(plain, wants: [.imports])
    var settings = Fixture.settings
    settings.multiclusterZones = [try #require(DomainName("clusterset.local"))]
    var planner = ZonePlanner(settings: settings)
    imports.book.everything { planner.stage($0) }
    let far = try #require(DomainName("far.demo.svc.clusterset.local"))
    #expect(planner.plan(ViewChanges()).lookup(far, .a).outcome == .serverFailure)
    let whole = try text(book(1))
    #expect(Contents(zone(try read(whole, wants: []).book)) != Contents(zone(NameBook())))
  }

  /// Alone, and beside a Service whose slice an import shares.
  @Test func `names of the cluster set are those of before, where they had been read`() throws {
    let wants = everything.union(.imports)
    let shared: JSON = [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": "both", "namespace": "demo",
        "labels": [
          "kubernetes.io/service-name": "db", "multicluster.kubernetes.io/service-name": "pets",
          "multicluster.kubernetes.io/source-cluster": "here",
        ],
      ],
      "ports": Fixture.http, "endpoints": [Fixture.endpoint("10.42.8.1", hostname: "pet")],
    ]
    let service = Fixture.service("db", ["clusterIP": "None", "ports": Fixture.http])
    var cluster = Changing(5, wants)
    for number in 0..<40 { cluster.step(number) }
    for object in clusterSetObjects + [service, shared] { cluster.put(object) }
    cluster.book.markImportsRead()
    let zones: (inout ZoneSettings) -> Void = {
      $0.multiclusterZones = [DomainName("clusterset.local") ?? .root]
    }
    let before = zone(cluster.book, zones)
    #expect(Fixture.texts(before, "web.demo.svc.clusterset.local", .a) == ["10.44.0.20", "10.44.0.22"])
    #expect(Fixture.texts(before, "my-pet.b.pets.demo.svc.clusterset.local", .a) == ["10.51.1.1"])
    #expect(Fixture.texts(before, "pet.here.pets.demo.svc.clusterset.local", .a) == ["10.42.8.1"])
    #expect(Fixture.texts(before, "pet.db.demo.svc.cluster.local", .a) == ["10.42.8.1"])
    for pieces in [1 << 20, 11] {
      let read = try read(try text(cluster.book), wants: wants, pieces: pieces)
      let after = zone(read.book, zones)
      #expect(Contents(after) == Contents(before), "pieces of \(pieces)")
      #expect(Fixture.lookup(after, "no.demo.svc.clusterset.local", .a).outcome == .nameError)
    }
    // A zone without a cluster set has no use for them.
    let fewer = try read(try text(cluster.book))
    #expect(Contents(zone(fewer.book)) == Contents(zone(cluster.book)))
    #expect(!fewer.book.areImportsRead)
  }

  @Test func `cut anywhere it is passed over, and a changed octet is noticed`() throws {
    let bytes = try text(book(2))
    for end in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 600)) {
      #expect(throws: SnapshotError.self, "cut at \(end)") { try read(Array(bytes[..<end])) }
    }
    #expect(throws: SnapshotError.self) { try read(Array(bytes.dropLast())) }
    #expect(throws: SnapshotError.self) { try read(bytes + [10]) }
    for (number, mutant) in mutations(of: bytes, count: Soak.rounds(600, long: 100_000), seed: Soak.seed)
      .enumerated() where mutant != bytes
    {
      #expect(throws: SnapshotError.self, "mutant \(number)") { try read(mutant) }
    }
  }

  /// A sum that is right says nothing of what it is the sum of.
  @Test func `whatever is between head and sum, it is an error or names`() throws {
    let lines = String(decoding: try text(book(3)), as: UTF8.self).split(separator: "\n").dropLast()
    let corpus = lines.map { Array($0.utf8) }
    var taken = 0
    let words = [
      "\"clusterIPs\":[\"x\"]", "\"namespace\":\"\"", "\"kind\":\"Pod\"", "\"addresses\":[]", "null",
    ]
    for mutant in mutants(
      of: corpus, words: words, count: Soak.rounds(3000, long: 1_000_000), seed: Soak.seed)
    where !mutant.contains(10) {
      var sealed = SealedLines(corpus.prefix(2))
      sealed.add(mutant)
      guard let snapshot = try? read(sealed.bytes) else { continue }
      taken += 1
      // What was taken can be planned and asked.
      let name = try #require(DomainName("s1.demo.svc.cluster.local"))
      _ = zone(snapshot.book).lookup(name, .a)
    }
    #expect(taken > 10, "\(taken)")
    Soak.report("snapshots of names: \(taken) damaged lines with a right sum were read, none stopped it")
  }

  @Test func `the file is whole or the one before, and of one cluster`() throws {
    let folder = try ScratchFolder.make("names")
    defer { ScratchFolder.remove(folder) }
    let file = SnapshotFile("\(folder)/a/b/c.names")
    let first = try file.read(cluster: "https://c.test", wants: everything)
    #expect(first == nil)
    let known = book(4)
    try file.write(NameSnapshot(cluster: "https://c.test", written: 7, book: known))
    let read = try file.read(cluster: "https://c.test", wants: everything)
    #expect(read?.written == 7 && read?.book.serviceCount == known.serviceCount)
    let other = #expect(throws: WeftError.self) {
      try file.read(cluster: "https://d.test", wants: everything)
    }
    #expect(other?.code == "DNS0031" && other?.cause.contains("another cluster") == true)
    #expect(run("stat -c %a \(file.path)") == "600\n")

    // A disk that takes no more keeps what it had.
    mkdir("\(folder)/file", 0o700)
    let blocked = SnapshotFile("\(folder)/file")
    let refused = #expect(throws: WeftError.self) {
      try blocked.write(NameSnapshot(cluster: "x", written: 8, book: known))
    }
    #expect(refused?.code == "DNS0030")
    #expect(run("ls \(folder) \(folder)/a/b").contains(".new") == false)
    #expect(try file.read(cluster: "https://c.test", wants: everything)?.written == 7)
    #expect(run("truncate -s -3 \(file.path)").isEmpty)
    let cut = #expect(throws: WeftError.self) { try file.read(cluster: "https://c.test", wants: everything) }
    #expect(cut?.code == "DNS0031")
  }
}

/// One with addresses of its own, one of endpoints in two clusters.
private let clusterSetObjects: [JSON] = [
  [
    "kind": "ServiceImport", "metadata": ["name": "web", "namespace": "demo", "labels": ["tier": "back"]],
    "spec": ["type": "ClusterSetIP", "ips": ["10.44.0.20", "10.44.0.22"], "ports": Fixture.http],
  ],
  [
    "kind": "ServiceImport", "metadata": ["name": "pets", "namespace": "demo"],
    "spec": ["type": "Headless", "ports": Fixture.http],
  ],
  [
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": "pets-b", "namespace": "demo",
      "labels": [
        "multicluster.kubernetes.io/service-name": "pets", "multicluster.kubernetes.io/source-cluster": "b",
      ],
    ],
    "ports": Fixture.http, "endpoints": [Fixture.endpoint("10.51.1.1", hostname: "my-pet")],
  ],
]

/// Lines and the sum that belongs to them.
private struct SealedLines {
  private var lines: [[UInt8]]
  init(_ lines: some Sequence<[UInt8]>) { self.lines = Array(lines) }
  mutating func add(_ line: [UInt8]) { lines.append(line) }
  var bytes: [UInt8] {
    var body: [UInt8] = []
    for line in lines {
      body += line
      body.append(UInt8(ascii: "\n"))
    }
    let trailer = "end \(lines.count) \(String(SnapshotSum.crc(body), radix: 16))\n"
    return body + Array(trailer.utf8)
  }
}
