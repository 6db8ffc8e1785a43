// Brings answers to connections that go out as their client's address back to this process: rules for exactly those answers, and a
// table in which every address is local.
//
//   ip rule add from ENDPOINT ipproto tcp sport PORT dport 61000-65534 lookup 87 protocol 87
//   ip route add local default dev lo table 87 protocol 87
//
// The ports lie above those that Linux gives out by itself (32768 to 60999), so that answers to others go on as ever.

import Addresses
import KernelNetlink

/// Rules and routes of the transparent source, in the network namespace of the thread that makes this value.
struct TransparentRoutes: ~Copyable {
  /// Source ports of connections that keep their client's address. The kernel takes no range with 65535.
  static let ports: ClosedRange<UInt16> = 61_000...65_534
  static let table: UInt32 = 87
  /// After the table of local addresses (0), before all others.
  static let priority: UInt32 = 87

  /// Whose answers come back here.
  struct Backend: Hashable {
    var transport: TransportProtocol
    var endpoint: SocketEndpoint
  }

  private var session: RouteSession

  init() throws(NetlinkError) { session = try RouteSession() }

  /// Makes rules for these, and only these. Throws `EPERM` when the process has not the right (CAP_NET_ADMIN).
  mutating func apply(_ wanted: Set<Backend>) throws(NetlinkError) {
    for family in IPFamily.allCases {
      let rules = Set(wanted.filter { $0.endpoint.address.family == family }.compactMap { Self.rule($0) })
      if !rules.isEmpty { try addRoute(family) }
      let present = Set(try session.rules(family: family).filter { $0.origin == LocalAddresses.origin })
      for rule in present.subtracting(rules) { _ = try session.deleteRule(rule) }
      for rule in rules.subtracting(present) { try session.addRule(rule) }
      if rules.isEmpty { try removeRoute(family) }
    }
  }

  /// Throws what stands in the way of rules and routes, without leaving any behind.
  mutating func probe() throws(NetlinkError) {
    guard let route = try route(.v4) else { return }
    try session.addRoute(route, replace: true)
    _ = try session.deleteRoute(route)
  }

  private static func rule(_ backend: Backend) -> RoutingRule? {
    let address = backend.endpoint.address
    guard let source = IPPrefix(address, length: address.family.width) else { return nil }
    return RoutingRule(
      family: address.family, priority: priority, table: table, source: source, transport: backend.transport,
      sourcePorts: backend.endpoint.port...backend.endpoint.port, destinationPorts: ports,
      origin: LocalAddresses.origin)
  }

  private mutating func addRoute(_ family: IPFamily) throws(NetlinkError) {
    guard let route = try route(family) else { return }
    try session.addRoute(route, replace: true)
  }

  private mutating func removeRoute(_ family: IPFamily) throws(NetlinkError) {
    for route in try session.routes(family: family, table: Self.table) { _ = try session.deleteRoute(route) }
  }

  private mutating func route(_ family: IPFamily) throws(NetlinkError) -> Route? {
    guard let loopback = try session.link(named: "lo")?.index,
      let all = IPPrefix(family == .v4 ? "0.0.0.0/0" : "::/0")
    else { return nil }
    var route = Route(all, interface: loopback, table: Self.table, kind: .local)
    route.origin = LocalAddresses.origin
    return route
  }
}
