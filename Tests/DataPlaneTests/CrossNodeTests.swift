// Pods of two nodes reach each other on the real kernel, at full length and not a byte more.
import Addresses
import ClusterObjects
import ClusterView
import DataPlane
import KernelNetlink
import Testing

@Suite(.timeLimit(.minutes(3))) struct CrossNode {
  @Test(arguments: [
    (NetworkMode.hostGateway, false, 1500, NodePaths.Path.Way.direct), (.vxlan, false, 1450, .tunnel),
    (.auto, false, 1450, .direct), (.auto, true, 1450, .tunnel), (.vxlan, true, 1450, .tunnel),
  ])
  func `pods of two nodes exchange packets of exactly the MTU and none longer`(
    mode: NetworkMode, isRouted: Bool, mtu: Int, way: NodePaths.Path.Way
  ) async throws {
    let lab = try TwoNodes("\(mode.rawValue)\(isRouted ? "r" : "")", isRouted: isRouted)
    #expect(Int(try lab.addPods(mode)) == mtu)
    for index in 0..<2 { try await lab.keeper(index, mode).take(nodes: Array(lab.objects.values)) }
    var node = try RouteSession(inNamespace: lab.nodes[0])
    let tunnel = try node.link(named: NodePaths.link)
    let block = IPPrefix("10.42.1.0/24")
    let found = try node.routes(family: .v4).first { $0.destination == block }
    let route = try #require(found)
    #expect((route.interface == tunnel?.index) == (way == .tunnel))
    for from in 0..<2 {
      // The other pod sees the pod's own address: nothing on the way hides it.
      #expect(try lab.send(mtu, from: from) == TwoNodes.podAddresses[from])
      #expect(try lab.send(mtu + 1, from: from) == nil)
      #expect(try lab.send(100, from: from) == TwoNodes.podAddresses[from])
    }
    // What was sent whole travelled whole.
    for index in 0..<2 { #expect(try lab.fragments(index) == []) }
  }

  @Test(arguments: [NetworkMode.vxlan, .auto])
  func `nodes that have IPv6 addresses alone carry IPv4 pods by the tunnel, at exactly its MTU`(
    mode: NetworkMode
  ) async throws {
    let lab = try TwoNodes("\(mode.rawValue)6", isRouted: false, hasV6: true)
    let mtu = Int(try lab.addPods(mode))
    #expect(mtu == 1430)
    for index in 0..<2 { try await lab.keeper(index, mode).take(nodes: Array(lab.objects.values)) }
    var node = try RouteSession(inNamespace: lab.nodes[0])
    let tunnel = try #require(try node.link(named: NodePaths.link))
    #expect(try node.forwarding(on: tunnel.index).map(\.address.description) == ["2001:db8::2"])
    for from in 0..<2 {
      #expect(try lab.send(mtu, from: from) == TwoNodes.podAddresses[from])
      #expect(try lab.send(mtu + 1, from: from) == nil)
    }
    for index in 0..<2 { #expect(try lab.fragments(index) == []) }
  }

  @Test func `what others break is repaired, a node that leaves loses its way, and remove leaves nothing`()
    async throws
  {
    let lab = try TwoNodes("repair", isRouted: false)
    _ = try lab.addPods(.vxlan)
    let keepers = [try lab.keeper(0, .vxlan), try lab.keeper(1, .vxlan)]
    for keeper in keepers { await keeper.take(nodes: Array(lab.objects.values)) }
    let plan = try runInNamespace(lab.nodes[0]) {
      let address = try #require(IPAddress("192.0.2.1"))
      let found = try Uplink.observe([address])
      let uplink = try #require(found)
      return planPaths(
        nodes: Array(lab.objects.values), uplink: uplink, settings: try pathSettings(.vxlan))
    }
    // All is there: nothing to do.
    #expect(try runInNamespace(lab.nodes[0]) { try plan.apply() } == 0)
    var node = try RouteSession(inNamespace: lab.nodes[0])
    let link = try #require(try node.link(named: NodePaths.link))
    for entry in try node.forwarding(on: link.index) { try node.deleteForwarding(entry) }
    try node.deleteNeighbour(try #require(IPAddress("10.42.1.0")), on: link.index)
    for route in try node.routes() where route.origin == NodePaths.origin { try node.deleteRoute(route) }
    #expect(try runInNamespace(lab.nodes[0]) { try plan.apply() } == 3)
    #expect(try lab.send(1450, from: 0) == TwoNodes.podAddresses[0])
    // The other machine comes back with another address: the tunnel follows it.
    var moved = lab.objects
    moved["b"] = try clusterNode("b", ["10.42.1.0/24"], ["192.0.2.77"])
    await keepers[0].take(nodes: Array(moved.values))
    #expect(try node.forwarding(on: link.index).map(\.address.description) == ["192.0.2.77"])
    moved["b"] = nil
    await keepers[0].take(nodes: Array(moved.values))
    #expect(try node.routes().allSatisfy { $0.origin != NodePaths.origin })
    #expect(
      try node.forwarding(on: link.index).isEmpty && node.neighbours(on: link.index, family: .v4).isEmpty)
    try await keepers[1].remove()
    var other = try RouteSession(inNamespace: lab.nodes[1])
    #expect(try other.link(named: NodePaths.link) == nil)
    #expect(try other.routes().allSatisfy { $0.origin != NodePaths.origin })
  }

  @Test func `a node whose uplink changes gets a tunnel on the new one`() async throws {
    let lab = try TwoNodes("uplink", isRouted: false)
    _ = try lab.addPods(.vxlan)
    let settings = try pathSettings(.vxlan)
    let nodes = Array(lab.objects.values)
    let first = try runInNamespace(lab.nodes[0]) {
      let address = try #require(IPAddress("192.0.2.1"))
      let found = try Uplink.observe([address])
      return try #require(found)
    }
    try runInNamespace(lab.nodes[0]) {
      _ = try planPaths(nodes: nodes, uplink: first, settings: settings).apply()
      var session = try RouteSession()
      let before = try #require(try session.link(named: NodePaths.link))
      var smaller = first
      smaller.mtu = 1400
      try planPaths(nodes: nodes, uplink: smaller, settings: settings).apply()
      #expect(try session.link(named: NodePaths.link)?.mtu == 1350)
      #expect(try session.link(named: NodePaths.link)?.index == before.index)
      var other = first
      other.address = try #require(IPAddress("192.0.2.3"))
      try planPaths(nodes: nodes, uplink: other, settings: settings).apply()
      #expect(try session.link(named: NodePaths.link)?.index != before.index)
      #expect(try session.routes().contains { $0.origin == NodePaths.origin })
    }
  }
}
