// ServiceCIDRs: when they are ready, what keeps one that was deleted, and when it goes.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private func range(
  _ name: String, _ cidrs: [String], isHeld: Bool = true, isReady: Bool = true, deleted: Int64? = nil
) -> JSON {
  var range: JSON = [
    "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": ["name": JSON(name)],
    "spec": ["cidrs": JSON(cidrs)],
  ]
  if isHeld { range.set([JSON(ServiceRangeNames.finalizer)], at: "metadata", "finalizers") }
  if isReady { range.setCondition("Ready", "True", reason: "", message: "") }
  if let deleted {
    range.set(JSON(Timestamp.text(seconds: deleted)), at: "metadata", "deletionTimestamp")
  }
  return range
}

@Suite(.timeLimit(.minutes(2))) struct ServiceRangeTests {
  private let now = workloadEpoch

  private func plan(_ own: JSON, others: [JSON] = [], _ addresses: [String] = []) -> ServiceRangePlan {
    planServiceRange(own, others: others + [own], addresses: addresses, now: now)
  }

  @Test func `a range is held first and then ready`() {
    #expect(plan(range("a", ["10.0.0.0/24"], isHeld: false, isReady: false)) == .addFinalizer)
    #expect(plan(range("a", ["10.0.0.0/24"], isReady: false)) == .ready)
    #expect(plan(range("a", ["10.0.0.0/24"])) == .nothing)
  }

  @Test func `an address that no other range has keeps it`() {
    let gone = range("a", ["10.0.0.0/24", "fd00::/112"], deleted: now - 60)
    #expect(plan(gone, ["10.0.0.7"]) == .inUse)
    #expect(plan(gone, ["fd00::7"]) == .inUse)
    #expect(plan(gone, ["10.0.1.7", "nonsense"]) == .release)
    #expect(plan(gone, others: [range("b", ["10.0.0.0/16"])], ["10.0.0.7"]) == .release)
    // A range that has a part of it keeps what is in that part.
    let part = range("b", ["10.0.0.0/28"])
    #expect(plan(gone, others: [part], ["10.0.0.7"]) == .release)
    #expect(plan(gone, others: [part], ["10.0.0.77"]) == .inUse)
    // One that goes too keeps nothing.
    #expect(plan(gone, others: [range("b", ["10.0.0.0/16"], deleted: now)], ["10.0.0.7"]) == .inUse)
  }

  @Test func `nothing goes before everybody has heard of it`() {
    #expect(plan(range("a", ["10.0.0.0/24"], deleted: now - 3)) == .wait(7))
    #expect(plan(range("a", ["10.0.0.0/24"], isHeld: false, deleted: now)) == .nothing)
  }

  @Test func `in a cluster a range becomes ready, says why it stays, and goes`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.serviceRanges, range("more", ["10.9.0.0/24"], isHeld: false, isReady: false))
    func ready() -> JSON? { cluster.get(.serviceRanges, "more", "")?.condition("Ready") }
    #expect(await eventually { ready()?["status"] == "True" })
    #expect(cluster.get(.serviceRanges, "more", "")?.finalizers == [ServiceRangeNames.finalizer])
    let address: JSON = [
      "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
      "metadata": [
        "name": "10.9.0.5", "labels": [ServiceRangeNames.managedBy: JSON(ServiceRangeNames.allocator)],
      ],
    ]
    try await cluster.create(.serviceAddresses, address)
    #expect(await eventually { cluster.informers.informer(.serviceAddresses)["", "10.9.0.5"] != nil })
    try await cluster.api.delete(.serviceRanges, namespace: "", name: "more", options: DeleteOptions())
    #expect(await eventually { ready()?["reason"] == "Terminating" })
    // Long ago, so that nobody waits for the test.
    var gone = try #require(cluster.get(.serviceRanges, "more", ""))
    gone.set(JSON(Timestamp.text(seconds: workloadEpoch)), at: "metadata", "deletionTimestamp")
    cluster.api.put(.serviceRanges, gone)
    cluster.api.remove(.serviceAddresses, ObjectKey("", "10.9.0.5"))
    #expect(await eventually { cluster.get(.serviceRanges, "more", "") == nil })
    await cluster.stop()
  }
}
