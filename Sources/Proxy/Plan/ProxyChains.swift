// The chains of KUBE-PROXY: a static part, and balancing chains by class. Service traffic runs
//
//   PREROUTING, OUTPUT -> KUBE-SERVICES -> (entry kind) KUBE-BALANCE | KUBE-EXT | KUBE-XLB | KUBE-FW | KUBE-
// REJECT
//                                        -> (class)      KUBE-LB-<PROTO>-<K> | KUBE-AFF-<PROTO>-<K>-<SECONDS>
// -> dnat
//   POSTROUTING        -> KUBE-POSTROUTING -> masquerade when marked, or when a pod reaches itself, or leaves
// the cluster

import Addresses
import Ruleset

/// The chains of one family's table. What they depend on does not change while a proxy runs, classes aside.
struct ProxyChains {
  private let configuration: ProxyConfiguration
  private let family: IPFamily

  init(_ configuration: ProxyConfiguration, _ family: IPFamily) {
    self.configuration = configuration
    self.family = family
  }

  private var side: TableFamily.Addressed { .init(family) }
  private var saddr: Expression { .source(side) }
  private var daddr: Expression { .destination(side) }
  private var endpointType: [DataType] { [side.addressType, .port] }
  private var markID: Expression { .ctMark.masked(ProxyMark.idMask) }
  private var masquerade: UInt32 { 1 << UInt32(configuration.masqueradeBit & 31) }

  /// The table with these elements of Services.
  func table(sets: [NamedSet], classes: Set<BalancingClass>) -> Table {
    Table(
      side.table, ProxyTables.name,
      sets: sets + [
        entry, affinity, nodeAddresses, blocks("pod-net", configuration.podNetworks),
        blocks("cluster-net", configuration.clusterNetworks),
        blocks("service-net", configuration.serviceNetworks), SettingsInForce.set(configuration),
      ],
      chains: baseChains + entryChains + balancingChains(classes) + leavingChains)
  }

  private var entry: NamedSet {
    var entry = NamedSet("entry", key: [.mark], data: .verdict)
    let chains: [(ProxyMark.Kind, String)] = [
      (.cluster, "KUBE-CLUSTER"), (.external, "KUBE-EXT"), (.externalLocal, "KUBE-XLB"),
      (.sourceRanges, "KUBE-FW"), (.sourceRangesLocal, "KUBE-FW-XLB"), (.reject, "KUBE-REJECT"),
    ]
    for (kind, chain) in chains { entry.insert(.number(kind.rawValue << 29), .goto(chain)) }
    return entry
  }

  private var affinity: NamedSet {
    NamedSet(
      "affinity", key: [.mark, side.addressType], data: .values([.mark]), isDynamic: true,
      timeoutSeconds: 10800, size: 262_144)
  }

  private var nodeAddresses: NamedSet {
    let own = configuration.nodePortAddresses.filter { $0.family == family }
    return NamedSet("np-addrs", key: [side.addressType], values: own.map { .address($0) })
  }

  private func blocks(_ name: String, _ prefixes: [IPPrefix]) -> NamedSet {
    var set = NamedSet(name, key: [.address(family)], isInterval: true)
    for prefix in IPPrefix.disjoint(prefixes.filter { $0.family == family }) {
      set.insert(.address(prefix.address), through: .address(prefix.last))
    }
    return set
  }

  /// Whether a packet comes from a pod, as far as the node can tell; nil when it cannot.
  private func isLocalSource(_ isLocal: Bool) -> Statement? {
    switch configuration.localDetection {
    case nil: return nil
    case .clusterCIDR:
      guard configuration.clusterNetworks.contains(where: { $0.family == family }) else { return nil }
      return .lookup(saddr, set: "cluster-net", negated: !isLocal)
    case .nodeCIDR:
      guard configuration.podNetworks.contains(where: { $0.family == family }) else { return nil }
      return .lookup(saddr, set: "pod-net", negated: !isLocal)
    case .bridgeInterface(let name):
      return Datum.interface(name).map { .match(.inputInterface, isLocal ? .equal : .notEqual, $0) }
    case .interfaceNamePrefix(let prefix):
      return Datum.interfacePrefix(prefix).map { .match(.inputInterface, isLocal ? .equal : .notEqual, $0) }
    }
  }

  private var baseChains: [Chain] {
    [
      Chain("PREROUTING", .init(.nat, .prerouting, priority: -100), rules: [Rule(.goto("KUBE-SERVICES"))]),
      Chain("OUTPUT", .init(.nat, .output, priority: -100), rules: [Rule(.goto("KUBE-SERVICES"))]),
    ]
  }

