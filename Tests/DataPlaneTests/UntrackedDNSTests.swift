// Which packets stay out of connection tracking: those to and from the node's own DNS server, and no others.

import Addresses
import DataPlane
import Ruleset
import Testing

@Suite struct UntrackedDNSTests {
  static let pod = "10.42.0.7"
  static let server = "10.43.0.10"

  @Test(arguments: [
    (pod, server, UInt8(17), UInt16(40000), UInt16(53), true), (server, pod, 17, 53, 40000, true),
    (pod, server, 6, 40000, 53, true), (server, pod, 6, 53, 40000, true),
    (pod, server, 17, 40000, 54, false), (pod, "10.43.0.11", 17, 40000, 53, false),
    ("10.43.0.11", pod, 17, 53, 40000, false), (server, pod, 17, 40000, 53, false),
  ])
  func `questions to cluster DNS and its answers are not tracked`(
    _ source: String, _ destination: String, _ transport: UInt8, _ from: UInt16, _ to: UInt16,
    _ isUntracked: Bool
  ) throws {
    let address = try #require(IPAddress(Self.server))
    let ruleset = Ruleset(UntrackedDNS.plan(address))
    let packet = Packet(
      try #require(IPAddress(source)), try #require(IPAddress(destination)), transport: transport,
      sourcePort: from,
      destinationPort: to)
    for hook in [BaseChain.Hook.prerouting, .output] {
      #expect(ruleset.evaluate(packet, at: hook).isUntracked == isUntracked)
    }
  }

  @Test func `an IPv6 address has its own table`() throws {
    let address = try #require(IPAddress("fd00:43::a"))
    let tables = UntrackedDNS.plan(address)
    #expect(tables.map(\.id.family) == [.ip6])
    #expect(tables.allSatisfy { UntrackedDNS.tables.contains($0.id) })
  }
}
