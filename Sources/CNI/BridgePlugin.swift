// A pod on a bridge, or on a link of its own: one veth pair, one address a range set, its routes; announced, known to
// the node agent, and undone as a whole when any step fails.
//
//   pod namespace            node namespace
//   eth0 10.42.0.2/24 ------ vp0123456789abc --- cni0 10.42.0.1/24 --- the node's routes
import Addresses
import Glibc
import KernelNetlink

/// The `bridge` and `ptp` plugins.
struct BridgePlugin {
  var call: Invocation
  var configuration: NetworkConfiguration
  var leases: LeaseStore { LeaseStore(configuration) }
  var settings: BridgeSettings { configuration.bridge }

  var hostInterface: String { hostInterfaceName(containerID: call.containerID, ifname: call.interfaceName) }
  /// Says whose the host end is, to people and to GC.
  var alias: String { Self.alias(configuration.name, call.containerID, call.interfaceName) }

  static func alias(_ network: String, _ containerID: String, _ ifname: String) -> String {
    "weft:\(network)/\(containerID)/\(ifname)"
  }

  func add() throws(CNIError) -> CNIResult {
    let previous: CNIResult?
    if let json = configuration.previousResult {
      previous = try CNIResult(json, version: configuration.version)
    } else {
      previous = nil
    }
    let namespace = try openNamespace()
    var wanted = Lease(
      network: configuration.name, containerID: call.containerID, interfaceName: call.interfaceName)
    wanted.hostInterface = hostInterface
    wanted.bridge = settings.isRouted ? "" : settings.name
    wanted.podNamespace = call.arguments["K8S_POD_NAMESPACE"] ?? ""
    wanted.podName = call.arguments["K8S_POD_NAME"] ?? ""
    wanted.isKept = configuration.keepsAddresses
    if settings.masquerades { wanted.extras.insert(.masquerade) }
    if !configuration.portMappings.isEmpty { wanted.extras.insert(.hostPorts) }
    if configuration.bandwidth != nil { wanted.extras.insert(.bandwidth) }
    if settings.checksMAC, !settings.isRouted { wanted.extras.insert(.sourceGuard) }
    let lease = try leases.acquire(wanted, requested: configuration.requestedAddresses)
    var hasLink = false
    do {
      let own = try attach(lease, namespace: namespace, hasLink: &hasLink)
      var result = previous?.adding(own) ?? own
      result.notes = own.notes
      return result
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
      let own = try NamespaceEntry.ownIdentity()
      guard namespace.identity != own || call.allowsOwnNamespace else {
        throw CNIError(
          .invalidEnvironment, "CNI_NETNS=\(call.namespacePath) is the node's own network namespace",
          details: "nothing was changed; host-network pods need no ADD")
      }
      return namespace
    } catch let error as NetlinkError where error.errno == EINVAL {
      throw CNIError(
        .invalidEnvironment, "CNI_NETNS=\(call.namespacePath) is no network namespace", details: "\(error)")
    } catch {
      throw CNIError.wrapping(error, "cannot open the network namespace \(call.namespacePath)")
    }
  }

  private func attach(_ lease: Lease, namespace: borrowing NetworkNamespace, hasLink: inout Bool) throws
    -> CNIResult
  {
    var node = try RouteSession()
    let bridge = settings.isRouted ? nil : try ensureBridge(&node, lease)
    let mtu = try settings.mtu > 0 ? settings.mtu : bridge?.mtu ?? Self.uplinkMTU(&node)
    let wantedMAC = configuration.requestedMAC ?? derivedMAC(lease)
    let end = VethEnd(name: hostInterface, mtu: mtu, master: bridge?.index, isUp: bridge != nil)
    let peer = VethEnd(name: call.interfaceName, mac: wantedMAC, mtu: mtu, namespace: namespace.descriptor)
    // From here on there may be one; its name is ours alone.
    hasLink = true
    if let bridge {
      try makePort(&node, end, peer, lease, on: bridge)
      if usesVLANs { try setPortVLANs(&node) }
    } else {
      try makePair(&node, end, peer) { _ in }
      try routeToPod(&node, lease)
    }
    var pod = try openPod(namespace, lease)
    let (inside, mac) = try podLink(&pod, wantedMAC)
    try makeExtras(lease, mac: mac)
    let paths = settings.leavesInterfaceDown ? [] : try configurePod(&pod, inside, lease)
    let note = try tellNode(lease, mac: mac)
    let port = try operationalPort(&node)
    awaitGroups(&pod, inside, lease)
    // Setting the address it has makes the kernel announce it, now that the bridge passes frames.
    if !settings.leavesInterfaceDown { try pod.setLink(inside, mac: mac) }
    var result = CNIResult(
      addresses: lease.addresses, gateways: lease.gateways, interface: bridge == nil ? 1 : 2)
    if let bridge {
      result.interfaces.append(
        .init(name: bridge.name, mac: bridge.mac.map { "\($0)" }, mtu: bridge.mtu))
    }
    result.interfaces += [
      .init(name: hostInterface, mac: port.mac.map { "\($0)" }, mtu: mtu),
      .init(name: call.interfaceName, mac: "\(mac)", mtu: mtu, sandbox: call.namespacePath),
    ]
    result.paths = paths
    result.dns = configuration.dns
    if let note { result.notes.append(note) }
    return result
  }

  /// The pair, its port's settings, and that nobody is remembered at its addresses: one request.
  private func makePort(
    _ node: inout RouteSession, _ end: VethEnd, _ peer: VethEnd, _ lease: Lease, on bridge: LinkSummary
  ) throws {
    try makePair(&node, end, peer) { node throws(NetlinkError) in
      try node.setBridgePort(
        named: hostInterface, hairpin: settings.hairpin, isIsolated: settings.isIsolated ? true : nil,
        alias: alias)
      for address in lease.addresses { try node.deleteNeighbour(address.address, on: bridge.index) }
    }
  }

