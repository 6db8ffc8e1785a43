// What is wrong with a node's network, and how each is mended. Pure: facts in, findings out.
import Addresses
import KernelNetlink

/// One thing that is not as it should be.
public struct NodeFinding: Sendable, Hashable {
  /// A problem breaks or will break pods; a remark may be meant so.
  public enum Gravity: String, Sendable { case problem, remark }
  public var code: String
  public var gravity: Gravity
  /// What it is about: a file, a link, a setting.
  public var object: String
  public var cause: String
  /// A command or a change that mends it.
  public var mend: String

  /// For `-o json`.
  public var json: JSONValue {
    .object([
      "code": .string(code), "gravity": .string(gravity.rawValue), "object": .string(object),
      "cause": .string(cause), "mend": .string(mend),
    ])
  }
}

/// Everything that is found on a node, gravest first.
public func inspect(_ facts: NodeFacts) -> [NodeFinding] {
  let all =
    files(facts) + settings(facts) + packetLengths(facts) + bridges(facts) + blocks(facts) + leftovers(facts)
    + shortage(facts) + rooms(facts)
  return all.filter { $0.gravity == .problem } + all.filter { $0.gravity == .remark }
}

private func problem(_ code: String, _ object: String, _ cause: String, _ mend: String) -> NodeFinding {
  NodeFinding(code: code, gravity: .problem, object: object, cause: cause, mend: mend)
}

private func remark(_ code: String, _ object: String, _ cause: String, _ mend: String) -> NodeFinding {
  NodeFinding(code: code, gravity: .remark, object: object, cause: cause, mend: mend)
}

private func files(_ facts: NodeFacts) -> [NodeFinding] {
  let folder = facts.places.configurationFolder
  guard let file = facts.configurationFile else {
    return [problem("CNI0101", folder, "has no network configuration", "weft cni install")]
  }
  if let cause = facts.configurationProblem {
    return [problem("CNI0102", file, "cannot be read: \(cause)", "weft cni install")]
  }
  var found: [NodeFinding] = []
  if facts.ownPlugin == nil {
    found.append(
      problem(
        "CNI0103", file, "comes first by name and is not ours: pods get another network",
        "rename it so that it sorts after 10-weft.conflist, or remove it"))
  }
  let bin = facts.places.binaryFolder
  for name in facts.missingPlugins {
    let mend = name == "weft-cni" ? "weft cni install" : "install \(name), or `weft cni install --links`"
    found.append(problem("CNI0104", "\(bin)/\(name)", "does not exist, and \(file) names it", mend))
  }
  if !facts.hasLoopbackPlugin {
    found.append(
      problem(
        "CNI0105", "\(bin)/loopback", "does not exist: containerd before 2.1 needs it", "weft cni install"))
  }
  return found
}

private func settings(_ facts: NodeFacts) -> [NodeFinding] {
  guard facts.ownPlugin != nil else { return [] }
  var found: [NodeFinding] = []
  func wants(_ code: String, _ name: String, _ value: String, _ why: String) {
    guard let now = facts.settings[name], now != value else { return }
    let dotted = name.split(separator: "/").joined(separator: ".")
    found.append(problem(code, dotted, "is \(now): \(why)", "sysctl -w \(dotted)=\(value)"))
  }
  let families = Set(facts.podBlocks.map(\.family))
  if families.contains(.v4) {
    wants("CNI0110", "net/ipv4/ip_forward", "1", "pods cannot reach beyond this node")
  }
  if families.contains(.v6) {
    wants("CNI0110", "net/ipv6/conf/all/forwarding", "1", "pods cannot reach beyond this node")
  }
  if facts.bridgeName != nil {
    if facts.settings["net/bridge/bridge-nf-call-iptables"] == nil {
      found.append(
        problem(
          "CNI0111", "br_netfilter",
          "is not loaded: answers of a Service's pod on the same node bypass its translation",
          "modprobe br_netfilter"))
    }
    let why = "packets between pods of this node meet no rules"
    if families.contains(.v4) { wants("CNI0112", "net/bridge/bridge-nf-call-iptables", "1", why) }
    if families.contains(.v6) { wants("CNI0112", "net/bridge/bridge-nf-call-ip6tables", "1", why) }
  }
  // The kernel takes the greater of `all` and the link's own.
  let all = facts.settings["net/ipv4/conf/all/rp_filter"].flatMap { Int($0) } ?? 0
  for name in [facts.bridgeName, facts.uplink?.name].compactMap({ $0 }) {
    let own = facts.settings["net/ipv4/conf/\(name)/rp_filter"].flatMap { Int($0) } ?? 0
    guard max(all, own) == 1 else { continue }
    let dotted = all == 1 ? "net.ipv4.conf.all.rp_filter" : "net.ipv4.conf.\(name).rp_filter"
    let finding = remark(
      "CNI0113", dotted, "is 1 (strict): packets that come by another way than they would go are dropped",
      "sysctl -w \(dotted)=2")
    if !found.contains(finding) { found.append(finding) }
  }
  return found
}

