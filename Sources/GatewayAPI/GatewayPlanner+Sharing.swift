// What Gateways may have of this machine's ports that others have too.
//
//   one address of a port:      one protocol; of names by TLS one way to ask clients; TCP and UDP are one Gateway's
//   addresses of a port:        each by itself, unless a Gateway asks for none: its socket is for all of them, so they speak what it speaks

import Addresses
import ClusterObjects
import ClusterView

extension GatewayPlanner {
  /// The first who came has what cannot be shared. Cost: a few look-ups for each address of each listener.
  mutating func findForeignConflicts() {
    var owners = PortOwners()
    for index in listeners.indices where listeners[index].isAccepted {
      // One that is nowhere takes nothing from anybody.
      guard let addresses = boundAddresses(of: listeners[index].gateway) else { continue }
      listeners[index].rejection = owners.problem(with: listeners[index], at: addresses)
    }
  }
}

/// Who has what of this machine's ports.
private struct PortOwners {
  private typealias Family = GatewayPlanner.Family
  private struct Owner {
    var family: Family
    var gateway: ObjectKey
  }
  private struct Name: Hashable {
    var socket: GatewaySocket
    var hostname: String?
  }
  private var owners: [GatewaySocket: Owner] = [:]
  /// Those who ask for addresses of a port: the first of each protocol.
  private var addressed: [GatewaySocket: [Owner]] = [:]
  private var asked: [Name: (clients: GatewayPlan.ClientValidation?, gateway: ObjectKey)] = [:]

  /// Nil: the listener has what it asks for from now on.
  mutating func problem(
    with listener: GatewayPlanner.ListenerState, at addresses: Set<IPAddress>
  ) -> GatewayPlanner.Finding? {
    guard let spoken = listener.protocol else { return nil }
    let own = Owner(family: GatewayPlanner.family(spoken), gateway: listener.gateway)
    let port = GatewaySocket(spoken.transport, listener.spec.port)
    let sockets = GatewaySocket.sockets(port.transport, port.port, at: addresses)
    if let other = rival(of: own, port, sockets) {
      let reason = other.family == own.family ? "there are no names to share it by" : "for another protocol"
      return GatewayPlanner.Finding(
        "PortUnavailable", "port \(port.port) is gateway \(other.gateway)'s: \(reason)")
    }
    if own.family == .sealed, let finding = question(of: listener, sockets) { return finding }
    for socket in sockets {
      owners[socket] = owners[socket] ?? own
      let name = Name(socket: socket, hostname: listener.spec.hostname)
      if own.family == .sealed { asked[name] = asked[name] ?? (listener.clients, listener.gateway) }
    }
    if !addresses.isEmpty, addressed[port]?.contains(where: { $0.family == own.family }) != true {
      addressed[port, default: []].append(own)
    }
    return nil
  }

  private func rival(of own: Owner, _ port: GatewaySocket, _ sockets: [GatewaySocket]) -> Owner? {
    for socket in sockets {
      if let owner = owners[socket], owner.gateway != own.gateway,
        owner.family != own.family || own.family == .stream || own.family == .datagram
      {
        return owner
      }
    }
    // One socket for all addresses beside some of them.
    let others = sockets == [port] ? addressed[port] ?? [] : [owners[port]].compactMap(\.self)
    return others.first { $0.family != own.family }
  }

  /// Clients of one name show what the first has them show.
  private func question(
    of listener: GatewayPlanner.ListenerState, _ sockets: [GatewaySocket]
  ) -> GatewayPlanner.Finding? {
    for socket in sockets {
      let name = Name(socket: socket, hostname: listener.spec.hostname)
      if let first = asked[name], first.gateway != listener.gateway, first.clients != listener.clients {
        return GatewayPlanner.Finding(
          "PortUnavailable",
          "gateway \(first.gateway) asks clients of \(name.hostname ?? "every name") at port \(socket.port) for other certificates"
        )
      }
    }
    return nil
  }
}
