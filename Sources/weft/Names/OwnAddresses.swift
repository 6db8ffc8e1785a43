// Addresses of this machine: of an interface that a Corefile names, and those at which a server on all addresses is asked.

import Addresses
import KernelNetlink

enum OwnAddresses {
  /// Of a machine with more the first are told: one would do.
  static let countMax = 16

  /// The addresses of an interface; nil when there is none of the name. Link-local ones of IPv6 are left out: they are nobody's
  /// without the name of a link.
  static func of(_ interface: String) -> [IPAddress]? {
    guard var session = try? RouteSession(), let links = try? session.links(),
      let index = links.first(where: { $0.name == interface })?.index
    else { return nil }
    return addresses(index, &session)
  }

  /// Where a server is asked that listens on `places`: for one on all addresses those of every interface, loopback's when there are no
  /// others. As CoreDNS says it of its zone's name server. Looked up once.
  static func asked(at places: [SocketEndpoint]) -> [IPAddress] {
    var seen: Set<IPAddress> = []
    var all: [IPAddress]?
    var result: [IPAddress] = []
    for place in places.map(\.address) {
      if !place.isUnspecified {
        result.append(place)
        continue
      }
      let machine = all ?? everywhere()
      all = machine
      let family = machine.filter { $0.family == place.family }
      let outside = family.filter { !$0.isLoopback }
      result += outside.isEmpty ? family : outside
    }
    return Array(result.filter { seen.insert($0).inserted }.prefix(countMax))
  }

  private static func everywhere() -> [IPAddress] {
    guard var session = try? RouteSession() else { return [] }
    return addresses(nil, &session)
  }

  private static func addresses(_ index: Int32?, _ session: inout RouteSession) -> [IPAddress] {
    ((try? session.addresses(of: index)) ?? []).map(\.value.address).filter { address in
      if case .v6(let six) = address { return !six.isLinkLocal }
      return true
    }
  }
}

extension IPAddress {
  /// 0.0.0.0 or [::]: every address of the machine.
  var isUnspecified: Bool {
    switch self {
    case .v4(let address): address.isUnspecified
    case .v6(let address): address.isUnspecified
    }
  }
}
