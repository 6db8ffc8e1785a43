// What the kernel tells of connections and refused packets is read as it is meant; what is lost is counted; bytes that are no such
// thing never trap. The live tests have a network namespace each.

import Addresses
import FuzzLab
import Glibc
import NamespaceLab
import Ruleset
import Synchronization
import Testing

@testable import KernelNftables

private func attribute(_ type: UInt16, _ payload: [UInt8]) -> [UInt8] {
  let head = [UInt16(payload.count + 4), type].flatMap { value in withUnsafeBytes(of: value) { Array($0) } }
  return head + payload + [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
}

private func big<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
  withUnsafeBytes(of: number.bigEndian) { Array($0) }
}

/// As nfnetlink_conntrack.h numbers them.
private func tuple(_ from: String, _ fromPort: UInt16, _ to: String, _ toPort: UInt16, _ transport: UInt8)
  -> [UInt8]
{
  let isSix = from.contains(":")
  let addresses =
    attribute(isSix ? 3 : 1, IPAddress(from)!.bytes) + attribute(isSix ? 4 : 2, IPAddress(to)!.bytes)
  let ports = attribute(1, [transport]) + attribute(2, big(fromPort)) + attribute(3, big(toPort))
  return attribute(1, addresses) + attribute(2, ports)
}

/// A connection to 10.43.0.1:80 that went to an endpoint, as it ended.
private let ended =
  attribute(1, tuple("10.42.0.13", 40000, "10.43.0.1", 80, 6))
  + attribute(2, tuple("10.42.0.11", 9090, "10.42.0.13", 40000, 6)) + attribute(12, [1, 2, 3, 4])
  + attribute(3, big(UInt32(0x2e))) + attribute(8, big(UInt32(0x2008_0001)))
  + attribute(9, attribute(1, big(UInt64(5))) + attribute(2, big(UInt64(420))))
  + attribute(10, attribute(1, big(UInt64(4))) + attribute(2, big(UInt64(9000))))
  + attribute(
    20,
    attribute(1, big(UInt64(1_790_000_000_000_000_000)))
      + attribute(2, big(UInt64(1_790_000_001_000_000_000)))
  ) + attribute(4, attribute(1, attribute(1, [7])))

private func record(_ bytes: [UInt8]) -> FlowRecord? {
  bytes.withUnsafeBytes { FlowRecord(.end, attributes: $0) }
}

private func told(_ bytes: [UInt8]) -> LoggedPacket? {
  bytes.withUnsafeBytes { LoggedPacket(attributes: $0) }
}

/// 20 bytes of header, then TCP.
private let four: [UInt8] =
  [0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 42, 0, 10, 10, 42, 0, 11]
  + [0x9c, 0x40, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0x02]
/// A hop-by-hop and a destination header before UDP.
private let six: [UInt8] =
  [0x60, 0, 0, 0, 0, 24, 0, 64] + IPAddress("fd00:42::10")!.bytes + IPAddress("fd00:42::11")!.bytes
  + [60, 0, 0, 0, 0, 0, 0, 0] + [17, 0, 0, 0, 0, 0, 0, 0] + [0x30, 0x39, 0, 53, 0, 8, 0, 0]

private func logged(_ packet: [UInt8], _ prefix: String) -> [UInt8] {
  attribute(1, [0x08, 0, 2, 0]) + attribute(2, big(UInt32(7)))
    + attribute(3, big(UInt64(1_790_000_000)) + big(UInt64(5))) + attribute(10, Array(prefix.utf8) + [0])
    + attribute(12, big(UInt32(41))) + attribute(9, packet)
    + attribute(
      18,
      attribute(1, tuple("10.42.0.10", 40000, "10.43.0.7", 80, 6))
        + attribute(2, tuple("10.42.0.11", 8080, "10.42.0.10", 40000, 6)))
}

