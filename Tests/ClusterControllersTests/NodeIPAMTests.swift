// Blocks of pod addresses for nodes: each given once, kept, and given again only when its node is gone.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private func block(_ text: String) -> IPPrefix {
  IPPrefix(text) ?? IPPrefix(.v4(IPv4Address(bits: 0)), length: 0)!
}

private func ipam(_ clusters: [String], v4: Int = 24, v6: Int = 64) -> NodeIPAMSettings {
  var settings = NodeIPAMSettings(clusterBlocks: clusters.map(block))
  settings.maskSizeV4 = v4
  settings.maskSizeV6 = v6
  return settings
}

private func nodeObject(_ name: String, blocks: [String] = [], uid: String? = nil) -> JSON {
  var node: JSON = [
    "apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name), "uid": JSON(uid ?? "uid-\(name)")],
    "spec": [:],
  ]
  if let first = blocks.first {
    node.set(JSON(first), at: "spec", "podCIDR")
    node.set(JSON(blocks), at: "spec", "podCIDRs")
  }
  return node
}

@Suite struct NodeBlockTests {
  @Test(arguments: [
    ("10.42.0.0/22", 24, ["10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"]),
    ("10.42.0.0/24", 24, ["10.42.0.0/24"]),
    ("fd00:42::/62", 64, ["fd00:42::/64", "fd00:42:0:1::/64", "fd00:42:0:2::/64", "fd00:42:0:3::/64"]),
  ])
  func `every block of the cluster is given once, in order, and then none`(
    cluster: String, mask: Int, blocks: [String]
  ) throws {
    var pool = try #require(NodeBlockPool(block(cluster), maskSize: mask))
    #expect(pool.total == blocks.count)
    for wanted in blocks {
      let found = pool.take()
      let taken = try #require(found)
      #expect(pool.block(taken.slots.lowerBound) == block(wanted))
      #expect(pool.slots(block(wanted)) == taken.slots)
    }
    let beyond = pool.take()
    #expect(beyond == nil)
    let third = try #require(pool.slots(block(blocks[blocks.count / 2])))
    let isFreed = pool.release(third)
    let again = pool.take()
    #expect(isFreed && again?.slots == third)
  }

  @Test func `a block that came free waits until the others were given`() throws {
    var pool = try #require(NodeBlockPool(block("10.42.0.0/22"), maskSize: 24))
    let first = pool.take()
    pool.release(try #require(first).slots)
    #expect(
      [pool.take(), pool.take(), pool.take(), pool.take()].map { $0?.slots.lowerBound } == [1, 2, 3, 0])
  }

  @Test func `blocks of other sizes hold what they cover, and strangers nothing`() throws {
    let pool = try #require(NodeBlockPool(block("10.42.0.0/16"), maskSize: 24))
    #expect(pool.slots(block("10.42.4.0/22")) == 4...7)
    #expect(pool.slots(block("10.42.4.128/25")) == 4...4)
    #expect(pool.slots(block("10.0.0.0/8")) == 0...255)
    #expect(pool.slots(block("10.43.0.0/24")) == nil)
    #expect(pool.slots(block("fd00::/64")) == nil)
  }

  @Test(arguments: [
    (ipam(["10.42.0.0/16"]), nil), (ipam(["10.42.0.0/16", "fd00:42::/56"]), nil),
    (ipam([]), "name one block, or one of each family"),
    (ipam(["10.42.0.0/16", "10.44.0.0/16"]), "name one block, or one of each family"),
    (ipam(["10.42.0.0/25"]), "the node mask size /24 does not fit into 10.42.0.0/25"),
    (ipam(["10.42.0.0/16"], v4: 33), "the node mask size /33 does not fit into 10.42.0.0/16"),
    (ipam(["fd00::/32"]), "the node mask size /64 cuts fd00::/32 into more than 65536 blocks"),
  ])
  func `settings by which no blocks can be given are told apart`(settings: NodeIPAMSettings, problem: String?)
  {
    #expect(settings.problem == problem)
  }

  @Test func `addresses of Services are never given`() {
    var settings = ipam(["10.42.0.0/22"])
    settings.serviceBlocks = [block("10.42.0.0/23")]
    let ledger = NodeBlockLedger(settings, metrics: Metrics())
    #expect(ledger.reserve(nodeObject("a")) == .blocks([block("10.42.2.0/24")]))
  }

