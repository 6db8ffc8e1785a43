// Controllers together against an API in memory: what a user does, and what must be there afterwards.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterControllers

@Suite(.serialized, .timeLimit(.minutes(10))) struct ClusterTests {
  @Test func `a Deployment of two becomes two ready pods and a complete rollout`() async throws {
    let cluster = TestCluster()
    try await cluster.informers.waitForSync()
    let began = ContinuousClock.now
    try await cluster.create(.deployments, deploymentObject("web", replicas: 2))
    #expect(await eventually { cluster.pods().count == 2 })
    print("deployment of two: pods created after \(ContinuousClock.now - began)")
    #expect(
      await eventually {
        let deployment = cluster.get(.deployments, "web")
        return deployment?.condition("Progressing")?["reason"] == "NewReplicaSetAvailable"
          && deployment?.isConditionTrue("Available") == true
          && deployment?.at("status", "availableReplicas") == 2
          && deployment?.at("status", "updatedReplicas") == 2
          && deployment?.at("status", "observedGeneration")?.integer == deployment?.generation
          && deployment?.annotations["deployment.kubernetes.io/revision"] == "1"
      })
    await cluster.stop()
  }

  @Test func `a new template rolls out, and the old one comes back as a new revision`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.deployments, deploymentObject("web", replicas: 3))
    @Sendable func images() -> [String] {
      cluster.pods().compactMap { $0.spec["containers"]?[0]?["image"]?.string }
    }
    #expect(await eventually { cluster.get(.deployments, "web")?.at("status", "availableReplicas") == 3 })
    for (image, revision) in [("b", "2"), ("a", "3")] {
      try await cluster.api.modify(.deployments, ObjectKey("demo", "web")) { current in
        var changed = current
        changed["spec"] = deploymentObject("web", replicas: 3, image: image)["spec"]
        return changed
      }
      #expect(
        await eventually {
          let deployment = cluster.get(.deployments, "web")
          return images() == [image, image, image] && deployment?.at("status", "replicas") == 3
            && deployment?.annotations["deployment.kubernetes.io/revision"] == revision
            && deployment?.condition("Progressing")?["reason"] == "NewReplicaSetAvailable"
        })
    }
    #expect(cluster.api.objects(.replicaSets).count == 2)
    await cluster.stop()
  }

  @Test func `Recreate never runs old and new pods together`() async throws {
    let cluster = TestCluster()
    let mixed = Atomic<Bool>(false)
    let registration = cluster.informers.informer(.pods).onChange { _ in
      let images = Set(cluster.pods().compactMap { $0.spec["containers"]?[0]?["image"]?.string })
      if images.count > 1 { mixed.store(true, ordering: .relaxed) }
    }
    try await cluster.create(
      .deployments, deploymentObject("web", replicas: 2, strategy: ["type": "Recreate"]))
    #expect(await eventually { cluster.get(.deployments, "web")?.at("status", "availableReplicas") == 2 })
    try await cluster.api.modify(.deployments, ObjectKey("demo", "web")) { current in
      var changed = current
      changed["spec"] =
        deploymentObject("web", replicas: 2, image: "b", strategy: ["type": "Recreate"])["spec"]
      return changed
    }
    #expect(
      await eventually {
        cluster.pods().compactMap { $0.spec["containers"]?[0]?["image"]?.string } == ["b", "b"]
          && cluster.get(.deployments, "web")?.at("status", "availableReplicas") == 2
      })
    let wasMixed = mixed.load(ordering: .relaxed)
    #expect(!wasMixed)
    _ = registration
    await cluster.stop()
  }

  @Test func `a deleted pod is replaced and the slice follows`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.services, serviceObject("web", targetPort: "http"))
    try await cluster.create(.deployments, deploymentObject("web", replicas: 2))
    @Sendable func addresses() -> Set<String> {
      Set(
        cluster.api.objects(.endpointSlices).flatMap { $0["endpoints"]?.elements ?? [] }.filter {
          $0.at("conditions", "ready") == true
        }.compactMap { $0["addresses"]?[0]?.string })
    }
    @Sendable func podAddresses() -> Set<String> {
      Set(cluster.pods().compactMap { $0.at("status", "podIP")?.string })
    }
    #expect(await eventually { addresses().count == 2 && addresses() == podAddresses() })
    let first = cluster.pods()[0]
    try await cluster.api.delete(.pods, namespace: "demo", name: first.name, options: DeleteOptions())
    #expect(
      await eventually {
        !addresses().contains(first.at("status", "podIP")?.string ?? "") && addresses().count == 2
          && addresses() == podAddresses()
      })
    let slices = cluster.api.objects(.endpointSlices)
    #expect(slices.count == 1)
    #expect(slices.first?["ports"]?[0]?["port"] == 8080)
    #expect(slices.first?.labels["kubernetes.io/service-name"] == "web")
    await cluster.stop()
  }

  @Test func `deleting a Deployment takes its ReplicaSets and pods along`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.deployments, deploymentObject("web", replicas: 2))
    #expect(await eventually { cluster.pods().count == 2 })
    try await cluster.api.delete(
      .deployments, namespace: "demo", name: "web", options: DeleteOptions(propagationPolicy: "Background"))
    #expect(await eventually { cluster.pods().isEmpty && cluster.api.objects(.replicaSets).isEmpty })
    await cluster.stop()
  }

  @Test func `foreground deletion ends with the owner, orphaning keeps the dependents`() async throws {
    let cluster = TestCluster()
    for (name, policy) in [("front", "Foreground"), ("orphan", "Orphan")] {
      try await cluster.create(.deployments, deploymentObject(name, replicas: 1))
      #expect(await eventually { cluster.get(.deployments, name)?.at("status", "availableReplicas") == 1 })
      try await cluster.api.delete(
        .deployments, namespace: "demo", name: name, options: DeleteOptions(propagationPolicy: policy))
      #expect(await eventually { cluster.get(.deployments, name) == nil })
    }
    #expect(await eventually { cluster.pods().map { $0.labels["app"] } == ["orphan"] })
    #expect(cluster.api.objects(.replicaSets).map(\.ownerReferences) == [[]])
    await cluster.stop()
  }

  @Test func `a namespace gets its account and certificate, and is emptied before it goes`() async throws {
    var settings = ControllerSettings()
    settings.rootCertificate = { "PEM" }
    let cluster = TestCluster(settings: settings)
    try await cluster.create(.namespaces, namespaceObject("demo"))
    #expect(
      await eventually {
        cluster.get(.serviceAccounts, "default") != nil
          && cluster.get(.configMaps, "kube-root-ca.crt")?.at("data", "ca.crt") == "PEM"
      })
    try await cluster.create(.services, serviceObject("web"))
    try await cluster.create(.deployments, deploymentObject("web", replicas: 2))
    #expect(await eventually { cluster.pods().count == 2 })
    try await cluster.api.delete(.namespaces, namespace: "", name: "demo", options: DeleteOptions())
    #expect(await eventually { cluster.get(.namespaces, "demo", "") == nil })
    #expect(cluster.pods().isEmpty)
    #expect(cluster.get(.services, "web") == nil)
    await cluster.stop()
  }

  @Test func `a ReplicaSet adopts what its selector matches and releases what left it`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.deployments, deploymentObject("web", replicas: 2))
    #expect(await eventually { cluster.get(.deployments, "web")?.at("status", "availableReplicas") == 2 })
    let pod = cluster.pods()[0]
    try await cluster.api.modify(.pods, pod.key) { current in
      var changed = current
      changed.set("other", at: "metadata", "labels", "app")
      return changed
    }
    #expect(
      await eventually {
        cluster.pods().count == 3 && cluster.get(.pods, pod.name)?.controllerReference == nil
      })
    await cluster.stop()
  }

  @Test(arguments: [UInt64(3), 77, 2026])
  func `a cluster converges through conflicts, server errors and lost watches`(seed: UInt64) async throws {
    print("seed \(seed)")
    let cluster = TestCluster()
    let random = Mutex(SeededRandom(seed: seed))
    cluster.api.inject { verb, resource in
      guard ["create", "update", "delete", "watch", "list"].contains(verb),
        random.withLock({ Int.random(in: 0..<5, using: &$0) }) == 0
      else { return nil }
      return random.withLock { Bool.random(using: &$0) }
        ? APIStatusError(code: 409, reason: "Conflict", message: "injected")
        : APIStatusError(code: 500, reason: "InternalError", message: "injected")
    }
    // The test itself writes past the faults.
    var expected = 0
    for number in 0..<6 {
      let replicas = random.withLock { Int.random(in: 0...5, using: &$0) }
      var deployment = deploymentObject("d\(number)", replicas: replicas)
      deployment.set(JSON("d-\(number)"), at: "metadata", "uid")
      deployment.set(1, at: "metadata", "generation")
      cluster.api.put(.deployments, deployment)
      expected += replicas
      if number.isMultiple(of: 2) { cluster.api.dropWatches() }
    }
    let converged = await eventually {
      // A Deployment of no replicas has what it wants before it has its ReplicaSet.
      cluster.pods().count == expected && cluster.api.objects(.replicaSets).count == 6
        && cluster.api.objects(.deployments).allSatisfy {
          ($0.at("status", "availableReplicas")?.int ?? 0) == $0.at("spec", "replicas")?.int
        }
    }
    let sets = cluster.api.objects(.replicaSets).count
    #expect(converged, "seed \(seed): \(cluster.pods().count) pods of \(expected), \(sets) ReplicaSets of 6")
    await cluster.stop()
  }
}
