// Which way leads to which node: the plan alone, without a kernel.
import Addresses
import ClusterObjects
import ClusterView
import DataPlane
import Testing

func clusterNode(_ name: String, _ blocks: [String], _ addresses: [String]) throws -> Node {
  let tree: JSON = [
    "metadata": ["name": JSON(name)], "spec": ["podCIDRs": JSON(blocks)],
    "status": [
      "addresses": .array(addresses.map { ["type": "InternalIP", "address": JSON($0)] })
    ],
  ]
  return try Node(tree)
}

func pathSettings(_ mode: NetworkMode, own block: String = "10.42.0.0/24", name: String = "a") throws
  -> NodePathSettings
{
  NodePathSettings(
    nodeName: name, mode: mode, podBlocks: [try #require(IPPrefix(block))],
    clusterBlocks: [
      try #require(IPPrefix("10.42.0.0/16")), try #require(IPPrefix("fd00:42::/48")),
    ])
}

private func uplink(_ subnets: String...) throws -> Uplink {
  Uplink(
    index: 7, name: "eth0", mtu: 1500, address: try #require(IPAddress("192.0.2.1")),
    subnets: try subnets.map { try #require(IPPrefix($0)) })
}

@Suite struct PathPlans {
  @Test func `auto goes directly to a node on the same link and by a tunnel to another`() throws {
    let nodes = [
      try clusterNode("a", ["10.42.0.0/24"], ["192.0.2.1"]),
      try clusterNode("near", ["10.42.1.0/24"], ["192.0.2.2"]),
      try clusterNode("far", ["10.42.2.0/24"], ["198.51.100.2"]),
    ]
    let plan = planPaths(nodes: nodes, uplink: try uplink("192.0.2.0/24"), settings: try pathSettings(.auto))
    #expect(plan.paths.map(\.node) == ["far", "near"])
    #expect(plan.paths.map(\.way) == [.tunnel, .direct])
    #expect(plan.paths.map(\.gateway.description) == ["10.42.2.0", "192.0.2.2"])
    #expect(plan.peers.map(\.machine.description) == ["198.51.100.2"])
    #expect(plan.peers.first?.mac.description == "0a:58:0a:2a:02:00" && plan.tunnel?.mtu == 1450)
    #expect(plan.unreachable.isEmpty)
  }

  @Test func `host-gw says which node it cannot reach and vxlan tunnels to all`() throws {
    let nodes = [
      try clusterNode("near", ["10.42.1.0/24"], ["192.0.2.2"]),
      try clusterNode("far", ["10.42.2.0/24"], ["198.51.100.2"]),
    ]
    let link = try uplink("192.0.2.0/24")
    let direct = planPaths(nodes: nodes, uplink: link, settings: try pathSettings(.hostGateway))
    #expect(direct.paths.map(\.node) == ["near"] && direct.tunnel == nil)
    #expect(direct.unreachable["far"]?.contains("198.51.100.2") == true)
    let tunneled = planPaths(nodes: nodes, uplink: link, settings: try pathSettings(.vxlan))
    #expect(tunneled.paths.allSatisfy { $0.way == .tunnel } && tunneled.peers.count == 2)
    #expect(tunneled.paths.allSatisfy { $0.preferredSource?.description == "10.42.0.1" })
  }

  @Test func `a node that claims what is not its own gets no route`() throws {
    let nodes = [
      try clusterNode("all", ["0.0.0.0/0"], ["192.0.2.9"]),
      try clusterNode("ours", ["10.42.0.128/25"], ["192.0.2.3"]),
      try clusterNode("b", ["10.42.1.0/24"], ["192.0.2.2"]),
      try clusterNode("second", ["10.42.1.0/24"], ["192.0.2.4"]),
      try clusterNode("bare", [], ["192.0.2.5"]), try clusterNode("nowhere", ["10.42.5.0/24"], []),
      try clusterNode("twin", ["10.42.6.0/24"], ["192.0.2.1"]),
    ]
    let plan = planPaths(nodes: nodes, uplink: try uplink("192.0.2.0/24"), settings: try pathSettings(.auto))
    #expect(plan.paths.map(\.node) == ["b"])
    #expect(Set(plan.unreachable.keys) == ["all", "ours", "second", "bare", "nowhere", "twin"])
    #expect(plan.unreachable["second"]?.contains("node b") == true)
  }

  @Test func `the ends of two IPv6 nodes differ`() throws {
    let nodes = [
      try clusterNode("b", ["fd00:42:0:1::/64"], ["192.0.2.2"]),
      try clusterNode("c", ["fd00:42:0:2::/64"], ["192.0.2.3"]),
    ]
    let plan = planPaths(nodes: nodes, uplink: try uplink("192.0.2.0/24"), settings: try pathSettings(.auto))
    // No IPv6 address of theirs is on our link: by the tunnel.
    #expect(plan.paths.allSatisfy { $0.way == .tunnel } && Set(plan.peers.map(\.mac)).count == 2)
  }

  @Test(arguments: [(.hostGateway, 1500), (.vxlan, 1450), (.auto, 1450)] as [(NetworkMode, UInt32)])
  func `pods leave room for the tunnel where there may be one`(mode: NetworkMode, mtu: UInt32) throws {
    #expect(mode.podMTU(try uplink()) == mtu)
    var six = try uplink()
    six.address = try #require(IPAddress("2001:db8::1"))
    #expect(mode.podMTU(six) == (mode == .hostGateway ? 1500 : 1430))
  }
}
