// Traced packets are read as the kernel means them; bytes that are no such thing never trap.

import Addresses
import CNetfilter
import FuzzLab
import KernelSockets
import Glibc
import NamespaceLab
import Ruleset
import Testing

@testable import KernelNftables

@Suite struct TraceEventTests {
  private static func attribute(_ type: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let head = [UInt16(payload.count + 4), UInt16(type)].flatMap { value in
      withUnsafeBytes(of: value) { Array($0) }
    }
    return head + payload + [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
  }

  private static func big<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }

  /// A rule with handle 7 of `KUBE-POLICY` jumps; the packet is from 10.42.0.10:40000 to 10.42.0.11:8080.
  private static let jumped: [UInt8] =
    attribute(NFTA_TRACE_TABLE.rawValue, Array("KUBE-POLICY\0".utf8))
    + attribute(NFTA_TRACE_CHAIN.rawValue, Array("FORWARD\0".utf8))
    + attribute(NFTA_TRACE_RULE_HANDLE.rawValue, big(UInt64(7)))
    + attribute(NFTA_TRACE_TYPE.rawValue, big(NFT_TRACETYPE_RULE.rawValue))
    + attribute(NFTA_TRACE_ID.rawValue, big(UInt32(0xabcd)))
    + attribute(
      NFTA_TRACE_VERDICT.rawValue,
      attribute(NFTA_VERDICT_CODE.rawValue, big(Int32(-3)))
        + attribute(NFTA_VERDICT_CHAIN.rawValue, Array("KUBE-IN\0".utf8)))
    + attribute(
      NFTA_TRACE_NETWORK_HEADER.rawValue,
      [0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 42, 0, 10, 10, 42, 0, 11])
    + attribute(NFTA_TRACE_TRANSPORT_HEADER.rawValue, [0x9c, 0x40, 0x1f, 0x90])

  private static func event(_ bytes: [UInt8], family: UInt8 = 2) -> TraceEvent? {
    bytes.withUnsafeBytes { TraceEvent(family: family, attributes: $0) }
  }

  @Test func `a rule that jumps, the end of a chain and a policy are read`() throws {
    let event = try #require(Self.event(Self.jumped))
    #expect(event.table == Table.ID(.ip, "KUBE-POLICY") && event.chain == "FORWARD")
    #expect(event.kind == .rule(handle: 7) && event.verdict == .jump("KUBE-IN") && event.packet == 0xabcd)
    #expect(event.addresses?.destination == IPAddress("10.42.0.11") && event.ports?.destination == 8080)
    let head =
      Self.attribute(NFTA_TRACE_TABLE.rawValue, Array("t\0".utf8))
      + Self.attribute(NFTA_TRACE_CHAIN.rawValue, Array("c\0".utf8))
      + Self.attribute(NFTA_TRACE_ID.rawValue, Self.big(UInt32(1)))
    let dropped = try #require(
      Self.event(
        head + Self.attribute(NFTA_TRACE_TYPE.rawValue, Self.big(NFT_TRACETYPE_POLICY.rawValue))
          + Self.attribute(NFTA_TRACE_POLICY.rawValue, Self.big(UInt32(0))), family: 10))
    #expect(dropped.kind == .policy && dropped.verdict == .drop && dropped.table.family == .ip6)
    #expect(dropped.addresses == nil && dropped.ports == nil)
    let ended = Self.event(
      head + Self.attribute(NFTA_TRACE_TYPE.rawValue, Self.big(NFT_TRACETYPE_RETURN.rawValue)))
    #expect(ended?.kind == .endOfChain && ended?.verdict == .back)
    // Not of our families, or without what says where it was.
    #expect(Self.event(Self.jumped, family: 5) == nil && Self.event(head) == nil && Self.event([]) == nil)
  }

  @Test func `damaged bytes never trap`() {
    for bytes in mutations(of: Self.jumped, count: 20_000, seed: 7) {
      let event = Self.event(bytes)
      _ = event?.addresses
      _ = event?.ports
    }
  }

  @Test
  func `the kernel tells of our packet's rules and of no other's, and nothing stays when the tracer goes`()
    throws
  {
    try inFreshNamespace {
      run(
        "nft 'table inet t { chain o { type filter hook output priority 0; udp dport 9 counter comment \"nine\"; udp dport 10 drop; }; }'"
      )
      let source = try #require(SocketEndpoint("127.0.0.1:4321"))
      func send(from port: UInt16, to: UInt16) throws {
        let made = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(made) }
        try #require(withSocketAddress(source.address, port) { bind(made, $0, $1) } == 0)
        _ = withSocketAddress(source.address, to) { sendto(made, "x", 1, 0, $0, $1) }
      }
      do {
        let tracer = try PacketTracer(from: source, transport: 17)
        try send(from: 4322, to: 9)
        try send(from: 4321, to: 9)
        let events = try tracer.read(milliseconds: 5000)
        let packet = try #require(events.first?.packet)
        let first = events.filter { $0.packet == packet }
        #expect(first.allSatisfy { $0.table == Table.ID(.inet, "t") }, "\(first)")
        let notes = try NftablesSocket().ruleNotes(of: Table.ID(.inet, "t"))
        guard case .rule(let handle)? = first.first?.kind else {
          Issue.record("\(first)")
          return
        }
        #expect(
          notes[handle]?.comment == "nine" && notes[handle]?.place == 1 && notes[handle]?.fingerprint == 0)
        #expect(first.last?.verdict == .accept)
        try send(from: 4321, to: 10)
        #expect(try tracer.read(milliseconds: 5000).contains { $0.verdict == .drop })
        #expect(run("nft list tables").output.contains("weft-trace"))
      }
      #expect(!run("nft list tables").output.contains("weft-trace"))
    }
  }
}
