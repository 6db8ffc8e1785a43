// The node's side of an attachment: the bridge, its VLANs, or in routed mode the route to the pod.
import Addresses
import Glibc
import KernelNetlink

extension BridgePlugin {
  /// The bridge, made if it is missing. Two calls may make it at once: what exists already is success.
  func ensureBridge(_ node: inout RouteSession, _ lease: Lease) throws -> LinkSummary {
    let name = settings.name
    var found = try node.summary(named: name, wantsKind: true)
    if found == nil {
      // A fixed address: a bridge without one changes it with its ports, and pods remember the old one.
      let mac = lease.gateways.lazy.compactMap(\.v4).first.map { MACAddress(derivedFrom: $0) }
      try naming(usesVLANs ? "VLAN filtering of bridges" : nil) {
        try unlessExisting { () throws(NetlinkError) in
          try node.createBridge(
            name, mac: mac, multicastSnooping: false, filtersVLANs: usesVLANs, isUp: false)
        }
      }
      guard let link = try node.link(named: name) else {
        throw CNIError(.tryAgainLater, "bridge \(name) was removed while it was made")
      }
      try prepareKernel(name)
      // Set and not only given at creation: else the last port that leaves would reset it to 1500.
      let mtu = try settings.mtu > 0 ? settings.mtu : Self.uplinkMTU(&node)
      try node.setLink(link.index, isUp: true, mtu: mtu)
      found = try node.summary(named: name, wantsKind: true)
    }
    guard let bridge = found, bridge.isBridge else {
      throw CNIError(
        .invalidConfiguration, "\(name) exists and is not a bridge", details: "name another in `bridge`")
    }
    if !bridge.isUp { try node.setLink(bridge.index, isUp: true) }
    if settings.isPromiscuous, !bridge.isPromiscuous {
      try node.setLinkFlags(bridge.index, isPromiscuous: true)
    }
    guard settings.isGateway else { return bridge }
    let carrier =
      settings.vlan == 0
      ? (name: name, index: bridge.index) : try ensureGatewayLink(&node, bridge)
    for (address, gateway) in zip(lease.addresses, lease.gateways) {
      guard let own = InterfaceAddress(gateway, prefixLength: address.prefixLength) else { continue }
      let isNew = try unlessExisting { () throws(NetlinkError) in
        try node.addAddress(own, to: carrier.index)
      }
      if isNew { try replaceForeignAddress(&node, carrier, own) }
    }
    return bridge
  }

  /// Two addresses of one subnet on the bridge: pods and node would disagree on the gateway.
  private func replaceForeignAddress(
    _ node: inout RouteSession, _ link: (name: String, index: Int32), _ own: InterfaceAddress
  ) throws {
    for other in try node.addresses(of: link.index, family: own.address.family).map(\.value)
    where other != own && other.prefixLength < other.address.family.width {
      guard let theirs = other.prefix, let ours = own.prefix,
        theirs.contains(own.address) || ours.contains(other.address)
      else { continue }
      guard settings.forcesAddress else {
        try node.deleteAddress(own, from: link.index)
        throw CNIError(
          .foreignAddress, "\(link.name) already has the address \(other) and needs \(own)",
          details: "set forceAddress, or: ip addr del \(other) dev \(link.name)")
      }
      try node.deleteAddress(other, from: link.index)
      // Ours came second: with the first address of a subnet the kernel removes the others.
      try unlessExisting { () throws(NetlinkError) in try node.addAddress(own, to: link.index) }
    }
  }

  /// Forwarding on; bridged frames seen by the firewall (a Service's answer must meet conntrack); no router
  /// advertisements from pods (CVE-2020-10749); no duplicate address detection of the link's own address, without which
  /// the node asks for no pod's hardware address for a second or two. What this kernel lacks is left to the node agent to report.
  private func prepareKernel(_ link: String) throws {
    if settings.isGateway {
      try Sysctl.write("net/ipv4/ip_forward", "1")
      KernelRoom.make()
    }
    for (name, value) in [
      ("net/bridge/bridge-nf-call-iptables", "1"), ("net/ipv6/conf/\(link)/accept_ra", "0"),
      ("net/ipv6/conf/\(link)/accept_dad", settings.detectsDuplicates ? "1" : "0"),
    ] { try? Sysctl.write(name, value) }
    if settings.isGateway, configuration.rangeSets.contains(where: { $0.first?.subnet.family == .v6 }) {
      try Sysctl.write("net/ipv6/conf/all/forwarding", "1")
      try? Sysctl.write("net/bridge/bridge-nf-call-ip6tables", "1")
    }
  }

