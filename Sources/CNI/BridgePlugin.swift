// A pod on a bridge: one veth pair, one address a range set, one default route; announced, known to the node
// agent, and undone as a whole when any step fails.
//
//   pod namespace            node namespace
//   eth0 10.42.0.2/24 ------ vp0123456789abc --- cni0 10.42.0.1/24 --- the node's routes
import Addresses
import Glibc
import KernelNetlink

/// The `bridge` plugin.
struct BridgePlugin {
  var call: Invocation
  var configuration: NetworkConfiguration
  var leases: LeaseStore { LeaseStore(configuration) }

  var hostInterface: String { hostInterfaceName(containerID: call.containerID, ifname: call.interfaceName) }
  /// Says whose the host end is, to people and to GC.
  var alias: String { Self.alias(configuration.name, call.containerID, call.interfaceName) }

  static func alias(_ network: String, _ containerID: String, _ ifname: String) -> String {
    "weft:\(network)/\(containerID)/\(ifname)"
  }

  func add() throws(CNIError) -> CNIResult {
    let namespace = try openNamespace()
    var wanted = Lease(
      network: configuration.name, containerID: call.containerID, interfaceName: call.interfaceName)
    wanted.hostInterface = hostInterface
    wanted.bridge = configuration.bridge
    wanted.podNamespace = call.arguments["K8S_POD_NAMESPACE"] ?? ""
    wanted.podName = call.arguments["K8S_POD_NAME"] ?? ""
    let lease = try leases.acquire(wanted, requested: configuration.requestedAddresses)
    var hasLink = false
    do {
      return try attach(lease, namespace: namespace, hasLink: &hasLink)
    } catch {
      var failure = CNIError.wrapping(
        error, "cannot attach \(call.interfaceName) of container \(call.containerID)")
      do throws(CNIError) {
        try undo(lease, hasLink: hasLink)
      } catch {
        failure.details += "; and undoing it failed: \(error); DEL will try again"
      }
      throw failure
    }
  }

  private func openNamespace() throws(CNIError) -> NetworkNamespace {
    do {
      let namespace = try NetworkNamespace(path: call.namespacePath)
      let own = try NetworkNamespace.current().identity
      guard namespace.identity != own || call.allowsOwnNamespace else {
        throw CNIError(
          .invalidEnvironment, "CNI_NETNS=\(call.namespacePath) is the node's own network namespace",
          details: "nothing was changed; host-network pods need no ADD")
      }
      return namespace
    } catch {
      throw CNIError.wrapping(error, "cannot open the network namespace \(call.namespacePath)")
    }
  }

  private func attach(_ lease: Lease, namespace: borrowing NetworkNamespace, hasLink: inout Bool) throws
    -> CNIResult
  {
    var node = try RouteSession()
    let bridge = try ensureBridge(&node, lease)
    let mtu = configuration.mtu > 0 ? configuration.mtu : bridge.mtu
    let mac = configuration.requestedMAC ?? derivedMAC(lease)
    let end = VethEnd(name: hostInterface, mtu: mtu, master: bridge.index)
    let peer = VethEnd(name: call.interfaceName, mac: mac, mtu: mtu, namespace: namespace.descriptor)
    try makePair(&node, end, peer)
    hasLink = true
    try node.setBridgePort(named: hostInterface, hairpin: configuration.hairpin, alias: alias)
    for address in lease.addresses { try node.deleteNeighbour(address.address, on: bridge.index) }

    var pod = try RouteSession(inNamespace: call.namespacePath)
    let (index, routes) = try configurePod(&pod, lease)
    try tellNode(lease, mac: mac)
    let port = try operationalPort(&node)
    // Setting the address it has makes the kernel announce it, now that the bridge passes frames.
    try pod.setLink(index, mac: mac)
    return CNIResult(
      interfaces: [
        .init(name: configuration.bridge, mac: bridge.mac, mtu: bridge.mtu),
        .init(name: hostInterface, mac: port.mac, mtu: mtu),
        .init(name: call.interfaceName, mac: mac, mtu: mtu, sandbox: call.namespacePath),
      ], addresses: lease.addresses, gateways: lease.gateways, carrier: 2, routes: routes,
      dns: configuration.dns)
  }

  private func makePair(_ node: inout RouteSession, _ end: VethEnd, _ peer: VethEnd) throws {
    var refusal: NetlinkError? = nil
    do throws(NetlinkError) { try node.createVeth(end, peer: peer) } catch { refusal = error }
    guard let refusal else { return }
    guard refusal.isExisting else { throw refusal }
    // No lease named this attachment, so a host end of its name is what a killed call left.
    guard try node.deleteLink(named: hostInterface) else {
      throw CNIError(
        .interfaceExists, "\(call.namespacePath) already has an interface \(call.interfaceName)",
        details: "it is not ours; another plugin or a person made it")
    }
    try node.createVeth(end, peer: peer)
  }

