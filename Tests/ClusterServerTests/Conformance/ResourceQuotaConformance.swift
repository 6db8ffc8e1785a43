// Upstream's cases of resource quotas, by their names: what admission charges and the controller takes off again.

import ClusterClient
import ClusterObjects
import Testing

private let hard: JSON = [
  "pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
  "replicationcontrollers": "10", "resourcequotas": "1", "cpu": "1", "memory": "500Mi", "configmaps": "10",
  "secrets": "10", "persistentvolumeclaims": "10", "requests.storage": "10Gi",
  "requests.ephemeral-storage": "50Gi", "count/replicasets.apps": "5", "requests.example.com/dongle": "3",
]

private func container(_ resources: JSON) -> JSON {
  ["containers": [["name": "pause", "image": "pause", "resources": resources]]]
}

@Suite(.serialized, .timeLimit(.minutes(3)), .cluster) struct ResourceQuotaConformance {
  private func create(
    _ cluster: Cluster, _ resource: GroupVersionResource, _ space: String, _ name: String, _ more: JSON = [:]
  ) async throws -> JSON {
    var object: JSON = ["metadata": ["name": JSON(name), "namespace": JSON(space)]]
    for (key, value) in more.object ?? [:] { object[key] = value }
    return try await cluster.create(resource, object)
  }

  private func pod(_ cluster: Cluster, _ space: String, _ name: String, _ spec: JSON) async throws -> JSON {
    try await create(cluster, .pods, space, name, ["spec": spec])
  }

  /// Waits until the quota says that this much is used, whatever else it counts.
  private func uses(
    _ cluster: Cluster, _ space: String, _ name: String, _ wanted: JSON,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await eventually(sourceLocation: sourceLocation) {
      let quota = try await cluster.get(.quotas, space, name)
      let used = quota.at("status", "used")
      return (wanted.object ?? [:]).allSatisfy { used?[$0.key] == $0.value }
        && ResourceList(quota.at("status", "hard")) == ResourceList(quota.spec["hard"])
    }
  }

  /// A namespace with the quota of everything, its status calculated.
  private func quotaOfAll(_ cluster: Cluster) async throws -> String {
    let space = try await cluster.namespace("resourcequota")
    _ = try await create(cluster, .quotas, space, "test-quota", ["spec": ["hard": hard]])
    try await uses(cluster, space, "test-quota", ["resourcequotas": "1"])
    return space
  }

  private func used(_ cluster: Cluster, _ space: String, _ what: String) async throws -> Int {
    let quota = try await cluster.get(.quotas, space, "test-quota")
    return Int(quota.at("status", "used")?[what]?.string ?? "") ?? -1
  }

  /// Creates, sees the count rise, deletes, sees it fall.
  private func life(
    of resource: GroupVersionResource, counted: String, _ body: JSON = [:]
  ) async throws {
    let cluster = try Cluster.here
    let space = try await quotaOfAll(cluster)
    let before = try await used(cluster, space, counted)
    _ = try await create(cluster, resource, space, "test", body)
    try await uses(cluster, space, "test-quota", [counted: JSON("\(before + 1)")])
    try await cluster.delete(resource, space, "test")
    try await uses(cluster, space, "test-quota", [counted: JSON("\(before)")])
  }

  @Test func `should create a ResourceQuota and ensure its status is promptly calculated.`() async throws {
    let cluster = try Cluster.here
    let space = try await quotaOfAll(cluster)
    try await uses(
      cluster, space, "test-quota",
      ["resourcequotas": "1", "pods": "0", "cpu": "0", "count/replicasets.apps": "0", "services": "0"])
  }

  @Test func `should create a ResourceQuota and capture the life of a service.`() async throws {
    let cluster = try Cluster.here
    let space = try await quotaOfAll(cluster)
    func service(_ name: String, _ type: String) async throws -> JSON {
      try await create(
        cluster, .services, space, name,
        ["spec": ["type": JSON(type), "ports": [["name": "80", "port": 80]]]])
    }
    _ = try await service("cluster", "ClusterIP")
    try await uses(cluster, space, "test-quota", ["services": "1"])
    _ = try await service("node", "NodePort")
    try await uses(
      cluster, space, "test-quota",
      ["services": "2", "services.nodeports": "1", "services.loadbalancers": "0"])
    // A load balancer would need a second node port.
    let denied = await refusal { _ = try await service("balanced", "LoadBalancer") }
    #expect(
      denied?.code == 403 && denied?.message.contains("exceeded quota") == true,
      "\(String(describing: denied))")
    try await cluster.delete(.services, space, "cluster")
    try await cluster.delete(.services, space, "node")
    try await uses(cluster, space, "test-quota", ["services": "0", "services.nodeports": "0"])
  }

  @Test func `should create a ResourceQuota and capture the life of a secret.`() async throws {
    try await life(of: .secrets, counted: "secrets", ["data": ["data-1": "dmFsdWU="]])
  }

  @Test func `should create a ResourceQuota and capture the life of a configMap.`() async throws {
    try await life(of: .configMaps, counted: "configmaps", ["data": ["a": "b"]])
  }

  private static let replicated: JSON = [
    "replicas": 0,
    "template": [
      "metadata": ["labels": ["name": "test"]], "spec": ["containers": [["name": "c", "image": "pause"]]],
    ],
  ]

  @Test func `should create a ResourceQuota and capture the life of a replication controller.`() async throws
  {
    var spec = Self.replicated
    spec["selector"] = ["name": "test"]
    try await life(of: .replicationControllers, counted: "replicationcontrollers", ["spec": spec])
  }

  @Test func `should create a ResourceQuota and capture the life of a replica set.`() async throws {
    var spec = Self.replicated
    spec["selector"] = ["matchLabels": ["name": "test"]]
    try await life(of: .replicaSets, counted: "count/replicasets.apps", ["spec": spec])
  }

  @Test func `should create a ResourceQuota and capture the life of a pod.`() async throws {
    let cluster = try Cluster.here
    let space = try await quotaOfAll(cluster)
    let resources: JSON = [
      "requests": [
        "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2",
      ], "limits": ["example.com/dongle": "2"],
    ]
    let charged: JSON = [
      "pods": "1", "cpu": "500m", "memory": "252Mi", "requests.ephemeral-storage": "30Gi",
      "requests.example.com/dongle": "2",
    ]
    _ = try await pod(cluster, space, "test-pod", container(resources))
    try await uses(cluster, space, "test-quota", charged)
    let large = await refusal {
      _ = try await pod(
        cluster, space, "fail-pod", container(["requests": ["cpu": "600m", "memory": "100Mi"]]))
    }
    #expect(large?.message.contains("exceeded quota") == true, "\(large?.message ?? "")")
    let dongles = await refusal {
      _ = try await pod(
        cluster, space, "fail-pod-for-extended-resource",
        container([
          "requests": [
            "cpu": "500m", "memory": "100Mi", "ephemeral-storage": "10Gi", "example.com/dongle": "2",
          ], "limits": ["example.com/dongle": "2"],
        ]))
    }
    #expect(dongles?.message.contains("requests.example.com/dongle=2") == true, "\(dongles?.message ?? "")")
    // A pod's requests do not change by an update.
    let updated = await refusal {
      try await cluster.merge(
        .pods, space, "test-pod",
        ["spec": container(["requests": ["cpu": "100m", "memory": "100Mi"]])])
    }
    #expect(updated?.code == 422, "\(String(describing: updated))")
    try await uses(cluster, space, "test-quota", charged)
    try await cluster.api.delete(
      .pods, namespace: space, name: "test-pod", options: DeleteOptions(gracePeriodSeconds: 0))
    try await uses(
      cluster, space, "test-quota",
      [
        "pods": "0", "cpu": "0", "memory": "0", "requests.ephemeral-storage": "0",
        "requests.example.com/dongle": "0",
      ])
  }

  /// A pod is charged to one of two quotas and not to the other, and given back.
  private func charges(
    _ cluster: Cluster, _ space: String, _ one: String, not other: String, _ name: String, _ spec: JSON,
    _ wanted: JSON
  ) async throws {
    let empty = JSON.object((wanted.object ?? [:]).mapValues { _ in "0" })
    _ = try await pod(cluster, space, name, spec)
    try await uses(cluster, space, one, wanted)
    try await uses(cluster, space, other, ["pods": "0"])
    try await cluster.api.delete(
      .pods, namespace: space, name: name, options: DeleteOptions(gracePeriodSeconds: 0))
    try await uses(cluster, space, one, empty)
  }

  private func scoped(_ cluster: Cluster, _ space: String, _ scope: String, _ hard: JSON) async throws {
    let name = "quota-" + scope.lowercased()
    _ = try await create(
      cluster, .quotas, space, name, ["spec": ["hard": hard, "scopes": [JSON(scope)]]])
    try await uses(cluster, space, name, ["pods": "0"])
  }

  @Test func `should verify ResourceQuota with terminating scopes.`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("resourcequota")
    let limits: JSON = [
      "pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi",
    ]
    try await scoped(cluster, space, "Terminating", limits)
    try await scoped(cluster, space, "NotTerminating", limits)
    var spec = container([
      "requests": ["cpu": "500m", "memory": "200Mi"], "limits": ["cpu": "1", "memory": "400Mi"],
    ])
    let used: JSON = [
      "pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1",
      "limits.memory": "400Mi",
    ]
    try await charges(
      cluster, space, "quota-notterminating", not: "quota-terminating", "test-pod", spec, used)
    spec["activeDeadlineSeconds"] = 3600
    try await charges(
      cluster, space, "quota-terminating", not: "quota-notterminating", "terminating-pod", spec, used)
  }

  @Test func `should verify ResourceQuota with best effort scope.`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("resourcequota")
    try await scoped(cluster, space, "BestEffort", ["pods": "5"])
    try await scoped(cluster, space, "NotBestEffort", ["pods": "5"])
    try await charges(
      cluster, space, "quota-besteffort", not: "quota-notbesteffort", "besteffort-pod", container([:]),
      ["pods": "1"])
    let sized = container([
      "requests": ["cpu": "500m", "memory": "200Mi"], "limits": ["cpu": "1", "memory": "400Mi"],
    ])
    try await charges(
      cluster, space, "quota-notbesteffort", not: "quota-besteffort", "burstable-pod", sized, ["pods": "1"])
  }

  @Test func `should be able to update and delete ResourceQuota.`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("resourcequota")
    let made = try await create(
      cluster, .quotas, space, "test-quota", ["spec": ["hard": ["cpu": "1", "memory": "500Mi"]]])
    #expect(made.spec["hard"] == ["cpu": "1", "memory": "500Mi"])
    let read = try await cluster.get(.quotas, space, "test-quota")
    #expect(read.spec == made.spec)
    let updated = try await cluster.replace(.quotas, space, "test-quota") {
      $0.set(["cpu": "2", "memory": "1Gi"], at: "spec", "hard")
    }
    #expect(updated.spec["hard"] == ["cpu": "2", "memory": "1Gi"])
    #expect(try await cluster.get(.quotas, space, "test-quota").spec == updated.spec)
    try await cluster.delete(.quotas, space, "test-quota")
    #expect(try await cluster.find(.quotas, space, "test-quota") == nil)
  }

  @Test func `should manage the lifecycle of a ResourceQuota`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("resourcequota")
    let label = "e2e-\(space)"
    try await cluster.create(
      .quotas,
      [
        "metadata": ["name": JSON(label), "namespace": JSON(space), "labels": ["quota": JSON(label)]],
        "spec": ["hard": ["cpu": "1", "memory": "500Mi"]],
      ])
    #expect(try await cluster.get(.quotas, space, label).spec["hard"] == ["cpu": "1", "memory": "500Mi"])
    #expect(try await cluster.list(.quotas, labels: "quota=\(label)").map(\.name) == [label])
    let patched = try await cluster.merge(
      .quotas, space, label,
      ["metadata": ["labels": ["\(label)": "patched"]], "spec": ["hard": ["memory": "750Mi"]]])
    #expect(patched.labels[label] == "patched")
    #expect(patched.spec["hard"] == ["cpu": "1", "memory": "750Mi"])
    try await cluster.deleteCollection(.quotas, space, labels: "quota=\(label)")
    try await eventually { try await cluster.list(.quotas, labels: "quota=\(label)").isEmpty }
  }

  @Test func `should apply changes to a resourcequota status`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("resourcequota")
    let name = "e2e-rq-status"
    try await cluster.create(
      .quotas,
      [
        "metadata": ["name": JSON(name), "namespace": JSON(space)],
        "spec": ["hard": ["cpu": "500m", "memory": "500Mi"]],
      ])
    func settled() async throws { try await uses(cluster, space, name, ["cpu": "0", "memory": "0"]) }
    try await settled()
    // By PUT: what was written is there, and the controller puts the limits back to those of the spec.
    let other: JSON = ["cpu": "1", "memory": "1Gi"]
    let updated = try await cluster.replace(.quotas, space, name, subresource: "status") {
      $0.set(other, at: "status", "hard")
    }
    #expect(updated.at("status", "hard") == other)
    try await settled()
    // The spec's change is followed by the status.
    try await cluster.merge(.quotas, space, name, ["spec": ["hard": other]])
    try await settled()
    #expect(try await cluster.get(.quotas, space, name).at("status", "hard") == other)
    // By PATCH, and by reading the subresource.
    let patched = try await cluster.merge(
      .quotas, space, name, ["status": ["hard": ["cpu": "2", "memory": "2Gi"]]], subresource: "status")
    #expect(patched.at("status", "hard") == ["cpu": "2", "memory": "2Gi"])
    #expect(patched.spec["hard"] == other, "a status patch leaves the spec alone")
    try await settled()
    let status = try await cluster.document("/api/v1/namespaces/\(space)/resourcequotas/\(name)/status")
    #expect(status.at("status", "hard") == other && status.spec["hard"] == other)
    let again = try await cluster.merge(
      .quotas, space, name, ["spec": ["hard": ["cpu": "3"]], "status": ["hard": ["cpu": "3"]]],
      subresource: "status")
    #expect(again.spec["hard"] == other && again.at("status", "hard", "cpu") == "3")
    try await settled()
  }
}
