// Goal: whatever the kernel answers, what planners want is in force in the end or the old tables are, and nothing is believed that the
// kernel did not do. Method: a kernel that refuses, is busy or loses its answer, between syncer and socket; and the real one where it
// can be brought to do so.

import Addresses
import Diagnostics
import Glibc
import NamespaceLab
import Ruleset
import Testing

@testable import KernelNftables

/// The real kernel, with faults in between.
private final class FaultyKernel: KernelTables {
  enum Call: CaseIterable { case apply, observe, generation }
  enum Fault {
    /// Nothing happens.
    case refused(Int32)
    /// It happens, and the answer is lost.
    case unanswered(Int32)
  }

  let socket: NftablesSocket
  /// What the next calls meet, the first first.
  var faults: [(call: Call, fault: Fault)] = []
  private(set) var applied = 0

  init(_ socket: NftablesSocket) { self.socket = socket }

  func apply(_ operations: [Operation]) throws(NftablesError) -> CommitReport {
    let fault = take(.apply)
    if case .refused(let code) = fault { throw NftablesError(operation: "commit a transaction", errno: code) }
    let report = try socket.apply(operations)
    applied += 1
    if case .unanswered(let code) = fault {
      throw NftablesError(operation: "commit a transaction", errno: code)
    }
    return report
  }

  func observe(_ wanted: [Table.ID]) throws(NftablesError) -> InForce {
    if case .refused(let code) = take(.observe) { throw NftablesError(operation: "read tables", errno: code) }
    return try socket.observe(wanted)
  }

  func generation() throws(NftablesError) -> UInt32 {
    if case .refused(let code) = take(.generation) {
      throw NftablesError(operation: "read the generation", errno: code)
    }
    return try socket.generation()
  }

  private func take(_ call: Call) -> Fault? {
    faults.firstIndex { $0.call == call }.map { faults.remove(at: $0).fault }
  }
}

private let id = Table.ID(.ip, "ONE")

private func table(_ addresses: [UInt8], chains: [Chain] = []) -> Table {
  Table(
    .ip, "ONE",
    sets: [NamedSet("m", key: [.ipv4Address], values: addresses.map { .ipv4(IPv4Address(10, 0, 0, $0)) })],
    chains: chains)
}

private func element(_ last: UInt8) -> Datum { .ipv4(IPv4Address(10, 0, 0, last)) }

/// What `nft` shows of the set, apart from our own reading.
private func listed() -> Set<String> {
  let words = run("nft list set ip ONE m").output.split { " ,\n\t".contains($0) }
  return Set(words.filter { $0.hasPrefix("10.0.0.") }.map { String($0.dropFirst(7)) })
}

/// A hundred questions for the generation, whose answers nobody takes.
private func ask(_ socket: NftablesSocket) throws {
  for number in UInt8(1)...100 {
    let request: [UInt8] = [20, 0, 0, 0, 16, 10, 1, 0, number, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]
    try request.withUnsafeBytes { try socket.send($0, "a question") }
  }
}

private final class Lab {
  let syncer: RulesetSyncer
  let kernel: FaultyKernel
  let metrics = Metrics()

  init() throws {
    var made: FaultyKernel?
    syncer = try RulesetSyncer(owned: [id], metrics: metrics) { socket in
      let kernel = FaultyKernel(socket)
      made = kernel
      return kernel
    }
    kernel = try #require(made)
  }

