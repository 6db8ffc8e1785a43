// How pods of different nodes reach each other, and how long their packets may be for it.

import Addresses
import Diagnostics
import Glibc
import KernelNetlink

/// `--network`: who carries a packet from one node's pods to another's.
public enum NetworkMode: String, Sendable, Hashable, CaseIterable {
  /// The nodes' own network, by a route to each node: all of them on one link.
  case hostGateway = "host-gw"
  /// A VXLAN tunnel to each node.
  case vxlan
  /// The node's own network where the other node is on the same link, a tunnel where it is not.
  case auto

  /// What a tunnel adds to each packet: outer Ethernet, IP, UDP and VXLAN headers.
  public static func overhead(_ underlay: IPFamily) -> UInt32 { underlay == .v4 ? 50 : 70 }

  /// The MTU of pods. With `auto` every pod leaves room for the tunnel: a node on another link may join at any time, and a
  /// running pod's MTU cannot be changed.
  public func podMTU(_ uplink: Uplink) -> UInt32 {
    self == .hostGateway ? uplink.mtu : uplink.mtu - min(Self.overhead(uplink.address.family), uplink.mtu)
  }
}

/// The link by which this node reaches the others.
public struct Uplink: Sendable, Hashable {
  public var index: Int32
  public var name: String
  public var mtu: UInt32
  /// The node's own address there, which the others know it by.
  public var address: IPAddress
  /// What is reached there without a gateway.
  public var subnets: [IPPrefix]

  public init(index: Int32, name: String, mtu: UInt32, address: IPAddress, subnets: [IPPrefix]) {
    self.index = index
    self.name = name
    self.mtu = mtu
    self.address = address
    self.subnets = subnets
  }

  /// The link that has the first of `addresses` that any link has; nil when none has one. Throws `NET0030` when the kernel
  /// refuses.
  public static func observe(_ addresses: [IPAddress]) throws(WeftError) -> Uplink? {
    do {
      var session = try RouteSession()
      let links = try session.links()
      let present = try session.addresses()
      for address in addresses {
        guard let found = present.first(where: { $0.value.address == address }),
          let link = links.first(where: { $0.index == found.index }), !link.isLoopback
        else { continue }
        let subnets = present.filter { $0.index == link.index }.compactMap(\.value.prefix)
        return Uplink(
          index: link.index, name: link.name, mtu: link.mtu, address: address,
          subnets: subnets.filter { !$0.isSingle })
      }
      return nil
    } catch {
      throw WeftError(
        "NET0030", object: "this node's uplink", cause: "cannot be read (\(error))",
        next: "look at: ip addr; ip route", exit: .unreachable, underlying: error)
    }
  }
}
