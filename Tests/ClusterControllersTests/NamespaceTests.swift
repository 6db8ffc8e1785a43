// A namespace that is being deleted: what it says of what keeps it, and that nothing is left behind silently.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

private let apiServices = GroupVersionResource("apiregistration.k8s.io", "v1", "apiservices")
private let flunders = GroupVersionResource("wardle.example.com", "v1", "flunders")

private func remoteAPI(available: Bool?) -> JSON {
  var object: JSON = [
    "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
    "metadata": ["name": "v1.wardle.example.com"],
    "spec": [
      "group": "wardle.example.com", "version": "v1", "service": ["namespace": "default", "name": "wardle"],
    ],
  ]
  if let available {
    object.setCondition("Available", available ? "True" : "False", reason: "Test", message: "")
  }
  return object
}

private func thing(_ kind: String, _ apiVersion: String, finalizers: [String] = []) -> JSON {
  var object: JSON = [
    "apiVersion": JSON(apiVersion), "kind": JSON(kind), "metadata": ["namespace": "demo", "name": "thing"],
  ]
  if !finalizers.isEmpty { object.set(JSON(finalizers), at: "metadata", "finalizers") }
  return object
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct NamespaceTests {
  private func demo(_ cluster: TestCluster) -> JSON? { cluster.get(.namespaces, "demo", "") }

  private func delete(_ cluster: TestCluster) async throws {
    try await cluster.api.delete(.namespaces, namespace: "", name: "demo", options: DeleteOptions())
  }

  @Test func `all five conditions are told, the good ones too, in upstream's words`() {
    let good = NamespaceFindings().conditions
    #expect(
      good.map(\.type) == [
        "NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining",
      ])
    #expect(!good.contains { $0.isTrue })
    #expect(
      good.map(\.reason) == [
        "ResourcesDiscovered", "ParsedGroupVersions", "ContentDeleted", "ContentRemoved",
        "ContentHasNoFinalizers",
      ])
    #expect(NamespaceFindings().isWhole && NamespaceFindings().error == nil)
    var findings = NamespaceFindings()
    findings.undiscovered = ["b.io/v1": "down", "a.io/v1": "down"]
    findings.unparsed = ["a/b/c"]
    findings.failures = ["no", "no", "never"]
    findings.leave(.pods, [thing("Pod", "v1"), thing("Pod", "v1", finalizers: ["x/y"])])
    findings.leave(.deployments, [thing("Deployment", "apps/v1", finalizers: ["x/y", "a/b"])])
    findings.leave(.secrets, [])
    let bad = findings.conditions
    #expect(!bad.contains { !$0.isTrue })
    #expect(
      bad.map(\.message) == [
        "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: "
          + "a.io/v1: down, b.io/v1: down", "unexpected GroupVersion string: a/b/c",
        "Failed to delete all resource types, 3 remaining: [no, never]",
        "Some resources are remaining: deployments.apps has 1 resource instances, "
          + "pods. has 2 resource instances",
        "Some content in the namespace has finalizers remaining: a/b in 1 resource instances, "
          + "x/y in 2 resource instances",
      ])
    #expect(!findings.isWhole && findings.error != nil)
  }

  @Test(arguments: [false, nil])
  func `an aggregated API that does not answer keeps the namespace and is named`(_ available: Bool?)
    async throws
  {
    let cluster = TestCluster()
    cluster.api.put(apiServices, remoteAPI(available: available))
    try await cluster.create(.namespaces, namespaceObject("demo"))
    try await cluster.create(.configMaps, thing("ConfigMap", "v1"))
    try await cluster.informers.waitForSync()
    try await delete(cluster)
    #expect(
      await eventually { demo(cluster)?.isConditionTrue("NamespaceDeletionDiscoveryFailure") == true })
    let condition = demo(cluster)?.condition("NamespaceDeletionDiscoveryFailure")
    #expect(condition?["reason"] == "DiscoveryFailed")
    #expect(
      condition?["message"]?.string
        == "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        + "wardle.example.com/v1: stale GroupVersion discovery: wardle.example.com/v1"
    )
    // What could be deleted is, all the same.
    #expect(!cluster.api.objects(.configMaps).contains { $0.name == "thing" })
    #expect(demo(cluster)?.at("spec", "finalizers") == ["kubernetes"])
    // It answers: the namespace goes at once, not at the next of ever rarer retries.
    cluster.api.put(apiServices, remoteAPI(available: true))
    #expect(await eventually { demo(cluster) == nil })
    await cluster.stop()
  }

  @Test func `what an aggregated API keeps in the namespace is deleted`() async throws {
    var settings = ControllerSettings()
    settings.aggregatedResources = { groupVersion in
      groupVersion == "wardle.example.com/v1"
        ? [TrackedResource(flunders, kind: "Flunder", isNamespaced: true)] : nil
    }
    let cluster = TestCluster(settings: settings)
    cluster.api.put(apiServices, remoteAPI(available: true))
    try await cluster.create(.namespaces, namespaceObject("demo"))
    try await cluster.create(flunders, thing("Flunder", "wardle.example.com/v1"))
    try await cluster.informers.waitForSync()
    try await delete(cluster)
    #expect(await eventually { demo(cluster) == nil })
    #expect(cluster.api.objects(flunders).isEmpty)
    await cluster.stop()
  }

  @Test func `content that cannot be deleted keeps the namespace, and the rest goes`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.namespaces, namespaceObject("demo"))
    try await cluster.create(.configMaps, thing("ConfigMap", "v1"))
    try await cluster.create(.secrets, thing("Secret", "v1"))
    try await cluster.informers.waitForSync()
    cluster.api.inject { verb, resource in
      guard verb == "delete", resource == .configMaps else { return nil }
      return APIStatusError(code: 500, reason: "InternalError", message: "the disk is full")
    }
    try await delete(cluster)
    #expect(await eventually { demo(cluster)?.isConditionTrue("NamespaceDeletionContentFailure") == true })
    #expect(
      demo(cluster)?.condition("NamespaceDeletionContentFailure")?["message"]
        == "Failed to delete all resource types, 1 remaining: the disk is full")
    #expect(!cluster.api.objects(.secrets).contains { $0.namespace == "demo" })
    cluster.api.inject(nil)
    #expect(await eventually { demo(cluster) == nil })
    await cluster.stop()
  }

  @Test func `a finalizer that keeps content is named with the content`() async throws {
    let cluster = TestCluster()
    try await cluster.create(.namespaces, namespaceObject("demo"))
    try await cluster.create(.configMaps, thing("ConfigMap", "v1", finalizers: ["example.com/hold"]))
    try await cluster.informers.waitForSync()
    try await delete(cluster)
    #expect(await eventually { demo(cluster)?.isConditionTrue("NamespaceFinalizersRemaining") == true })
    #expect(
      demo(cluster)?.condition("NamespaceFinalizersRemaining")?["message"]
        == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances")
    // Others of the namespace, such as its certificate, may be on their way out in the same pass.
    #expect(
      await eventually {
        demo(cluster)?.condition("NamespaceContentRemaining")?["message"]
          == "Some resources are remaining: configmaps. has 1 resource instances"
      })
    #expect(demo(cluster)?.isConditionTrue("NamespaceDeletionDiscoveryFailure") == false)
    try await cluster.api.modify(.configMaps, ObjectKey("demo", "thing")) { current in
      var changed = current
      changed.set([], at: "metadata", "finalizers")
      return changed
    }
    #expect(await eventually { demo(cluster) == nil })
    await cluster.stop()
  }

  @Test func `policies stay until the last pod has ended`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.create(.namespaces, namespaceObject("demo"))
    try await cluster.create(.networkPolicies, thing("NetworkPolicy", "networking.k8s.io/v1"))
    cluster.api.put(.pods, podObject("last"))
    try await cluster.informers.waitForSync()
    try await delete(cluster)
    #expect(
      await eventually {
        demo(cluster)?.condition("NamespaceContentRemaining")?["message"]
          == "Some resources are remaining: pods. has 1 resource instances"
      })
    #expect(cluster.get(.pods, "last")?.isTerminating == true)
    #expect(cluster.get(.networkPolicies, "thing")?.isTerminating == false)
    cluster.api.remove(.pods, ObjectKey("demo", "last"))
    #expect(await eventually { demo(cluster) == nil })
    #expect(cluster.api.objects(.networkPolicies).isEmpty)
    await cluster.stop()
  }
}
