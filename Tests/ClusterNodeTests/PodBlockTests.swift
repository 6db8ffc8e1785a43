// A node asks for its pod CIDRs before it does anything else, and says that it waits.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterNode

@Suite(.timeLimit(.minutes(2))) struct PodBlockTests {
  private func settings(_ blocks: [String] = []) -> NodeSettings {
    var settings = NodeSettings(nodeName: "n1", addresses: [])
    settings.podCIDRs = blocks.compactMap { IPPrefix($0) }
    settings.leaseInterval = .seconds(1)
    return settings
  }

  private func node(_ api: MemoryClusterAPI) -> JSON? { api.objects(.nodes).first { $0.name == "n1" } }

  private func eventually(_ body: () -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      if body() { return true }
      try? await Task.sleep(for: .milliseconds(5))
    }
    return body()
  }

  @Test func `a node without CIDRs is NotReady, says why, and goes on when it is given some`() async throws {
    let api = MemoryClusterAPI()
    let asked = settings()
    let waiting = Task { try await NodeAgent.podBlocks(asked, api: api) }
    #expect(await eventually { node(api)?.condition("Ready")?["status"] == "False" })
    let condition = try #require(node(api)?.condition("Ready"))
    #expect(condition["reason"] == "KubeletNotReady")
    #expect(condition["message"]?.string?.contains("reason:NetworkPluginNotReady") == true)
    #expect(condition["message"]?.string?.contains("the node has no pod CIDR yet") == true)
    #expect(api.objects(.leases).map(\.name) == ["n1"])
    _ = try await api.patch(
      .nodes, namespace: "", name: "n1",
      patch: .merge(["spec": ["podCIDR": "10.42.3.0/24", "podCIDRs": ["10.42.3.0/24", "fd00:42:0:3::/64"]]]),
      subresource: nil, options: WriteOptions())
    #expect(try await waiting.value.map(\.description) == ["10.42.3.0/24", "fd00:42:0:3::/64"])
  }

  @Test func `a node keeps what its Node object says, and registers with what it was told to have`()
    async throws
  {
    let api = MemoryClusterAPI()
    let own = try await NodeAgent.podBlocks(settings(["10.42.7.0/24"]), api: api)
    #expect(own.map(\.description) == ["10.42.7.0/24"])
    #expect(node(api)?.at("spec", "podCIDR") == "10.42.7.0/24")
    #expect(try await NodeAgent.podBlocks(settings(), api: api) == own)
    await #expect {
      try await NodeAgent.podBlocks(settings(["10.42.8.0/24"]), api: api)
    } throws: {
      ($0 as? WeftError)?.code == "NOD0014"
    }
  }

  @Test func `who waits no longer than a time is told that nobody gave any, and who is cancelled ends`()
    async throws
  {
    let api = MemoryClusterAPI()
    let asked = settings()
    let waiting = Task { try await NodeAgent.podBlocks(asked, api: api) }
    #expect(await eventually { node(api) != nil })
    waiting.cancel()
    await #expect(throws: CancellationError.self) { try await waiting.value }
    // The API does not answer at all.
    api.inject { verb, _ in
      verb == "watch" ? APIStatusError(code: 503, reason: "ServiceUnavailable", message: "gone") : nil
    }
    await #expect {
      try await NodeAgent.podBlocks(asked, api: api, timeout: .milliseconds(10))
    } throws: {
      ($0 as? WeftError)?.code == "NOD0013"
    }
  }

  // MARK: - A Node object that was made anew

  private final class Told: Sendable {
    let blocks = Mutex<[[IPPrefix]]>([])
    var all: [[IPPrefix]] { blocks.withLock { $0 } }
  }

  /// Of an agent that runs, with a runtime that answers nothing.
  private func registrar(_ api: MemoryClusterAPI, _ blocks: [String], _ told: Told) throws -> NodeRegistrar {
    NodeRegistrar(
      api, settings(blocks), try CRIClient(socketPath: "/nowhere.sock", metrics: Metrics()),
      certificateDigest: nil,
      onOtherBlocks: { found in told.blocks.withLock { $0.append(found) } })
  }

  private func makeNode(_ api: MemoryClusterAPI, _ name: String, _ block: String?) async throws {
    var node: JSON = ["apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name)], "spec": [:]]
    if let block { node["spec"] = ["podCIDR": JSON(block), "podCIDRs": [JSON(block)]] }
    _ = try await api.create(.nodes, node, options: WriteOptions())
  }

  @Test func `a node that was deleted comes back with the block its pods have addresses of`() async throws {
    let api = MemoryClusterAPI()
    let told = Told()
    let registrar = try registrar(api, ["10.42.7.0/24"], told)
    try await registrar.register()
    try await api.delete(.nodes, namespace: "", name: "n1", options: DeleteOptions())
    try await makeNode(api, "n2", "10.42.8.0/24")
    try await registrar.register()
    #expect(node(api)?.podBlocks.map(\.description) == ["10.42.7.0/24"])
    // Made by somebody else, without any: the same.
    try await api.delete(.nodes, namespace: "", name: "n1", options: DeleteOptions())
    try await makeNode(api, "n1", nil)
    try await registrar.register()
    #expect(node(api)?.podBlocks.map(\.description) == ["10.42.7.0/24"])
    #expect(told.all.isEmpty)
  }

  @Test(arguments: ["10.42.7.0/24", "10.42.0.0/16", "10.42.7.128/25"])
  func `a block that another node has by now is not taken back: the node waits for another, and says so`(
    other: String
  ) async throws {
    let api = MemoryClusterAPI()
    let told = Told()
    let registrar = try registrar(api, ["10.42.7.0/24"], told)
    for isMadeByOthers in [false, true] {
      try await makeNode(api, "n2", other)
      if isMadeByOthers { try await makeNode(api, "n1", nil) }
      try await registrar.register()
      #expect(node(api) != nil && node(api)?.podBlocks == [])
      for name in ["n1", "n2"] {
        try await api.delete(.nodes, namespace: "", name: name, options: DeleteOptions())
      }
    }
    #expect(told.all.isEmpty)
    // Nor does a node begin with it.
    try await makeNode(api, "n2", other)
    await #expect {
      try await NodeAgent.podBlocks(settings(["10.42.7.0/24"]), api: api)
    } throws: {
      ($0 as? WeftError)?.code == "NOD0043"
    }
  }

  @Test func `other blocks than those in force are told once, and the node is not ready until it has them`()
    async throws
  {
    let api = MemoryClusterAPI()
    let told = Told()
    let registrar = try registrar(api, ["10.42.7.0/24"], told)
    try await makeNode(api, "n1", "10.42.9.0/24")
    for _ in 0..<3 { try await registrar.register() }
    #expect(told.all.map { $0.map(\.description) } == [["10.42.9.0/24"]])
    #expect(node(api)?.podBlocks.map(\.description) == ["10.42.9.0/24"])
    #expect(await registrar.runtimeFailure() == "the node is being set up for the pod CIDR 10.42.9.0/24")
  }

  @Test(arguments: [
    (["10.42.7.9"], false), (["10.42.8.9"], true), (["10.42.7.9", "fd00:42:0:7::9"], false),
    (["10.42.7.9", "fd00:42:0:8::9"], true), ([], false), (["?"], false),
  ])
  func `an address is foreign when no block of the node has it`(addresses: [String], isForeign wanted: Bool) {
    let blocks = ["10.42.7.0/24", "fd00:42:0:7::/64"].compactMap { IPPrefix($0) }
    #expect(isForeign(addresses, to: blocks) == wanted)
    #expect(!isForeign(addresses, to: []))
  }
}
