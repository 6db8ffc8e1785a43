// Counts of zero and lists that became empty vanish: `null` in their place breaks clients that read typed objects.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

@Suite struct AbsenceTests {
  @Test func `a replica set without pods counts in fields that are there or not, none null`() {
    var set = deploymentObject("web", replicas: 0)
    set["kind"] = "ReplicaSet"
    set.set(["readyReplicas": 3, "availableReplicas": 3], at: "status")
    let status = planReplicaSet(set, pods: []).status
    #expect(!status.text.contains("null"), "\(status.text)")
    #expect(status["readyReplicas"] == nil && status["replicas"] == 0)
  }

  @Test func `a deployment without replica sets says nothing of pods`() {
    let deployment = deploymentObject("web", replicas: 0)
    let (status, _) = planDeploymentStatus(
      deployment, sets: [], current: nil, created: nil, bounds: RolloutBounds(deployment), now: 1000)
    #expect(!status.text.contains("null"), "\(status.text)")
  }

  @Test func `a template whose only label is the controller's equals one without labels`() {
    var with = deploymentObject("web", replicas: 1)
    var without = with
    with.set([DeploymentNames.hash: "abc"], at: "spec", "template", "metadata", "labels")
    without.set(nil, at: "spec", "template", "metadata", "labels")
    #expect(!comparableTemplate(with).text.contains("null"))
    #expect(comparableTemplate(with) == comparableTemplate(without))
  }

  @Test(.timeLimit(.minutes(1)))
  func `an orphaned object has no field for owners`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.deployments, deploymentObject("web", replicas: 1))
    #expect(await eventually { !cluster.api.objects(.replicaSets).isEmpty })
    try await cluster.api.delete(
      .deployments, namespace: "demo", name: "web", options: DeleteOptions(propagationPolicy: "Orphan"))
    #expect(
      await eventually {
        let sets = cluster.api.objects(.replicaSets)
        return !sets.isEmpty && sets.allSatisfy { !$0.text.contains("ownerReferences") }
      })
    await cluster.stop()
  }
}
