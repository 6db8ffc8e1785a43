// Routes. Rules, which choose the table, stand in +Rules.
import Addresses
import Glibc

/// A unicast, local or blackhole route.
public struct Route: Sendable, Hashable {
  /// `rtm_type` of linux/rtnetlink.h.
  public enum Kind: UInt8, Sendable {
    case unicast = 1, local = 2, broadcast = 3, blackhole = 6, unreachable = 7
  }

  public var destination: IPPrefix
  public var gateway: IPAddress?
  /// Index of the outgoing link; 0 for none.
  public var interface: Int32
  public var table: UInt32
  public var metric: UInt32?
  public var preferredSource: IPAddress?
  /// The gateway is reachable on the link although no address of the link says so.
  public var isOnLink: Bool
  /// `RTA_METRICS` MTU: packets by this route are at most this long.
  public var mtu: UInt32?
  public var kind: Kind
  /// Who made it (`rtm_protocol`). 3 is `boot`, 4 `static`, 2 the kernel itself.
  public var origin: UInt8

  /// Table 254 is `main`.
  public init(
    _ destination: IPPrefix, gateway: IPAddress? = nil, interface: Int32 = 0, table: UInt32 = 254,
    metric: UInt32? = nil, preferredSource: IPAddress? = nil, isOnLink: Bool = false, mtu: UInt32? = nil,
    kind: Kind = .unicast, origin: UInt8 = 4
  ) {
    self.destination = destination
    self.gateway = gateway
    self.interface = interface
    self.table = table
    self.metric = metric
    self.preferredSource = preferredSource
    self.isOnLink = isOnLink
    self.mtu = mtu
    self.kind = kind
    self.origin = origin
  }

  init?(_ answer: NetlinkAnswer) {
    guard answer.type == Wire.newRoute, let family = answer.body.integer(at: 0, as: UInt8.self),
      let length = answer.body.integer(at: 1, as: UInt8.self),
      let shortTable = answer.body.integer(at: 4, as: UInt8.self),
      let origin = answer.body.integer(at: 5, as: UInt8.self),
      let kind = answer.body.integer(at: 7, as: UInt8.self).flatMap({ Kind(rawValue: $0) }),
      let flags = answer.body.integer(at: 8, as: UInt32.self)
    else { return nil }
    let attributes = answer.body.dropping(12).attributes()
    let zero: IPAddress
    switch family {
    case Wire.familyInet: zero = .v4(IPv4Address(bits: 0))
    case Wire.familyInet6: zero = .v6(IPv6Address(bits: 0))
    default: return nil
    }
    let address = attributes[Wire.Route.destination].flatMap { IPAddress(bytes: $0.payload) } ?? zero
    guard let destination = IPPrefix(address, length: Int(length)) else { return nil }
    self.init(
      destination, gateway: attributes[Wire.Route.gateway].flatMap { IPAddress(bytes: $0.payload) },
      interface: attributes[Wire.Route.interface]?.integer() ?? 0,
      table: attributes[Wire.Route.table]?.integer() ?? UInt32(shortTable),
      metric: attributes[Wire.Route.priority]?.integer(),
      preferredSource: attributes[Wire.Route.preferredSource].flatMap { IPAddress(bytes: $0.payload) },
      isOnLink: flags & Wire.Route.flagOnLink != 0,
      mtu: attributes[Wire.Route.metrics]?.attributes()[Wire.Route.metricMTU]?.integer(), kind: kind,
      origin: origin)
  }
}

extension Route: CustomStringConvertible {
  /// As `ip route` takes it.
  public var description: String {
    var text = destination.length == 0 ? "default" : "\(destination)"
    if let gateway { text += " via \(gateway)" }
    if interface != 0 { text += " dev if\(interface)" }
    if let metric { text += " metric \(metric)" }
    if table != 254 { text += " table \(table)" }
    return text
  }
}

extension RouteSession {
  /// `ip route add|replace …`
  public mutating func addRoute(_ route: Route, replace: Bool = false) throws(NetlinkError) {
    let flags = Wire.create | (replace ? Wire.replace : Wire.exclusive)
    try perform(
      Self.message(Wire.newRoute, flags: flags, route),
      command: "ip route \(replace ? "replace" : "add") \(route)")
  }

  /// `ip route del …`
  /// - Returns: false when there was none.
  @discardableResult
  public mutating func deleteRoute(_ route: Route) throws(NetlinkError) -> Bool {
    do throws(NetlinkError) {
      try perform(Self.message(Wire.deleteRoute, flags: 0, route), command: "ip route del \(route)")
      return true
    } catch  where error.isMissing {
      return false
    }
  }

  /// `ip route show table all`, or one table or family of it.
  public mutating func routes(family: IPFamily? = nil, table: UInt32? = nil) throws(NetlinkError) -> [Route] {
    var message = NetlinkMessage(type: Wire.getRoute, flags: 0)
    message.append(family?.wire ?? Wire.familyUnspecified)
    message.append(bytes: [UInt8](repeating: 0, count: 11))
    return try dump(message, command: "ip route show table all").compactMap { Route($0) }.filter {
      table == nil || $0.table == table
    }
  }

  /// Whether packets to `address` end on this machine, as its routes say now. Needs no rights.
  public mutating func isLocal(_ address: IPAddress) throws(NetlinkError) -> Bool {
    var message = NetlinkMessage(type: Wire.getRoute, flags: 0)
    message.append(address.family.wire)
    message.append(UInt8(address.family.width))
    message.append(bytes: [UInt8](repeating: 0, count: 10))
    message.attribute(Wire.Route.destination, bytes: address.bytes)
    do throws(NetlinkError) {
      let answers = try ask(message, command: "ip route get \(address)")
      return answers.contains { Route($0)?.kind == .local }
    } catch
      where error.errno == ENETUNREACH || error.errno == EHOSTUNREACH || error.errno == EACCES
      || error.errno == EINVAL
    {
      // No route, or one that refuses.
      return false
    }
  }

  static func message(_ type: UInt16, flags: UInt16, _ route: Route) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: flags)
    message.append(route.destination.family.wire)
    message.append(UInt8(route.destination.length))
    message.append(UInt8(0))
    message.append(UInt8(0))
    message.append(UInt8(route.table < 256 ? route.table : 0))
    message.append(type == Wire.deleteRoute ? 0 : route.origin)
    // Scope: universe through a gateway, link without one, host for local addresses; a deletion matches any.
    let scope: UInt8 =
      type == Wire.deleteRoute
      ? 255
      : route.kind == .local ? 254 : (route.gateway == nil && route.kind == .unicast ? 253 : 0)
    message.append(scope)
    message.append(route.kind.rawValue)
    message.append(route.isOnLink ? Wire.Route.flagOnLink : 0)
    if route.destination.length > 0 {
      message.attribute(Wire.Route.destination, bytes: route.destination.address.bytes)
    }
    if let gateway = route.gateway { message.attribute(Wire.Route.gateway, bytes: gateway.bytes) }
    if route.interface != 0 { message.attribute(Wire.Route.interface, route.interface) }
    if let metric = route.metric { message.attribute(Wire.Route.priority, metric) }
    if let source = route.preferredSource {
      message.attribute(Wire.Route.preferredSource, bytes: source.bytes)
    }
    if let mtu = route.mtu {
      message.nest(Wire.Route.metrics) { $0.attribute(Wire.Route.metricMTU, mtu) }
    }
    if route.table >= 256 { message.attribute(Wire.Route.table, route.table) }
    return message
  }
}