  /// Nodes come, are given blocks, claim some by hand, are deleted and made anew; writes are lost; the controller restarts.
  @Test(arguments: 0..<40) func `no two nodes ever hold one block, whatever happens in between`(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    let settings = ipam(["10.42.0.0/21", "fd00:42::/60"])
    var ledger = NodeBlockLedger(settings, metrics: Metrics())
    var nodes: [String: JSON] = [:]
    var reserved: [String: [IPPrefix]] = [:]
    for step in 0..<200 {
      let name = "n\(Int.random(in: 0..<10, using: &random))"
      switch Int.random(in: 0..<8, using: &random) {
      case 0..<3:
        if nodes[name] == nil {
          nodes[name] = nodeObject(name, uid: "\(step)")
          reserved[name] = nil
          _ = ledger.see(name, nodes[name])
        }
      case 3..<6:
        guard var node = nodes[name], node.podBlocks.isEmpty else { continue }
        guard case .blocks(let blocks) = ledger.reserve(node) else { continue }
        // What was reserved once is given again after a lost write.
        if let before = reserved[name] { #expect(before == blocks) }
        reserved[name] = blocks
        for (other, held) in nodes where other != name {
          #expect(Set(held.podBlocks).isDisjoint(with: blocks), "\(other) has a block of \(name)")
        }
        if Bool.random(using: &random) {
          node.set(JSON(blocks.map(\.description)), at: "spec", "podCIDRs")
          nodes[name] = node
          _ = ledger.see(name, node)
        }
      case 6:
        nodes[name] = nil
        reserved[name] = nil
        _ = ledger.see(name, nil)
      default:
        ledger = NodeBlockLedger(settings, metrics: Metrics())
        reserved = [:]
        for (name, node) in nodes { _ = ledger.see(name, node) }
      }
    }
    // Nothing leaked: with all nodes gone every block is free again.
    for name in nodes.keys { _ = ledger.see(name, nil) }
    for index in 0..<8 {
      #expect(ledger.reserve(nodeObject("last\(index)")) != .exhausted(block("10.42.0.0/21")))
    }
    #expect(ledger.reserve(nodeObject("more")) == .exhausted(block("10.42.0.0/21")))
  }
}

@Suite(.timeLimit(.minutes(5))) struct NodeIPAMControllerTests {
  private func cluster(_ blocks: [String], v4: Int = 24) -> (TestCluster, ControllerSettings) {
    var settings = ControllerSettings()
    settings.nodeIPAM = ipam(blocks, v4: v4)
    return (TestCluster(settings: settings, runsPods: false), settings)
  }

  private func blocks(_ api: MemoryClusterAPI, _ name: String) -> [String] {
    (api.objects(.nodes).first { $0.name == name }?.at("spec", "podCIDRs")?.elements ?? []).compactMap(
      \.string)
  }

  @Test func `nodes get a block of each family, and those that have some keep them`() async throws {
    let (cluster, _) = cluster(["10.42.0.0/16", "fd00:42::/56"])
    try await cluster.create(.nodes, nodeObject("old", blocks: ["10.42.0.0/24", "fd00:42::/64"]))
    for name in ["a", "b", "c"] { try await cluster.create(.nodes, nodeObject(name)) }
    let api = cluster.api
    #expect(await eventually { ["a", "b", "c"].allSatisfy { blocks(api, $0).count == 2 } })
    let all = ["old", "a", "b", "c"].flatMap { blocks(api, $0) }
    #expect(Set(all).count == 8)
    #expect(blocks(api, "old") == ["10.42.0.0/24", "fd00:42::/64"])
    for node in api.objects(.nodes) { #expect(node.at("spec", "podCIDR") == node.at("spec", "podCIDRs")?[0]) }
    await cluster.stop()
  }

  @Test func `the node after the last block is told so and served when one comes free`() async throws {
    let (cluster, _) = cluster(["10.42.0.0/23"])
    let api = cluster.api
    for name in ["a", "b"] { try await cluster.create(.nodes, nodeObject(name)) }
    #expect(await eventually { !blocks(api, "a").isEmpty && !blocks(api, "b").isEmpty })
    try await cluster.create(.nodes, nodeObject("c"))
    #expect(
      await eventually {
        api.objects(.events).contains {
          $0["reason"] == "CIDRNotAvailable" && $0["message"] == "Node c status is now: CIDRNotAvailable"
        }
      })
    let freed = blocks(api, "a")
    api.remove(.nodes, ObjectKey("", "a"))
    #expect(await eventually { blocks(api, "c") == freed })
    await cluster.stop()
  }

  @Test func `a controller that starts anew gives nothing that a node has`() async throws {
    let (first, settings) = cluster(["10.42.0.0/21"])
    let api = first.api
    for index in 0..<4 { try await first.create(.nodes, nodeObject("n\(index)")) }
    #expect(await eventually { (0..<4).allSatisfy { !blocks(api, "n\($0)").isEmpty } })
    await first.controllers.stop()
    for index in 4..<8 { try await first.create(.nodes, nodeObject("n\(index)")) }
    let informers = SharedInformers(api: api, metrics: Metrics())
    let second = startControllers(api: api, informers: informers, settings: settings, metrics: Metrics())
    #expect(await eventually { (0..<8).allSatisfy { !blocks(api, "n\($0)").isEmpty } })
    #expect(Set((0..<8).flatMap { blocks(api, "n\($0)") }).count == 8)
    await second.stop()
    await informers.stop()
    await first.stop()
  }

  @Test func `writes that fail cost no block`() async throws {
    let (cluster, _) = cluster(["10.42.0.0/22"])
    let api = cluster.api
    let failures = FaultCount(left: 7)
    api.inject { verb, resource in
      guard verb == "patch", resource == .nodes, failures.take() else { return nil }
      return APIStatusError(code: 500, reason: "InternalError", message: "the disk is full")
    }
    for index in 0..<4 { try await cluster.create(.nodes, nodeObject("n\(index)")) }
    #expect(await eventually { (0..<4).allSatisfy { !blocks(api, "n\($0)").isEmpty } })
    #expect(Set((0..<4).flatMap { blocks(api, "n\($0)") }).count == 4)
    await cluster.stop()
  }
}
