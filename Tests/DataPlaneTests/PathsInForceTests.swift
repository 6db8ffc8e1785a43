// What others do to routes, neighbours and tunnel rows is told as the difference from the plan, and explained for one address.
import Addresses
import ClusterObjects
import ClusterView
import DataPlane
import KernelNetlink
import Observe
import Testing

@Suite(.timeLimit(.minutes(3))) struct PathsInForceTests {
  private func plan(_ lab: TwoNodes, _ mode: NetworkMode) throws -> NodePaths {
    try runInNamespace(lab.nodes[0]) {
      let address = try #require(IPAddress("192.0.2.1"))
      let found = try Uplink.observe([address])
      return planPaths(
        nodes: Array(lab.objects.values), uplink: try #require(found), settings: try pathSettings(mode))
    }
  }

  private func inForce(_ lab: TwoNodes) throws -> PathsInForce {
    try runInNamespace(lab.nodes[0]) { try PathsInForce.observe() }
  }

  @Test
  func `each missing, wrong and strange part of a tunnel is a line, and a fault of the address behind it`()
    async throws
  {
    let lab = try TwoNodes("diff", isRouted: false)
    _ = try lab.addPods(.vxlan)
    try await lab.keeper(0, .vxlan).take(nodes: Array(lab.objects.values))
    let plan = try plan(lab, .vxlan)
    #expect(plan.differences(from: try inForce(lab)) == [])
    let far = try #require(IPAddress("10.42.1.9"))
    let well = plan.steps(to: far, of: "b", try inForce(lab))
    #expect(
      well.map(\.text) == [
        "10.42.1.9 is on node b: route 10.42.1.0/24 via 10.42.1.0 dev weft-vxlan, MTU 1450",
        "10.42.1.0 is at 0a:58:0a:2a:01:00 (neighbour on weft-vxlan)",
        "0a:58:0a:2a:01:00 is behind 192.0.2.2: VXLAN 4242, UDP port 8472 (FDB of weft-vxlan)",
      ])
    #expect(well.allSatisfy { $0.mark == .fine && $0.objects == ["Node b"] })

    var node = try RouteSession(inNamespace: lab.nodes[0])
    let link = try #require(try node.link(named: NodePaths.link))
    for row in try node.forwarding(on: link.index) { try node.deleteForwarding(row) }
    let other = try #require(MACAddress(text: "0a:58:0a:2a:09:00"))
    let strange = try #require(IPAddress("192.0.2.99"))
    try node.setForwarding(Neighbour(interface: link.index, address: strange, mac: other))
    try node.deleteNeighbour(try #require(IPAddress("10.42.1.0")), on: link.index)
    let unknown = try #require(IPAddress("10.42.9.0"))
    try node.setNeighbour(Neighbour(interface: link.index, address: unknown, mac: other))
    for route in try node.routes() where route.origin == NodePaths.origin { try node.deleteRoute(route) }
    let stale = try #require(IPPrefix("10.42.8.0/24"))
    try node.addRoute(Route(stale, interface: link.index, origin: NodePaths.origin), replace: true)
    try node.setLink(link.index, mtu: 1400)
    #expect(
      Set(plan.differences(from: try inForce(lab))) == [
        "change link weft-vxlan to mtu 1450, up", "delete route 10.42.8.0/24 dev weft-vxlan",
        "add route 10.42.1.0/24 via 10.42.1.0 dev weft-vxlan",
        "delete fdb 0a:58:0a:2a:09:00 dst 192.0.2.99 dev weft-vxlan",
        "delete neighbour 10.42.9.0 dev weft-vxlan", "add fdb 0a:58:0a:2a:01:00 dst 192.0.2.2 dev weft-vxlan",
        "add neighbour 10.42.1.0 lladdr 0a:58:0a:2a:01:00 dev weft-vxlan",
      ])
    let broken = plan.steps(to: far, of: "b", try inForce(lab))
    #expect(broken.count == 4 && broken.allSatisfy { $0.mark == .fault && $0.text.hasPrefix("CLI0155 ") })

    // What the plan applies is what the difference said.
    let changes = try runInNamespace(lab.nodes[0]) { try plan.apply() }
    #expect(changes == 7)
    #expect(plan.differences(from: try inForce(lab)) == [])
    try node.deleteLink(named: NodePaths.link)
    #expect(
      plan.differences(from: try inForce(lab)).first == "add link weft-vxlan type vxlan id 4242 dstport 8472")
  }

  @Test
  func `a route of somebody else that takes the packet away is named, and a node without a way is a fault`()
    async throws
  {
    let lab = try TwoNodes("stolen", isRouted: false)
    try await lab.keeper(0, .hostGateway).take(nodes: Array(lab.objects.values))
    let plan = try plan(lab, .hostGateway)
    let far = try #require(IPAddress("10.42.1.9"))
    #expect(
      plan.steps(to: far, of: "b", try inForce(lab)).map(\.text) == [
        "10.42.1.9 is on node b: route 10.42.1.0/24 via 192.0.2.2 dev eth0, MTU 1500"
      ])
    var node = try RouteSession(inNamespace: lab.nodes[0])
    let single = try #require(IPPrefix("10.42.1.9/32"))
    try node.addRoute(Route(single, gateway: IPAddress("192.0.2.50")))
    let stolen = plan.steps(to: far, of: "b", try inForce(lab))
    #expect(stolen.count == 2 && stolen[1].mark == .fault, "\(stolen)")
    #expect(
      stolen[1].text
        == "CLI0155 route 10.42.1.9/32 via 192.0.2.50 dev eth0 is not ours and takes it instead")
    let nowhere = plan.steps(to: try #require(IPAddress("10.99.0.1")), of: "c", try inForce(lab))
    #expect(nowhere.count == 1 && nowhere[0].text.hasPrefix("CLI0156 there is no way to 10.99.0.1"))
    #expect(plan.differences(from: try inForce(lab)) == [], "routes of others are not ours to judge")
  }
}
