// The pod's side of an attachment, and what the node agent hears of it.
import Addresses
import Glibc
import KernelNetlink

extension BridgePlugin {
  /// Opens a session in the pod's namespace and, being there, sets what netlink has no words for.
  func openPod(_ namespace: borrowing NetworkNamespace, _ lease: Lease) throws -> RouteSession {
    let hasIPv6 = lease.addresses.contains { $0.address.family == .v6 }
    return try RouteSession(in: namespace, path: call.namespacePath) {
      guard !settings.leavesInterfaceDown else { return }
      // A node whose Service addresses are routed to this link says of a refused port that the Service is on the link
      // too: who believes it loses the Service. The link's own setting goes with `setLink`.
      try? Sysctl.set("net/ipv4/conf/all/accept_redirects", "0")
      guard hasIPv6 else { return }
      let six = "net/ipv6/conf/\(call.interfaceName)"
      try? Sysctl.set("\(six)/accept_redirects", "0")
      try? Sysctl.write("\(six)/disable_ipv6", "0")
      try? Sysctl.set("\(six)/ndisc_notify", "1")
      if !settings.detectsDuplicates { try? Sysctl.set("\(six)/accept_dad", "0") }
    }
  }

  /// The pod's end: its index, and its hardware address, which is the one that was asked for.
  func podLink(_ pod: inout RouteSession, _ mac: MACAddress?) throws -> (index: Int32, mac: MACAddress) {
    if let mac, let index = try pod.index(named: call.interfaceName) { return (index, mac) }
    guard let link = try pod.link(named: call.interfaceName), let mac = link.mac else {
      throw CNIError(.tryAgainLater, "\(call.interfaceName) vanished from \(call.namespacePath)")
    }
    return (link.index, mac)
  }

  /// Raises the pod's end, gives it its addresses and routes. An address that is used again must be
  /// announced: who remembers its former owner would send into the void for 17–18 s.
  func configurePod(_ pod: inout RouteSession, _ index: Int32, _ lease: Lease) throws -> [CNIResult.Path] {
    let paths = podPaths(lease)
    try pod.together { pod throws(NetlinkError) in try configure(&pod, index, lease, paths) }
    return paths
  }

  private func configure(
    _ pod: inout RouteSession, _ index: Int32, _ lease: Lease, _ paths: [CNIResult.Path]
  ) throws(NetlinkError) {
    try pod.setLink(index, isUp: true, arpNotify: true, acceptRedirects: false)
    for (address, gateway) in zip(lease.addresses, lease.gateways) {
      guard settings.isRouted else {
        try pod.addAddress(address, to: index, duplicateDetection: settings.detectsDuplicates)
        continue
      }
      // Everything goes by the node, the subnet's other pods included.
      let width = address.address.family.width
      guard let own = InterfaceAddress(address.address, prefixLength: width),
        let door = IPPrefix(gateway, length: width)
      else { continue }
      try pod.addAddress(own, to: index)
      try pod.addRoute(Route(door, interface: index))
      if let subnet = address.prefix {
        try pod.addRoute(Route(subnet, gateway: gateway, interface: index, isOnLink: true))
      }
    }
    for path in paths {
      try pod.addRoute(
        Route(
          path.destination, gateway: path.gateway, interface: index, table: path.table ?? 254,
          metric: path.priority, isOnLink: settings.isRouted && path.gateway != nil, mtu: path.mtu))
    }
  }

  /// Waits until the pod hears those who look for its IPv6 addresses. The kernel joins an address's group later, by itself, and on a
  /// busy node that takes it a while; who asks before waits for a second before asking again.
  func awaitGroups(_ pod: inout RouteSession, _ index: Int32, _ lease: Lease) {
    let wanted = lease.addresses.compactMap(\.address.v6).map { Self.solicitedNode($0) }
    guard !wanted.isEmpty, !settings.leavesInterfaceDown, !settings.detectsDuplicates else { return }
    for _ in 0..<Self.groupMillisecondsMax {
      // Nobody's ADD fails for it.
      guard let joined = try? pod.groups(of: index) else { return }
      if wanted.allSatisfy({ joined.contains(.v6($0)) }) { return }
      usleep(1000)
    }
  }

  /// `ff02::1:ff00:0` with the last 24 bits of the address (RFC 4291 section 2.7.1).
  private static func solicitedNode(_ address: IPv6Address) -> IPv6Address {
    IPv6Address(bits: 0xff02 << 112 | 1 << 32 | 0xff << 24 | address.bits & 0xff_ffff)
  }

  /// A pod whose kernel has not joined by then is attached all the same.
  private static let groupMillisecondsMax = 500

  /// `ipam.routes` with gateways filled in, and the default route: when `isDefaultGateway` says so, and for our own
  /// networks when no routes are listed.
  func podPaths(_ lease: Lease) -> [CNIResult.Path] {
    var paths: [CNIResult.Path] = []
    for (index, (address, gateway)) in zip(lease.addresses, lease.gateways).enumerated() {
      let family = address.address.family
      // The first address of each family.
      guard !lease.addresses[..<index].contains(where: { $0.address.family == family }) else { continue }
      let zero: IPAddress = family == .v4 ? .v4(IPv4Address(bits: 0)) : .v6(IPv6Address(bits: 0))
      guard let everywhere = IPPrefix(zero, length: 0) else { continue }
      let isReference = call.program == "bridge" || call.program == "ptp"
      for var path in configuration.routes ?? [] where path.destination.family == family {
        if path.gateway == nil { path.gateway = gateway }
        paths.append(path)
      }
      let wantsDefault = settings.isDefaultGateway || (configuration.routes == nil && !isReference)
      if wantsDefault, !paths.contains(where: { $0.destination == everywhere }) {
        paths.append(CNIResult.Path(everywhere, gateway: gateway))
      }
    }
    return paths
  }

  // MARK: - The node agent

  /// - Returns: what is to be said of it when the plugin works alone although an agent is configured.
  func tellNode(_ lease: Lease, mac: MACAddress) throws(CNIError) -> String? {
    guard let path = configuration.nodeSocket else {
      guard !configuration.requiresNode else {
        throw CNIError(.invalidConfiguration, "`requireNode` is true and `nodeSocket` is not set")
      }
      return nil
    }
    let agent = NodeAgent(path: path, timeoutMilliseconds: configuration.nodeTimeoutMilliseconds)
    switch agent.tell(event("add", lease, mac: mac)) {
    case .accepted: return nil
    case .absent where !configuration.requiresNode:
      return "no node agent listens on \(path): the pod is attached without it, and no policy waits for it"
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
      "aliases": configuration.aliases.isEmpty ? nil : .array(configuration.aliases.map { .string($0) }),
    ])
  }

  /// Best effort: an agent that is away learns from what it sees when it comes back.
  func sayGoodbye(_ lease: Lease) {
    guard let path = configuration.nodeSocket else { return }
    let agent = NodeAgent(path: path, timeoutMilliseconds: configuration.nodeTimeoutMilliseconds)
    _ = agent.tell(event("del", lease, mac: nil))
  }
}
