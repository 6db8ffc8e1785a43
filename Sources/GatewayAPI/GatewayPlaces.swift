// Which listeners are for which addresses of a port (`spec.addresses`), and the sockets that they need.
//
//   gateway a: 127.0.0.2          127.0.0.2:80 -> a      one socket each; or, with a Gateway that asks for no address, one for all:
//   gateway b: 127.0.0.3    ->    127.0.0.3:80 -> b      what a connection came to is looked up when it is accepted
//   gateway c                               :80 -> c

import Addresses
import ClusterView
import Ingress

/// A port of one transport, and the address at which it is asked for: what one socket has.
public struct GatewaySocket: Sendable, Hashable {
  public var transport: TransportProtocol
  public var port: UInt16
  /// Nil: wherever the data plane listens.
  public var address: IPAddress?
  public init(_ transport: TransportProtocol = .tcp, _ port: UInt16, at address: IPAddress? = nil) {
    self.transport = transport
    self.port = port
    self.address = address
  }

  /// The sockets of a port for who asks for these addresses; for none: one.
  static func sockets(
    _ transport: TransportProtocol, _ port: UInt16, at addresses: Set<IPAddress>
  ) -> [GatewaySocket] {
    addresses.isEmpty
      ? [GatewaySocket(transport, port)]
      : addresses.sorted().map { GatewaySocket(transport, port, at: $0) }
  }
}

/// Listeners that the same addresses of a port lead to.
struct GatewayPlace {
  var reach: ListenerReach
  var listeners: [GatewayPlan.Listener]
}

extension Sequence<GatewayPlan.Listener> {
  /// By port and addresses. Who asks for an address is alone there with those that ask for it too; the last place of a port is theirs who ask
  /// for none. Listeners of several addresses are at one place when the same listeners are at each.
  var places: [GatewayPlace] {
    var ports: [UInt16: [GatewayPlan.Listener]] = [:]
    for listener in self { ports[listener.port, default: []].append(listener) }
    return ports.sorted { $0.key < $1.key }.flatMap { port, listeners in
      var indices: [IPAddress: [Int]] = [:]
      var rest: [Int] = []
      for (index, listener) in listeners.enumerated() {
        if listener.addresses.isEmpty { rest.append(index) }
        for address in listener.addresses { indices[address, default: []].append(index) }
      }
      let places = Dictionary(grouping: indices.keys) { indices[$0] ?? [] }.map { own, addresses in
        GatewayPlace(reach: ListenerReach(port, addresses.sorted()), listeners: own.map { listeners[$0] })
      }.sorted { $0.reach < $1.reach }
      let general = GatewayPlace(reach: ListenerReach(port), listeners: rest.map { listeners[$0] })
      return rest.isEmpty ? places : places + [general]
    }
  }
}

extension GatewayPlan {
  /// What these listeners need open, and what is served there: a socket for each address that is asked for, and one without an address for
  /// those that ask for none. Names by TLS share a socket with HTTPS.
  public var servedSockets: [GatewaySocket: IngressListener.Service] {
    var sockets: [GatewaySocket: IngressListener.Service] = [:]
    for listener in listeners {
      let transport = listener.protocol.transport
      for socket in GatewaySocket.sockets(transport, listener.port, at: listener.addresses) {
        sockets[socket] = listener.protocol.service.joined(sockets[socket])
      }
    }
    return sockets
  }

  /// What is to be listened on, and for whom.
  /// - Parameters:
  ///   - everywhere: where sockets without an address are. One for all addresses (`0.0.0.0`) takes what is for a single one too: the kernel
  ///     allows no second socket beside it.
  ///   - open: sockets of TCP that are there already, for Ingresses.
  public func sockets(at everywhere: IPAddress, beside open: [SocketEndpoint] = []) -> [IngressListener:
    [GatewaySocket]]
  {
    let served = servedSockets
    var found: [GatewaySocket: (serves: IngressListener.Service, sockets: [GatewaySocket])] = [:]
    for (socket, serves) in served {
      let general = served[GatewaySocket(socket.transport, socket.port)] != nil
      let shared = socket.transport == .tcp ? open.filter { $0.port == socket.port } : []
      let address: IPAddress
      if let own = socket.address {
        if shared.contains(where: { $0.address.takes(own) }) { continue }
        address = general && shared.isEmpty && everywhere.takes(own) ? everywhere : own
      } else {
        if !shared.isEmpty { continue }
        address = everywhere
      }
      let opened = GatewaySocket(socket.transport, socket.port, at: address)
      let before = found[opened]
      found[opened] = (serves.joined(before?.serves), (before?.sockets ?? []) + [socket])
    }
    var listeners: [IngressListener: [GatewaySocket]] = [:]
    for (socket, (serves, sockets)) in found {
      let endpoint = SocketEndpoint(socket.address ?? everywhere, socket.port)
      listeners[IngressListener(endpoint, transport: socket.transport, serves: serves)] = sockets
    }
    return listeners
  }
}

extension IPAddress {
  /// Whether a socket that is listened on here gets connections to another address.
  fileprivate func takes(_ other: IPAddress) -> Bool {
    switch self {
    case .v4(let own): own.bits == 0 && other.family == .v4 || self == other
    // Without IPV6_V6ONLY both families come to it.
    case .v6(let own): own.bits == 0 || self == other
    }
  }
}

extension GatewayPlan.ListenerProtocol {
  fileprivate var service: IngressListener.Service {
    switch self {
    case .http: .http
    case .https: .https
    case .tls, .tcp, .udp: .streams
    }
  }
}

extension IngressListener.Service {
  /// HTTPS goes before names that are not opened: they are looked for there first.
  fileprivate func joined(_ other: Self?) -> Self { self == .streams ? other ?? self : self }
}
