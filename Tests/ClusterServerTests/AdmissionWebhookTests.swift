// Upstream's conformance cases of admission webhooks, by their names, and how webhooks fail: a real API server,
// a real HTTPS webhook, on loopback.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import NIOCore
import Testing

private let mutating = GroupVersionResource(
  "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
private let validating = GroupVersionResource(
  "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")

private func configMap(
  _ name: String, _ data: JSON = [:], labels: JSON = [:], in namespace: String = "default"
)
  -> JSON
{
  [
    "metadata": ["name": JSON(name), "namespace": JSON(namespace), "labels": labels],
    "data": data,
  ]
}

private func pod(_ name: String, labels: JSON = [:]) -> JSON {
  [
    "metadata": ["name": JSON(name), "namespace": "default", "labels": labels],
    "spec": ["containers": [["name": "c", "image": "x"]]],
  ]
}

func refusal(_ body: () async throws -> Void) async -> APIStatusError? {
  do {
    try await body()
    return nil
  } catch { return error as? APIStatusError }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct AdmissionWebhookTests {
  private func with(
    _ decide: @escaping WebhookServer.Decide, _ body: (InProcessClient, WebhookServer) async throws -> Void
  ) async throws {
    try await withServer { server, folder in
      try await WebhookServer.with(folder, decide) { hook in
        try await body(server.client(user: "test", groups: ["devs", "system:masters"]), hook)
      }
    }
  }

  private func configure(
    _ api: InProcessClient, _ resource: GroupVersionResource, _ name: String, _ webhooks: JSON...
  ) async throws {
    _ = try await api.create(
      resource, ["metadata": ["name": JSON(name)], "webhooks": .array(webhooks)], options: WriteOptions())
  }

  private func create(_ api: InProcessClient, _ object: JSON, _ resource: GroupVersionResource = .configMaps)
    async throws -> JSON
  { try await api.create(resource, object, options: WriteOptions()) }

  // MARK: Conformance

  @Test func `should be able to deny pod and configmap creation`() async throws {
    try await with { path, request in
      let object = request["object"] ?? .null
      if request.at("kind", "kind") == "Pod" {
        return object.labels["bad"] == nil ? .allow : .deny("the pod contains unwanted label")
      }
      return object.at("data", "webhook-e2e-test") == "webhook-disallow"
        ? .deny("the configmap contains unwanted key and value") : .allow
    } _: { api, hook in
      try await configure(
        api, validating, "deny",
        hook.webhook("deny-unwanted-pod-container-name-and-label.k8s.io", resources: ["pods"]),
        hook.webhook(
          "deny-unwanted-configmap-data.k8s.io", operations: ["CREATE", "UPDATE", "DELETE"],
          [
            "namespaceSelector": [
              "matchExpressions": [["key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"]]]
            ]
          ]))
      let denied = await refusal { _ = try await create(api, pod("p", labels: ["bad": "1"]), .pods) }
      #expect(denied?.code == 403)
      #expect(
        denied?.message
          == "admission webhook \"deny-unwanted-pod-container-name-and-label.k8s.io\" denied the request: the pod contains unwanted label"
      )
      let map = await refusal {
        _ = try await create(api, configMap("bad", ["webhook-e2e-test": "webhook-disallow"]))
      }
      #expect(map?.message.contains("the configmap contains unwanted key and value") == true)
      // Updates by PUT and by PATCH are asked about like creations.
      var allowed = try await create(api, configMap("good", ["admit": "this"]))
      allowed["data"] = ["webhook-e2e-test": "webhook-disallow"]
      let put = await refusal {
        _ = try await api.update(.configMaps, allowed, subresource: nil, options: WriteOptions())
      }
      #expect(put?.code == 403)
      let patched = await refusal {
        _ = try await api.patch(
          .configMaps, namespace: "default", name: "good",
          patch: .merge(["data": ["webhook-e2e-test": "webhook-disallow"]]), subresource: nil,
          options: WriteOptions())
      }
      #expect(patched?.code == 403)
      let applied = await refusal {
        _ = try await api.patch(
          .configMaps, namespace: "default", name: "new",
          patch: .apply([
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "new", "namespace": "default"],
            "data": ["webhook-e2e-test": "webhook-disallow"],
          ]), subresource: nil, options: WriteOptions(fieldManager: "m"))
      }
      #expect(applied?.code == 403, "an apply that creates is a creation")
      _ = try await create(
        api,
        ["metadata": ["name": "exempted", "labels": ["skip-webhook-admission": "yes"]]], .namespaces)
      _ = try await create(
        api, configMap("bad", ["webhook-e2e-test": "webhook-disallow"], in: "exempted"))
    }
  }

  @Test func `should be able to deny attaching pod`() async throws {
    try await with { _, request in
      request["operation"] == "CONNECT"
        ? .deny("attaching to pod 'to-be-attached-pod' is not allowed") : .allow
    } _: { api, hook in
      try await configure(
        api, validating, "deny-attach",
        hook.webhook("deny-attaching-pod.k8s.io", resources: ["pods/attach"], operations: ["CONNECT"]))
      let denied = await refusal {
        _ = try await api.connect(
          .pods, namespace: "default", name: "to-be-attached-pod", subresource: "attach",
          ["stdin": true, "container": "c"])
      }
      #expect(denied?.message.contains("attaching to pod 'to-be-attached-pod' is not allowed") == true)
      let request = try #require(hook.calls.first?.request)
      #expect(request["object"]?.kind == "PodAttachOptions")
      #expect(request.at("requestKind", "kind") == "PodAttachOptions")
      #expect(request.at("resource", "resource") == "pods")
      #expect(request["subResource"] == "attach")
      #expect(request["options"] == .null)
    }
  }

  @Test func `should deny crd creation`() async throws {
    let crds = GroupVersionResource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    try await with { _, _ in
      .deny("the crd contains unwanted label")
    } _: { api, hook in
      try await configure(
        api, validating, "deny-crd",
        hook.webhook(
          "deny-crd-with-unwanted-label.k8s.io", resources: ["customresourcedefinitions"],
          groups: ["apiextensions.k8s.io"],
          ["objectSelector": ["matchLabels": ["webhook-e2e-test": "webhook-disallow"]]]))
      let denied = await refusal {
        _ = try await create(
          api,
          [
            "metadata": [
              "name": "tests.stable.example.com", "labels": ["webhook-e2e-test": "webhook-disallow"],
            ],
            "spec": [
              "group": "stable.example.com", "scope": "Namespaced",
              "names": ["plural": "tests", "singular": "test", "kind": "Test", "listKind": "TestList"],
              "versions": [
                [
                  "name": "v1", "served": true, "storage": true,
                  "schema": ["openAPIV3Schema": ["type": "object"]],
                ]
              ],
            ],
          ], crds)
      }
      #expect(denied?.message.contains("the crd contains unwanted label") == true)
    }
  }

  @Test func `should mutate configmap, in the order of names`() async throws {
    try await with { path, request in
      switch path {
      case "/one":
        return .patch([["op": "add", "path": "/data/mutation-stage-1", "value": "yes"]])
      default:
        guard request.at("object", "data", "mutation-stage-1") == "yes" else { return .deny("too early") }
        return .patch([["op": "add", "path": "/data/mutation-stage-2", "value": "yes"]])
      }
    } _: { api, hook in
      try await configure(
        api, mutating, "b-second", hook.webhook("adding-configmap-data-stage-2.k8s.io", path: "/two"))
      try await configure(
        api, mutating, "a-first", hook.webhook("adding-configmap-data-stage-1.k8s.io", path: "/one"))
      let map = try await create(api, configMap("to-be-mutated", ["mutation-start": "yes"]))
      #expect(
        map["data"]
          == ["mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"])
      #expect(hook.calls.map(\.path) == ["/one", "/two"])
    }
  }

  @Test func `should mutate pod and apply defaults after mutation`() async throws {
    try await with { _, _ in
      .patch([
        [
          "op": "add", "path": "/spec/initContainers",
          "value": [["name": "webhook-added-init-container", "image": "busybox"]],
        ]
      ])
    } _: { api, hook in
      try await configure(
        api, mutating, "pods", hook.webhook("adding-init-container.k8s.io", resources: ["pods"]))
      let pod = try await create(api, pod("webhook-to-be-mutated"), .pods)
      let added = try #require(pod.at("spec", "initContainers")?[0])
      #expect(added["name"] == "webhook-added-init-container")
      #expect(added["terminationMessagePolicy"] == "File", "defaults come after the webhook")
      #expect(added["terminationMessagePath"] == "/dev/termination-log")
      #expect(
        added["volumeMounts"]?.elements.contains {
          $0["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
        } == true, "plugins take a second turn after a webhook")
    }
  }

  @Test func `should mutate everything except 'skip-me' configmaps`() async throws {
    try await with { _, _ in
      .patch([["op": "add", "path": "/data", "value": ["mutated": "yes"]]])
    } _: { api, hook in
      try await configure(
        api, mutating, "all",
        hook.webhook(
          "mutate.k8s.io",
          ["objectSelector": ["matchExpressions": [["key": "skip-me", "operator": "DoesNotExist"]]]]))
      let skipped = try await create(api, configMap("skip", ["a": "b"], labels: ["skip-me": "1"]))
      #expect(skipped["data"] == ["a": "b"])
      let other = try await create(api, configMap("other", ["a": "b"]))
      #expect(other["data"] == ["mutated": "yes"])
    }
  }

  @Test func `should not be able to mutate or prevent deletion of webhook configuration objects`()
    async throws
  {
    try await with { _, _ in
      .deny("never")
    } _: { api, hook in
      let all = hook.webhook(
        "deny-webhook-configuration-deletions.k8s.io", resources: ["*"],
        groups: ["admissionregistration.k8s.io"],
        operations: ["*"])
      try await configure(api, validating, "guard", all)
      try await configure(api, mutating, "change", all)
      let dummy = hook.webhook("dummy-validating-webhook.k8s.io", resources: ["invalid"])
      try await configure(api, validating, "dummy", dummy)
      try await configure(api, mutating, "dummy", dummy)
      for resource in [validating, mutating] {
        try await api.delete(resource, namespace: "", name: "dummy", options: DeleteOptions())
      }
      #expect(hook.calls.isEmpty)
      // The way out of a webhook that refuses everything: its configuration can be deleted.
      try await api.delete(validating, namespace: "", name: "guard", options: DeleteOptions())
      try await api.delete(mutating, namespace: "", name: "change", options: DeleteOptions())
    }
  }

  @Test func `should unconditionally reject operations on fail closed webhook`() async throws {
    try await with { _, _ in
      .allow
    } _: { api, hook in
      var webhook = hook.webhook("fail-closed.k8s.io", ["failurePolicy": "Fail"])
      webhook["clientConfig"] = [
        "service": ["namespace": "default", "name": "no-such-service", "path": "/configmaps"],
        "caBundle": JSON(hook.caBundle),
      ]
      try await configure(api, validating, "fail-closed", webhook)
      let denied = await refusal { _ = try await create(api, configMap("foo")) }
      #expect(denied?.code == 500)
      #expect(denied?.reason == "InternalError")
      #expect(
        denied?.message.hasPrefix(
          "Internal error occurred: failed calling webhook \"fail-closed.k8s.io\": failed to call webhook: Post \"https://no-such-service.default.svc:443/configmaps?timeout=10s\": "
        ) == true, "\(denied?.message ?? "")")
    }
  }

  @Test func `should honor timeout`() async throws {
    try await with { _, request in
      .after(request["name"] == "patient" ? .seconds(2) : .seconds(60), .allow)
    } _: { api, hook in
      func attempt(_ seconds: Int, _ policy: String, _ name: String) async throws -> (
        Duration, APIStatusError?
      ) {
        try await configure(
          api, validating, name,
          hook.webhook(
            "allow-delay.k8s.io", ["timeoutSeconds": JSON(seconds), "failurePolicy": JSON(policy)]))
        let began = ContinuousClock.now
        let error = await refusal { _ = try await create(api, configMap(name)) }
        let took = ContinuousClock.now - began
        try await api.delete(validating, namespace: "", name: name, options: DeleteOptions())
        return (took, error)
      }
      // Over before the webhook would have answered.
      let (failing, error) = try await attempt(1, "Fail", "slow-fail")
      #expect(error?.code == 500)
      #expect(error?.message.contains("context deadline exceeded") == true, "\(error?.message ?? "")")
      #expect(failing > .milliseconds(990) && failing < .seconds(50), "took \(failing)")
      let (ignoring, none) = try await attempt(1, "Ignore", "slow-ignore")
      #expect(none == nil)
      #expect(ignoring > .milliseconds(990) && ignoring < .seconds(50), "took \(ignoring)")
      let (patient, fine) = try await attempt(10, "Fail", "patient")
      #expect(fine == nil, "two seconds are within ten")
      #expect(patient > .seconds(2), "took \(patient)")
    }
  }

  @Test(arguments: [mutating, validating])
  func `match conditions are refused by name until they can be evaluated`(resource: GroupVersionResource)
    async throws
  {
    try await with { _, _ in
      .allow
    } _: { api, hook in
      let error = await refusal {
        try await configure(
          api, resource, "conditions",
          hook.webhook(
            "w.example.com", ["matchConditions": [["name": "expression-1", "expression": "true"]]]))
      }
      #expect(error?.code == 422)
      #expect(error?.message.contains("webhooks[0].matchConditions: Forbidden: ") == true)
    }
  }
}
