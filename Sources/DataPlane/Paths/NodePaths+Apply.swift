// Brings the kernel's routes, neighbours and tunnel to the plan, and takes away what is no longer in it.

import Addresses
import Diagnostics
import KernelNetlink

extension NodePaths {
  /// Makes what is missing, in an order in which no packet is lost: tunnel, machines, neighbours, routes; then removes what is
  /// left over. Acts on the calling thread's network namespace. Throws `NET0031` when the kernel refuses.
  /// - Returns: how many things were changed; 0 when all was as planned.
  @discardableResult
  public func apply() throws(WeftError) -> Int {
    do {
      var session = try RouteSession()
      var changes = 0
      let tunnelIndex = try applyTunnel(&session, &changes)
      if let tunnelIndex { try applyPeers(&session, tunnelIndex, &changes) }
      try applyRoutes(&session, tunnelIndex, &changes)
      if let tunnelIndex { try removeStalePeers(&session, tunnelIndex, &changes) }
      return changes
    } catch {
      throw WeftError(
        "NET0031", object: "routes to other nodes", cause: "the kernel refused (\(error))",
        next: "look at: ip route show proto \(Self.origin); ip -d link show dev \(Self.link)",
        isRetryable: true, underlying: error)
    }
  }

  /// Removes all of it. Throws `NET0032`.
  public static func remove() throws(WeftError) {
    do {
      var session = try RouteSession()
      for route in try session.routes(table: 254) where route.origin == origin {
        try session.deleteRoute(route)
      }
      try session.deleteLink(named: link)
    } catch {
      throw WeftError(
        "NET0032", object: "routes to other nodes", cause: "cannot be removed (\(error))",
        next: "try: ip route flush proto \(origin); ip link del \(link)", underlying: error)
    }
  }

  /// What a tunnel link was made with and cannot be changed: written on the link itself.
  private func label(_ tunnel: Tunnel) -> String {
    "weft:tunnel id \(Self.networkID) port \(Self.port) local \(uplink.address) on \(uplink.index) \(tunnel.mac)"
  }

  /// The tunnel's index; nil when there is none.
  private func applyTunnel(_ session: inout RouteSession, _ changes: inout Int) throws -> Int32? {
    let present = try session.link(named: Self.link)
    guard let tunnel else {
      if present != nil {
        try session.deleteLink(named: Self.link)
        changes += 1
      }
      return nil
    }
    if let present, present.alias == label(tunnel) {
      if present.mtu != tunnel.mtu || !present.isUp {
        try session.setLink(present.index, isUp: true, mtu: tunnel.mtu)
        changes += 1
      }
      return present.index
    }
    if present != nil { try session.deleteLink(named: Self.link) }
    try session.createVXLAN(
      Self.link, id: Self.networkID, mac: tunnel.mac, mtu: tunnel.mtu, on: uplink.index,
      local: uplink.address, port: Self.port)
    changes += 1
    guard let made = try session.link(named: Self.link) else { return nil }
    // Answers to a tunneled packet may be due by the uplink while nodes change their mode.
    try Sysctl.write("net/ipv4/conf/\(Self.link)/rp_filter", "0")
    // The label comes last: a link without it was not finished and is made again.
    try session.setLink(made.index, isUp: true, alias: label(tunnel))
    return made.index
  }

  private func applyPeers(_ session: inout RouteSession, _ index: Int32, _ changes: inout Int) throws {
    let rows = try session.forwarding(on: index)
    let neighbours = Set(try session.neighbours(on: index))
    for peer in peers {
      let own = rows.filter { $0.mac == peer.mac }
      if own.count != 1 || own[0].address != peer.machine {
        for old in own { try session.deleteForwarding(old) }
        try session.setForwarding(Neighbour(interface: index, address: peer.machine, mac: peer.mac))
        changes += 1
      }
      for block in peer.blocks {
        let neighbour = Neighbour(interface: index, address: block.address, mac: peer.mac)
        guard !neighbours.contains(neighbour) else { continue }
        try session.setNeighbour(neighbour)
        changes += 1
      }
    }
  }

  private func removeStalePeers(_ session: inout RouteSession, _ index: Int32, _ changes: inout Int) throws {
    for row in try session.forwarding(on: index)
    where !peers.contains(where: { $0.mac == row.mac && $0.machine == row.address }) {
      try session.deleteForwarding(row)
      changes += 1
    }
    let addresses = Set(peers.flatMap { $0.blocks.map(\.address) })
    for neighbour in try session.neighbours(on: index)
    where neighbour.state == 0x80 && !addresses.contains(neighbour.address) {
      try session.deleteNeighbour(neighbour.address, on: index)
      changes += 1
    }
  }

  private func applyRoutes(
    _ session: inout RouteSession, _ tunnelIndex: Int32?, _ changes: inout Int
  ) throws {
    let present = try session.routes(table: 254).filter { $0.origin == Self.origin }
    var wanted: [IPPrefix: Route] = [:]
    for path in paths {
      guard let interface = path.way == .direct ? uplink.index : tunnelIndex else { continue }
      wanted[path.block] = Route(
        path.block, gateway: path.gateway, interface: interface, preferredSource: path.preferredSource,
        isOnLink: path.way == .tunnel, origin: Self.origin)
    }
    for route in present where wanted[route.destination] == nil {
      try session.deleteRoute(route)
      changes += 1
    }
    for (block, route) in wanted.sorted(by: { $0.key < $1.key }) {
      let old = present.filter { $0.destination == block }
      if old.count == 1, old[0].gateway == route.gateway, old[0].interface == route.interface,
        route.preferredSource == nil || old[0].preferredSource == route.preferredSource
      {
        continue
      }
      // IPv6 keeps the old route beside the new one when their gateways differ.
      if block.family == .v6 { for stale in old { try session.deleteRoute(stale) } }
      try session.addRoute(route, replace: true)
      changes += 1
    }
  }
}