private func packetLengths(_ facts: NodeFacts) -> [NodeFinding] {
  guard let name = facts.bridgeName, let bridge = facts.links.first(where: { $0.name == name }),
    let uplink = facts.uplink, bridge.index != uplink.index
  else { return [] }
  // A tunnel of ours (or anybody's) between the bridge and the uplink takes its part of each packet.
  let tunnel = facts.links.filter { $0.kind == "vxlan" && $0.isUp }.min { $0.mtu < $1.mtu }
  let most = min(uplink.mtu, tunnel?.mtu ?? uplink.mtu)
  var found: [NodeFinding] = []
  if bridge.mtu > most {
    let carrier = most == uplink.mtu ? uplink.name : tunnel?.name ?? ""
    let file = facts.configurationFile ?? "the configuration"
    found.append(
      problem(
        "CNI0120", name,
        "has MTU \(bridge.mtu), but \(carrier) carries \(most): long packets are lost",
        "set \"mtu\": \(most) in \(file); ip link set \(name) mtu \(most); restart the pods"
      ))
  }
  let ports = facts.links.filter { $0.master == bridge.index }.map { (name: $0.name, mtu: $0.mtu) }
  return found + portLengths(ports, bridge: bridge.mtu)
}

/// A bridge takes the MTU of its smallest port, so one that somebody made smaller makes all others larger than their bridge. Those are told
/// that are fewer.
func portLengths(_ ports: [(name: String, mtu: UInt32)], bridge: UInt32) -> [NodeFinding] {
  let long = ports.filter { $0.mtu > bridge }
  let short = ports.filter { $0.mtu == bridge }
  guard let usual = long.map(\.mtu).max(), !short.isEmpty, short.count < long.count else {
    return long.map {
      problem("CNI0121", $0.name, "has MTU \($0.mtu), its bridge \(bridge)", "restart the pod behind it")
    }
  }
  return short.map {
    problem(
      "CNI0121", $0.name, "has MTU \($0.mtu), and with it the bridge: \(long.count) other ports have more",
      "ip link set dev \($0.name) mtu \(usual), or restart the pod behind it")
  }
}

private func bridges(_ facts: NodeFacts) -> [NodeFinding] {
  guard let name = facts.bridgeName, let link = facts.links.first(where: { $0.name == name }) else {
    return []
  }
  guard link.kind == "bridge" else {
    return [
      problem(
        "CNI0130", name, "is a \(link.kind.isEmpty ? "device" : link.kind) and no bridge",
        "give our network another bridge: weft cni install --bridge NAME")
    ]
  }
  var found: [NodeFinding] = []
  if !link.isUp { found.append(problem("CNI0131", name, "is down", "ip link set \(name) up")) }
  let own = facts.podBlocks
  for address in facts.addresses where address.index == link.index {
    let value = address.value
    guard !isLinkLocal(value.address), !own.contains(where: { $0.contains(value.address) }),
      value.prefix?.isSingle == false
    else { continue }
    found.append(
      problem(
        "CNI0132", name, "has the address \(value) of another network: who made it may use it still",
        "ip addr del \(value) dev \(name), or another bridge: weft cni install --bridge NAME"))
  }
  for port in facts.links
  where port.master == link.index && !(port.name.hasPrefix("vp") && port.alias.hasPrefix("weft:")) {
    found.append(
      remark(
        "CNI0133", port.name, "is a port of \(name) that the plugin did not make",
        "ip link set \(port.name) nomaster, if it should not be there"))
  }
  return found
}

