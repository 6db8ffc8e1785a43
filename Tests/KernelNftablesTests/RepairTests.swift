// Goal: what another program does to our tables does not last, is named, and never brings an older plan back.

import Addresses
import Diagnostics
import Glibc
import KernelNftables
import NamespaceLab
import Ruleset
import SoakLab
import Synchronization
import Testing

private let one = Table.ID(.ip, "ONE")

private func table(_ addresses: [UInt8]) -> Table {
  Table(
    .ip, "ONE",
    sets: [NamedSet("m", key: [.ipv4Address], values: addresses.map { .ipv4(IPv4Address(10, 0, 0, $0)) })],
    chains: [
      Chain("IN", .init(.filter, .input, priority: 0), rules: [Rule(.jump("NEXT"))]),
      Chain("NEXT", rules: [Rule(.lookup(.sourceAddress(.ip), set: "m", negated: false), .drop)]),
    ])
}

/// The real kernel, which refuses the next transactions.
private final class BusyKernel: KernelTables {
  let socket: NftablesSocket
  var refusals = 0
  init(_ socket: NftablesSocket) { self.socket = socket }

  func apply(_ operations: [Operation]) throws(NftablesError) -> CommitReport {
    guard refusals == 0 else {
      refusals -= 1
      throw NftablesError(operation: "commit a transaction", errno: EBUSY)
    }
    return try socket.apply(operations)
  }
  func observe(_ wanted: [Table.ID]) throws(NftablesError) -> InForce { try socket.observe(wanted) }
  func generation() throws(NftablesError) -> UInt32 { try socket.generation() }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct RepairTests {
  static let edits: [(command: String, found: String)] = [
    ("flush ruleset", "ip ONE: the table was taken away or made anew"),
    ("delete element ip ONE m { 10.0.0.2 }", "ip ONE: m lacked { 10.0.0.2 }"),
    ("add element ip ONE m { 10.0.0.7 }", "ip ONE: m had { 10.0.0.7 }"),
    ("flush chain ip ONE NEXT", "ip ONE: rules of chain NEXT were changed"),
    ("insert rule ip ONE IN accept", "ip ONE: rules of chain IN were changed"),
    ("flush chain ip ONE IN; delete chain ip ONE NEXT", "ip ONE: chain NEXT was taken away"),
    ("add chain ip ONE MINE", "ip ONE: chain MINE was put in"),
    ("add set ip ONE mine { type mark; }", "ip ONE: set mine was put in"),
    ("flush set ip ONE m", "ip ONE: m lacked { 10.0.0.1 }, { 10.0.0.2 }, { 10.0.0.3 } and "),
  ]

  @Test(arguments: [false, true])
  func `what another program does to our tables is put right by itself, and named`(isBusy: Bool) async throws
  {
    let isOver = Flag()
    let (worker, changes) = try inFreshNamespace { () -> (RulesetWorker, Task<Void, Never>?) in
      let worker = try RulesetWorker(owned: [one], checkPause: .milliseconds(100))
      worker.submit("one", [table([1, 2, 3, 4, 5])])
      #expect(becomesTrue { run("nft list ruleset").output.contains("10.0.0.5") })
      let wanted = words(run("nft list ruleset").output)
      // With changes all the time there is no quiet second in which to look.
      let changes = isBusy ? changeAllTheTime(worker, isOver) : nil
      for edit in Self.edits {
        let edited = run("nft '\(edit.command)'")
        #expect(edited.status == 0, "\(edit.command): \(edited.output)")
        #expect(becomesTrue { words(run("nft list ruleset").output) == wanted }, "\(edit.command)")
      }
      isOver.set()
      return (worker, changes)
    }
    await changes?.value
    worker.stop(removingTables: true)
    var named: [String] = []
    for await repair in worker.repairs {
      named += repair.found
      #expect(repair.operations > 0 && repair.more == 0 && repair.found.count <= RulesetRepair.namedMax)
    }
    // The newest are kept for who reads late.
    for edit in isBusy ? Self.edits.suffix(4) : Self.edits[...] {
      #expect(named.contains { $0.hasPrefix(edit.found) }, "\(edit.command): \(named)")
    }
  }

  @Test func `a repair that the kernel refuses does not bring an older plan back`() throws {
    try inFreshNamespace {
      var made: BusyKernel?
      let syncer = try RulesetSyncer(owned: [one], metrics: Metrics()) { socket in
        let kernel = BusyKernel(socket)
        made = kernel
        return kernel
      }
      let kernel = try #require(made)
      _ = try syncer.sync([table([1])])
      _ = run("nft flush ruleset")
      kernel.refusals = 2 * RulesetSyncer.attemptsMax
      #expect(throws: NftablesError.self) { try syncer.repair() }
      #expect(kernel.refusals == 0 && run("nft list ruleset").output == "")
      // A change alone would be lost with what it changes.
      var delta = TableDelta(one)
      delta.setElement("m", .ipv4(IPv4Address(10, 0, 0, 9)), Element(.present))
      let stale = #expect(throws: NftablesError.self) { try syncer.sync([], deltas: [delta]) }
      #expect(stale?.isStale == true)
      _ = try syncer.sync([table([1, 2])])
      #expect(try syncer.repair() == nil)
      #expect(run("nft list ruleset").output.contains("10.0.0.2"))
      // Without a newer plan the next look puts the last one back.
      _ = run("nft flush ruleset")
      kernel.refusals = 2 * RulesetSyncer.attemptsMax
      #expect(throws: NftablesError.self) { try syncer.repair() }
      var repairs: [RulesetRepair] = []
      syncer.onRepair = { repairs.append($0) }
      _ = try syncer.repair()
      #expect(run("nft list ruleset").output.contains("10.0.0.2") && repairs.count == 1)
    }
  }

  @Test func `another program that commits all the time holds up no transaction and no reading`() throws {
    try inFreshNamespace {
      let folder = try ScratchFolder.make("busy")
      defer { _ = run("touch \(folder)/over; sleep 0.2; rm -rf \(folder)") }
      _ = run("nft add table ip other; nft add set ip other s '{ type ipv4_addr; }'")
      // One large transaction after the other.
      let elements = (0..<2000).map { "10.1.\($0 / 250).\($0 % 250)" }.joined(separator: ", ")
      let text = "flush set ip other s; add element ip other s { \(elements) };"
      _ = run("cat > \(folder)/text", input: text)
      _ = run(
        "(for i in $(seq 2000); do test -e \(folder)/over && break; nft -f \(folder)/text; done) "
          + "> /dev/null 2>&1 < /dev/null &")
      let syncer = try RulesetSyncer(owned: [one], metrics: Metrics())
      let first = try syncer.socket.generation()
      _ = try syncer.sync([table([1])])
      for round in UInt8(2)...60 {
        var delta = TableDelta(one)
        delta.setElement("m", .ipv4(IPv4Address(10, 0, 0, round)), Element(.present))
        _ = try syncer.sync([], deltas: [delta])
        if round % 10 == 0 {
          syncer.forget()
          _ = try syncer.sync([table(Array(1...round))])
        }
      }
      #expect(becomesTrue { (try? syncer.socket.generation()) ?? 0 > first + 75 }, "nobody else committed")
      let observed = try syncer.socket.observe([one])
      #expect(Ruleset([table(Array(1...60))]).operations(from: observed).isEmpty)
    }
  }
}

/// A listing's words in any order (that of elements is the kernel's), without the element that comes and goes.
private func words(_ listing: String) -> [String] {
  listing.split { " ,\n\t".contains($0) }.map(String.init).filter { $0 != "10.0.0.9" }.sorted()
}

/// Changes one element many times a second until told otherwise.
private func changeAllTheTime(_ worker: RulesetWorker, _ isOver: Flag) -> Task<Void, Never> {
  Task.detached {
    for round in 0... where !isOver.isSet {
      var delta = TableDelta(one)
      delta.setElement("m", .ipv4(IPv4Address(10, 0, 0, 9)), round % 2 == 0 ? Element(.present) : nil)
      do {
        try await worker.commit("one", deltas: [delta])
      } catch {
        _ = try? await worker.commit("one", [table([1, 2, 3, 4, 5])])
      }
      try? await Task.sleep(for: .milliseconds(10))
      if isOver.isSet { return }
    }
  }
}

private final class Flag: Sendable {
  private let value = Mutex(false)
  var isSet: Bool { value.withLock { $0 } }
  func set() { value.withLock { $0 = true } }
}
