// Schemas that refer to themselves, and fields that have one of two forms: what custom resources' schemas need.

import ClusterObjects
import Testing

private func crd(_ schema: JSON) -> JSON {
  [
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": ["name": "crontabs.example.com"],
    "spec": [
      "group": "example.com", "scope": "Namespaced", "names": ["plural": "crontabs", "kind": "CronTab"],
      "versions": [
        ["name": "v1", "served": true, "storage": true, "schema": ["openAPIV3Schema": schema]]
      ],
    ],
  ]
}

private let definition = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")

private func decoded(_ schema: JSON) throws -> JSON? {
  let kind = try #require(KindRegistry.builtin[definition])
  let object = try kind.schema.decode(tree: crd(schema), as: definition, validation: .strict).object
  return object.at("spec", "versions")?.elements[0].at("schema", "openAPIV3Schema")
}

@Test func `a schema that refers to itself is read at any depth`() throws {
  var schema: JSON = ["type": "string"]
  for _ in 0..<20 { schema = ["type": "object", "properties": ["deeper": schema]] }
  #expect(try decoded(schema) == schema)
}

@Test(arguments: [
  #"{"additionalProperties":false}"#, #"{"additionalProperties":{"type":"string"}}"#,
  #"{"items":{"type":"string"}}"#, #"{"items":[{"type":"string"},{"items":{"type":"object"}}]}"#,
  #"{"dependencies":{"a":["b","c"],"d":{"required":["e"]}}}"#,
])
func `a field of two forms keeps the one it was given`(text: String) throws {
  let schema = try JSON(parsing: text)
  #expect(try decoded(schema) == schema)
}

@Test func `an unknown field is told however deep it is`() {
  let deep: JSON = [
    "properties": ["a": ["items": ["additionalProperties": ["x-kubernetes-preserve": true]]]]
  ]
  #expect {
    try decoded(deep)
  } throws: { error in
    "\(error)".contains(
      "unknown field \"spec.versions[0].schema.openAPIV3Schema.properties.a.items.additionalProperties."
        + "x-kubernetes-preserve\"")
  }
}

@Test func `a field of two forms refuses a third`() {
  #expect(throws: DecodeError.self) { try decoded(["additionalProperties": 3]) }
  #expect(throws: DecodeError.self) { try decoded(["items": "string"]) }
}

@Test func `both forms arrive from protobuf`() throws {
  let kind = try #require(KindRegistry.builtin[definition])
  let schema = try #require(
    kind.schema.type(at: ["spec", "versions", "schema", "openAPIV3Schema"])?.schema)
  // additionalProperties #30 {allows #1: true}; items #24 {schema #1 {type #5: "a"}};
  // dependencies #32 {"k": {property #2: ["p"]}}.
  let message: [UInt8] = [
    0xf2, 0x01, 2, 0x08, 1,
    0xc2, 0x01, 5, 0x0a, 3, 0x2a, 1, 0x61,
    0x82, 0x02, 8, 0x0a, 1, 0x6b, 0x12, 3, 0x12, 1, 0x70,
  ]
  let expected: JSON = [
    "additionalProperties": true, "items": ["type": "a"], "dependencies": ["k": ["p"]],
  ]
  #expect(try schema.decode(message: message) == expected)
}

@Test func `reviews are kinds that are asked and not kept`() throws {
  for name in ["tokenreviews", "selfsubjectreviews"] {
    let kind = try #require(KindRegistry.builtin[GroupVersionResource("authentication.k8s.io", "v1", name)])
    #expect(!kind.isStored && kind.verbs == ["create"])
  }
  #expect(KindRegistry.builtin[GroupVersionResource("", "v1", "pods")]?.isStored == true)
}

@Test func `a reference is owned as a whole, but where its field says otherwise`() throws {
  let volume = try #require(KindRegistry.builtin[GroupVersionResource("", "v1", "persistentvolumes")])
  let claim: JSON = ["spec": ["claimRef": ["name": "a", "namespace": "b"]]]
  #expect(
    FieldSet(of: claim, schema: volume.schema).paths == [".spec.claimRef.name", ".spec.claimRef.namespace"])
  let binding = try #require(KindRegistry.builtin[GroupVersionResource("", "v1", "bindings")])
  #expect(FieldSet(of: ["target": ["name": "a"]], schema: binding.schema).paths == [".target"])
}
