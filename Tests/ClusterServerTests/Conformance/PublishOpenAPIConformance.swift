// Upstream's cases of the OpenAPI documents of custom kinds, by their names: /openapi/v2 as old clients read it, and
// kubectl, which reads /openapi/v3.

import ClusterClient
import ClusterObjects
import NIOHTTP1
import Testing

private let foo: JSON = [
  "description": "Foo CRD for Testing", "type": "object",
  "properties": [
    "spec": [
      "type": "object", "description": "Specification of Foo",
      "properties": [
        "bars": [
          "description": "List of Bars and their specs.", "type": "array",
          "items": [
            "type": "object", "required": ["name"],
            "properties": [
              "name": ["description": "Name of Bar.", "type": "string"],
              "age": ["description": "Age of Bar.", "type": "string"],
              "feeling": [
                "description": "Whether Bar is feeling great.", "type": "string", "enum": ["Great", "Down"],
              ],
              "bazs": ["description": "List of Bazs.", "type": "array", "items": ["type": "string"]],
            ],
          ],
        ]
      ],
    ],
    "status": [
      "description": "Status of Foo", "type": "object",
      "properties": [
        "quxType": [
          "description": "Indicates to external qux type.", "pattern": "in-tree|out-of-tree",
          "type": "string",
        ]
      ],
    ],
  ],
]
private let waldo: JSON = [
  "description": "Waldo CRD for Testing", "type": "object",
  "properties": [
    "spec": [
      "description": "Specification of Waldo", "type": "object",
      "properties": ["dummy": ["description": "Dummy property.", "type": "object"]],
    ]
  ],
]