  private func makePair(
    _ node: inout RouteSession, _ end: VethEnd, _ peer: VethEnd,
    _ more: (inout RouteSession) throws(NetlinkError) -> Void
  ) throws {
    func make() throws(NetlinkError) {
      try node.together { node throws(NetlinkError) in
        try node.createVeth(end, peer: peer)
        try more(&node)
      }
    }
    var refusal: NetlinkError? = nil
    do throws(NetlinkError) { try make() } catch { refusal = error }
    guard let refusal else { return }
    guard refusal.isExisting else { throw refusal }
    // No lease named this attachment, so a host end of its name is what a killed call left.
    guard try node.deleteLink(named: hostInterface) else {
      throw CNIError(
        .interfaceExists, "\(call.namespacePath) already has an interface \(call.interfaceName)",
        details: "it is not ours; another plugin or a person made it")
    }
    try make()
  }

  /// Masquerading, host ports, rates and the guard, as the lease says that they are wanted.
  private func makeExtras(_ lease: Lease, mac: MACAddress) throws(CNIError) {
    let owner = owner(lease)
    if lease.extras.contains(.sourceGuard) { try SourceGuard.add(hostInterface, mac: mac) }
    if lease.extras.contains(.masquerade) {
      try Masquerade.add(lease.addresses, comment: owner.comment)
    }
    if lease.extras.contains(.hostPorts) {
      let ports = HostPorts(owner: owner)
      var families: Set<IPFamily> = []
      for address in lease.addresses where families.insert(address.address.family).inserted {
        try ports.add(
          configuration.portMappings, to: address,
          hostInterface: lease.bridge.isEmpty ? hostInterface : lease.bridge)
      }
    }
    if lease.extras.contains(.bandwidth) {
      try configuration.bandwidth?.apply(on: hostInterface, intermediate: intermediate, alias: alias)
    }
  }

  private func owner(_ lease: Lease) -> RuleOwner {
    RuleOwner(
      network: lease.network, containerID: lease.containerID, interfaceName: lease.interfaceName,
      pod: lease.podName.isEmpty ? "" : "\(lease.podNamespace)/\(lease.podName)")
  }

  var intermediate: String {
    Bandwidth.intermediateName(containerID: call.containerID, ifname: call.interfaceName)
  }

  private func removeExtras(_ lease: Lease) throws(CNIError) {
    if lease.extras.contains(.hostPorts) { try HostPorts(owner: owner(lease)).remove() }
    if lease.extras.contains(.masquerade) { try Masquerade.remove(lease.addresses) }
    if lease.extras.contains(.sourceGuard) { try SourceGuard.remove(hostInterface) }
    if lease.extras.contains(.bandwidth) { try Bandwidth.remove(intermediate: intermediate) }
  }

  func checkExtras(_ lease: Lease) throws(CNIError) {
    if lease.extras.contains(.masquerade) {
      for address in lease.addresses where try !Masquerade.isInForce(address) {
        throw CNIError(.differs, "what \(address.address) sends is not masqueraded any more")
      }
    }
    if lease.extras.contains(.hostPorts) {
      for address in lease.addresses {
        try HostPorts(owner: owner(lease)).check(configuration.portMappings, to: address)
      }
    }
    if lease.extras.contains(.bandwidth) {
      try configuration.bandwidth?.check(on: hostInterface, intermediate: intermediate)
    }
  }

  private func undo(_ lease: Lease, hasLink: Bool) throws(CNIError) {
    if hasLink {
      try removeExtras(lease)
      try removeLink(lease)
    }
    sayGoodbye(lease)
    try leases.release(lease.key)
  }

  private func removeLink(_ lease: Lease?) throws(CNIError) {
    do {
      var node = try RouteSession()
      let bridge = lease.flatMap { $0.bridge.isEmpty ? nil : $0.bridge }
      let carrier = try bridge.flatMap { name throws(NetlinkError) in try node.index(named: name) }
      node.startDeletingLink(named: hostInterface)
      try node.together { node throws(NetlinkError) in
        try node.deleteLink(named: hostInterface)
        guard let carrier else { return }
        for address in lease?.addresses ?? [] { try node.deleteNeighbour(address.address, on: carrier) }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot remove \(hostInterface) of container \(call.containerID)")
    }
  }

  /// Undoes an ADD from the container ID and interface name alone, any number of times. The pod's namespace
  /// is not entered: its end of the pair goes with ours. The address is free only when the link is gone and
  /// the agent knows.
  func del() throws(CNIError) {
    let key = "\(call.containerID):\(call.interfaceName)"
    let found = try leases.read(key)
    let lease = found?.lease
    if let lease { try removeExtras(lease) }
    try removeLink(lease)
    if let lease { sayGoodbye(lease) }
    try leases.release(key, known: found)
  }
}

/// Runs a creation for which "exists already" is success: a parallel call was quicker.
/// - Returns: whether it made something.
@discardableResult
func unlessExisting(_ create: () throws(NetlinkError) -> Void) throws(NetlinkError) -> Bool {
  var refusal: NetlinkError? = nil
  do throws(NetlinkError) { try create() } catch { refusal = error }
  if let refusal, !refusal.isExisting { throw refusal }
  return refusal == nil
}

/// The node's end of an attachment: `vp` and 13 hexadecimal digits, so that rules can match `vp*`.
public func hostInterfaceName(containerID: String, ifname: String) -> String {
  "vp" + Hash.digits(Hash.scatter(Hash.add("\(containerID)/\(ifname)", to: Hash.start)) >> 12, 13)
}
