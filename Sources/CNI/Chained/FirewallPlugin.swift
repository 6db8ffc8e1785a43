// The `firewall` plugin: the pod's traffic passes a node whose FORWARD chain drops by default.
//
// An accept in one nftables table does not overrule a drop in another, so the rules stand where the drop does: in table
// `ip filter`, chain FORWARD, which iptables-nft uses too. As with the reference plugin FORWARD first jumps to
// CNI-FORWARD, and that to CNI-ADMIN, which belongs to the administrator. A firewall in a table of its own (firewalld,
// legacy iptables) is not overruled.
//
//   CNI-FORWARD   jump CNI-ADMIN; daddr POD ct state established,related accept; saddr POD accept
//
// `ingressPolicy` keeps bridges apart: `same-bridge` drops what comes from another bridge that has the policy,
// `isolated` also what comes from the same one.
import Addresses
import Glibc
import KernelNetlink

struct FirewallPlugin {
  enum IngressPolicy: String { case open, sameBridge = "same-bridge", isolated }

  let chained: ChainedCall
  private var policy = IngressPolicy.open
  private var adminChain = "CNI-ADMIN"

  private static let table = "filter"
  private static let chain = "CNI-FORWARD"

  init(_ chained: ChainedCall) throws(CNIError) {
    self.chained = chained
    guard chained.call.verb == .add || chained.call.verb == .check else { return }
    let json = chained.configuration.json
    if let backend = json["backend"]?.string, !["", "iptables", "nftables"].contains(backend) {
      throw CNIError(
        .unsupportedField, "`backend`: \(backend) is not supported",
        details: "iptables and nftables are the same here: nftables over netlink")
    }
    if let text = json["ingressPolicy"]?.string, !text.isEmpty {
      guard let given = IngressPolicy(rawValue: text) else {
        throw CNIError(
          .invalidConfiguration, "`ingressPolicy` is unknown: \(text)",
          details: "open, same-bridge or isolated is expected")
      }
      policy = given
    }
    if let name = json["iptablesAdminChainName"]?.string, !name.isEmpty { adminChain = name }
  }

  private func wire(_ address: InterfaceAddress) -> Netfilter.Family {
    address.address.family == .v4 ? .ip : .ip6
  }

  /// Stands in the comments of the pod's rules, whole: nft keeps 127 bytes.
  private var mark: String { "weft-cni \(chained.owner.prefix)" }

  func add() throws(CNIError) {
    do {
      for address in allAddresses { try accept(address) }
      if policy != .open { try isolate(try chained.routedInterface()) }
    } catch {
      let failure = CNIError.wrapping(error, "cannot let the pod's traffic pass the node's firewall")
      try? del()
      throw failure
    }
  }

  private var allAddresses: [InterfaceAddress] { chained.previous?.assignments.map(\.address) ?? [] }

  private func accept(_ pod: InterfaceAddress) throws(NetlinkError) {
    let wire = wire(pod)
    var session = try NetfilterSession()
    let own = rules(pod)
    var isDone = try isEntered(&session, wire)
    if isDone {
      isDone = try session.commit(
        own, unless: [ENOENT], command: "nft add rule \(wire) filter \(Self.chain)")
    }
    guard !isDone else { return }
    try session.commit(
      [
        .table(wire, Self.table), .chain(wire, table: Self.table, "FORWARD", base: ("filter", .forward, 0)),
        .chain(wire, table: Self.table, adminChain), .chain(wire, table: Self.table, Self.chain),
        .rule(wire, table: Self.table, chain: "FORWARD", [.jump(Self.chain)], atHead: true),
        .rule(wire, table: Self.table, chain: Self.chain, [.jump(adminChain)], atHead: true),
      ] + own, command: "nft insert rule \(wire) filter FORWARD jump \(Self.chain)")
  }

  /// Whether FORWARD leads to our chain already.
  private func isEntered(_ session: inout NetfilterSession, _ wire: Netfilter.Family) throws(NetlinkError)
    -> Bool
  {
    let name = Array(Self.chain.utf8) + [0]
    return try session.rules(wire, table: Self.table, chain: "FORWARD").contains { rule in
      rule.expressions.indices.contains { rule.expressions[$0...].starts(with: name) }
    }
  }