@Suite(.serialized, .timeLimit(.minutes(4)), .cluster) struct PublishOpenAPIConformance {
  private struct Published {
    var cluster: Cluster
    var group: String
    var kind: String
    var plural: String { kind.lowercased() + "s" }
    var name: String { "\(plural).\(group)" }

    /// The key that the document has for a version's kind.
    func key(_ version: String) -> String {
      group.split(separator: ".").reversed().joined(separator: ".") + ".\(version).\(kind)"
    }

    /// Waits until the document has the kind with this schema, apart from what every kind has; without one, that it
    /// is there.
    func isPublished(
      _ version: String, as schema: JSON?, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      try await eventually(sourceLocation: sourceLocation) {
        guard var found = try await cluster.document("/openapi/v2")["definitions"]?[key(version)] else {
          return false
        }
        guard let schema else { return true }
        found["x-kubernetes-group-version-kind"] = nil
        if found["properties"] != nil {
          for field in ["apiVersion", "kind", "metadata"] { found.set(nil, at: "properties", field) }
        }
        #expect(found == schema, "\(found.text)", sourceLocation: sourceLocation)
        return true
      }
      let third = try await cluster.send(.GET, "/openapi/v3/apis/\(group)/\(version)")
      #expect(
        third.json.at("components", "schemas")?[key(version)] != nil, sourceLocation: sourceLocation)
    }

    func isGone(_ version: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
      try await eventually(sourceLocation: sourceLocation) {
        try await cluster.document("/openapi/v2")["definitions"]?[key(version)] == nil
      }
    }

    /// Gone from the group version's own document, too, which is cheap to ask for.
    func remove(_ versions: String...) async throws {
      try await cluster.delete(.definitions, "", name)
      for version in versions {
        try await eventually {
          try await cluster.send(.GET, "/openapi/v3/apis/\(group)/\(version)").json
            .at("components", "schemas")?[key(version)] == nil
        }
      }
    }

    func object(_ version: String, _ name: String, _ fields: JSON) -> String {
      var object: JSON = [
        "kind": JSON(kind), "apiVersion": JSON("\(group)/\(version)"), "metadata": ["name": JSON(name)],
      ]
      for (key, value) in fields.object ?? [:] { object[key] = value }
      return object.text
    }

    /// kubectl takes this, by create and by apply.
    func accepts(_ version: String, _ fields: JSON) async throws {
      let text = object(version, "test-cr", fields)
      for command in ["create", "apply"] {
        let run = try await cluster.kubectl("\(command) -f -", input: text)
        #expect(run.status == 0, "\(run.errors)")
        let removed = try await cluster.kubectl("delete \(plural) test-cr")
        #expect(removed.status == 0, "\(removed.errors)")
      }
    }

    func explains(
      _ path: String, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let run = try await cluster.kubectl("explain \(plural)\(path)")
      var rest = run.output[...]
      for part in parts {
        guard let place = rest.firstRange(of: part) else {
          Issue.record("no \(part) in \(run.output)\(run.errors)", sourceLocation: sourceLocation)
          return
        }
        rest = rest[place.upperBound...]
      }
    }
  }

  private func publish(
    _ suffix: String, _ kind: String, _ schema: JSON, _ versions: String...
  ) async throws -> Published {
    let cluster = try Cluster.here
    let made = Published(
      cluster: cluster, group: "crd-publish-openapi-test-\(suffix).example.com", kind: kind)
    try await cluster.define([
      "metadata": ["name": JSON(made.name)],
      "spec": [
        "group": JSON(made.group), "scope": "Namespaced",
        "names": ["plural": JSON(made.plural), "kind": JSON(kind)],
        "versions": .array(
          versions.enumerated().map { position, version in
            [
              "name": JSON(version), "served": true, "storage": JSON(position == 0),
              "schema": ["openAPIV3Schema": schema],
            ]
          }),
      ],
    ])
    return made
  }

  @Test func `works for CRD with validation schema`() async throws {
    let crd = try await publish("foo", "Foo", foo, "v1")
    try await crd.isPublished("v1", as: foo)
    try await crd.accepts("v1", ["spec": ["bars": [["name": "test-bar"]]]])
    for (fields, text) in [
      (
        ["spec": ["bars": [["name": "test-bar", "feeling": "NonExistentValue"]]]] as JSON,
        "Unsupported value: \"NonExistentValue\""
      ),
      (["spec": ["foo": true]], "unknown field \"spec.foo\""),
      (["spec": ["bars": [["age": "10"]]]], "spec.bars[0].name: Required value"),
    ] {
      for command in ["create", "apply"] {
        let run = try await crd.cluster.kubectl(
          "\(command) -f -", input: crd.object("v1", "test-cr", fields))
        #expect(run.status != 0 && run.errors.contains(text), "\(run.errors)")
      }
    }
    try await crd.explains(
      "", "DESCRIPTION:", "Foo CRD for Testing", "FIELDS:", "apiVersion", "<string>", "APIVersion defines",
      "spec", "<Object>", "Specification of Foo")
    try await crd.explains(
      ".metadata", "DESCRIPTION:", "Standard object's metadata", "FIELDS:", "creationTimestamp", "<string>",
      "CreationTimestamp is a timestamp")
    try await crd.explains(
      ".spec", "DESCRIPTION:", "Specification of Foo", "FIELDS:", "bars", "<[]Object>",
      "List of Bars and their specs")
    try await crd.explains(
      ".spec.bars", "bars", "<[]Object>", "DESCRIPTION:", "List of Bars and their specs", "FIELDS:", "bazs",
      "<[]string>", "List of Bazs", "name", "<string>", "Name of Bar")
    let missing = try await crd.cluster.kubectl("explain \(crd.plural).spec.bars2")
    #expect(missing.status != 0 && missing.errors.contains("field \"bars2\" does not exist"))
    try await crd.remove("v1")
  }

  @Test func `works for CRD without validation schema`() async throws {
    let crd = try await publish(
      "empty", "Empty", ["type": "object", "x-kubernetes-preserve-unknown-fields": true], "v1")
    try await crd.isPublished("v1", as: ["type": "object"])
    try await crd.accepts("v1", ["a": ["b": [["c": "d"]]]])
    try await crd.explains("", "DESCRIPTION:", "<empty>")
    try await crd.remove("v1")
  }

  @Test func `works for CRD preserving unknown fields at the schema root`() async throws {
    var schema = waldo
    schema["x-kubernetes-preserve-unknown-fields"] = true
    let crd = try await publish("unknown-at-root", "Root", schema, "v1")
    try await crd.isPublished("v1", as: ["type": "object"])
    try await crd.accepts("v1", ["a": ["b": [["c": "d"]]]])
    try await crd.explains("", "KIND:", "Root")
    try await crd.remove("v1")
  }

  @Test func `works for CRD preserving unknown fields in an embedded object`() async throws {
    var schema = waldo
    schema["description"] = "preserve-unknown-properties in nested field for Testing"
    schema.set(true, at: "properties", "spec", "x-kubernetes-preserve-unknown-fields")
    let crd = try await publish("unknown-in-nested", "Nested", schema, "v1")
    try await crd.isPublished("v1", as: nil)
    try await crd.accepts("v1", ["spec": ["a": .null, "b": [["c": "d"]]]])
    try await crd.explains(
      "", "DESCRIPTION:", "preserve-unknown-properties in nested field for Testing")
    try await crd.remove("v1")
  }

  @Test func `works for multiple CRDs of different groups`() async throws {
    let one = try await publish("foo", "Foo", foo, "v1")
    let other = try await publish("waldo", "Waldo", waldo, "v1beta1")
    try await other.isPublished("v1beta1", as: waldo)
    try await one.isPublished("v1", as: foo)
    try await one.remove("v1")
    try await other.isPublished("v1beta1", as: waldo)
    try await other.remove("v1beta1")
  }

  @Test func `works for multiple CRDs of same group but different versions`() async throws {
    let both = try await publish("multi-ver", "Multi", foo, "v2", "v3")
    try await both.isPublished("v3", as: foo)
    try await both.isPublished("v2", as: foo)
    try await both.remove("v2", "v3")
    let one = try await publish("common-group", "Foo", foo, "v4")
    let other = try await publish("common-group", "Waldo", waldo, "v5")
    try await other.isPublished("v5", as: waldo)
    try await one.isPublished("v4", as: foo)
    try await one.remove("v4")
    try await other.remove("v5")
  }

  @Test func `works for multiple CRDs of same group and version but different kinds`() async throws {
    let one = try await publish("common-group", "Foo", foo, "v6")
    let other = try await publish("common-group", "Waldo", waldo, "v6")
    try await other.isPublished("v6", as: waldo)
    try await one.isPublished("v6", as: foo)
    try await one.remove("v6")
    try await other.remove("v6")
  }

  @Test func `updates the published spec when one version gets renamed`() async throws {
    let crd = try await publish("multi-ver", "Renamed", foo, "v2", "v3")
    try await crd.isPublished("v3", as: foo)
    _ = try await crd.cluster.api.patch(
      .definitions, namespace: "", name: crd.name,
      patch: .json([
        ["op": "test", "path": "/spec/versions/1/name", "value": "v3"],
        ["op": "replace", "path": "/spec/versions/1/name", "value": "v4"],
      ]), subresource: nil, options: WriteOptions())
    try await crd.isPublished("v4", as: foo)
    try await crd.isGone("v3")
    try await crd.isPublished("v2", as: foo)
    try await crd.remove("v2", "v4")
  }

  @Test func `removes definition from spec when one version gets changed to not be served`() async throws {
    let crd = try await publish("multi-to-single-ver", "Single", foo, "v5", "v6alpha1")
    try await crd.isPublished("v6alpha1", as: foo)
    try await crd.isPublished("v5", as: foo)
    _ = try await crd.cluster.replace(.definitions, "", crd.name) { definition in
      var versions = definition.spec["versions"]?.elements ?? []
      versions[1]["served"] = false
      definition.set(.array(versions), at: "spec", "versions")
    }
    try await crd.isGone("v6alpha1")
    try await crd.isPublished("v5", as: foo)
    try await crd.remove("v5")
  }
}
