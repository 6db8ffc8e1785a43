// StatefulSets, step by step: each plan's effects are applied, and the next plan is asked for.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

@Suite struct StatefulSetTests {
  /// Applies plans until nothing changes; every pod runs as soon as it exists. Returns what was done, in
  /// order.
  func settle(
    _ set: inout JSON, _ world: inout PodWorld, current: JSON, update: JSON, mostMissing: Int? = nil
  ) -> [String] {
    var log: [String] = []
    for _ in 0..<60 {
      let plan = planStatefulSet(
        set, pods: world.sorted, current: current, update: update, now: workloadEpoch + 100)
      set["status"] = plan.status
      if plan.create.isEmpty, plan.delete.isEmpty { return log }
      for pod in plan.create {
        log.append("+\(pod.name)")
        world.create(pod)
      }
      for pod in plan.delete {
        log.append("-\(pod.name)")
        world.delete(pod)
      }
      if let mostMissing, let wanted = set.at("spec", "replicas")?.int {
        #expect(wanted - world.pods.count <= mostMissing)
      }
      world.runAll()
    }
    return log
  }

  @Test func `pods come in order, each only when the one before it is ready`() {
    let set = statefulSet(3)
    let first = revision(of: set)
    var world = PodWorld()
    for count in 0..<3 {
      let plan = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
      #expect(plan.create.map(\.name) == ["db-\(count)"])
      for pod in plan.create { world.create(pod) }
      let waiting = planStatefulSet(
        set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
      #expect(waiting.create.isEmpty)
      world.runAll()
    }
    let done = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(done.create.isEmpty && done.delete.isEmpty)
    #expect(done.status["readyReplicas"] == 3 && done.status["updatedReplicas"] == 3)
    #expect(done.status["currentRevision"] == JSON(first.name))
  }

  @Test func `a pod knows its name, its number, its revision and its claims`() {
    let set = statefulSet(
      1,
      spec: [
        "ordinals": ["start": 5],
        "volumeClaimTemplates": [
          ["metadata": ["name": "data"], "spec": ["resources": ["requests": ["storage": "1Gi"]]]]
        ],
      ])
    let first = revision(of: set)
    let plan = planStatefulSet(set, pods: [], current: first, update: first, now: workloadEpoch)
    let pod = plan.create.first ?? .null
    #expect(pod.name == "db-5")
    #expect(pod.labels["statefulset.kubernetes.io/pod-name"] == "db-5")
    #expect(pod.labels["apps.kubernetes.io/pod-index"] == "5")
    #expect(pod.labels["controller-revision-hash"] == first.name)
    #expect(pod.at("spec", "hostname") == "db-5" && pod.at("spec", "subdomain") == "db")
    #expect(pod.spec["volumes"]?[0]?.at("persistentVolumeClaim", "claimName") == "data-db-5")
    let claim = statefulClaims(set, ordinal: 5).first ?? .null
    #expect(claim.name == "data-db-5" && claim.labels == ["app": "db"])
    #expect(claim.at("spec", "resources", "requests", "storage") == "1Gi")
  }

  @Test func `Parallel makes and removes all at once`() {
    var set = statefulSet(4, spec: ["podManagementPolicy": "Parallel"])
    let first = revision(of: set)
    let plan = planStatefulSet(set, pods: [], current: first, update: first, now: workloadEpoch)
    #expect(plan.create.map(\.name) == ["db-0", "db-1", "db-2", "db-3"])
    var world = PodWorld()
    for pod in plan.create { world.create(pod) }
    set.set(1, at: "spec", "replicas")
    let less = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(less.delete.map(\.name) == ["db-3", "db-2", "db-1"])
  }

  @Test func `scaling down goes from the top, one at a time, and waits for the one that goes`() {
    var set = statefulSet(3)
    let first = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: first, update: first)
    set.set(1, at: "spec", "replicas")
    var plan = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(plan.delete.map(\.name) == ["db-2"])
    #expect(plan.condemned.map(\.name) == ["db-2", "db-1"])
    world.update("db-2") { $0.terminating() }
    plan = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(plan.delete.isEmpty)
    world.pods["db-2"] = nil
    plan = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(plan.delete.map(\.name) == ["db-1"])
  }