  private func rules(_ pod: InterfaceAddress) -> [NetfilterChange] {
    let wire = wire(pod)
    let bytes = pod.address.bytes
    return [
      .rule(
        wire, table: Self.table, chain: Self.chain,
        [.address(wire, isSource: false), .compare(bytes)] + NetfilterExpression.isEstablished + [.accept],
        comment: mark),
      .rule(
        wire, table: Self.table, chain: Self.chain,
        [.address(wire, isSource: true), .compare(bytes), .accept], comment: mark),
    ]
  }

  /// Bridges stand in sets, so that ten thousand pods on them cost one look-up.
  private func isolate(_ bridge: String) throws(NetlinkError) {
    let name = RuleTable.name
    let single = SourceGuard.interfaceKey(bridge)
    let own = [("bridges", single)] + (policy == .sameBridge ? [("open", single + single)] : [])
    var session = try NetfilterSession()
    for (set, key) in own {
      let element = NetfilterChange.element(.inet, table: name, set: set, key: key)
      let isKnown = try session.elements(.inet, table: name, set: set).contains { $0.key == key }
      guard !isKnown else { continue }
      if try !session.commit(
        [element], unless: [ENOENT], command: "nft add element inet \(name) \(set)")
      {
        try session.commit(Self.isolation + [element], command: "nft add table inet \(name)")
      }
    }
  }

  private static var isolation: [NetfilterChange] {
    let name = RuleTable.name
    return [
      .table(.inet, name), .set(.inet, table: name, "bridges", key: [.interfaceName], isVerdictMap: false),
      .set(.inet, table: name, "open", key: [.interfaceName, .interfaceName], isVerdictMap: false),
      .chain(.inet, table: name, "forward", base: ("filter", .forward, -1)),
      .flushChain(.inet, table: name, "forward"),
      .rule(.inet, table: name, chain: "forward", NetfilterExpression.isEstablished + [.returning]),
      // From a bridge to itself.
      .rule(
        .inet, table: name, chain: "forward",
        [
          .interfaceName(isInput: true), .interfaceName(isInput: false, word: 4), .isMember(of: "open"),
          .returning,
        ]),
      .rule(
        .inet, table: name, chain: "forward",
        [
          .interfaceName(isInput: true), .isMember(of: "bridges"), .interfaceName(isInput: false),
          .isMember(of: "bridges"), .drop,
        ]),
    ]
  }

  /// None is success.
  func del() throws(CNIError) {
    let mark = mark
    try Self.remove { $0 == mark }
  }

  func collectGarbage() throws(CNIError) {
    let prefix = "weft-cni \(RuleOwner.networkPrefix(chained.configuration.name))"
    let kept = Set(chained.valid.map { Hash.short($0) })
    try Self.remove { comment in
      comment.hasPrefix(prefix) && !kept.contains(String(comment.dropFirst(prefix.utf8.count).prefix(16)))
    }
  }

  private static func remove(where isOurs: (String) -> Bool) throws(CNIError) {
    do {
      for wire in [Netfilter.Family.ip, .ip6] {
        var session = try NetfilterSession()
        for rule in try session.rules(wire, table: table, chain: chain) where isOurs(rule.comment) {
          try session.commit(
            [.deleteRule(wire, table: table, chain: chain, handle: rule.handle)], unless: [ENOENT],
            command: "nft delete rule \(wire) filter \(chain) handle \(rule.handle)")
        }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot remove the pod's rules from the node's firewall")
    }
  }

  func check() throws(CNIError) {
    do {
      for pod in allAddresses {
        var session = try NetfilterSession()
        let present = try session.rules(wire(pod), table: Self.table, chain: Self.chain)
        guard present.filter({ $0.comment == mark }).count >= 2, try isEntered(&session, wire(pod)) else {
          throw CNIError(.differs, "the node's firewall does not let \(pod.address) pass any more")
        }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot check the node's firewall")
    }
  }
}
