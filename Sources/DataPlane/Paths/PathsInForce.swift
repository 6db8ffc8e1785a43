// Routes, neighbours and tunnel ends as the kernel has them, held against the plan: what `weft diff` prints of them, and what
// `weft explain` says of one address.

import Addresses
import Diagnostics
import KernelNetlink
import Observe

/// What the kernel of the calling thread's network namespace has; a value.
public struct PathsInForce: Sendable, Hashable {
  /// Of the main table.
  public var routes: [Route] = []
  /// Links by index.
  public var links: [Int32: Link] = [:]
  /// The tunnel's rows: which hardware address is behind which machine.
  public var forwarding: [Neighbour] = []
  /// The tunnel's neighbours: which address has which hardware address.
  public var neighbours: [Neighbour] = []

  public init() {}

  /// Throws `NET0033` when the kernel cannot be read.
  public static func observe() throws(WeftError) -> PathsInForce {
    var found = PathsInForce()
    do {
      var session = try RouteSession()
      for link in try session.links() { found.links[link.index] = link }
      found.routes = try session.routes(table: 254)
      if let tunnel = found.tunnel {
        found.forwarding = try session.forwarding(on: tunnel.index)
        found.neighbours = try session.neighbours(on: tunnel.index)
      }
      return found
    } catch {
      throw WeftError(
        "NET0033", object: "routes to other nodes", cause: "cannot be read (\(error))",
        next: "run as root, in the node's network namespace: ip route show proto \(NodePaths.origin)",
        exit: .unreachable, underlying: error)
    }
  }

  var tunnel: Link? { links.values.first { $0.name == NodePaths.link } }
  func name(_ index: Int32) -> String { links[index]?.name ?? "link \(index)" }
}

extension NodePaths {
  /// The link that carries a path's packets, and how long they may be.
  private func carrier(_ path: Path) -> (name: String, mtu: UInt32) {
    path.way == .direct ? (uplink.name, uplink.mtu) : (Self.link, tunnel?.mtu ?? 0)
  }

  /// As `ip route` has it.
  private func text(_ path: Path) -> String {
    "\(path.block) via \(path.gateway) dev \(carrier(path).name)"
  }

  private func isInForce(_ path: Path, _ found: PathsInForce) -> Bool {
    let own = found.routes.filter { $0.origin == Self.origin && $0.destination == path.block }
    return own.count == 1 && own[0].gateway == path.gateway
      && found.name(own[0].interface) == carrier(path).name
  }

  /// What leads from the kernel's state to the plan, a line each: `add route …`, `delete fdb …`. Empty when all is as planned.
  public func differences(from found: PathsInForce) -> [String] {
    var lines: [String] = []
    let present = found.tunnel
    if let tunnel {
      if let present {
        if present.mtu != tunnel.mtu || !present.isUp {
          lines.append("change link \(Self.link) to mtu \(tunnel.mtu), up")
        }
      } else {
        lines.append("add link \(Self.link) type vxlan id \(Self.networkID) dstport \(Self.port)")
      }
    } else if present != nil {
      lines.append("delete link \(Self.link)")
    }
    for route in found.routes where route.origin == Self.origin {
      guard !paths.contains(where: { $0.block == route.destination }) else { continue }
      lines.append(
        "delete route \(route.destination)\(route.gateway.map { " via \($0)" } ?? "") dev \(found.name(route.interface))"
      )
    }
    for path in paths where !isInForce(path, found) {
      let isThere = found.routes.contains { $0.origin == Self.origin && $0.destination == path.block }
      lines.append("\(isThere ? "change" : "add") route \(text(path))")
    }
    guard tunnel != nil else { return lines }
    for row in found.forwarding
    where !peers.contains(where: { $0.mac == row.mac && $0.machine == row.address }) {
      lines.append("delete fdb \(row.mac.map { "\($0)" } ?? "(any)") dst \(row.address) dev \(Self.link)")
    }
    let blocks = Set(peers.flatMap(\.blocks).map(\.address))
    for row in found.neighbours where row.state == 0x80 && !blocks.contains(row.address) {
      lines.append("delete neighbour \(row.address) dev \(Self.link)")
    }
    for peer in peers {
      if !hasRow(peer, found) { lines.append("add fdb \(peer.mac) dst \(peer.machine) dev \(Self.link)") }
      for block in peer.blocks where !hasNeighbour(block.address, peer, found) {
        lines.append("add neighbour \(block.address) lladdr \(peer.mac) dev \(Self.link)")
      }
    }
    return lines
  }

