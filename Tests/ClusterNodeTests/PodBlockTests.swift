// A node asks for its pod CIDRs before it does anything else, and says that it waits.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
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
}
