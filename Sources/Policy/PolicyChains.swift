// The chains that are there whatever the policies: where packets come in, and where the refused end.

import Addresses
import Ruleset

enum PolicyChains {
  /// The node's pod addresses, without the node's own.
  static func podNet(_ settings: PolicySettings, _ family: TableFamily.Addressed) -> NamedSet {
    var set = NamedSet("pod-net", key: [family.addressType], isInterval: true)
    let blocks = settings.podBlocks.filter { $0.family == family.addresses }
    let own = settings.gateways.filter { $0.family == family.addresses }
      .compactMap { IPPrefix($0, length: $0.family.width) }
    for range in addressRanges(blocks, except: own) {
      set.insert(.address(range.lowerBound), through: .address(range.upperBound))
    }
    return set
  }

  static func base(_ family: TableFamily.Addressed) -> [Chain] {
    let source = Expression.source(family)
    let destination = Expression.destination(family)
    let unknownSource: [Statement] = [
      .lookup(source, set: "pod-net", negated: false), .lookup(source, set: "pods", negated: true),
      .goto(PolicyNames.quarantine),
    ]
    let unknownDestination: [Statement] = [
      .lookup(destination, set: "pod-net", negated: false), .lookup(destination, set: "pods", negated: true),
      .goto(PolicyNames.quarantine),
    ]
    // Who asks for a neighbour's hardware address is no connection, and tracking leaves it alone (ICMPv6 130 to 143). Policies
    // are about connections: without this an isolated pod finds nobody, not even those it may reach.
    let neighbours =
      family == .ip6 ? [Rule(.transport(58), .ctState(.untracked), .accept)] : []
    let forward = Chain(
      "KUBE-FORWARD", BaseChain(.filter, .forward, priority: 0),
      rules: [
        Rule(.ctState([.established, .related]), .accept),
        Rule(.ctState(.invalid), .drop),
        // A flow whose entry was deleted must not be picked up in the middle: the server's next segment would
        // make it new again from the allowed side.
        Rule(
          .transport(TransportProtocol.tcp.number), .ctState(.new),
          .match(
            .masked(.tcpFlags, .byte(TCPFlag.fin | TCPFlag.syn | TCPFlag.rst | TCPFlag.ack)), .notEqual,
            .byte(TCPFlag.syn)), .drop),
        Rule(.lookup(.concatenation([source, destination]), set: "self", negated: false), .accept),
        Rule(unknownSource), Rule(unknownDestination),
      ] + neighbours + [
        // A profile's chain decides, and nothing comes back from it; but look-ups see a new transaction before chains do. A packet
        // that is on its way through these rules at that very moment finds the new pod, and its new chain still empty.
        Rule(.vmap(source, map: "pod-eg")),
        Rule(.lookup(source, set: "isolated-eg", negated: false), .goto(PolicyNames.denyEgress)),
        Rule(.goto(PolicyNames.receiver)),
      ])
    // Ends with a verdict: whoever comes from a sender's chain would go back to where that was called. A pod that left while the
    // packet was on its way had its policies at the first look and has none at the next: it is looked for once more.
    let receiver = Chain(
      PolicyNames.receiver,
      rules: [
        Rule(.vmap(destination, map: "pod-in")),
        Rule(.lookup(destination, set: "isolated-in", negated: false), .goto(PolicyNames.denyIngress)),
        Rule(unknownSource), Rule(unknownDestination), Rule(.accept),
      ])
    // The node may always speak to its pods, but not to addresses that no committed pod has.
    let output = Chain(
      "KUBE-OUTPUT", BaseChain(.filter, .output, priority: 0),
      rules: [Rule([.ctState(.new)] + unknownDestination)])
    // Stateless: untracked packets, such as those to node-local DNS, are caught too.
    let input = Chain(
      "KUBE-INPUT", BaseChain(.filter, .input, priority: 0),
      rules: [Rule(unknownSource), Rule(.ctState([.established, .related]), .accept)] + neighbours
        + [Rule(.lookup(destination, set: PolicyNames.ownNode, negated: false), .goto(PolicyNames.toNode))])
    // ClusterNetworkPolicies alone: no NetworkPolicy keeps a pod from its own node.
    let toNode = Chain(
      PolicyNames.toNode,
      rules: [
        Rule(.vmap(source, map: "pod-node")),
        Rule(.lookup(source, set: "isolated-node", negated: false), .goto(PolicyNames.denyEgress)),
      ])
    return [forward, receiver, output, input, toNode]
  }

  static let counters = ["denied-in", "denied-eg", "quarantined", "audited-in", "audited-eg"]

  /// Where the refused end: counted, told to whoever reads the log, dropped. What is only audited is counted and told, and goes on.
  static func verdicts(_ logging: PolicyLogging?) -> [Chain] {
    [
      (PolicyNames.denyIngress, "denied-in", true), (PolicyNames.denyEgress, "denied-eg", true),
      (PolicyNames.auditIngress, "audited-in", false), (PolicyNames.auditEgress, "audited-eg", false),
      (PolicyNames.quarantine, "quarantined", true),
    ].map { name, counter, drops in
      // A packet above the limit ends its rule, not the chain.
      let told = logging.map { [Rule($0.statements(for: name))] } ?? []
      return Chain(name, rules: [Rule(.counterNamed(counter))] + told + (drops ? [Rule(.drop)] : []))
    }
  }
}
