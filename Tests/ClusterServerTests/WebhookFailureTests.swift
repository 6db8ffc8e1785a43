// What a webhook can do wrong, and what of it reaches the client.

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

private func configMap(_ name: String, _ data: JSON = [:]) -> JSON {
  ["metadata": ["name": JSON(name), "namespace": "default"], "data": data]
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct WebhookFailureTests {
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
    _ api: InProcessClient, _ resource: GroupVersionResource, _ webhooks: JSON...
  ) async throws {
    _ = try await api.create(
      resource, ["metadata": ["name": "hooks"], "webhooks": .array(webhooks)], options: WriteOptions())
  }

  static let bad: [(name: String, answer: WebhookServer.Answer, told: String)] = [
    ("cut", .cut, "EOF"),
    (
      "redirect", .raw(status: 302, headers: [("Location", "https://127.0.0.1:1/")], body: ""),
      "the server responded with the status code 302"
    ),
    ("error", .raw(status: 500, headers: [], body: "x"), "an error on the server has prevented"),
    ("missing", .raw(status: 404, headers: [], body: ""), "the server could not find the requested resource"),
    ("garbage", .raw(status: 200, headers: [], body: "{"), "the answer is no JSON"),
    ("empty", .raw(status: 200, headers: [], body: "{}"), "expected webhook response of admission.k8s.io/v1"),
    ("huge", .raw(status: 200, headers: [], body: String(repeating: "x", count: 9 << 20)), "is larger than"),
    ("uid", .response(["uid": "other", "allowed": true]), "expected response.uid="),
    ("verdict", .response([:]), "response.allowed is missing"),
    (
      "patch type", .response(["allowed": true, "patch": "W10=", "patchType": "MergePatch"]),
      "response.patchType must be \"JSONPatch\""
    ),
  ]

  @Test(arguments: bad.indices)
  func `a bad answer counts as the failure policy says`(index: Int) async throws {
    let (name, answer, told) = Self.bad[index]
    try await with { _, _ in
      answer
    } _: { api, hook in
      try await configure(
        api, mutating, hook.webhook("ignored.example.com", path: "/i", ["failurePolicy": "Ignore"]))
      _ = try await api.create(.configMaps, configMap("ignored"), options: WriteOptions())
      try await api.delete(mutating, namespace: "", name: "hooks", options: DeleteOptions())
      try await configure(api, mutating, hook.webhook("fails.example.com", path: "/f"))
      let error = await refusal {
        _ = try await api.create(.configMaps, configMap("failed"), options: WriteOptions())
      }
      #expect(error?.code == 500)
      #expect(
        error?.message.hasPrefix("Internal error occurred: failed calling webhook \"fails.example.com\": ")
          == true)
      #expect(error?.message.contains(told) == true, "\(name): \(error?.message ?? "allowed")")
      #expect(Set(hook.calls.map(\.path)) == ["/i", "/f"], "no redirection is followed")
    }
  }

  @Test func `a webhook whose certificate is for another name is not believed`() async throws {
    try await with { _, _ in
      .allow
    } _: { api, hook in
      var webhook = hook.webhook("w.example.com")
      webhook.set(JSON("https://127.0.0.2:\(hook.port)/"), at: "clientConfig", "url")
      try await configure(api, validating, webhook)
      let error = await refusal {
        _ = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
      }
      #expect(error?.code == 500, "\(error?.message ?? "allowed")")
      #expect(hook.calls.isEmpty)
    }
  }

  @Test func `a refusal keeps the webhook's code, reason and warnings; without a message it says so`()
    async throws
  {
    try await with { path, _ in
      switch path {
      case "/code":
        .response([
          "allowed": false,
          "status": ["code": 409, "reason": "Conflict", "details": ["name": "x"]],
        ])
      case "/low": .response(["allowed": false, "status": ["code": 200]])
      default: .response(["allowed": false])
      }
    } _: { api, hook in
      for (path, code, message) in [
        ("/code", 409, "admission webhook \"w.example.com\" denied the request: Conflict"),
        ("/low", 400, "admission webhook \"w.example.com\" denied the request without explanation"),
        ("/none", 400, "admission webhook \"w.example.com\" denied the request without explanation"),
      ] {
        try await configure(api, validating, hook.webhook("w.example.com", path: path))
        let error = await refusal {
          _ = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
        }
        #expect(error?.code == code)
        #expect(error?.message == message)
        try await api.delete(validating, namespace: "", name: "hooks", options: DeleteOptions())
      }
    }
  }

  @Test func `a patch may not touch what the server decides, nor make an object that is none`() async throws {
    try await with { path, _ in
      switch path {
      case "/uid":
        .patch([
          ["op": "replace", "path": "/metadata/uid", "value": "mine"],
          ["op": "replace", "path": "/metadata/name", "value": "other"],
        ])
      case "/path": .patch([["op": "remove", "path": "/data/absent"]])
      default: .patch([["op": "replace", "path": "/data", "value": 7]])
      }
    } _: { api, hook in
      try await configure(api, mutating, hook.webhook("w.example.com", path: "/uid"))
      let map = try await api.create(.configMaps, configMap("c", ["a": "b"]), options: WriteOptions())
      #expect(map.name == "c")
      #expect(map.uid != "mine")
      for path in ["/path", "/type"] {
        try await api.delete(mutating, namespace: "", name: "hooks", options: DeleteOptions())
        try await configure(api, mutating, hook.webhook("w.example.com", path: path))
        let error = await refusal {
          _ = try await api.create(.configMaps, configMap("d", ["a": "b"]), options: WriteOptions())
        }
        #expect(error?.code == 500, "\(error?.message ?? "allowed")")
      }
    }
  }

  @Test func `a webhook that asks for it is called again after a later one changed the object`() async throws
  {
    try await with { path, request in
      let data = request.at("object", "data") ?? [:]
      let label = path.dropFirst()
      let count = data["\(label)"]?.string.flatMap { Int($0) } ?? 0
      return .patch([["op": "add", "path": JSON("/data/\(label)"), "value": JSON("\(count + 1)")]])
    } _: { api, hook in
      try await configure(
        api, mutating,
        hook.webhook("a.example.com", path: "/again", ["reinvocationPolicy": "IfNeeded"]),
        hook.webhook("b.example.com", path: "/once"))
      let map = try await api.create(.configMaps, configMap("c", ["x": "y"]), options: WriteOptions())
      #expect(map["data"] == ["x": "y", "again": "2", "once": "1"])
      #expect(hook.calls.map(\.path) == ["/again", "/once", "/again"])
    }
  }

  @Test func `validating webhooks are called at once, on one kept connection each`() async throws {
    try await with { _, _ in
      .after(.milliseconds(300), .allow)
    } _: { api, hook in
      try await configure(
        api, validating, hook.webhook("a.example.com"), hook.webhook("b.example.com"),
        hook.webhook("c.example.com"))
      _ = try await api.create(.configMaps, configMap("one"), options: WriteOptions())
      #expect(hook.calls.map(\.waiting).max() == 3)
      _ = try await api.create(.configMaps, configMap("two"), options: WriteOptions())
      #expect(hook.calls.count == 6)
      #expect(Set(hook.calls.map(\.connection)).count == 3)
    }
  }

  @Test func `a dry run is told to webhooks; deletion shows the old object`() async throws {
    try await with { _, _ in
      .allow
    } _: { api, hook in
      try await configure(
        api, validating,
        hook.webhook("w.example.com", operations: ["CREATE", "DELETE"], ["sideEffects": "NoneOnDryRun"]))
      var options = WriteOptions(fieldManager: "me")
      options.dryRun = true
      _ = try await api.create(.configMaps, configMap("dry"), options: options)
      let first = try #require(hook.calls.first?.request)
      #expect(first["dryRun"] == true)
      #expect(
        first["options"]
          == [
            "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "dryRun": ["All"],
          ])
      #expect(first.at("userInfo", "username") == "test")
      #expect(first.at("userInfo", "groups")?.elements.contains("devs") == true)
      _ = try await api.create(.configMaps, configMap("real"), options: WriteOptions())
      try await api.delete(.configMaps, namespace: "default", name: "real", options: DeleteOptions())
      let last = try #require(hook.calls.last?.request)
      #expect(last["operation"] == "DELETE")
      #expect(last["object"] == .null)
      #expect(last.at("oldObject", "metadata", "name") == "real")
      #expect(last["name"] == "real")
    }
  }

  @Test func `scale and status are matched as subresources`() async throws {
    try await with { _, request in
      request.at("object", "spec", "replicas") == 9 ? .deny("too many") : .allow
    } _: { api, hook in
      _ = try await api.create(
        .deployments,
        [
          "metadata": ["name": "d", "namespace": "default"],
          "spec": [
            "replicas": 1, "selector": ["matchLabels": ["a": "b"]],
            "template": [
              "metadata": ["labels": ["a": "b"]], "spec": ["containers": [["name": "c", "image": "x"]]],
            ],
          ],
        ], options: WriteOptions())
      try await configure(
        api, validating,
        hook.webhook(
          "w.example.com", resources: ["deployments/scale"], groups: ["apps"], operations: ["UPDATE"]))
      func scale(_ replicas: Int) async throws {
        _ = try await api.patch(
          .deployments, namespace: "default", name: "d",
          patch: .merge(["spec": ["replicas": JSON(replicas)]]),
          subresource: "scale", options: WriteOptions())
      }
      try await scale(3)
      #expect(await refusal { try await scale(9) }?.code == 403)
      _ = try await api.patch(
        .deployments, namespace: "default", name: "d", patch: .merge(["spec": ["replicas": 9]]),
        subresource: nil, options: WriteOptions())
      #expect(hook.calls.count == 2)
      #expect(hook.calls[0].request.at("kind", "kind") == "Scale")
      #expect(hook.calls[0].request["subResource"] == "scale")
    }
  }

  @Test func `calls are counted under upstream's names`() async throws {
    try await with { _, _ in
      .deny("no")
    } _: { api, hook in
      try await configure(api, validating, hook.webhook("counted.example.com"))
      _ = await refusal {
        _ = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
      }
      let text = Metrics.shared.text()
      #expect(
        text.contains(
          "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"counted.example.com\",operation=\"CREATE\",rejection_code=\"403\",type=\"validating\"} 1"
        ))
      #expect(
        text.contains(
          "apiserver_admission_webhook_request_total{code=\"403\",name=\"counted.example.com\",operation=\"CREATE\",rejected=\"true\",type=\"validating\"} 1"
        ))
      #expect(
        text.contains(
          "apiserver_admission_controller_admission_duration_seconds_count{name=\"ValidatingAdmissionWebhook\""
        ))
      #expect(text.contains("apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\""))
    }
  }

  @Test(arguments: [
    ("sideEffects", JSON("Some"), "webhooks[0].sideEffects: Unsupported value: \"Some\""),
    ("timeoutSeconds", JSON(31), "the timeout value must be between 1 and 30 seconds"),
    ("name", JSON("short"), "should be a domain with at least three segments separated by dots"),
    ("admissionReviewVersions", JSON(["v9"]), "must include at least one of v1, v1beta1"),
    ("clientConfig", JSON(["url": "http://x/"]), "'https' is the only allowed URL scheme"),
  ])
  func `a configuration that cannot work is refused`(field: String, value: JSON, told: String) async throws {
    try await with { _, _ in
      .allow
    } _: { api, hook in
      let error = await refusal {
        try await configure(api, validating, hook.webhook("w.example.com", [field: value]))
      }
      #expect(error?.code == 422)
      #expect(error?.message.contains(told) == true, "\(error?.message ?? "accepted")")
    }
  }
}