  /// The MTU of the link the default route leaves by; 1500 without one.
  static func uplinkMTU(_ node: inout RouteSession) throws -> UInt32 {
    for family in [IPFamily.v4, .v6] {
      let uplink = try node.routes(family: family, table: 254).first {
        $0.destination.length == 0 && $0.interface != 0
      }?.interface
      if let uplink, let link = try node.links().first(where: { $0.index == uplink }) { return link.mtu }
    }
    return 1500
  }

  func derivedMAC(_ lease: Lease) -> MACAddress? {
    if let four = lease.addresses.lazy.compactMap(\.address.v4).first { return MACAddress(derivedFrom: four) }
    return lease.addresses.lazy.compactMap(\.address.v6).first.map {
      MACAddress(derivedFrom: IPv4Address(bits: UInt32(truncatingIfNeeded: $0.bits)))
    }
  }

  /// The node's end once the bridge passes its frames. Kernels since 6.8 settle it when asked to; older ones take a moment.
  func operationalPort(_ node: inout RouteSession) throws -> LinkSummary {
    let waits = !settings.leavesInterfaceDown
    var port = try node.summary(named: hostInterface, settles: waits)
    for _ in 0..<Self.settleMillisecondsMax where waits && port?.isOperational == false {
      usleep(1000)
      port = try node.summary(named: hostInterface, settles: true)
    }
    guard let port else {
      throw CNIError(.tryAgainLater, "\(hostInterface) was removed while it was set up")
    }
    return port
  }

  /// A port that has not settled by then is announced all the same: the announcement is help, not a promise.
  private static let settleMillisecondsMax = 50

  // MARK: - Routed

  /// The node's end has the gateway's address and the route to the pod; nothing is bridged.
  func routeToPod(_ node: inout RouteSession, _ lease: Lease) throws {
    guard let link = try node.link(named: hostInterface) else {
      throw CNIError(.tryAgainLater, "\(hostInterface) was removed while it was set up")
    }
    try prepareKernel(hostInterface)
    try node.setLink(link.index, isUp: true, alias: alias)
    for (address, gateway) in zip(lease.addresses, lease.gateways) {
      let width = address.address.family.width
      guard let own = InterfaceAddress(gateway, prefixLength: width),
        let alone = IPPrefix(address.address, length: width)
      else { continue }
      try node.addAddress(own, to: link.index, replace: true)
      try node.addRoute(Route(alone, interface: link.index, preferredSource: gateway), replace: true)
    }
  }

  // MARK: - VLANs

  var usesVLANs: Bool { settings.vlan != 0 || !settings.trunk.isEmpty }

  /// The port's VLANs: one untagged, or a trunk of tagged ones.
  func setPortVLANs(_ node: inout RouteSession) throws {
    try naming("VLAN filtering of bridges") {
      guard let port = try node.link(named: hostInterface) else {
        throw NetlinkError(errno: ENODEV, command: "bridge vlan add dev \(hostInterface)")
      }
      if !settings.keepsDefaultVLAN { try node.deleteBridgeVLAN(1, from: port.index) }
      if settings.vlan != 0 {
        try node.addBridgeVLAN(settings.vlan, to: port.index, isUntagged: true)
      }
      for range in settings.trunk {
        for id in range.first...range.last { try node.addBridgeVLAN(id, to: port.index) }
      }
    }
  }

  /// The bridge's leg in the VLAN, which holds the gateway's address: `cni0.100`.
  private func ensureGatewayLink(_ node: inout RouteSession, _ bridge: LinkSummary) throws -> (
    name: String, index: Int32
  ) {
    let name = "\(bridge.name.prefix(10)).\(settings.vlan)"
    try naming("VLAN links") {
      if try node.link(named: name) == nil {
        try node.addBridgeVLAN(settings.vlan, to: bridge.index, isBridgeItself: true)
        try unlessExisting { () throws(NetlinkError) in
          try node.createVLAN(name, on: bridge.index, id: settings.vlan)
        }
      }
    }
    guard let link = try node.link(named: name) else {
      throw CNIError(.tryAgainLater, "\(name) was removed while it was set up")
    }
    return (name, link.index)
  }

  /// A kernel built without a feature says "operation not supported": says which one.
  private func naming(_ feature: String?, _ body: () throws -> Void) throws {
    do {
      try body()
    } catch let error as NetlinkError where feature != nil && error.errno == EOPNOTSUPP {
      throw CNIError(
        .unsupportedField, "this kernel has no \(feature ?? ""), which `vlan` and `vlanTrunk` need",
        details: "\(error)")
    }
  }
}
