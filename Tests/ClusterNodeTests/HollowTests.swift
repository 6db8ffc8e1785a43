// Nodes without machines say what nodes with machines say.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterNode

@Suite(.timeLimit(.minutes(5))) struct HollowTests {
  private func pod(_ name: String, node: String = "", initial: JSON = []) -> JSON {
    [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": ["namespace": "demo", "name": JSON(name), "uid": JSON("uid-\(name)")],
      "spec": [
        "nodeName": JSON(node), "initContainers": initial,
        "containers": [["name": "c", "image": "i"], ["name": "d", "image": "i"]],
      ],
    ]
  }

  @Test func `a hollow pod runs its plan to the end`() {
    var hollow = HollowPod()
    let made = pod(
      "p",
      initial: [
        ["name": "once", "image": "i"], ["name": "beside", "image": "i", "restartPolicy": "Always"],
      ])
    let status = hollow.settle(made, address: "10.64.0.1", hostAddress: "10.128.0.1", seconds: 1_700_000_000)
    #expect(status["phase"] == "Running" && status["podIP"] == "10.64.0.1")
    let ready = status["conditions"]?.elements.first { $0["type"] == "Ready" }
    #expect(ready?["status"] == "True", "\(status)")
    #expect(status["containerStatuses"]?.elements.count == 2)
    // Asked again it starts nothing anew.
    let again = hollow.settle(made, address: "10.64.0.1", hostAddress: "10.128.0.1", seconds: 1_700_000_009)
    #expect(again["containerStatuses"] == status["containerStatuses"])
  }

  @Test func `hollow nodes become ready, run what is bound to them and let go of what is deleted`()
    async throws
  {
    let api = MemoryClusterAPI()
    let informers = SharedInformers(api: api, metrics: Metrics())
    let hollow = HollowNodes(40, api: api, informers: informers)
    try await informers.waitForSync()
    try await hollow.register()
    try await hollow.becomeReady()
    #expect(api.objects(.nodes).count == 40 && api.objects(.leases).count == 40)
    #expect(
      api.objects(.nodes).allSatisfy { $0.isConditionTrue("Ready") && $0.at("status", "allocatable") != nil })
    hollow.start()
    for index in 0..<40 {
      _ = try await api.create(.pods, pod("p\(index)", node: "hollow-\(index)"), options: WriteOptions())
    }
    _ = try await api.create(.pods, pod("elsewhere", node: "other"), options: WriteOptions())
    func eventually(_ body: () -> Bool) async -> Bool {
      let deadline = ContinuousClock.now + .seconds(60)
      while ContinuousClock.now < deadline {
        if body() { return true }
        try? await Task.sleep(for: .milliseconds(5))
      }
      return body()
    }
    #expect(
      await eventually { api.objects(.pods).count { $0.at("status", "phase") == "Running" } == 40 })
    try await api.delete(.pods, namespace: "demo", name: "p7", options: DeleteOptions(gracePeriodSeconds: 30))
    #expect(await eventually { api.objects(.pods).count == 40 })
    await hollow.stop()
    await informers.stop()
  }
}
