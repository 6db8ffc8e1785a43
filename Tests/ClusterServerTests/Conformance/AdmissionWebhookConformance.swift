// Upstream's cases of webhook configurations that change or go while requests come, by their names. The cases of what
// webhooks decide are in AdmissionWebhookTests and CustomResourceWebhookTests.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct AdmissionWebhookConformance {
  /// A namespace whose ConfigMaps a webhook changes or refuses.
  private struct Hooked {
    var cluster: Cluster
    var space: String
    var hook: WebhookServer

    func webhook(_ name: String) -> JSON {
      hook.webhook(name, ["namespaceSelector": ["matchLabels": ["hooked": JSON(space)]]])
    }

    func map(_ name: String) async throws -> JSON {
      try await cluster.create(
        .configMaps,
        [
          "metadata": ["name": JSON(name), "namespace": JSON(space)], "data": ["mutation-start": "yes"],
        ])
    }

    /// Whether a new ConfigMap meets the webhook.
    func isMet(_ name: String, mutating: Bool) async throws -> Bool {
      do {
        let made = try await map(name)
        return mutating && made.at("data", "mutation-stage-1") == "yes"
      } catch let error as APIStatusError where !mutating && error.code == 403 {
        #expect(error.message.contains("the configmap contains unwanted key and value"))
        return true
      }
    }
  }

  private func with(mutating: Bool, _ body: (Hooked) async throws -> Void) async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("webhook")
    try await cluster.merge(
      .namespaces, "", space, ["metadata": ["labels": ["hooked": JSON(space)]]])
    try await withFolder { folder in
      try await WebhookServer.with(folder) { _, _ in
        mutating
          ? .patch([["op": "add", "path": "/data/mutation-stage-1", "value": "yes"]])
          : .deny("the configmap contains unwanted key and value")
      } _: { hook in
        try await body(Hooked(cluster: cluster, space: space, hook: hook))
      }
    }
  }

  private func listing(_ resource: GroupVersionResource, mutating: Bool) async throws {
    try await with(mutating: mutating) { hooked in
      let labels: JSON = ["e2e-list-test-uuid": JSON(hooked.space)]
      for number in 0..<10 {
        try await hooked.cluster.create(
          resource,
          [
            "metadata": ["name": JSON("\(hooked.space)-\(number)"), "labels": labels],
            "webhooks": [hooked.webhook("w\(number).k8s.io")],
          ])
      }
      let selector = "e2e-list-test-uuid=\(hooked.space)"
      #expect(try await hooked.cluster.list(resource, labels: selector).count == 10)
      #expect(try await hooked.isMet("before", mutating: mutating))
      try await hooked.cluster.deleteCollection(resource, labels: selector)
      #expect(try await hooked.cluster.list(resource, labels: selector).isEmpty)
      #expect(try await !hooked.isMet("after", mutating: mutating))
    }
  }

  private func changing(_ resource: GroupVersionResource, mutating: Bool) async throws {
    try await with(mutating: mutating) { hooked in
      try await hooked.cluster.create(
        resource,
        ["metadata": ["name": JSON(hooked.space)], "webhooks": [hooked.webhook("w.k8s.io")]])
      #expect(try await hooked.isMet("first", mutating: mutating))
      try await hooked.cluster.replace(resource, "", hooked.space) { configuration in
        var webhook = configuration["webhooks"]?[0] ?? .null
        #expect(webhook["failurePolicy"] == "Fail", "defaults are written")
        var rule = webhook["rules"]?[0] ?? .null
        rule["operations"] = ["UPDATE"]
        webhook["rules"] = [rule]
        configuration["webhooks"] = [webhook]
      }
      #expect(try await !hooked.isMet("second", mutating: mutating))
      _ = try await hooked.cluster.api.patch(
        resource, namespace: "", name: hooked.space,
        patch: .json([["op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]]]),
        subresource: nil, options: WriteOptions())
      #expect(try await hooked.isMet("third", mutating: mutating))
      try await hooked.cluster.delete(resource, "", hooked.space)
    }
  }

  @Test func `listing mutating webhooks should work`() async throws {
    try await listing(.mutatingWebhooks, mutating: true)
  }

  @Test func `listing validating webhooks should work`() async throws {
    try await listing(.validatingWebhooks, mutating: false)
  }

  @Test func `patching/updating a mutating webhook should work`() async throws {
    try await changing(.mutatingWebhooks, mutating: true)
  }

  @Test func `patching/updating a validating webhook should work`() async throws {
    try await changing(.validatingWebhooks, mutating: false)
  }
}