  private func hasRow(_ peer: Peer, _ found: PathsInForce) -> Bool {
    found.forwarding.contains { $0.mac == peer.mac && $0.address == peer.machine }
  }

  private func hasNeighbour(_ address: IPAddress, _ peer: Peer, _ found: PathsInForce) -> Bool {
    found.neighbours.contains { $0.address == address && $0.mac == peer.mac }
  }

  /// How a pod of another node is reached: the route, and of a tunnel its neighbour and the machine behind it, each as planned and as it
  /// is in force. What differs is `CLI0155`, a node without a way `CLI0156`.
  public func steps(to address: IPAddress, of node: String, _ found: PathsInForce) -> [Explanation.Step] {
    func step(_ mark: Explanation.Step.Mark, _ text: String, hint: String? = nil) -> Explanation.Step {
      .init(Explanation.Step.way, mark, text, objects: ["Node \(node)"], hint: hint)
    }
    let repair = "see what differs: weft diff; the node process mends it within a minute"
    guard let path = paths.first(where: { $0.block.contains(address) }) else {
      let reason = unreachable[node].map { "\(node) \($0)" } ?? "\(address) is in no block of node \(node)"
      return [
        step(
          .fault, "CLI0156 there is no way to \(address): \(reason)", hint: "kubectl describe node \(node)")
      ]
    }
    let (link, mtu) = carrier(path)
    var steps: [Explanation.Step] = []
    if isInForce(path, found) {
      steps.append(step(.fine, "\(address) is on node \(node): route \(text(path)), MTU \(mtu)"))
    } else {
      let other = found.routes.filter { $0.destination.contains(address) }
        .max { $0.destination.length < $1.destination.length }
      let instead =
        other.map {
          "the kernel has \($0.destination)\($0.gateway.map { " via \($0)" } ?? "") dev \(found.name($0.interface))"
        } ?? "the kernel has none"
      steps.append(step(.fault, "CLI0155 route \(text(path)) is planned, and \(instead)", hint: repair))
    }
    // A longer prefix of somebody else takes the packet away.
    if let stolen = found.routes.first(where: {
      $0.destination.contains(address) && $0.destination.length > path.block.length
    }) {
      steps.append(
        step(
          .fault,
          "CLI0155 route \(stolen.destination)\(stolen.gateway.map { " via \($0)" } ?? "") dev \(found.name(stolen.interface)) is not ours and takes it instead",
          hint: "ip route get \(address)"))
    }
    guard path.way == .tunnel, let peer = peers.first(where: { $0.blocks.contains(path.block) }) else {
      return steps
    }
    steps.append(
      hasNeighbour(path.gateway, peer, found)
        ? step(.fine, "\(path.gateway) is at \(peer.mac) (neighbour on \(link))")
        : step(
          .fault,
          "CLI0155 \(path.gateway) should be at \(peer.mac) on \(link), and the kernel does not know it",
          hint: repair))
    steps.append(
      hasRow(peer, found)
        ? step(
          .fine,
          "\(peer.mac) is behind \(peer.machine): VXLAN \(Self.networkID), UDP port \(Self.port) (FDB of \(link))"
        )
        : step(
          .fault, "CLI0155 \(peer.mac) should be behind \(peer.machine), and no FDB row of \(link) says so",
          hint: repair))
    if let present = found.tunnel, present.mtu != mtu {
      steps.append(
        step(.fault, "CLI0155 \(link) should have MTU \(mtu), and has \(present.mtu)", hint: repair))
    }
    return steps
  }
}
