// Which webhook sees what, as what, and where it is found; and that no answer traps.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterServer

private let validating = GroupVersionResource(
  "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")

@Suite(.serialized, .timeLimit(.minutes(10))) struct WebhookMatchingTests {
  private func with(
    names: [String] = ["localhost"], _ body: (InProcessClient, WebhookServer) async throws -> Void
  ) async throws {
    try await withServer { server, folder in
      try await WebhookServer.with(folder, names: names, { _, _ in .allow }) { hook in
        try await body(server.client(user: "test"), hook)
      }
    }
  }

  private func configure(_ api: InProcessClient, _ webhooks: JSON...) async throws {
    _ = try await api.create(
      validating, ["metadata": ["name": "hooks"], "webhooks": .array(webhooks)], options: WriteOptions())
  }

  @Test func `a rule for one version sees writes of another, converted, unless it wants exact matches`()
    async throws
  {
    try await with { api, hook in
      let rule: JSON = [
        "operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v2"],
        "resources": ["horizontalpodautoscalers"],
      ]
      try await configure(
        api, hook.webhook("equivalent.example.com", path: "/equivalent", ["rules": [rule]]),
        hook.webhook("exact.example.com", path: "/exact", ["rules": [rule], "matchPolicy": "Exact"]))
      _ = try await api.create(
        GroupVersionResource("autoscaling", "v1", "horizontalpodautoscalers"),
        [
          "metadata": ["name": "h", "namespace": "default"],
          "spec": [
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 70,
            "scaleTargetRef": ["kind": "Deployment", "name": "d", "apiVersion": "apps/v1"],
          ],
        ], options: WriteOptions())
      #expect(hook.calls.map(\.path) == ["/equivalent"])
      let request = try #require(hook.calls.first?.request)
      #expect(request.at("kind", "version") == "v2")
      #expect(request.at("resource", "version") == "v2")
      #expect(request.at("requestKind", "version") == "v1")
      #expect(request["object"]?.apiVersion == "autoscaling/v2")
      #expect(request.at("object", "spec", "metrics")?[0]?.at("resource", "name") == "cpu")
    }
  }

  @Test func `rules tell scopes, wildcards and subresources apart`() async throws {
    try await with { api, hook in
      func webhook(_ path: String, _ resource: String, _ scope: String) -> JSON {
        hook.webhook(
          "\(path.dropFirst()).example.com", path: path,
          [
            "rules": [
              [
                "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": [JSON(resource)],
                "scope": JSON(scope),
              ]
            ]
          ])
      }
      try await configure(
        api, webhook("/cluster", "*", "Cluster"), webhook("/namespaced", "*", "Namespaced"),
        webhook("/status", "*/status", "*"), webhook("/pods", "pods/*", "*"))
      _ = try await api.create(.namespaces, ["metadata": ["name": "n"]], options: WriteOptions())
      #expect(hook.calls.map(\.path) == ["/cluster"])
      #expect(hook.calls.first?.request["namespace"] == "n")
      _ = try await api.create(
        .serviceAccounts, ["metadata": ["name": "default", "namespace": "n"]], options: WriteOptions())
      #expect(hook.calls.map(\.path) == ["/cluster", "/namespaced"])
      _ = try await api.create(
        .pods,
        [
          "metadata": ["name": "p", "namespace": "n"],
          "spec": ["containers": [["name": "c", "image": "x"]]],
        ], options: WriteOptions())
      // As upstream matches: `pods/*` means the pods themselves, too.
      #expect(Set(hook.calls.dropFirst(2).map(\.path)) == ["/namespaced", "/pods"])
      _ = try await api.patch(
        .pods, namespace: "n", name: "p", patch: .merge(["status": ["phase": "Running"]]),
        subresource: "status", options: WriteOptions())
      #expect(Set(hook.calls.dropFirst(4).map(\.path)) == ["/status", "/pods"])
    }
  }

  @Test func `a Service is resolved here, and its certificate is for its name`() async throws {
    try await with(names: ["hook.default.svc"]) { api, hook in
      func service(_ name: String, _ spec: JSON) async throws {
        _ = try await api.create(
          .services, ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec],
          options: WriteOptions())
      }
      try await service(
        "hook",
        [
          "type": "ExternalName", "externalName": "localhost", "ports": [["port": JSON(hook.port)]],
        ])
      try await service("empty", ["ports": [["port": 443]]])
      _ = try await api.create(
        .endpointSlices,
        [
          "metadata": [
            "name": "empty-1", "namespace": "default", "labels": ["kubernetes.io/service-name": "empty"],
          ], "addressType": "IPv4", "endpoints": [], "ports": [["port": 443]],
        ], options: WriteOptions())
      func ask(_ name: String, _ port: Int) async throws -> String? {
        var webhook = hook.webhook("w.example.com")
        webhook["clientConfig"] = [
          "service": ["namespace": "default", "name": JSON(name), "port": JSON(port), "path": "/x"],
          "caBundle": JSON(hook.caBundle),
        ]
        try await configure(api, webhook)
        let error = await refusal {
          _ = try await api.create(
            .configMaps, ["metadata": ["generateName": "c-", "namespace": "default"]], options: WriteOptions()
          )
        }
        try await api.delete(validating, namespace: "", name: "hooks", options: DeleteOptions())
        return error?.message
      }
      #expect(try await ask("hook", hook.port) == nil)
      #expect(hook.calls.map(\.path) == ["/x"])
      #expect(
        try await ask("empty", 443)?.hasSuffix("no endpoints available for service \"empty\"") == true)
      #expect(
        try await ask("empty", 444)?.hasSuffix("no service port 444 found for service \"empty\"") == true)
      #expect(try await ask("none", 443)?.hasSuffix("service \"none\" not found") == true)
    }
  }

  @Test func `no answer and no address of a webhook traps`() throws {
    let corpus: [JSON] = [
      [
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "response": [
          "uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": "W3sib3AiOiJhZGQifV0=",
          "warnings": ["a", "b"], "auditAnnotations": ["k": "v"],
          "status": ["code": 403, "message": "m", "reason": "r", "details": ["name": "x"]],
        ],
      ]
    ]
    let configs: [JSON] = [
      ["url": "https://user@[::1]:8443/path?x=y", "caBundle": "LS0t"],
      ["service": ["name": "n", "namespace": "ns", "path": "p", "port": 443]],
    ]
    var random = Seeded(state: 20_261_121)
    var read = 0
    for _ in 0..<4_000 {
      let base = (random.next() & 1 == 0 ? corpus : configs).randomElement(using: &random) ?? .null
      var bytes = base.bytes
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        let at = Int.random(in: 0..<bytes.count, using: &random)
        switch random.next() % 3 {
        case 0: bytes[at] = UInt8.random(in: 32...126, using: &random)
        case 1: bytes.remove(at: at)
        default: bytes.insert(UInt8.random(in: 32...126, using: &random), at: at)
        }
      }
      guard let tree = try? JSON(parsing: bytes) else { continue }
      read += 1
      if let verdict = try? AdmissionReview.verdict(tree, uid: "u", version: "v1", mayPatch: true) {
        let refusal = AdmissionReview.refusal("w", verdict.status)
        #expect((400...599).contains(refusal.code))
      }
      if let target = try? WebhookTarget(clientConfig: tree) {
        #expect(target.path.hasPrefix("/"))
        #expect(!target.hostPort.isEmpty)
      }
    }
    #expect(read > 500)
  }

  private struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state ^ (state >> 29)
    }
  }
}
