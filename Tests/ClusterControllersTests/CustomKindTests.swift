// Objects of custom kinds are collected and emptied like all others, from the moment their definition is established.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

private let widgets = GroupVersionResource("example.com", "v1", "widgets")
private let resource = CustomResourceDefinition.resource

private func definition(established: Bool) -> JSON {
  [
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": ["name": "widgets.example.com"],
    "spec": [
      "group": "example.com", "scope": "Namespaced", "names": ["plural": "widgets", "kind": "Widget"],
      "versions": [["name": "v1", "served": true, "storage": true]],
    ],
    "status": ["conditions": [["type": "Established", "status": established ? "True" : "False"]]],
  ]
}

private func widget(_ name: String, owner: JSON? = nil) -> JSON {
  var object: JSON = [
    "apiVersion": "example.com/v1", "kind": "Widget",
    "metadata": ["name": JSON(name), "namespace": "default"],
  ]
  if let owner {
    object.set(
      [
        [
          "apiVersion": JSON(owner.apiVersion), "kind": JSON(owner.kind), "name": JSON(owner.name),
          "uid": JSON(owner.uid), "blockOwnerDeletion": true,
        ]
      ], at: "metadata", "ownerReferences")
  }
  return object
}

@Suite(.timeLimit(.minutes(10))) struct CustomKindTests {
  @Test func `a dependent of a custom kind goes with its owner, and owns others in turn`() async throws {
    let cluster = TestCluster()
    let api = cluster.api
    _ = try await api.create(resource, definition(established: true), options: WriteOptions())
    let owner = try await api.create(widgets, widget("owner"), options: WriteOptions())
    let middle = try await api.create(widgets, widget("middle", owner: owner), options: WriteOptions())
    var map = widget("map", owner: middle)
    map["apiVersion"] = "v1"
    map["kind"] = "ConfigMap"
    _ = try await api.create(.configMaps, map, options: WriteOptions())
    _ = try await api.create(widgets, widget("other"), options: WriteOptions())
    try await api.delete(widgets, namespace: "default", name: "owner", options: DeleteOptions())
    #expect(
      await eventually {
        api.objects(widgets).map(\.name) == ["other"]
          && !api.objects(.configMaps).contains { $0.name == "map" }
      })
    await cluster.stop()
  }

  @Test func `a kind that is established later is followed from then on`() async throws {
    let cluster = TestCluster()
    let api = cluster.api
    let early = try await api.create(resource, definition(established: false), options: WriteOptions())
    let owner = try await api.create(widgets, widget("owner"), options: WriteOptions())
    _ = try await api.create(widgets, widget("dependent", owner: owner), options: WriteOptions())
    try await api.delete(widgets, namespace: "default", name: "owner", options: DeleteOptions())
    var established = definition(established: true)
    established["metadata"] = early["metadata"]
    _ = try await api.update(resource, established, subresource: "status", options: WriteOptions())
    #expect(await eventually { api.objects(widgets).isEmpty })
    await cluster.stop()
  }

  @Test func `a namespace is emptied of custom kinds before it goes`() async throws {
    let cluster = TestCluster()
    let api = cluster.api
    _ = try await api.create(resource, definition(established: true), options: WriteOptions())
    _ = try await api.create(.namespaces, ["metadata": ["name": "demo"]], options: WriteOptions())
    var object = widget("w")
    object.set("demo", at: "metadata", "namespace")
    _ = try await api.create(widgets, object, options: WriteOptions())
    try await api.delete(.namespaces, namespace: "", name: "demo", options: DeleteOptions())
    #expect(await eventually { api.objects(widgets).isEmpty })
    #expect(await eventually { !api.objects(.namespaces).contains { $0.name == "demo" } })
    await cluster.stop()
  }
}
