// Upstream's cases of namespaces, by their names.

import ClusterClient
import ClusterObjects
import Testing

private func pod(_ namespace: String, _ name: String) -> JSON {
  [
    "metadata": ["name": JSON(name), "namespace": JSON(namespace)],
    "spec": ["containers": [["name": "nginx", "image": "pause"]]],
  ]
}

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct NamespaceConformance {
  /// Deletes a namespace, waits until it is gone, and makes another of the same name.
  private func again(_ cluster: Cluster, _ name: String) async throws {
    try await cluster.delete(.namespaces, "", name)
    try await eventually { try await cluster.find(.namespaces, "", name) == nil }
    try await cluster.create(.namespaces, ["metadata": ["name": JSON(name)]])
  }

  @Test func `should ensure that all pods are removed when a namespace is deleted`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("nsdeletetest")
    try await cluster.create(.pods, pod(space, "test-pod"))
    try await eventually {
      try await cluster.get(.pods, space, "test-pod").at("status", "phase") == "Running"
    }
    try await again(cluster, space)
    #expect(try await cluster.list(.pods, space).isEmpty)
  }

  @Test func `should ensure that all services are removed when a namespace is deleted`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("nsdeletetest")
    try await cluster.create(
      .services,
      [
        "metadata": ["name": "test-service", "namespace": JSON(space)],
        "spec": ["selector": ["foo": "bar"], "ports": [["port": 80, "targetPort": 80]]],
      ])
    try await again(cluster, space)
    #expect(try await cluster.list(.services, space).isEmpty)
  }

  @Test func `should patch a Namespace`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("nspatchtest")
    _ = try await cluster.api.patch(
      .namespaces, namespace: "", name: space,
      patch: .strategicMerge(["metadata": ["labels": ["testLabel": "testValue"]]]), subresource: nil,
      options: WriteOptions())
    let read = try await cluster.get(.namespaces, "", space)
    #expect(read.labels["testLabel"] == "testValue")
    #expect(read.labels["kubernetes.io/metadata.name"] == space)
  }

  @Test func `should apply an update to a Namespace`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("update")
    let updated = try await cluster.replace(.namespaces, "", space) {
      $0.set(JSON(space), at: "metadata", "labels", "update")
    }
    #expect(updated.labels["update"] == space)
    #expect(try await cluster.get(.namespaces, "", space).labels["update"] == space)
  }

  @Test func `should apply changes to a namespace status`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("status")
    let status = try await cluster.document("/api/v1/namespaces/\(space)/status")
    #expect(status.at("status", "phase") == "Active")
    func condition(_ namespace: JSON, _ type: String) -> JSON? {
      namespace.at("status", "conditions")?.elements.first { $0["type"] == JSON(type) }
    }
    let patched = try await cluster.merge(
      .namespaces, "", space,
      [
        "metadata": ["annotations": ["e2e-patched-ns-status": JSON(space)]],
        "status": [
          "conditions": [
            ["type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"]
          ]
        ],
      ], subresource: "status")
    #expect(condition(patched, "StatusPatch")?["message"] == "Patched by an e2e test", "\(patched.text)")
    let updated = try await cluster.replace(.namespaces, "", space, subresource: "status") { namespace in
      namespace.set(
        .array(
          (namespace.at("status", "conditions")?.elements ?? []) + [
            ["type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"]
          ]), at: "status", "conditions")
    }
    #expect(condition(updated, "StatusUpdate")?["message"] == "Updated by an e2e test")
    let read = try await cluster.get(.namespaces, "", space)
    #expect(condition(read, "StatusPatch") != nil && condition(read, "StatusUpdate") != nil)
    #expect(read.at("status", "phase") == "Active")
  }

  @Test func `should apply a finalizer to a Namespace`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("e2e-ns")
    let mark: JSON = "e2e.example.com/fakeFinalizer"
    let marked = try await cluster.replace(.namespaces, "", space, subresource: "finalize") { namespace in
      namespace.set(
        .array((namespace.spec["finalizers"]?.elements ?? []) + [mark]), at: "spec", "finalizers")
    }
    #expect(marked.spec["finalizers"]?.elements.contains(mark) == true, "\(marked.text)")
    #expect(try await cluster.get(.namespaces, "", space).spec["finalizers"] == ["kubernetes", mark])
    let cleared = try await cluster.replace(.namespaces, "", space, subresource: "finalize") { namespace in
      namespace.set(
        .array((namespace.spec["finalizers"]?.elements ?? []).filter { $0 != mark }), at: "spec",
        "finalizers")
    }
    #expect(cleared.spec["finalizers"] == ["kubernetes"])
  }
}