  private var entryChains: [Chain] {
    let dispatch = Rule(.vmap(.ctMark.masked(ProxyMark.kindMask), map: "entry"))
    // A reset or ICMP error that we generate carries the mark of the refused connection and would be refused
    // itself.
    var services = [Rule(.match(.ctDirection, .equal, .byte(1)), .returning)]
    if configuration.clearsForeignMarks { services.append(Rule(.setCtMark(.constant(.number(0), .mark)))) }
    services += [
      Rule(
        .setCtMark(
          .mapped(.concatenation([daddr, .metaTransport, .destinationPort]), map: "svc-id", [.mark]))),
      dispatch,
      Rule(.lookup(daddr, set: "np-addrs", negated: false), .goto("KUBE-NODEPORTS")),
    ]
    let ranged: (String) -> [Rule] = { next in
      [
        Rule(
          .lookup(.concatenation([.networkOrder(markID), saddr]), set: "lb-src", negated: false),
          .goto(next)),
        Rule(.drop),
      ]
    }
    return [
      Chain("KUBE-SERVICES", rules: services),
      Chain(
        "KUBE-NODEPORTS",
        rules: [
          Rule(
            .setCtMark(.mapped(.concatenation([.metaTransport, .destinationPort]), map: "np-id", [.mark]))),
          dispatch,
        ]),
      Chain(
        "KUBE-BALANCE",
        rules: [
          lost, Rule(.vmap(.ctMark.masked(ProxyMark.classMask), map: "class")),
        ] + retries + [Rule(.goto("KUBE-REJECT"))]),
      Chain("KUBE-CLUSTER", rules: clusterRules + [Rule(.goto("KUBE-BALANCE"))]),
      Chain("KUBE-EXT", rules: [Rule(.jump("KUBE-MARK-MASQ")), Rule(.goto("KUBE-BALANCE"))]),
      // Policy Local keeps the source; pods of this node and the node itself use all endpoints.
      Chain(
        "KUBE-XLB",
        rules: (isLocalSource(true).map { [Rule($0, .goto("KUBE-CLUSTER"))] } ?? []) + [
          Rule(.match(.sourceAddressKind, .equal, .number(Expression.kindLocal)), .goto("KUBE-EXT")),
          Rule(.setCtMark(.mapped(.ctMark, map: "local-of", [.mark]))),
          Rule(.match(.ctMark.masked(ProxyMark.kindMask), .notEqual, .number(0)), .drop),
          Rule(.goto("KUBE-BALANCE")),
        ]),
      Chain("KUBE-FW", rules: ranged("KUBE-EXT")),
      Chain("KUBE-FW-XLB", rules: ranged("KUBE-XLB")),
      Chain(
        "KUBE-MARK-MASQ", rules: [Rule(.setMetaMark(.or(.metaMark, .number(masquerade))))]),
      // ICMP for TCP is rate limited by the kernel (11 of 20 connects timed out), resets are not.
      Chain(
        "KUBE-REJECT", rules: [Rule(.transport(6), .reject(.tcpReset)), Rule(.reject(.portUnreachable))]),
    ]
  }

  /// A connection whose endpoint left is not known any more: it is refused before it is translated, so that the reset comes
  /// from the address that the client knows (what br_netfilter hands on is answered past the translation).
  private var lost: Rule {
    let handshake = TCPFlag.fin | TCPFlag.syn | TCPFlag.rst | TCPFlag.ack
    return Rule(
      .transport(6), .match(.masked(.tcpFlags, .byte(handshake)), .notEqual, .byte(TCPFlag.syn)),
      .lookup(markID, set: "reset-id", negated: false), .goto("KUBE-REJECT"))
  }

  /// Sources that are not of the cluster would get answers from an address they do not know, past this node.
  private var clusterRules: [Rule] {
    if configuration.masqueradesAll { return [Rule(.jump("KUBE-MARK-MASQ"))] }
    return isLocalSource(false).map { [Rule($0, .jump("KUBE-MARK-MASQ"))] } ?? []
  }

  /// A class's chain decides, and nothing comes back from it; but look-ups see a new transaction before chains do. A packet that
  /// is on its way at that very moment finds a new class, and its chain still empty.
  private var retries: [Rule] {
    TransportProtocol.allCases.map { Rule(.transport($0.number), .goto(retry($0))) }
  }

  private func retry(_ transport: TransportProtocol) -> String { BalancingClass(transport, slots: 1).chain }

  /// Slot 0 is where a packet goes that met the maps between two generations (449 of 60,000 connects without it).
  static func isRetry(_ balancing: BalancingClass) -> Bool {
    balancing.slots == 1 && balancing.method == .random
  }

  private func balancingChains(_ used: Set<BalancingClass>) -> [Chain] {
    let retries = TransportProtocol.allCases.map { BalancingClass($0, slots: 1) }
    return used.union(retries).sorted().map(balancing)
  }