/// Other links and routes within the pods' addresses.
private func blocks(_ facts: NodeFacts) -> [NodeFinding] {
  var found: [NodeFinding] = []
  let bridge = facts.links.first { $0.name == facts.bridgeName }?.index
  for route in facts.routes where route.interface != bridge && route.destination.length > 0 {
    guard
      let block = facts.podBlocks.first(where: { $0.contains(route.destination) || route.destination == $0 }),
      let link = facts.links.first(where: { $0.index == route.interface }),
      !(link.name.hasPrefix("vp") && link.alias.hasPrefix("weft:"))
    else { continue }
    found.append(
      problem(
        "CNI0134", link.name,
        "has a route to \(route.destination), which is in the pods' block \(block)",
        "ip route del \(route.destination) dev \(link.name), or remove what made \(link.name)"))
  }
  return found
}

private func leftovers(_ facts: NodeFacts) -> [NodeFinding] {
  guard let network = facts.network else { return [] }
  var found: [NodeFinding] = []
  let names = Set(facts.links.map(\.name))
  let old = facts.leases.filter { $0.bootID != facts.bootID }
  if !old.isEmpty {
    found.append(
      remark(
        "CNI0140", "\(network.dataDirectory)/\(network.name)/leases",
        "\(old.count) leases are of an earlier boot", "nothing: the next pod's ADD drops them"))
  }
  for lease in facts.leases where lease.bootID == facts.bootID && !names.contains(lease.hostInterface) {
    // A lease of `host-local` alone has no link.
    guard !lease.hostInterface.isEmpty else { continue }
    found.append(
      problem(
        "CNI0141", "lease \(lease.key)",
        "holds \(lease.addresses.map(\.description).joined(separator: ", ")), but its link \(lease.hostInterface) is gone",
        "the agent's next GC frees it; by hand: crictl rmp -f \(lease.containerID)"))
  }
  let leased = Set(facts.leases.map(\.hostInterface))
  let prefix = "weft:\(network.name)/"
  for link in facts.links
  where link.name.hasPrefix("vp") && link.alias.hasPrefix(prefix) && !leased.contains(link.name) {
    found.append(
      problem(
        "CNI0142", link.name, "is the link of \(link.alias.dropFirst(prefix.count)), which has no lease",
        "ip link del \(link.name)"))
  }
  return found
}

/// Ranges that are nearly used up.
private func shortage(_ facts: NodeFacts) -> [NodeFinding] {
  guard let network = facts.network else { return [] }
  let held = facts.leases.filter { $0.bootID == facts.bootID }.flatMap(\.addresses)
  return network.rangeSets.compactMap { set in
    let space = AddressSpace(set)
    let used = held.filter { space.offset(of: $0.address) != nil }.count
    let total = space.capacity - set.filter { space.offset(of: $0.gateway) != nil }.count
    guard AddressSpace.isNearlyExhausted(used: used, total: total) else { return nil }
    let cause = "\(used) of \(total) addresses are leased"
    let mend = "delete pods of this node, or give it a larger block"
    return used >= total
      ? problem("CNI0150", space.description, cause, mend) : remark("CNI0150", space.description, cause, mend)
  }
}

/// Limits of the machine that the pods of this node fill.
private func rooms(_ facts: NodeFacts) -> [NodeFinding] {
  let leases = facts.leases.filter { $0.bootID == facts.bootID }
  var found: [NodeFinding] = []
  func wants(_ code: String, _ name: String, _ wanted: Int, _ why: String) {
    guard let room = facts.settings[name].flatMap({ Int($0) }), wanted > room else { return }
    let dotted = name.split(separator: "/").joined(separator: ".")
    let mend = "sysctl -w \(dotted)=\(max(KernelRoom.limit, wanted * 2))"
    found.append(problem(code, dotted, "is \(room): \(why)", mend))
  }
  for family in [IPFamily.v4, .v6] {
    let pods = leases.filter { $0.addresses.contains { $0.address.family == family } }.count
    let wanted = pods * KernelRoom.entriesPerPod
    wants(
      "CNI0114", KernelRoom.neighbours(family), wanted,
      "machine and pods share the neighbour table, and \(pods) pods have up to \(wanted) entries; who does not fit is not found"
    )
  }
  let ports = leases.filter { !$0.bridge.isEmpty }.count
  wants(
    "CNI0115", KernelRoom.backlog, ports * KernelRoom.floodsAtOnce,
    "a frame for everybody is one for each of \(ports) pods on the bridge, and a few at once overflow the queue"
  )
  return found
}

private func isLinkLocal(_ address: IPAddress) -> Bool {
  switch address {
  case .v4(let four): four.isLinkLocal
  case .v6(let six): six.isLinkLocal
  }
}