@Suite(.serialized) struct FlowEventsTests {
  @Test func `an ended connection is read with its ends, amounts, times and state`() throws {
    let flow = try #require(record(ended))
    #expect(flow.transport == 6 && flow.family == .v4)
    #expect(flow.original.source == SocketEndpoint("10.42.0.13:40000")!)
    #expect(flow.original.destination == SocketEndpoint("10.43.0.1:80")!)
    #expect(flow.reply.source == SocketEndpoint("10.42.0.11:9090")!)
    #expect(flow.mark == 0x2008_0001 && flow.status == 0x2e && flow.hasReply)
    #expect(flow.sent == .init(packets: 5, bytes: 420) && flow.received == .init(packets: 4, bytes: 9000))
    #expect(flow.stopNanoseconds - flow.startNanoseconds == 1_000_000_000 && flow.tcpState == 7)
    let six =
      attribute(1, tuple("fd00::1", 1, "fd00::2", 2, 17))
      + attribute(2, tuple("fd00::2", 2, "fd00::1", 1, 17))
    #expect(record(six)?.family == .v6)
    #expect(record(six)?.sent == nil)
    #expect(record(attribute(1, tuple("10.0.0.1", 1, "10.0.0.2", 2, 6))) == nil, "no reply, no flow")
  }