  /// The chain of a class.
  func balancing(_ balancing: BalancingClass) -> Chain {
    switch balancing.method {
    case .random, .leastConnections: plainChain(balancing, .random(modulus: UInt32(balancing.slots)))
    case .maglev: plainChain(balancing, .hashed(saddr, modulus: UInt32(balancing.slots), seed: Self.hashSeed))
    case .affinity(let seconds): affinityChain(balancing, seconds)
    }
  }

  /// The same on every node, so that a client meets the same endpoint whichever node it comes through.
  private static let hashSeed: UInt32 = 0x7765_6674

  private func plainChain(_ balancing: BalancingClass, _ choice: Expression) -> Chain {
    let slot = Expression.concatenation([markID, choice])
    let toEndpoint = Rule(
      .transport(balancing.transport.number), .dnat(.mapped(slot, map: "backends", endpointType)))
    guard Self.isRetry(balancing) else {
      return Chain(balancing.chain, rules: [toEndpoint, Rule(.goto(retry(balancing.transport)))])
    }
    // What has affinity is picked for this once, and remembered by the next connection.
    return Chain(
      balancing.chain,
      rules: [
        toEndpoint, Rule(.setCtMark(.mapped(slot, map: "aff-pick", [.mark]))),
        toAffinityEndpoint(balancing), Rule(.goto("KUBE-REJECT")),
      ])
  }

  /// Entries hold an endpoint's number, not its address: the packet path cannot overwrite data, so an address
  /// would stay after its endpoint is gone. The look-up of a number that is gone misses, and a live endpoint
  /// is picked.
  private func affinityChain(_ balancing: BalancingClass, _ seconds: UInt32) -> Chain {
    let client = Expression.concatenation([markID, saddr])
    let remember = Statement.update(set: "affinity", key: client, data: .ctMark, timeoutSeconds: seconds)
    let isFlow = Statement.match(
      .ctMark.masked(ProxyMark.kindMask), .equal, .number(ProxyMark.Kind.affinityFlow.rawValue << 29))
    let toEndpoint = toAffinityEndpoint(balancing)
    let slot = Expression.concatenation([markID, .random(modulus: UInt32(balancing.slots))])
    return Chain(
      balancing.chain,
      rules: [
        Rule(.setCtMark(.mapped(client, map: "affinity", [.mark]))),
        Rule(isFlow, remember),
        toEndpoint,
        Rule(.remove(set: "affinity", key: client, data: .ctMark)),
        Rule(.setCtMark(.mapped(slot, map: "aff-pick", [.mark]))),
        Rule(remember),
        toEndpoint,
        Rule(.goto(retry(balancing.transport))),
      ])
  }

  private func toAffinityEndpoint(_ balancing: BalancingClass) -> Rule {
    Rule(.transport(balancing.transport.number), .dnat(.mapped(.ctMark, map: "aff-ep", endpointType)))
  }

  private var podsLeaving: Rule {
    Rule(
      .lookup(saddr, set: "pod-net", negated: false), .lookup(daddr, set: "cluster-net", negated: true),
      .masquerade(fullyRandom: true))
  }

  private var leavingChains: [Chain] {
    // After DNAT a ClusterIP that is still the destination has no such port, and an address that is none is nobody's.
    let noSuchPort = Rule(
      .ctState(.new), .lookup(daddr, set: "cluster-ips", negated: false), .goto("KUBE-REJECT"))
    let noSuchService = Rule(
      .ctState(.new), .lookup(daddr, set: "service-net", negated: false),
      .match(.destinationAddressKind, .notEqual, .number(Expression.kindLocal)), .drop)
    let filters = [noSuchPort, noSuchService]
    let isMarked = Statement.match(
      .metaMark.masked(masquerade), .notEqual, .number(0))
    return [
      Chain("KUBE-FORWARD", .init(.filter, .forward, priority: -5), rules: filters),
      Chain("KUBE-OUTPUT", .init(.filter, .output, priority: -5), rules: filters),
      Chain(
        "POSTROUTING", .init(.nat, .postrouting, priority: 100), rules: [Rule(.goto("KUBE-POSTROUTING"))]),
      Chain(
        "KUBE-POSTROUTING",
        rules: [
          Rule(isMarked, .goto("KUBE-MASQ")),
          // Not what an address says to itself without a Service: the first rules make the kernel take up connections that are open
          // already, and one of the node to itself (an API server beside us) would go on under another source, and break.
          Rule(
            .ctStatus(.dnat), .lookup(.concatenation([saddr, daddr]), set: "hairpin", negated: false),
            .masquerade(fullyRandom: true)),
        ] + (configuration.masqueradesPods ? [podsLeaving] : [])),
      Chain(
        "KUBE-MASQ",
        rules: [
          Rule(.setMetaMark(.xor(.metaMark, .number(masquerade)))),
          Rule(.masquerade(fullyRandom: true)),
        ]),
    ]
  }
}