  /// The bridge, made if it is missing. Two calls may make it at once: what exists already is success.
  private func ensureBridge(_ node: inout RouteSession, _ lease: Lease) throws -> Link {
    let name = configuration.bridge
    var found = try node.link(named: name)
    if found == nil {
      // A fixed address: a bridge without one changes it with its ports, and pods remember the old one.
      let mac = lease.gateways.lazy.compactMap(\.v4).first.map { MACAddress(derivedFrom: $0) }
      try unlessExisting { () throws(NetlinkError) in
        try node.createBridge(name, mac: mac, multicastSnooping: false, isUp: false)
      }
      guard let link = try node.link(named: name) else {
        throw CNIError(.tryAgainLater, "bridge \(name) was removed while it was made")
      }
      // Set and not only given at creation: else the last port that leaves would reset it to 1500.
      let mtu = try configuration.mtu > 0 ? configuration.mtu : Self.uplinkMTU(&node)
      try node.setLink(link.index, isUp: true, mtu: mtu)
      try prepareKernel(name)
      found = try node.link(named: name)
    }
    guard let bridge = found, bridge.kind == "bridge" else {
      throw CNIError(
        .invalidConfiguration, "\(name) exists and is not a bridge", details: "name another in `bridge`")
    }
    if !bridge.isUp { try node.setLink(bridge.index, isUp: true) }
    if configuration.isGateway {
      for (address, gateway) in zip(lease.addresses, lease.gateways) {
        guard let own = InterfaceAddress(gateway, prefixLength: address.prefixLength) else { continue }
        try unlessExisting { () throws(NetlinkError) in try node.addAddress(own, to: bridge.index) }
      }
    }
    return bridge
  }

  /// Forwarding on; bridged frames seen by the firewall (a Service's answer must meet conntrack); no router
  /// advertisements from pods (CVE-2020-10749). What this kernel lacks is left to the node agent to report.
  private func prepareKernel(_ bridge: String) throws {
    if configuration.isGateway { try Sysctl.write("net/ipv4/ip_forward", "1") }
    for (name, value) in [
      ("net/bridge/bridge-nf-call-iptables", "1"), ("net/ipv6/conf/\(bridge)/accept_ra", "0"),
    ] { try? Sysctl.write(name, value) }
    if configuration.rangeSets.contains(where: { $0.first?.subnet.family == .v6 }) {
      try Sysctl.write("net/ipv6/conf/all/forwarding", "1")
      try? Sysctl.write("net/bridge/bridge-nf-call-ip6tables", "1")
    }
  }

  /// The MTU of the link the default route leaves by; 1500 without one.
  private static func uplinkMTU(_ node: inout RouteSession) throws -> UInt32 {
    let uplink = try node.routes(family: .v4, table: 254).first { $0.destination.length == 0 }?.interface
    guard let uplink, let link = try node.links().first(where: { $0.index == uplink }) else { return 1500 }
    return link.mtu
  }

  private func derivedMAC(_ lease: Lease) -> MACAddress {
    let four = lease.addresses.lazy.compactMap(\.address.v4).first
    let six = lease.addresses.lazy.compactMap(\.address.v6).first
    return MACAddress(derivedFrom: four ?? IPv4Address(bits: UInt32(truncatingIfNeeded: six?.bits ?? 0)))
  }

  /// Raises the pod's end, gives it its addresses and routes. An address that is used again must be
  /// announced: who remembers its former owner would send into the void for 17–18 s.
  private func configurePod(_ pod: inout RouteSession, _ lease: Lease) throws -> (Int32, [Route]) {
    guard let link = try pod.link(named: call.interfaceName) else {
      throw CNIError(.tryAgainLater, "\(call.interfaceName) vanished from \(call.namespacePath)")
    }
    if lease.addresses.contains(where: { $0.address.family == .v6 }) {
      try runInNamespace(call.namespacePath) {
        try? Sysctl.write("net/ipv6/conf/\(call.interfaceName)/disable_ipv6", "0")
        try? Sysctl.write("net/ipv6/conf/\(call.interfaceName)/ndisc_notify", "1")
      }
    }
    try pod.setLink(link.index, isUp: true, arpNotify: true)
    for address in lease.addresses { try pod.addAddress(address, to: link.index) }
    var routes: [Route] = []
    for (address, gateway) in zip(lease.addresses, lease.gateways) {
      for route in podRoutes(family: address.address.family, gateway: gateway) {
        var placed = route
        placed.interface = link.index
        try pod.addRoute(placed)
        routes.append(placed)
      }
    }
    return (link.index, routes)
  }

  /// The node's end once the bridge passes its frames. Asking makes kernels since 6.8 settle it; older ones
  /// take a moment.
  private func operationalPort(_ node: inout RouteSession) throws -> Link {
    var port = try node.link(named: hostInterface)
    for _ in 0..<Self.settleMillisecondsMax where port?.isOperational == false {
      usleep(1000)
      port = try node.link(named: hostInterface)
    }
    guard let port else {
      throw CNIError(.tryAgainLater, "\(hostInterface) was removed while it was set up")
    }
    return port
  }