  @Test func `a told packet is read with chain, ends and the destination before translation`() throws {
    let packet = try #require(told(logged(four, "KUBE-DENY-IN")))
    #expect(packet.prefix == "KUBE-DENY-IN" && packet.hook == .forward && packet.sequence == 41)
    #expect(packet.packet.source == IPAddress("10.42.0.10")! && packet.packet.sourcePort == 40000)
    #expect(packet.packet.destination == IPAddress("10.42.0.11")! && packet.packet.destinationPort == 8080)
    #expect(packet.packet.tcpFlags == TCPFlag.syn && packet.packet.mark == 7 && packet.bytes == 60)
    #expect(packet.nanoseconds == 1_790_000_000_000_005_000)
    #expect(packet.connection?.original.destination == SocketEndpoint("10.43.0.7:80")!)
    let other = try #require(told(logged(six, "x")))
    #expect(
      other.packet.transport == 17 && other.packet.sourcePort == 12345 && other.packet.destinationPort == 53)
    #expect(other.bytes == 64)
    var fragment = four
    fragment[7] = 8
    #expect(told(logged(fragment, "x"))?.packet.destinationPort == 0, "a later fragment has no ports")
    #expect(told(attribute(10, [65, 0])) == nil, "no packet")
  }

  @Test func `bytes that are cut off or damaged are passed over or read, and never trap`() {
    var read = 0
    for (index, sample) in [ended, logged(four, "KUBE-DENY-IN"), logged(six, "KUBE-AUDIT-EG")].enumerated() {
      for length in sample.indices {
        _ = record(Array(sample[..<length]))
        _ = told(Array(sample[..<length]))
      }
      for bytes in mutations(of: sample, count: 10_000, seed: UInt64(index)) {
        if record(bytes) != nil { read += 1 }
        if told(bytes) != nil { read += 1 }
      }
    }
    #expect(read > 0)
  }

  @Test func `missing numbers are counted, also over the end of 32 bits`() {
    var gap = SequenceGap()
    #expect([5, 6, 9, 10].map { gap.take($0) } == [0, 0, 2, 0])
    var wrapping = SequenceGap()
    #expect([UInt32.max - 1, UInt32.max, 1].map { wrapping.take($0) } == [0, 0, 1])
    var again = SequenceGap()
    #expect([1000, 0, 1].map { again.take($0) } == [0, 0, 0], "a group that begins anew has lost nothing")
  }

  /// Tells UDP to port 9 to a group, and has connections tracked.
  private static func table(group: UInt16) -> Ruleset {
    Ruleset([
      Table(
        .ip, "T",
        chains: [
          Chain(
            "OUT", BaseChain(.filter, .output, priority: 0),
            rules: [
              Rule(.ctState(.established), .accept),
              Rule(
                .transport(17), .match(.destinationPort, .equal, .port(9)),
                .log(group: group, prefix: "KUBE-DENY-EG", snapLength: 96), .drop),
            ])
        ])
    ])
  }

  private final class Kept: Sendable {
    let batch = Mutex(NetfilterEvents.Batch())
    func take(_ more: NetfilterEvents.Batch) {
      batch.withLock {
        $0.flows += more.flows
        $0.packets += more.packets
      }
    }
    var flows: [FlowRecord] { batch.withLock { $0.flows } }
    var packets: [LoggedPacket] { batch.withLock { $0.packets } }
  }

  private static func datagram(_ socket: Int32, to port: UInt16) {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(socket, "x", 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  @Test func `refused packets and connections that begin and end are told by the kernel`() throws {
    try inFreshNamespace {
      let control = try NftablesSocket()
      try control.apply(Self.table(group: 17).operations(from: InForce()))
      run("sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1")
      let events = try NetfilterEvents(group: 17, withFlows: true)
      #expect(throws: NftablesError.self, "the group has its reader") {
        _ = try NetfilterEvents(group: 17, withFlows: false)
      }
      let kept = Kept()
      try events.start { kept.take($0) }
      defer { events.stop() }
      let client = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      defer { close(client) }
      for _ in 0..<5 { Self.datagram(client, to: 9) }
      #expect(becomesTrue { kept.packets.count == 5 })
      let packet = try #require(kept.packets.first)
      #expect(packet.prefix == "KUBE-DENY-EG" && packet.hook == .output)
      #expect(packet.packet.destinationPort == 9 && packet.packet.transport == 17 && packet.bytes == 29)
      Self.datagram(client, to: 7777)
      func begun() -> FlowRecord? {
        kept.flows.first { $0.event == .new && $0.original.destination.port == 7777 }
      }
      #expect(becomesTrue { begun() != nil })
      // The dump finds it, and forgetting it is its end.
      var dumped: FlowRecord?
      try control.forEachFlow(.v4) { if $0.original.destination.port == 7777 { dumped = $0 } }
      let flow = try #require(dumped)
      #expect(flow.original == begun()?.original && flow.id == begun()?.id)
      try control.deleteFlow(flow)
      try control.deleteFlow(flow)
      #expect(
        becomesTrue { kept.flows.contains { $0.event == .end && $0.original == flow.original } })
      let end = try #require(kept.flows.first { $0.event == .end })
      #expect(end.sent == .init(packets: 1, bytes: 29))
      #expect(end.startNanoseconds > 0 && end.stopNanoseconds >= end.startNanoseconds)
      #expect(events.losses == .init())
    }
  }

  @Test func `what comes faster than it is read is lost, counted, and what comes later is read`() throws {
    try inFreshNamespace {
      let control = try NftablesSocket()
      try control.apply(Self.table(group: 17).operations(from: InForce()))
      let events = try NetfilterEvents(group: nil, withFlows: true)
      let kept = Kept()
      let gate = Mutex(true)
      try events.start { batch in
        kept.take(batch)
        // A handler that is stuck: the kernel's buffer fills.
        while gate.withLock({ $0 }) { usleep(10_000) }
      }
      let client = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      defer { close(client) }
      var sent: UInt64 = 0
      for port in UInt16(10_000)...60_000 {
        Self.datagram(client, to: port)
        sent += 1
      }
      gate.withLock { $0 = false }
      // Every event is read or counted as lost; forgetting flows at the limit of the machine's table would be events too.
      #expect(becomesTrue { UInt64(kept.flows.count) + events.losses.flows >= sent })
      #expect(events.losses.flows > 0 && !kept.flows.isEmpty)
      let before = kept.flows.count
      Self.datagram(client, to: 9999)
      #expect(becomesTrue { kept.flows.dropFirst(before).contains { $0.original.destination.port == 9999 } })
      events.stop()
    }
  }
}
