// Questions to the node's own DNS server and its answers stay out of connection tracking: no entry a question, none to run out
// of, and no race between an A and an AAAA question that one socket sends at once.

import Addresses
import Ruleset

/// The table that says `notrack` for the address cluster DNS has on this node.
public enum UntrackedDNS {
  /// Its name towards the ruleset worker.
  public static let planner = "dns"
  static let name = "KUBE-DNS"
  public static let tables = [Table.ID(.ip, name), Table.ID(.ip6, name)]

  /// Both directions, of pods (prerouting, and output for what the server sends) and of the node's own processes.
  public static func plan(_ address: IPAddress) -> [Table] {
    let family = TableFamily.Addressed(address.family)
    let datum = Datum.address(address)
    let rules = [TransportProtocol.udp, .tcp].flatMap { transport in
      [
        Rule(
          .transport(transport.number), .match(.destination(family), .equal, datum),
          .match(.destinationPort, .equal, .port(53)), .notrack),
        Rule(
          .transport(transport.number), .match(.source(family), .equal, datum),
          .match(.sourcePort, .equal, .port(53)), .notrack),
      ]
    }
    return [
      Table(
        family.table, name,
        chains: [
          Chain("PREROUTING", BaseChain(.filter, .prerouting, priority: -300), rules: rules),
          Chain("OUTPUT", BaseChain(.filter, .output, priority: -300), rules: rules),
        ])
    ]
  }
}