  func count(_ name: String) -> String {
    metrics.text().split(separator: "\n").first { $0.hasPrefix("\(name) ") }
      .map { String($0.dropFirst(name.count + 1)) } ?? "0"
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct FaultTests {
  @Test func `a kernel that is busy, interrupted or short of memory is asked again`() throws {
    try inFreshNamespace {
      let lab = try Lab()
      var last: UInt8 = 1
      for code in [EINTR, EBUSY, EAGAIN, ENOMEM] {
        for call in FaultyKernel.Call.allCases {
          last += 1
          lab.kernel.faults = [(call, .refused(code)), (call, .refused(code))]
          if call != .apply { lab.syncer.forget() }
          _ = try lab.syncer.sync([table([1, last])])
          #expect(listed() == ["1", "\(last)"], "\(code) at \(call)")
          #expect(lab.kernel.faults.isEmpty)
        }
      }
      #expect(lab.count("weft_ruleset_retries_total") == "24")
    }
  }

  @Test func `what stays busy is given up after four attempts, and the next call puts it in force`() throws {
    try inFreshNamespace {
      let lab = try Lab()
      _ = try lab.syncer.sync([table([1])])
      // Twice: after a failure the tables are read and compared once more before it is given up.
      lab.kernel.faults = Array(repeating: (.apply, .refused(EBUSY)), count: 2 * RulesetSyncer.attemptsMax)
      let error = try #require(throws: NftablesError.self) { try lab.syncer.sync([table([2])]) }
      #expect(error.errno == EBUSY && error.isRetryable && lab.kernel.faults.isEmpty)
      #expect(listed() == ["1"])
      _ = try lab.syncer.sync([table([2])])
      #expect(listed() == ["2"])
    }
  }

  @Test(arguments: [true, false])
  func `when the answer is lost, what is in force is read and the rest is sent`(isCommitted: Bool) throws {
    try inFreshNamespace {
      let lab = try Lab()
      _ = try lab.syncer.sync([table([1, 2])])
      let fault: FaultyKernel.Fault = isCommitted ? .unanswered(ENOBUFS) : .refused(ENOBUFS)
      // A whole table, then a delta.
      for isDelta in [false, true] {
        let before = lab.kernel.applied
        let reads = lab.count("weft_ruleset_reads_total")
        lab.kernel.faults = [(.apply, fault)]
        if isDelta {
          var delta = TableDelta(id)
          delta.setElement("m", element(5), Element(.present))
          _ = try lab.syncer.sync([], deltas: [delta])
        } else {
          _ = try lab.syncer.sync([table([1, 2, 3])])
        }
        #expect(lab.kernel.applied == before + 1, "done once, whether it was heard of or not")
        #expect(lab.count("weft_ruleset_reads_total") != reads)
        #expect(listed() == (isDelta ? ["1", "2", "3", "5"] : ["1", "2", "3"]))
      }
      var delta = TableDelta(id)
      delta.setElement("m", element(1), nil)
      #expect(try lab.syncer.sync([], deltas: [delta]).operations == 1)
      #expect(listed() == ["2", "3", "5"])
    }
  }

  @Test func `answers that the kernel drops for want of room hold nobody up and lose no change`() throws {
    try inFreshNamespace {
      let lab = try Lab()
      _ = try lab.syncer.sync([table([1])])
      let socket = lab.syncer.socket
      var room: Int32 = 2048
      #expect(setsockopt(socket.descriptor, SOL_SOCKET, SO_RCVBUF, &room, 4) == 0)
      // Nobody takes these answers: the socket is full, and the next answer would be dropped.
      try ask(socket)
      _ = try lab.syncer.sync([table([1, 2])])
      #expect(listed() == ["1", "2"])
      try ask(socket)
      #expect(try !lab.syncer.hasForeignChange())
      // More refusals of one transaction than there is room for.
      let bad = (0..<200).map { Operation.deleteChain(id, "NONE\($0)") }
      let error = try #require(throws: NftablesError.self) { try socket.apply(bad) }
      #expect(error.errno == ENOBUFS && error.isRetryable, "\(error)")
      lab.syncer.forget()
      _ = try lab.syncer.sync([table([1, 2, 3])])
      #expect(listed() == ["1", "2", "3"])
    }
  }

  @Test func `a refusal for want of rights leaves the old rules and is no reason to try at once`() throws {
    try inFreshNamespace {
      let lab = try Lab()
      _ = try lab.syncer.sync([table([1])])
      lab.kernel.faults = [(.apply, .refused(EPERM)), (.apply, .refused(EPERM))]
      let error = try #require(throws: NftablesError.self) { try lab.syncer.sync([table([2])]) }
      #expect(error.errno == EPERM && !error.isRetryable)
      #expect(lab.count("weft_ruleset_retries_total") == "0")
      #expect(listed() == ["1"])
    }
  }

  @Test func `a kernel that lacks a feature says so of the chain, and the old rules stay`() throws {
    try inFreshNamespace {
      let syncer = try RulesetSyncer(owned: [id])
      _ = try syncer.sync([table([1])])
      // No kernel translates addresses at this hook.
      let unknown = Chain("TRANSLATE", .init(.nat, .forward, priority: 0))
      let error = try #require(throws: NftablesError.self) {
        try syncer.sync([table([2], chains: [unknown])])
      }
      #expect(error.errno == EOPNOTSUPP && !error.isRetryable)
      #expect(error.description.contains("TRANSLATE") && error.table == id, "\(error)")
      #expect(listed() == ["1"])
      _ = try syncer.sync([table([2])])
      #expect(listed() == ["2"])
    }
  }

  @Test func `more elements than one attribute holds go in and come back`() throws {
    try inFreshNamespace {
      var set = NamedSet("big", key: [.ipv6Address, .port], data: .values([.mark]))
      for index in 0..<3000 {
        set.insert(
          Datum(.ipv6(IPv6Address(bits: 0xfd00 << 112 | UInt128(index))), .port(UInt16(index))),
          .number(UInt32(index)), comment: String(repeating: "c", count: 120) + "\(index)")
      }
      var intervals = NamedSet("ranges", key: [.ipv4Address], isInterval: true)
      for index in 0..<3000 {
        let first = IPv4Address(10, 1, UInt8(index / 60), UInt8(index % 60 * 4))
        let last = IPv4Address(10, 1, UInt8(index / 60), UInt8(index % 60 * 4 + 1))
        intervals.insert(.ipv4(first), through: .ipv4(last), comment: "range \(index)")
      }
      let rule = Rule(
        .transport(6),
        .lookupAny(.destinationPort, (0..<4000).map { Statement.Interval(.port(UInt16($0 * 3))) }), .accept)
      let wanted = Table(.ip6, "BIG", sets: [set], chains: [Chain("C", rules: [rule])])
      let other = Table(.ip, "BIG", sets: [intervals])
      let syncer = try RulesetSyncer(owned: [wanted.id, other.id])
      let report = try syncer.sync([wanted, other])
      #expect(report.quarantined.isEmpty && report.netlinkBytes > 10 * 65_535)
      let observed = try NftablesSocket().observe([wanted.id, other.id])
      #expect(Ruleset([wanted, other]).operations(from: observed).isEmpty)
      // An element that is refused is found among them.
      intervals.insert(
        .ipv4(IPv4Address(10, 1, 0, 1)), through: .ipv4(IPv4Address(10, 1, 0, 3)), comment: "the overlap")
      let again = try syncer.sync([wanted, Table(.ip, "BIG", sets: [intervals])])
      #expect(again.quarantined.count == 1)
    }
  }

  @Test func `a table of another version is made anew in one transaction`() throws {
    try inFreshNamespace {
      // As an earlier or later version may have left it: another key, another hook, a chain and a map that are no more.
      _ = run(
        "nft -f -",
        input: """
          table ip ONE {
            set m { type ipv4_addr . inet_service; elements = { 10.0.0.9 . 80 } }
            map gone { type mark : verdict; }
            chain OLD { accept; }
            chain C { type filter hook input priority 5; meta mark vmap @gone; jump OLD; }
          }
          table ip foreign { chain c { accept; }; }
          """)
      #expect(run("nft list tables").output.contains("ONE"))
      let wanted = table([1, 2], chains: [Chain("C", .init(.filter, .input, priority: 0), rules: [])])
      let syncer = try RulesetSyncer(owned: [id])
      let before = try syncer.socket.generation()
      _ = try syncer.sync([wanted])
      #expect(try syncer.socket.generation() == before + 1)
      let mixed = run("nft list table ip ONE").output
      let fresh = try inFreshNamespace {
        _ = try RulesetSyncer(owned: [id]).sync([wanted])
        return run("nft list table ip ONE").output
      }
      #expect(mixed == fresh && !fresh.isEmpty)
      #expect(run("nft list tables").output.contains("foreign"))
    }
  }
}
