// Upstream's cases of what the server says of itself, by their names: discovery in both forms, its version, and
// the form of answers it does not have.

import ClusterClient
import ClusterObjects
import NIOHTTP1
import Testing

/// One resource of each group that must be there.
private let expected = [
  ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
  ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
  ("apiregistration.k8s.io", "v1", "apiservices"), ("apps", "v1", "deployments"),
  ("authentication.k8s.io", "v1", "tokenreviews"),
  ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
  ("autoscaling", "v1", "horizontalpodautoscalers"), ("autoscaling", "v2", "horizontalpodautoscalers"),
  ("batch", "v1", "jobs"), ("certificates.k8s.io", "v1", "certificatesigningrequests"),
  ("coordination.k8s.io", "v1", "leases"), ("discovery.k8s.io", "v1", "endpointslices"),
  ("events.k8s.io", "v1", "events"), ("networking.k8s.io", "v1", "ingresses"),
  ("node.k8s.io", "v1", "runtimeclasses"), ("policy", "v1", "poddisruptionbudgets"),
  ("scheduling.k8s.io", "v1", "priorityclasses"), ("storage.k8s.io", "v1", "csinodes"),
].map { GroupVersionResource($0.0, $0.1, $0.2) }

private let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct DiscoveryConformance {
  private func holds(_ list: JSON, _ resource: GroupVersionResource) -> Bool {
    let group = list["items"]?.elements.first { $0.name == resource.group }
    let version = group?["versions"]?.elements.first { $0["version"] == JSON(resource.version) }
    return version?["resources"]?.elements.contains { $0["resource"] == JSON(resource.resource) } == true
  }

  private func definition(_ plural: String, _ group: String) -> JSON {
    [
      "metadata": ["name": JSON("\(plural).\(group)")],
      "spec": [
        "group": JSON(group), "scope": "Namespaced", "names": ["plural": JSON(plural), "kind": "TestCRD"],
        "versions": [
          [
            "name": "v1", "served": true, "storage": true,
            "schema": [
              "openAPIV3Schema": ["type": "object", "x-kubernetes-preserve-unknown-fields": true]
            ],
          ]
        ],
      ],
    ]
  }

  @Test func `should support raw aggregated discovery endpoint Accept headers`() async throws {
    let cluster = try Cluster.here
    let groups = try await cluster.document("/apis", accept: aggregated)
    #expect(groups.kind == "APIGroupDiscoveryList" && groups.apiVersion == "apidiscovery.k8s.io/v2")
    for resource in expected { #expect(holds(groups, resource), "\(resource)") }
    let core = try await cluster.document("/api", accept: aggregated)
    #expect(holds(core, .namespaces))
  }

  @Test func `should support raw aggregated discovery request for CRDs`() async throws {
    let cluster = try Cluster.here
    try await cluster.define(definition("testcrds", "raw.example.com"))
    let resource = GroupVersionResource("raw.example.com", "v1", "testcrds")
    try await eventually { holds(try await cluster.document("/apis", accept: aggregated), resource) }
    try await cluster.delete(.definitions, "", "testcrds.raw.example.com")
    try await eventually { try await cluster.send(.GET, "/apis/raw.example.com").code == 404 }
    #expect(!holds(try await cluster.document("/apis", accept: aggregated), resource))
  }

  /// The interface is client-go's: kubectl is the client that uses it.
  @Test func `should support aggregated discovery interface`() async throws {
    let cluster = try Cluster.here
    let run = try await cluster.kubectl("api-resources -o name --cached=false -v=6")
    let names = Set(run.output.split(separator: "\n").map(String.init))
    for resource in expected + [.namespaces] {
      #expect(
        names.contains(resource.group.isEmpty ? resource.resource : "\(resource.resource).\(resource.group)"))
    }
    // Two documents tell all: no group is asked for by itself.
    #expect(!run.errors.contains("/apis/apps"), "\(run.errors)")
    let versions = try await cluster.kubectl("api-versions")
    let served = Set(versions.output.split(separator: "\n").map(String.init))
    #expect(served.isSuperset(of: expected.map(\.groupVersion) + ["v1"]), "\(served)")
  }

  @Test func `should support aggregated discovery interface for CRDs`() async throws {
    let cluster = try Cluster.here
    try await cluster.define(definition("testcrds", "interface.example.com"))
    try await eventually {
      try await cluster.kubectl("api-resources -o name --cached=false --api-group=interface.example.com")
        .output
        == "testcrds.interface.example.com\n"
    }
    try await cluster.delete(.definitions, "", "testcrds.interface.example.com")
    try await eventually { try await cluster.send(.GET, "/apis/interface.example.com").code == 404 }
  }

  @Test func `should validate PreferredVersion for each APIGroup`() async throws {
    let cluster = try Cluster.here
    let groups = try await cluster.document("/apis")["groups"]?.elements ?? []
    #expect(groups.count > 15)
    for entry in groups {
      let name = entry["name"]?.string ?? ""
      let group = try await cluster.document("/apis/\(name)")
      let preferred = group.at("preferredVersion", "version")?.string ?? ""
      #expect(
        !preferred.isEmpty && group.at("preferredVersion", "groupVersion") == JSON("\(name)/\(preferred)"))
      #expect(
        group["versions"]?.elements.contains { $0["version"]?.string == preferred } == true,
        "\(name) has no \(preferred)")
    }
  }

  @Test func `should locate the groupVersion and a resource within each APIGroup`() async throws {
    let cluster = try Cluster.here
    let groups = try await cluster.document("/apis")["groups"]?.elements ?? []
    for group in groups {
      for version in group["versions"]?.elements ?? [] {
        let name = version["groupVersion"]?.string ?? ""
        let list = try await cluster.document("/apis/\(name)")
        #expect(list["groupVersion"]?.string == name)
        #expect(list["resources"]?.elements.isEmpty == false, "\(name) has no resource")
        if let wanted = expected.first(where: { $0.groupVersion == name }) {
          #expect(list["resources"]?.elements.contains { $0["name"] == JSON(wanted.resource) } == true)
        }
      }
    }
    let names = Set(groups.compactMap { $0["name"]?.string })
    #expect(names.isSuperset(of: expected.map(\.group)))
  }

  @Test func `should include custom resource definition resources in discovery documents`() async throws {
    try await expectDiscovered(
      try Cluster.here, .definitions, ["customresourcedefinitions", "customresourcedefinitions/status"])
  }

  @Test func `should include webhook resources in discovery documents`() async throws {
    try await expectDiscovered(
      try Cluster.here, .mutatingWebhooks,
      ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"])
  }

  @Test func `should find the server version`() async throws {
    let version = try await Cluster.here.document("/version")
    for part in ["major", "minor"] {
      let text = version[part]?.string ?? ""
      #expect(!text.isEmpty && text.allSatisfy(\.isNumber), "\(part) is \(text)")
    }
  }

  @Test func `should return a 406 for a backend which does not implement metadata`() async throws {
    let cluster = try Cluster.here
    let review: JSON = [
      "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
      "spec": ["nonResourceAttributes": ["path": "/", "verb": "get"]],
    ]
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    let reply = try await cluster.send(
      .POST, path, body: review.text, accept: "application/json;as=Table;v=v1;g=meta.k8s.io")
    #expect(reply.code == 406 && reply.json["reason"] == "NotAcceptable", "\(reply.text)")
    #expect(try await cluster.send(.POST, path, body: review.text).code == 201)
  }
}
