// Deployments in mid-rollout: resized, paused, rolled back. Each plan is asked for one state.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

@Suite struct DeploymentTests {
  func deployment(_ replicas: Int, paused: Bool = false, surge: JSON = 3, unavailable: JSON = 2) -> JSON {
    var deployment = deploymentObject(
      "web", replicas: replicas, image: "new",
      strategy: ["rollingUpdate": ["maxSurge": surge, "maxUnavailable": unavailable]])
    deployment.set("d", at: "metadata", "uid")
    if paused { deployment.set(true, at: "spec", "paused") }
    return deployment
  }

  /// A ReplicaSet of the Deployment as it was when that wanted `desired`.
  func set(_ image: String, _ replicas: Int, desired: Int, most: Int, revision: Int, available: Int? = nil)
    -> JSON
  {
    var owner = deploymentObject("web", replicas: desired, image: image)
    owner.set("d", at: "metadata", "uid")
    var set = workload("ReplicaSet", "web-\(image)", image: image)
    set["spec"] = owner["spec"]
    set.set(JSON(replicas), at: "spec", "replicas")
    set.set(
      [
        "deployment.kubernetes.io/desired-replicas": JSON("\(desired)"),
        "deployment.kubernetes.io/max-replicas": JSON("\(most)"),
        "deployment.kubernetes.io/revision": JSON("\(revision)"),
      ], at: "metadata", "annotations")
    set["status"] = ["replicas": JSON(replicas), "availableReplicas": JSON(available ?? replicas)]
    return set
  }

  func sizes(_ plan: DeploymentPlan) -> [String: Int] {
    Dictionary(uniqueKeysWithValues: plan.update.map { ($0.name, $0.at("spec", "replicas")?.int ?? -1) })
  }

  @Test(arguments: [(false, 15, 11, 7), (true, 15, 11, 7), (false, 5, 5, 3), (true, 5, 5, 3)])
  func `resized in mid-rollout, each ReplicaSet takes its share`(
    paused: Bool, wanted: Int, old: Int, new: Int
  ) {
    // Thirteen pods for ten: eight of the old template, five of the new, which do not become available.
    let sets = [
      set("old", 8, desired: 10, most: 13, revision: 1),
      set("new", 5, desired: 10, most: 13, revision: 2, available: 0),
    ]
    let plan = planDeployment(deployment(wanted, paused: paused), sets: sets, hasOldPods: true, now: 0)
    #expect(sizes(plan) == ["web-old": old, "web-new": new])
  }

  @Test func `resized to nothing, nothing stays`() {
    let sets = [
      set("old", 8, desired: 10, most: 13, revision: 1),
      set("new", 5, desired: 10, most: 13, revision: 2, available: 0),
    ]
    let plan = planDeployment(deployment(0), sets: sets, hasOldPods: true, now: 0)
    #expect(sizes(plan) == ["web-old": 0, "web-new": 0])
  }

  @Test func `a paused one that is not resized stays as it is`() {
    let sets = [
      set("old", 7, desired: 10, most: 13, revision: 1),
      set("new", 5, desired: 10, most: 13, revision: 2, available: 0),
    ]
    let plan = planDeployment(deployment(10, paused: true), sets: sets, hasOldPods: true, now: 0)
    #expect(sizes(plan).allSatisfy { ["web-old": 7, "web-new": 5][$0.key] == $0.value })
    #expect(plan.create == nil)
  }

  @Test func `a paused one with a new template begins nothing, and is resized all the same`() {
    let old = set("old", 3, desired: 3, most: 6, revision: 1)
    let plan = planDeployment(deployment(5, paused: true), sets: [old], hasOldPods: true, now: 0)
    #expect(plan.create == nil && sizes(plan) == ["web-old": 5])
  }

  @Test func `without a rollout a resize is one step`() {
    let current = set("new", 3, desired: 3, most: 6, revision: 1)
    #expect(
      sizes(planDeployment(deployment(9), sets: [current], hasOldPods: false, now: 0)) == ["web-new": 9])
  }
}
