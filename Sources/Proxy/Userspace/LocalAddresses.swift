// Takes ClusterIPs and other addresses of Services in: a local route each (AnyIP), so that packets to them end here and
// sockets may be bound to them. `ip route add local ADDRESS dev lo proto 87`

import Addresses
import KernelNetlink

/// The local routes of Services, in the network namespace of the thread that makes this value.
struct LocalAddresses: ~Copyable {
  /// The protocol number that marks a route as ours, in `ip route show table local`.
  static let origin: UInt8 = 87
  static let localTable: UInt32 = 255

  private var session: RouteSession

  init() throws(NetlinkError) { session = try RouteSession() }

  /// Makes these, and only these, local. Addresses that a link has already are left to it. Throws `EPERM` when the process
  /// has not the right (CAP_NET_ADMIN).
  mutating func apply(_ wanted: Set<IPAddress>) throws(NetlinkError) {
    guard let loopback = try session.link(named: "lo")?.index else { return }
    let ofLinks = Set(try session.addresses().map(\.value.address))
    let ours = try routes()
    for (address, route) in ours where !wanted.contains(address) { _ = try session.deleteRoute(route) }
    for address in wanted.subtracting(ofLinks) where ours[address] == nil {
      guard let block = IPPrefix(address, length: address.family.width) else { continue }
      var route = Route(block, interface: loopback, table: Self.localTable, kind: .local)
      route.origin = Self.origin
      try session.addRoute(route)
    }
  }

  /// Whether packets to an address end here. Needs no rights.
  mutating func isLocal(_ address: IPAddress) throws(NetlinkError) -> Bool { try session.isLocal(address) }

  private mutating func routes() throws(NetlinkError) -> [IPAddress: Route] {
    var found: [IPAddress: Route] = [:]
    for route in try session.routes(table: Self.localTable)
    where route.origin == Self.origin && route.kind == .local && route.destination.isSingle {
      found[route.destination.address] = route
    }
    return found
  }
}
