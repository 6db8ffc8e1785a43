// The links a node needs before its first pod: the bridge with its addresses, routes to the Services' blocks so that the node
// itself can call them, and the kernel's switches. Made when missing, left alone when there, removed by `remove`.

import Addresses
import Diagnostics
import Glibc
import KernelNetlink

/// What the node's links look like.
public struct NodeLinks: Sendable, Hashable {
  public var bridge: String
  /// The node's blocks of pod addresses, one a family. The bridge has the first address of each, such as 10.42.0.1 of
  /// 10.42.0.0/24.
  public var podBlocks: [IPPrefix]
  /// The Services' blocks, one a family.
  public var serviceBlocks: [IPPrefix]
  /// Where cluster DNS listens; the bridge holds it as an address of one.
  public var dnsAddress: IPAddress
  public var mtu: UInt32?

  public init(
    bridge: String = "cni0", podBlocks: [IPPrefix], serviceBlocks: [IPPrefix], dnsAddress: IPAddress,
    mtu: UInt32? = nil
  ) {
    self.bridge = bridge
    self.podBlocks = podBlocks
    self.serviceBlocks = serviceBlocks
    self.dnsAddress = dnsAddress
    self.mtu = mtu
  }

  /// The bridge's address in a block.
  static func gateway(_ block: IPPrefix) -> IPAddress { block.address(at: 1) ?? block.address }

  private func gateway(_ family: IPFamily) -> IPAddress? {
    podBlocks.first { $0.family == family }.map(Self.gateway)
  }

  /// Makes what is missing. Throws `NET0001` when the kernel refuses.
  public func apply() throws(WeftError) {
    do {
      var session = try RouteSession()
      if try session.link(named: bridge) == nil {
        var hardware: MACAddress?
        if case .v4(let four)? = gateway(.v4) { hardware = MACAddress(derivedFrom: four) }
        try session.createBridge(bridge, mac: hardware, mtu: mtu)
      }
      guard let link = try session.link(named: bridge) else { return }
      if let mtu, link.mtu != mtu { try session.setLink(link.index, mtu: mtu) }
      let wanted =
        podBlocks.compactMap { InterfaceAddress(Self.gateway($0), prefixLength: $0.length) }
        + [InterfaceAddress(dnsAddress, prefixLength: dnsAddress.family.width)].compactMap(\.self)
      for address in wanted { try session.addAddress(address, to: link.index, replace: true) }
      // Of blocks that the node had before it was made anew: their routes would go to this bridge for ever.
      for old in try session.addresses(of: link.index)
      where old.scope == 0 && old.value.prefixLength < old.value.address.family.width
        && !wanted.contains(old.value)
      {
        try session.deleteAddress(old.value, from: link.index)
      }
      // Without a route that covers them the node's own packets to Services end before they meet any rule.
      for block in serviceBlocks {
        try session.addRoute(
          Route(block, interface: link.index, preferredSource: gateway(block.family)), replace: true)
      }
    } catch {
      throw WeftError(
        "NET0001", object: "bridge \(bridge)", cause: "the kernel refused (\(error))",
        next: "look at: ip addr show dev \(bridge); ip route get \(dnsAddress)", underlying: error)
    }
    for (name, value) in switches { try set(name, value) }
  }

  /// Removes the bridge, and with it its addresses, routes and ports.
  public func remove() throws(WeftError) {
    do {
      var session = try RouteSession()
      try session.deleteLink(named: bridge)
    } catch {
      throw WeftError(
        "NET0002", object: "bridge \(bridge)", cause: "cannot be removed (\(error))",
        next: "try: ip link del \(bridge)",
        underlying: error)
    }
  }

  /// Forwarding between pods; bridged packets through the rules; replies by the way the questions came.
  var switches: [(String, String)] {
    var switches = [
      ("net/ipv4/ip_forward", "1"), ("net/bridge/bridge-nf-call-iptables", "1"),
      ("net/bridge/bridge-nf-call-ip6tables", "1"), ("net/ipv4/conf/\(bridge)/rp_filter", "0"),
    ]
    if podBlocks.contains(where: { $0.family == .v6 }) {
      switches.append(("net/ipv6/conf/all/forwarding", "1"))
    }
    return switches
  }

  private func set(_ name: String, _ value: String) throws(WeftError) {
    let path = "/proc/sys/\(name)"
    let descriptor = open(path, O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw WeftError(
        "NET0003", object: path, cause: "cannot be opened: \(String(cString: strerror(errno)))",
        next: name.contains("bridge-nf")
          ? "load the module: modprobe br_netfilter" : "run as root in a writable /proc/sys")
    }
    defer { close(descriptor) }
    var now: UInt8 = 0
    if read(descriptor, &now, 1) == 1, now == value.utf8.first { return }
    lseek(descriptor, 0, SEEK_SET)
    let written =
      value.utf8.withContiguousStorageIfAvailable { write(descriptor, $0.baseAddress, $0.count) } ?? -1
    guard written == value.utf8.count else {
      throw WeftError(
        "NET0003", object: path, cause: "cannot be set to \(value): \(String(cString: strerror(errno)))",
        next: "run as root in a writable /proc/sys")
    }
  }
}
