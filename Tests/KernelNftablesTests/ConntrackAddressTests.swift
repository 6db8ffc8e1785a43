// Goal: what is tracked of one address goes, of both families and in both roles, and nobody else's.

import Addresses
import KernelSockets
import Glibc
import NamespaceLab
import Ruleset
import Testing

@testable import KernelNftables

@Suite struct ConntrackAddressTests {
  @Test func `the connections of an address end, those it began and those it answers, and no others`() throws
  {
    try inFreshNamespace {
      let control = try NftablesSocket()
      // Something that asks for tracking.
      run(
        "nft add table inet t; nft 'add chain inet t o { type filter hook output priority 0; ct state new accept; }'"
      )
      let gone = [try #require(IPAddress("10.42.0.5")), try #require(IPAddress("fd00:42::5"))]
      let stays = [try #require(IPAddress("10.42.0.6")), try #require(IPAddress("fd00:42::6"))]
      for address in gone + stays {
        run(
          "ip addr add \(address)/\(address.family == .v4 ? 32 : 128) dev lo \(address.family == .v6 ? "nodad" : "")"
        )
      }
      func ask(_ from: IPAddress, _ to: IPAddress) throws {
        let made = socket(
          from.family == .v4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue),
          0)
        defer { close(made) }
        try #require(withSocketAddress(from, 0) { bind(made, $0, $1) } == 0)
        try #require(withSocketAddress(to, 9) { sendto(made, "x", 1, 0, $0, $1) } == 1)
      }
      func tracked() throws -> Set<String> {
        var found: Set<String> = []
        for family in IPFamily.allCases {
          try control.forEachFlow(family) { flow in
            if flow.transport == 17, flow.original.destination.port == 9 {
              found.insert("\(flow.original.source.address) \(flow.original.destination.address)")
            }
          }
        }
        return found
      }
      let loopback = [try #require(IPAddress("127.0.0.1")), try #require(IPAddress("::1"))]
      for (index, own) in loopback.enumerated() {
        for (one, other) in [
          (gone[index], stays[index]), (stays[index], gone[index]), (stays[index], own), (own, stays[index]),
        ] {
          // An address of IPv6 that was just given is not in every table of the kernel yet: its first datagrams may be lost.
          let isTracked = becomesTrue {
            (try? ask(one, other)) != nil && (try? tracked())?.contains("\(one) \(other)") == true
          }
          #expect(isTracked, "\(one) \(other)")
        }
      }
      #expect(try tracked().count == 8)
      try control.deleteFlows(of: gone)
      #expect(
        try tracked()
          == ["10.42.0.6 127.0.0.1", "127.0.0.1 10.42.0.6", "fd00:42::6 ::1", "::1 fd00:42::6"])
      // Nothing to end is no error.
      try control.deleteFlows(of: gone)
      try control.deleteFlows(of: [])
      #expect(try tracked().count == 4)
    }
  }
}
