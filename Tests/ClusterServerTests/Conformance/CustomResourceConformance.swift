// Upstream's cases of CustomResourceDefinitions, by their names: the definitions as objects, their watch, and
// defaults that come and go.

import ClusterClient
import ClusterObjects
import NIOHTTP1
import Testing

private func definition(
  _ plural: String, kind: String = "Thing", labels: JSON = [:], properties: JSON = [:],
  scope: String = "Cluster"
) -> JSON {
  [
    "metadata": ["name": JSON("\(plural).mygroup.example.com"), "labels": labels],
    "spec": [
      "group": "mygroup.example.com", "scope": JSON(scope),
      "names": ["plural": JSON(plural), "kind": JSON(kind), "listKind": JSON(kind + "List")],
      "versions": [
        [
          "name": "v1beta1", "served": true, "storage": true,
          "schema": [
            "openAPIV3Schema": [
              "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties,
            ]
          ],
        ]
      ],
    ],
  ]
}

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct CustomResourceConformance {
  private func remove(_ cluster: Cluster, _ name: String) async throws {
    try await cluster.delete(.definitions, "", name)
    try await eventually { try await cluster.find(.definitions, "", name) == nil }
  }

  @Test func `creating/deleting custom resource definition objects works`() async throws {
    let cluster = try Cluster.here
    let made = try await cluster.define(definition("foos", kind: "Foo"))
    let path = "/apis/mygroup.example.com/v1beta1/foos"
    #expect(try await cluster.document(path).kind == "FooList")
    try await remove(cluster, made.name)
    try await eventually { try await cluster.send(.GET, path).code == 404 }
  }

  @Test func `listing custom resource definition objects works`() async throws {
    let cluster = try Cluster.here
    var specs: [String: JSON] = [:]
    for number in 0..<10 {
      let made = try await cluster.define(
        definition("lists\(number)", kind: "List\(number)Kind", labels: ["e2e-list-test-uuid": "u"]))
      specs[made.name] = made.spec
    }
    let other = try await cluster.define(definition("others", kind: "Other"))
    let listed = try await cluster.list(.definitions, labels: "e2e-list-test-uuid=u")
    #expect(listed.count == 10)
    for item in listed { #expect(item.spec == specs[item.name]) }
    try await cluster.deleteCollection(.definitions, labels: "e2e-list-test-uuid=u")
    try await eventually { try await cluster.list(.definitions, labels: "e2e-list-test-uuid=u").isEmpty }
    #expect(try await cluster.find(.definitions, "", other.name)?.uid == other.uid)
    try await remove(cluster, other.name)
  }

  @Test func `getting/updating/patching custom resource definition status sub-resource works`() async throws {
    let cluster = try Cluster.here
    let made = try await cluster.define(definition("states", kind: "State"))
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/\(made.name)/status"
    let status = try await cluster.document(path)
    #expect(status.spec == made.spec)
    func messages(_ object: JSON) -> [String] {
      object.at("status", "conditions")?.elements.compactMap { $0["message"]?.string } ?? []
    }
    // Upstream's conditions have nothing but a message.
    let updated = try await cluster.replace(.definitions, "", made.name, subresource: "status") { object in
      object.set(
        .array((object.at("status", "conditions")?.elements ?? []) + [["message": "updated"]]), at: "status",
        "conditions")
    }
    #expect(messages(updated).contains("updated"), "\(updated.text)")
    #expect(messages(try await cluster.document(path)).contains("updated"))
    let patched = try await cluster.api.patch(
      .definitions, namespace: "", name: made.name,
      patch: .json([["op": "add", "path": "/status/conditions", "value": [["message": "patched"]]]]),
      subresource: "status", options: WriteOptions())
    #expect(messages(patched).contains("patched"), "\(patched.text)")
    try await remove(cluster, made.name)
  }

  @Test func `custom resource defaulting for requests and from storage works`() async throws {
    let cluster = try Cluster.here
    let made = try await cluster.define(
      definition(
        "defaults", kind: "Default", properties: ["a": ["type": "string"], "b": ["type": "string"]]))
    let resource = GroupVersionResource("mygroup.example.com", "v1beta1", "defaults")
    func change(_ operations: JSON) async throws {
      _ = try await cluster.api.patch(
        .definitions, namespace: "", name: made.name, patch: .json(operations), subresource: nil,
        options: WriteOptions())
    }
    func create(_ name: String) async throws -> JSON {
      try await cluster.create(
        resource,
        [
          "apiVersion": "mygroup.example.com/v1beta1", "kind": "Default", "metadata": ["name": JSON(name)],
        ])
    }
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties"
    #expect(try await create("cr-1")["a"] == nil)
    try await change([["op": "add", "path": JSON(properties + "/a/default"), "value": "A"]])
    try await eventually { try await cluster.get(resource, "", "cr-1")["a"] == "A" }
    #expect(try await create("cr-2")["a"] == "A")
    try await change([
      ["op": "remove", "path": JSON(properties + "/a/default")],
      ["op": "add", "path": JSON(properties + "/b/default"), "value": "B"],
    ])
    try await eventually { try await cluster.get(resource, "", "cr-2")["b"] == "B" }
    #expect(try await cluster.get(resource, "", "cr-2")["a"] == "A", "it was stored with it")
    try await remove(cluster, made.name)
  }

  @Test func `watch on custom resource definition objects`() async throws {
    let cluster = try Cluster.here
    let made = try await cluster.define(definition("noxus", kind: "WishIHadChosenNoxu"))
    let resource = GroupVersionResource("mygroup.example.com", "v1beta1", "noxus")
    func watch(_ name: String) async throws -> Watching {
      Watching(
        try await cluster.api.watch(
          resource, namespace: "", options: ListOptions(fieldSelector: "metadata.name=\(name)")))
    }
    let (a, b) = (try await watch("name1"), try await watch("name2"))
    func create(_ name: String) async throws -> JSON {
      try await cluster.create(
        resource,
        [
          "apiVersion": "mygroup.example.com/v1beta1", "kind": "WishIHadChosenNoxu",
          "metadata": ["name": JSON(name)], "content": ["key": "value"], "num": ["num1": 1],
        ])
    }
    for (name, watch) in [("name1", a), ("name2", b)] {
      let object = try await create(name)
      #expect(try await watch.expect("ADDED") == object)
    }
    for (name, watch) in [("name1", a), ("name2", b)] {
      let object = try await cluster.merge(resource, "", name, ["dummy": "test"])
      #expect(try await watch.expect("MODIFIED") == object)
    }
    for (name, watch) in [("name1", a), ("name2", b)] {
      try await cluster.delete(resource, "", name)
      #expect(try await watch.expect("DELETED")["dummy"] == "test")
    }
    try await remove(cluster, made.name)
  }
}