  @Test func `an update goes from the highest number to the lowest, one pod at a time`() {
    var set = statefulSet(3)
    let old = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: old, update: old)
    var newer = statefulSet(3, image: "b")
    newer["status"] = set["status"]
    let new = revision(of: newer, number: 2)
    let log = settle(&newer, &world, current: old, update: new, mostMissing: 1)
    #expect(log == ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"])
    #expect(world.sorted.allSatisfy { $0.image == "b" })
    #expect(newer.at("status", "currentRevision") == newer.at("status", "updateRevision"))
    #expect(newer.at("status", "updateRevision") == JSON(new.name))
  }

  @Test func `what is below the partition keeps the old template, also when it is made anew`() {
    var set = statefulSet(3)
    let old = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: old, update: old)
    var newer = statefulSet(
      3, image: "b", spec: ["updateStrategy": ["type": "RollingUpdate", "rollingUpdate": ["partition": 2]]])
    newer["status"] = set["status"]
    let new = revision(of: newer, number: 2)
    _ = settle(&newer, &world, current: old, update: new)
    #expect(world.sorted.map(\.image) == ["a", "a", "b"])
    #expect(newer.at("status", "updatedReplicas") == 1 && newer.at("status", "currentReplicas") == 2)
    #expect(newer.at("status", "currentRevision") == JSON(old.name))
    world.pods["db-0"] = nil
    _ = settle(&newer, &world, current: old, update: new)
    #expect(world.sorted.map(\.image) == ["a", "a", "b"])
  }

  @Test func `OnDelete replaces only what somebody deletes`() {
    var set = statefulSet(2, spec: ["updateStrategy": ["type": "OnDelete"]])
    let old = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: old, update: old)
    var newer = statefulSet(2, image: "b", spec: ["updateStrategy": ["type": "OnDelete"]])
    newer["status"] = set["status"]
    let new = revision(of: newer, number: 2)
    #expect(settle(&newer, &world, current: old, update: new) == [])
    world.pods["db-1"] = nil
    #expect(settle(&newer, &world, current: old, update: new) == ["+db-1"])
    #expect(world.sorted.map(\.image) == ["a", "b"])
  }

  @Test(arguments: [(1, ["db-3"]), (2, ["db-3", "db-2"]), (9, ["db-3", "db-2", "db-1", "db-0"])])
  func `maxUnavailable says how many an update replaces at a time`(most: Int, expected: [String]) {
    let strategy: JSON = ["type": "RollingUpdate", "rollingUpdate": ["maxUnavailable": JSON(most)]]
    var set = statefulSet(4, spec: ["updateStrategy": strategy, "podManagementPolicy": "Parallel"])
    let old = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: old, update: old)
    let newer = statefulSet(
      4, image: "b", spec: ["updateStrategy": strategy, "podManagementPolicy": "Parallel"])
    let plan = planStatefulSet(
      newer, pods: world.sorted, current: old, update: revision(of: newer, number: 2), now: workloadEpoch)
    #expect(plan.delete.map(\.name) == expected)
  }

  @Test func `a pod that ended is made again`() {
    var set = statefulSet(2)
    let first = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: first, update: first)
    world.update("db-0") { $0.phase("Failed") }
    let plan = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(plan.delete.map(\.name) == ["db-0"])
    #expect(
      plan.events == [
        .warning("RecreatingFailedPod", "StatefulSet demo/db is recreating failed Pod db-0")
      ])
  }

  @Test func `minReadySeconds holds the next pod back until the last is available`() {
    let set = statefulSet(2, spec: ["minReadySeconds": 10])
    let first = revision(of: set)
    var world = PodWorld()
    world.create(statefulPod(set, revision: first, ordinal: 0))
    world.runAll()
    let early = planStatefulSet(
      set, pods: world.sorted, current: first, update: first, now: workloadEpoch + 4)
    #expect(early.create.isEmpty && early.availableIn == 6)
    #expect(early.status["readyReplicas"] == 1 && early.status["availableReplicas"] == 0)
    let later = planStatefulSet(
      set, pods: world.sorted, current: first, update: first, now: workloadEpoch + 10)
    #expect(later.create.map(\.name) == ["db-1"])
  }

  @Test func `labels that were taken off a pod come back`() {
    var set = statefulSet(1)
    let first = revision(of: set)
    var world = PodWorld()
    _ = settle(&set, &world, current: first, update: first)
    world.update("db-0") {
      var pod = $0
      pod.set(nil, at: "metadata", "labels", StatefulNames.podIndex)
      return pod
    }
    let plan = planStatefulSet(set, pods: world.sorted, current: first, update: first, now: workloadEpoch)
    #expect(plan.relabel.first?.labels[StatefulNames.podIndex] == "0")
  }

  @Test(arguments: [
    ("Retain", "Retain", false, []), ("Retain", "Retain", true, []),
    ("Delete", "Retain", false, ["StatefulSet"]), ("Delete", "Retain", true, ["StatefulSet"]),
    ("Retain", "Delete", false, []), ("Retain", "Delete", true, ["Pod"]),
    ("Delete", "Delete", false, ["StatefulSet"]), ("Delete", "Delete", true, ["Pod"]),
  ])
  func `claims go with whom the retention policy says`(
    deleted: String, scaled: String, isCondemned: Bool, owners: [String]
  ) {
    let set = statefulSet(
      1,
      spec: [
        "persistentVolumeClaimRetentionPolicy": ["whenDeleted": JSON(deleted), "whenScaled": JSON(scaled)]
      ])
    let pod = podObject("db-1")
    let claim: JSON = [
      "metadata": ["name": "data-db-1", "ownerReferences": [["kind": "Other", "uid": "x"]]]
    ]
    let found = claimOwners(claim, set: set, pod: pod, isCondemned: isCondemned)
    #expect(found.compactMap { $0["kind"]?.string } == ["Other"] + owners)
    var written = claim
    written.set(.array(found), at: "metadata", "ownerReferences")
    #expect(claimOwners(written, set: set, pod: pod, isCondemned: isCondemned) == found)
  }

  @Test func `a template that comes back takes its old revision as the newest`() {
    let first = revision(of: statefulSet(1))
    let second = revision(of: statefulSet(1, image: "b"), number: 2)
    let back = planRevision(
      statefulSet(1), revisions: [first, second], hashLabel: StatefulNames.revisionHash, collisions: nil)
    var expected = first
    expected["revision"] = 3
    #expect(back == .renumber(expected))
    #expect(
      planRevision(
        statefulSet(1, image: "b"), revisions: [first, second], hashLabel: StatefulNames.revisionHash,
        collisions: nil) == .upToDate(second))
    #expect(revisionTemplate(second).spec["containers"]?[0]?["image"] == "b")
  }

  @Test func `history keeps what is in use and as many more as the limit says`() {
    let all = (1...6).map { revision(of: statefulSet(1, image: "\($0)"), number: Int64($0)) }
    let gone = planHistory(all, live: [all[0].name, all[5].name], limit: 2)
    #expect(gone == [all[1], all[2]])
  }
}