  /// A port that has not settled by then is announced all the same: the announcement is help, not a promise.
  private static let settleMillisecondsMax = 50

  func podRoutes(family: IPFamily, gateway: IPAddress) -> [Route] {
    let zero: IPAddress = family == .v4 ? .v4(IPv4Address(bits: 0)) : .v6(IPv6Address(bits: 0))
    guard let everywhere = IPPrefix(zero, length: 0) else { return [] }
    guard let listed = configuration.routes else { return [Route(everywhere, gateway: gateway)] }
    var routes = listed.filter { $0.destination.family == family }.map {
      Route($0.destination, gateway: $0.gateway ?? gateway)
    }
    if configuration.isDefaultGateway, !routes.contains(where: { $0.destination == everywhere }) {
      routes.append(Route(everywhere, gateway: gateway))
    }
    return routes
  }

  private func tellNode(_ lease: Lease, mac: MACAddress) throws(CNIError) {
    guard let path = configuration.nodeSocket else {
      guard !configuration.requiresNode else {
        throw CNIError(.invalidConfiguration, "`requireNode` is true and `nodeSocket` is not set")
      }
      return
    }
    let agent = NodeAgent(path: path, timeoutMilliseconds: configuration.nodeTimeoutMilliseconds)
    switch agent.tell(event("add", lease, mac: mac)) {
    case .accepted: return
    case .absent where !configuration.requiresNode: return
    case .absent:
      throw CNIError(
        .tryAgainLater, "the node agent does not listen on \(path)",
        details: "`requireNode` is true; is weft running?")
    case .refused(let reason):
      throw CNIError(.tryAgainLater, "the node agent refused the pod", details: reason)
    case .silent(let reason):
      throw CNIError(.tryAgainLater, "the node agent on \(path) did not answer", details: reason)
    }
  }

  func event(_ name: String, _ lease: Lease, mac: MACAddress?) -> JSONValue {
    .object([
      "event": .string(name), "containerID": .string(lease.containerID),
      "ifname": .string(lease.interfaceName),
      "podNamespace": .string(lease.podNamespace), "podName": .string(lease.podName),
      "ip": lease.addresses.first.map { .string("\($0.address)") },
      "ips": .array(lease.addresses.map { .string("\($0.address)") }), "mac": mac.map { .string("\($0)") },
      "hostInterface": .string(hostInterface),
    ])
  }

  private func undo(_ lease: Lease, hasLink: Bool) throws(CNIError) {
    if hasLink { try removeLink(lease) }
    sayGoodbye(lease)
    try leases.release(lease.key)
  }

  /// Best effort: an agent that is away learns from what it sees when it comes back.
  private func sayGoodbye(_ lease: Lease) {
    guard let path = configuration.nodeSocket else { return }
    let agent = NodeAgent(path: path, timeoutMilliseconds: configuration.nodeTimeoutMilliseconds)
    _ = agent.tell(event("del", lease, mac: nil))
  }

  private func removeLink(_ lease: Lease?) throws(CNIError) {
    do {
      var node = try RouteSession()
      try node.deleteLink(named: hostInterface)
      guard let lease, let bridge = try node.link(named: lease.bridge) else { return }
      for address in lease.addresses { try node.deleteNeighbour(address.address, on: bridge.index) }
    } catch {
      throw CNIError.wrapping(error, "cannot remove \(hostInterface) of container \(call.containerID)")
    }
  }

  /// Undoes an ADD from the container ID and interface name alone, any number of times. The pod's namespace
  /// is not entered: its end of the pair goes with ours. The address is free only when the link is gone and
  /// the agent knows.
  func del() throws(CNIError) {
    let key = "\(call.containerID):\(call.interfaceName)"
    let lease = try leases.find(key)
    try removeLink(lease)
    if let lease { sayGoodbye(lease) }
    try leases.release(key)
  }
}

/// Runs a creation for which "exists already" is success: a parallel call was quicker.
private func unlessExisting(_ create: () throws(NetlinkError) -> Void) throws(NetlinkError) {
  var refusal: NetlinkError? = nil
  do throws(NetlinkError) { try create() } catch { refusal = error }
  if let refusal, !refusal.isExisting { throw refusal }
}

/// The node's end of an attachment: `vp` and 13 hexadecimal digits, so that rules can match `vp*`.
public func hostInterfaceName(containerID: String, ifname: String) -> String {
  var hash = Hash.add("\(containerID)/\(ifname)", to: Hash.start)
  // FNV's low bits mix best at the bottom; spread them before cutting.
  hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
  hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
  hash ^= hash >> 33
  let digits = String(hash >> 12, radix: 16)
  return "vp" + String(repeating: "0", count: 13 - digits.utf8.count) + digits
}
