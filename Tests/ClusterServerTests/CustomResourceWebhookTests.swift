// Upstream's conformance cases of admission webhooks that speak of custom resources, by their names.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let mutating = GroupVersionResource(
  "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
private let validating = GroupVersionResource(
  "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
private let crds = GroupVersionResource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
private let v1 = GroupVersionResource("hooks.example.com", "v1", "things")
private let v2 = GroupVersionResource("hooks.example.com", "v2", "things")

/// Two versions without conversion. With `fields` only those of `data` are kept.
private func definition(fields: [String]? = nil, stored: String = "v1") -> JSON {
  var data: JSON = ["type": "object"]
  if let fields {
    data["properties"] = .object(JSONObject(fields.map { ($0, ["type": "string"]) }))
  } else {
    data["x-kubernetes-preserve-unknown-fields"] = true
  }
  func version(_ name: String) -> JSON {
    [
      "name": JSON(name), "served": true, "storage": JSON(name == stored),
      "schema": ["openAPIV3Schema": ["type": "object", "properties": ["data": data]]],
    ]
  }
  return [
    "metadata": ["name": "things.hooks.example.com"],
    "spec": [
      "group": "hooks.example.com", "scope": "Namespaced", "names": ["plural": "things", "kind": "Thing"],
      "versions": [version("v1"), version("v2")],
    ],
  ]
}

private func thing(_ name: String, _ data: JSON) -> JSON {
  ["metadata": ["name": JSON(name), "namespace": "default"], "data": data]
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct CustomResourceWebhookTests {
  private func with(
    _ definition: JSON, _ decide: @escaping WebhookServer.Decide,
    _ body: (InProcessClient, WebhookServer) async throws -> Void
  ) async throws {
    try await withServer { server, folder in
      try await WebhookServer.with(folder, decide) { hook in
        try await server.install(crd: definition)
        try await body(server.client(user: "test"), hook)
      }
    }
  }

  private func configure(
    _ api: InProcessClient, _ resource: GroupVersionResource, _ webhooks: JSON...
  ) async throws {
    _ = try await api.create(
      resource, ["metadata": ["name": "hooks"], "webhooks": .array(webhooks)], options: WriteOptions())
  }

  private func webhook(
    _ hook: WebhookServer, _ name: String, _ path: String, _ operations: [String] = ["CREATE", "UPDATE"]
  ) -> JSON {
    hook.webhook(
      name, path: path, resources: ["things"], groups: ["hooks.example.com"], operations: operations)
  }

  /// Adds `mutation-stage-N` where `mutation-start` is, each stage after the former.
  private static let stages: WebhookServer.Decide = { path, request in
    let data = request.at("object", "data") ?? .null
    switch path {
    case "/one" where data["mutation-start"] == "yes":
      return .patch([["op": "add", "path": "/data/mutation-stage-1", "value": "yes"]])
    case "/two" where data["mutation-stage-1"] == "yes":
      return .patch([["op": "add", "path": "/data/mutation-stage-2", "value": "yes"]])
    default: return .allow
    }
  }

  @Test func `should be able to deny custom resource creation, update and deletion`() async throws {
    try await with(definition()) { _, request in
      let object = request["operation"] == "DELETE" ? request["oldObject"] : request["object"]
      return object?.at("data", "webhook-e2e-test") == "webhook-disallow"
        ? .deny("the custom resource contains unwanted data") : .allow
    } _: { api, hook in
      try await configure(
        api, validating,
        webhook(hook, "deny-unwanted-custom-resource-data.k8s.io", "/", ["CREATE", "UPDATE", "DELETE"]))
      let bad: JSON = ["webhook-e2e-test": "webhook-disallow"]
      let created = await refusal { _ = try await api.create(v1, thing("a", bad), options: WriteOptions()) }
      #expect(created?.message.contains("the custom resource contains unwanted data") == true)
      _ = try await api.create(v1, thing("b", ["fine": "yes"]), options: WriteOptions())
      let updated = await refusal {
        _ = try await api.patch(
          v1, namespace: "default", name: "b", patch: .merge(["data": bad]), subresource: nil,
          options: WriteOptions())
      }
      #expect(updated?.message.contains("the custom resource contains unwanted data") == true)
      try await api.delete(validating, namespace: "", name: "hooks", options: DeleteOptions())
      _ = try await api.create(v1, thing("c", bad), options: WriteOptions())
      try await configure(
        api, validating, webhook(hook, "deny-unwanted-custom-resource-data.k8s.io", "/", ["DELETE"]))
      let deleted = await refusal {
        try await api.delete(v1, namespace: "default", name: "c", options: DeleteOptions())
      }
      #expect(deleted?.message.contains("the custom resource contains unwanted data") == true)
      _ = try await api.patch(
        v1, namespace: "default", name: "c", patch: .merge(["data": ["webhook-e2e-test": "allow"]]),
        subresource: nil, options: WriteOptions())
      try await api.delete(v1, namespace: "default", name: "c", options: DeleteOptions())
    }
  }

  @Test func `should mutate custom resource`() async throws {
    try await with(definition(), Self.stages) { api, hook in
      try await configure(
        api, mutating, webhook(hook, "one.k8s.io", "/one"), webhook(hook, "two.k8s.io", "/two"))
      let made = try await api.create(v1, thing("a", ["mutation-start": "yes"]), options: WriteOptions())
      #expect(
        made["data"] == ["mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"])
    }
  }

  @Test func `should mutate custom resource with pruning`() async throws {
    try await with(definition(fields: ["mutation-start", "mutation-stage-1"]), Self.stages) { api, hook in
      try await configure(
        api, mutating, webhook(hook, "one.k8s.io", "/one"), webhook(hook, "two.k8s.io", "/two"))
      let made = try await api.create(v1, thing("a", ["mutation-start": "yes"]), options: WriteOptions())
      #expect(made["data"] == ["mutation-start": "yes", "mutation-stage-1": "yes"])
    }
  }

  @Test func `should mutate custom resource with different stored version`() async throws {
    try await with(definition(), Self.stages) { api, hook in
      var one = webhook(hook, "one.k8s.io", "/one")
      // Its rule names one version; writes of the other are equivalent.
      one["rules"] = [
        [
          "operations": ["CREATE", "UPDATE"], "apiGroups": ["hooks.example.com"], "apiVersions": ["v1"],
          "resources": ["things"],
        ]
      ]
      try await configure(api, mutating, one)
      _ = try await api.create(v1, thing("a", ["mutation-start": "yes"]), options: WriteOptions())
      var stored = try await api.get(crds, namespace: "", name: "things.hooks.example.com")
      stored["spec"] = definition(stored: "v2").spec
      _ = try await api.update(crds, stored, subresource: nil, options: WriteOptions())
      let patched = try await api.patch(
        v2, namespace: "default", name: "a", patch: .merge(["data": ["other": "yes"]]), subresource: nil,
        options: WriteOptions())
      #expect(
        patched["data"] == ["mutation-start": "yes", "mutation-stage-1": "yes", "other": "yes"])
      #expect(patched.apiVersion == "hooks.example.com/v2")
      #expect(hook.calls.last?.request["object"]?.apiVersion == "hooks.example.com/v1")
      #expect(hook.calls.last?.request.at("requestKind", "version") == "v2")
      let fresh = try await api.create(v2, thing("b", ["mutation-start": "yes"]), options: WriteOptions())
      #expect(fresh["data"] == ["mutation-start": "yes", "mutation-stage-1": "yes"])
    }
  }
}
