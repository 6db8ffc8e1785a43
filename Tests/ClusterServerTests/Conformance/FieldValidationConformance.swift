// Upstream's cases of field validation on the server, by their names, with upstream's bodies: YAML that is applied,
// JSON with a key twice.

import ClusterClient
import ClusterObjects
import NIOHTTP1
import Testing

private let ports: JSON = [
  "type": "array", "x-kubernetes-list-type": "map",
  "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
  "items": [
    "type": "object", "required": ["containerPort", "protocol"],
    "properties": [
      "containerPort": ["type": "integer", "format": "int32"], "protocol": ["type": "string"],
      "name": ["type": "string"],
    ],
  ],
]
private let spec: JSON = [
  "type": "object",
  "properties": [
    "foo": ["type": "string"],
    "cronSpec": ["type": "string", "pattern": #"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"#],
    "ports": ports,
  ],
]

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct FieldValidationConformance {
  /// A definition without namespaces and its objects' address.
  private func define(_ cluster: Cluster, _ group: String, _ schema: JSON) async throws -> String {
    try await cluster.define([
      "metadata": ["name": JSON("noxus.\(group).example.com")],
      "spec": [
        "group": JSON("\(group).example.com"), "scope": "Cluster",
        "names": ["plural": "noxus", "kind": "Noxu"],
        "versions": .array(
          ["v1beta1", "v1beta2"].map { version in
            [
              "name": JSON(version), "served": true, "storage": JSON(version == "v1beta1"),
              "schema": ["openAPIV3Schema": schema],
            ]
          }),
      ],
    ])
    return "\(group).example.com/v1beta1"
  }

  private func apply(_ cluster: Cluster, _ groupVersion: String, _ more: String) async throws
    -> Cluster.Reply
  {
    try await cluster.send(
      .PATCH,
      "/apis/\(groupVersion)/noxus/mytest?fieldManager=field_validation_mgr&fieldValidation=Strict",
      body: "\napiVersion: \(groupVersion)\nkind: Noxu\n" + more, type: "application/apply-patch+yaml")
  }

  private let schema: JSON = ["type": "object", "properties": ["spec": spec]]
  private let ports = """
      cronSpec: "* * * * */5"
      ports:
      - name: x
        containerPort: 80
        protocol: TCP
    """

  @Test func `should create/apply a valid CR for CRD with validation schema`() async throws {
    let cluster = try Cluster.here
    let groupVersion = try await define(cluster, "valid", schema)
    let reply = try await apply(
      cluster, groupVersion,
      "metadata:\n  name: mytest\n  finalizers:\n  - test-finalizer\nspec:\n  foo: foo1\n\(ports)")
    #expect(reply.code == 201 && reply.json.at("spec", "foo") == "foo1", "\(reply.text)")
  }

  @Test func `should create/apply a CR with unknown fields for CRD with no validation schema`() async throws {
    let cluster = try Cluster.here
    let groupVersion = try await define(
      cluster, "schemaless", ["type": "object", "x-kubernetes-preserve-unknown-fields": true])
    let reply = try await apply(
      cluster, groupVersion,
      "metadata:\n  name: mytest\n  finalizers:\n  - test-finalizer\nspec:\n  unknown: uk1\n\(ports)")
    #expect(reply.code == 201 && reply.json.at("spec", "unknown") == "uk1", "\(reply.text)")
  }

  @Test func `should create/apply an invalid CR with extra properties for CRD with validation schema`()
    async throws
  {
    let cluster = try Cluster.here
    let groupVersion = try await define(cluster, "invalid", schema)
    let reply = try await apply(
      cluster, groupVersion,
      "metadata:\n  name: mytest\n  finalizers:\n  - test-finalizer\nunknownField: unknown\nspec:\n  foo: foo1\n\(ports)"
    )
    #expect(reply.text.contains(".unknownField: field not declared in schema"), "\(reply.text)")
    #expect(
      reply.message.hasPrefix(
        "failed to create typed patch object (/mytest; invalid.example.com/v1beta1, Kind=Noxu): "))
    #expect(reply.code == 500)
  }

  @Test func `should detect unknown metadata fields in both the root and embedded object of a CR`()
    async throws
  {
    let cluster = try Cluster.here
    var schema = schema
    schema.set(true, at: "properties", "spec", "x-kubernetes-preserve-unknown-fields")
    schema.set(
      [
        "type": "object", "x-kubernetes-embedded-resource": true,
        "properties": [
          "metadata": ["type": "object", "properties": ["name": ["type": "string"]]],
          "spec": ["type": "object"],
        ],
      ], at: "properties", "spec", "properties", "template")
    let groupVersion = try await define(cluster, "embedded", schema)
    func body(_ root: String, _ embedded: String) -> String {
      """
      metadata:
        name: mytest
      \(root)  finalizers:
        - test-finalizer
      spec:
        template:
          apiVersion: foo/v1
          kind: Sub
          metadata:
      \(embedded)      name: subobject
            namespace: default
        foo: foo1
      \(ports)
      """
    }
    // Upstream asks for one of the two; both are told, each by itself.
    let embedded = try await apply(cluster, groupVersion, body("", "      unknownSubMeta: unknown\n"))
    #expect(
      embedded.text.contains(".spec.template.metadata.unknownSubMeta: field not declared in schema"),
      "\(embedded.text)")
    let root = try await apply(cluster, groupVersion, body("  unknownMeta: unknown\n", ""))
    #expect(root.text.contains(".metadata.unknownMeta: field not declared in schema"), "\(root.text)")
    let fine = try await apply(cluster, groupVersion, body("", ""))
    #expect(fine.code == 201, "\(fine.text)")
  }

  @Test func `should detect duplicates in a CR when preserving unknown fields`() async throws {
    let cluster = try Cluster.here
    var schema = schema
    schema.set(true, at: "properties", "spec", "x-kubernetes-preserve-unknown-fields")
    let groupVersion = try await define(cluster, "duplicates", schema)
    let reply = try await apply(
      cluster, groupVersion,
      "metadata:\n  name: mytest\n  finalizers:\n  - test-finalizer\nspec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n\(ports)"
    )
    #expect(reply.text.contains(#"line 11: key \"foo\" already set in map"#), "\(reply.text)")
  }

  /// POSTs a Deployment whose text has these changes.
  private func deployment(metadata: String = "", spec: String = "") async throws -> Cluster.Reply {
    let cluster = try Cluster.here
    let text = """
      {"apiVersion": "apps/v1", "kind": "Deployment",
       "metadata": {"name": "my-dep",\(metadata) "labels": {"app": "nginx"}},
       "spec": {\(spec)
         "selector": {"matchLabels": {"app": "nginx"}},
         "template": {"metadata": {"labels": {"app": "nginx"}},
           "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}
      """
    return try await cluster.send(
      .POST,
      "/apis/apps/v1/namespaces/default/deployments?fieldManager=field_validation_mgr&fieldValidation=Strict",
      body: text)
  }

  @Test func `should detect unknown and duplicate fields of a typed object`() async throws {
    let reply = try await deployment(spec: #""unknownField": "foo", "replicas": 2, "replicas": 3,"#)
    #expect(
      reply.message.contains(
        #"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#),
      "\(reply.text)")
    #expect(reply.code == 400)
  }

  @Test func `should detect unknown metadata fields of a typed object`() async throws {
    let reply = try await deployment(metadata: #" "unknownMeta": "foo","#)
    #expect(
      reply.message.contains(#"strict decoding error: unknown field "metadata.unknownMeta""#),
      "\(reply.text)")
  }
}
