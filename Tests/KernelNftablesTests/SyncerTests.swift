// Bad elements are left out by name, several planners share a transaction, and a worker ends cleanly.

import Addresses
import KernelNftables
import NamespaceLab
import Ruleset
import Synchronization
import Testing

private func members(_ name: String, _ addresses: [UInt8]) -> Table {
  Table(
    .ip, name,
    sets: [NamedSet("m", key: [.ipv4Address], values: addresses.map { .ipv4(IPv4Address(10, 0, 0, $0)) })])
}

private let owned: [Table.ID] = [.init(.ip, "ONE"), .init(.ip, "TWO")]

@Suite(.serialized) struct SyncerTests {
  @Test func `an element that the kernel refuses is left out by name and the rest is in force`() throws {
    try inFreshNamespace {
      var ranges = NamedSet("r", key: [.ipv4Address], isInterval: true)
      func ip(_ last: UInt8) -> Datum { .ipv4(IPv4Address(10, 0, 0, last)) }
      ranges.insert(ip(0), through: ip(63), comment: "policy a")
      ranges.insert(ip(32), through: ip(80), comment: "policy b")
      ranges.insert(ip(100), through: ip(110), comment: "policy c")
      let syncer = try RulesetSyncer(owned: owned)
      let report = try syncer.sync([Table(.ip, "ONE", sets: [ranges])])
      #expect(report.quarantined.map(\.object) == ["policy b"])
      #expect(report.quarantined.first?.reason.contains("10.0.0.32-10.0.0.80") == true)
      let observed = try NftablesSocket().observe(owned)
      #expect(observed.tables[owned[0]]?.sets["r"]?.elements.count == 2)
    }
  }

  @Test func `a refused rule names its chain, keeps errno and leaves what was in force`() throws {
    try inFreshNamespace {
      let syncer = try RulesetSyncer(owned: owned)
      _ = try syncer.sync([members("ONE", [1])])
      var bad = members("ONE", [1, 2])
      bad.chains = [Chain("C", rules: [Rule(.goto("MISSING"))])]
      let error = try #require(throws: NftablesError.self) { try syncer.sync([bad]) }
      #expect(error.errno == 2)
      #expect(error.description.contains("ip ONE C"))
      let observed = try syncer.observed()
      #expect(observed.tables[owned[0]]?.sets["m"]?.elements.count == 1)
    }
  }

  @Test func `what has just been loaded is read back whole, while the kernel still makes room for it`() throws
  {
    try inFreshNamespace {
      var large = NamedSet("m", key: [.ipv4Address], data: .values([.mark]))
      for number in 0..<UInt32(40_000) {
        large.insert(.ipv4(IPv4Address(bits: 0x0a00_0000 + number)), .number(number), comment: "c\(number)")
      }
      let table = Table(.ip, "ONE", sets: [large])
      _ = try RulesetSyncer(owned: owned).sync([table])
      let again = try RulesetSyncer(owned: owned)
      let report = try again.sync([table])
      #expect(report.operations == 0 && report.netlinkBytes == 0)
    }
  }

  @Test func `what another program took away comes back with the next synchronisation`() throws {
    try inFreshNamespace {
      let syncer = try RulesetSyncer(owned: owned)
      _ = try syncer.sync([members("ONE", [1, 2])])
      #expect(try !syncer.hasForeignChange())
      _ = run("nft delete element ip ONE m '{ 10.0.0.2 }'")
      #expect(try syncer.hasForeignChange())
      let report = try syncer.sync([members("ONE", [1, 2])])
      #expect(report.operations == 1)
    }
  }

  @Test func `tables of others are neither read nor touched`() throws {
    try inFreshNamespace {
      _ = run("nft add table ip foreign; nft add chain ip foreign c; nft add rule ip foreign c accept")
      let syncer = try RulesetSyncer(owned: owned)
      _ = try syncer.sync([members("ONE", [1])])
      try syncer.removeAll()
      let left = run("nft list ruleset").output
      #expect(left.contains("table ip foreign") && left.contains("accept") && !left.contains("ONE"))
    }
  }

  @Test func `a planner whose table is refused keeps its old one and the others go on`() async throws {
    let worker = try inFreshNamespace { try RulesetWorker(owned: owned) }
    _ = try await worker.commit("one", [members("ONE", [1])])
    var bad = members("ONE", [1, 2])
    bad.chains = [Chain("C", rules: [Rule(.goto("MISSING"))])]
    let handedIn = bad
    let refused = Task { try await worker.commit("one", [handedIn]) }
    async let taken = worker.commit("two", [members("TWO", [3])])
    await #expect(throws: NftablesError.self) { try await refused.value }
    _ = try await taken
    let tables = try await worker.perform { try $0.socket.observe(owned).tables }
    #expect(tables[owned[0]]?.sets["m"]?.elements.count == 1)
    #expect(tables[owned[1]]?.sets["m"]?.elements.count == 1)
    worker.stop(removingTables: true)
  }

  @Test
  func
    `a planner that changes elements of one table keeps its others while another planner hands in whole tables`()
    async throws
  {
    let three = Table.ID(.ip, "THREE")
    let worker = try inFreshNamespace { try RulesetWorker(owned: owned + [three]) }
    _ = try await worker.commit("one", [members("ONE", [1]), members("THREE", [1])])
    _ = try await worker.commit("two", [members("TWO", [1])])
    // Handed in on the worker's own thread, so that both are one transaction.
    _ = try await worker.perform { _ in
      var delta = TableDelta(owned[0])
      delta.setElement("m", .ipv4(IPv4Address(10, 0, 0, 2)), Element(.present))
      worker.submit("one", deltas: [delta])
      worker.submit("two", [members("TWO", [1, 2])])
    }
    let tables = try await worker.perform { try $0.socket.observe(owned + [three]).tables }
    #expect(tables[owned[0]]?.sets["m"]?.elements.count == 2)
    #expect(tables[owned[1]]?.sets["m"]?.elements.count == 2)
    #expect(tables[three]?.sets["m"]?.elements.count == 1)
    worker.stop(removingTables: true)
  }

  @Test func `planners share a worker and each waits for its own tables`() async throws {
    let worker = try inFreshNamespace { try RulesetWorker(owned: owned) }
    async let one = worker.commit("one", [members("ONE", [1])])
    async let two = worker.commit("two", [members("TWO", [1, 2])])
    _ = try await (one, two)
    for count in UInt8(1)...50 { worker.submit("one", [members("ONE", Array(1...count))]) }
    _ = try await worker.commit("one", [members("ONE", [7])])
    let tables = try await worker.perform { try $0.socket.observe(owned).tables }
    #expect(tables[owned[0]]?.sets["m"]?.elements.count == 1)
    #expect(tables[owned[1]]?.sets["m"]?.elements.count == 2)
    let again = try await worker.commit("one", [members("ONE", [7])])
    #expect(again.operations == 0)
    worker.stop(removingTables: true)
    await #expect(throws: NftablesError.self) { try await worker.commit("one", []) }
  }
}