/// The controller against the API in memory.
@Suite(.serialized, .timeLimit(.minutes(10))) struct StatefulSetClusterTests {
  @Test func `a StatefulSet gets pods and claims in order, and an update reaches each pod`() async throws {
    let cluster = TestCluster()
    var set = statefulSet(
      2,
      spec: [
        "volumeClaimTemplates": [["metadata": ["name": "data"], "spec": ["accessModes": ["ReadWriteOnce"]]]]
      ])
    set.set(nil, at: "metadata", "uid")
    try await cluster.create(.statefulSets, set)
    #expect(
      await eventually {
        cluster.pods().map(\.name) == ["db-0", "db-1"]
          && cluster.get(.statefulSets, "db")?.at("status", "readyReplicas") == 2
      })
    #expect(
      cluster.api.objects(.persistentVolumeClaims).map(\.name) == ["data-db-0", "data-db-1"])
    let newTemplate = statefulSet(2, image: "b").at("spec", "template")
    try await cluster.api.modify(.statefulSets, ObjectKey("demo", "db")) { current in
      var changed = current
      changed.set(newTemplate, at: "spec", "template")
      return changed
    }
    #expect(
      await eventually {
        let status = cluster.get(.statefulSets, "db")?.status ?? .null
        return cluster.pods().map(\.image) == ["b", "b"] && status["readyReplicas"] == 2
          && status["currentRevision"] == status["updateRevision"] && status["updatedReplicas"] == 2
      })
    #expect(cluster.api.objects(.controllerRevisions).count == 2)
    await cluster.stop()
  }
}
