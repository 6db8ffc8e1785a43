// What a node tells of itself in `kubectl describe node`, and that what is told again is counted.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterNode

@Suite(.timeLimit(.minutes(2))) struct NodeEventTests {
  private func status(
    ready: String?, memory: String? = "False", disk: String? = "False", pid: String? = "False",
    boot: String = "one"
  ) -> JSON {
    let pairs = [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pid), ("Ready", ready)]
    return [
      "conditions": .array(
        pairs.compactMap { type, value in value.map { ["type": JSON(type), "status": JSON($0)] } }),
      "nodeInfo": ["bootID": JSON(boot)],
    ]
  }

  private func events(_ old: JSON, _ new: JSON, isFirst: Bool = false) -> [PodEvent] {
    planNodeEvents("n", old: old, new: new, isFirst: isFirst)
  }

  private func reasons(_ old: JSON, _ new: JSON, isFirst: Bool = false) -> [String] {
    events(old, new, isFirst: isFirst).map(\.reason)
  }

  @Test func `what turned is told, in kubelet's words and order, and nothing else`() {
    let well = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"]
    #expect(reasons(.null, status(ready: "False")) == well)
    // An agent that starts on a node that is known.
    #expect(reasons(status(ready: "True"), status(ready: "True"), isFirst: true) == well)
    #expect(reasons(status(ready: "True"), status(ready: "False"), isFirst: true) == well + ["NodeNotReady"])
    #expect(reasons(status(ready: "False"), status(ready: "True")) == ["NodeReady"])
    #expect(reasons(status(ready: "True"), status(ready: "True")) == [])
    #expect(
      reasons(status(ready: "True"), status(ready: "True", memory: "True", disk: "True", pid: "True")) == [
        "NodeHasInsufficientMemory", "NodeHasDiskPressure", "NodeHasInsufficientPID",
      ])
    // Said Unknown by the control plane while it was silent.
    #expect(reasons(status(ready: "Unknown"), status(ready: "True")) == ["NodeReady"])
    let rebooted = events(status(ready: "True"), status(ready: "True", boot: "two"))
    #expect(rebooted.map(\.message) == ["Node n has been rebooted, boot id: two"])
    #expect(rebooted.first?.isWarning == true && rebooted.first?.involved.uid == "n")
    #expect(
      events(status(ready: "False"), status(ready: "True")).first?.message
        == "Node n status is now: NodeReady")
  }

  @Test func `an agent tells that it starts and what it is short of, and what comes again is counted`()
    async throws
  {
    let api = MemoryClusterAPI()
    let writer = EventWriter(api, nodeName: "n1")
    let settings = NodeSettings(nodeName: "n1", addresses: [])
    let registrar = NodeRegistrar(api, settings, nil, certificateDigest: nil, record: { writer.record($0) })
    await registrar.start()
    func event(_ reason: String) -> JSON? { api.objects(.events).first { $0["reason"]?.string == reason } }
    #expect(await eventually { event("NodeHasSufficientPID") != nil })
    await registrar.stop(leaving: false)
    let started = try #require(event("Starting"))
    #expect(started.namespace == "default" && started["message"] == "Starting kubelet.")
    #expect(
      started["involvedObject"] == ["kind": "Node", "apiVersion": "v1", "name": "n1", "uid": "n1"],
      "\(started)")
    let threshold = EvictionThreshold(.pidAvailable, .percent(5))
    let crossed = CrossedThreshold(threshold: threshold, limit: 50, available: 3)
    for _ in 0..<3 { writer.record(thresholdEvent("n1", crossed)) }
    #expect(await eventually { event("EvictionThresholdMet")?["count"] == 3 })
    #expect(event("EvictionThresholdMet")?["message"] == "Attempting to reclaim pids")
    #expect(api.objects(.events).count { $0["reason"] == "EvictionThresholdMet" } == 1)
    writer.stop()
  }
}
