// APIs of other servers behind this one: a second server of ours is the other one, so that discovery, watches,
// OpenAPI and the word of a front proxy are what they are in life.

import ClusterClient
import ClusterControllers
import ClusterObjects
import ClusterServer
import Diagnostics
import Testing

private let flunders = """
  apiVersion: apiextensions.k8s.io/v1
  kind: CustomResourceDefinition
  metadata: {name: flunders.wardle.example.com}
  spec:
    group: wardle.example.com
    scope: Namespaced
    names: {plural: flunders, kind: Flunder, shortNames: [fl]}
    versions:
    - name: v1alpha1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {reference: {type: string, description: Points to another flunder.}}}
  """

private let flunder = """
  apiVersion: wardle.example.com/v1alpha1
  kind: Flunder
  metadata: {name: NAME, namespace: default}
  spec: {reference: r}
  """

private let apiServices = GroupVersionResource("apiregistration.k8s.io", "v1", "apiservices")

private func register(
  _ api: InProcessClient, _ group: String, _ version: String, service: String, port: Int, caBundle: String
) async throws {
  _ = try await api.create(
    .services,
    [
      "metadata": ["name": JSON(service), "namespace": "default"],
      "spec": ["type": "ExternalName", "externalName": "localhost"],
    ], options: WriteOptions())
  _ = try await api.create(
    apiServices,
    [
      "metadata": ["name": JSON("\(version).\(group)")],
      "spec": [
        "group": JSON(group), "version": JSON(version), "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": ["namespace": "default", "name": JSON(service), "port": JSON(port)],
        "caBundle": JSON(caBundle),
      ],
    ], options: WriteOptions())
}

private func condition(_ api: InProcessClient, _ name: String) async throws -> JSON? {
  let object = try await api.get(apiServices, namespace: "", name: name)
  return object.status["conditions"]?.elements.first { $0["type"] == "Available" }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct AggregationTests {
  @Test func `the API of another server is found, used and watched through this one`() async throws {
    try await withServer { server, folder in
      var settings = ServerSettings(dataFolder: folder + "/other")
      settings.port = 0
      settings.extraNames = ["remote.default.svc"]
      settings.authentication.frontProxyAuthorityFile = folder + "/data/certificates/front-proxy/ca.crt"
      settings.authentication.frontProxyNames = ["front-proxy-client"]
      let other = try await ClusterServer.start(settings)
      let kubectl = Kubectl(server: server, cache: folder)
      let api = server.client(user: "test")
      let remoteKubectl = Kubectl(server: other, cache: folder + "/cache2")
      #expect(try await remoteKubectl("apply -f -", input: flunders).status == 0)
      try await register(
        api, "wardle.example.com", "v1alpha1", service: "remote", port: other.port,
        caBundle: Base64.encode(Array(other.authorityPEM.utf8)))
      let name = "v1alpha1.wardle.example.com"
      try await eventually { try await condition(api, name)?["status"] == "True" }
      let found = try await condition(api, name)
      #expect(
        found?["reason"] == "Passed" && found?["message"] == "all checks passed",
        "\(String(describing: found))")

      // Discovery in both forms, OpenAPI, and what people type.
      try await eventually {
        try await kubectl("api-resources --api-group=wardle.example.com").output.contains("Flunder")
      }
      let legacy = try await ask(server, folder, "/apis/wardle.example.com")
      #expect(legacy.json["preferredVersion"]?["version"] == "v1alpha1", "\(legacy)")
      #expect(
        try await ask(server, folder, "/apis/wardle.example.com/v1alpha1").json.kind == "APIResourceList")
      let created = try await kubectl("create -f -", input: flunder.replacing("NAME", with: "one"))
      #expect(created.output == "flunder.wardle.example.com/one created\n", "\(created.errors)")
      #expect(try await kubectl("get fl -o name").output == "flunder.wardle.example.com/one\n")
      let explained = try await kubectl("explain flunder.spec.reference")
      #expect(explained.output.contains("Points to another flunder."), "\(explained.errors)")

      // A watch streams.
      async let watched = ask(
        server, folder, "/apis/wardle.example.com/v1alpha1/flunders?watch=true&timeoutSeconds=3")
      try await Task.sleep(for: .milliseconds(500))
      #expect(try await kubectl("create -f -", input: flunder.replacing("NAME", with: "two")).status == 0)
      let lines = try await watched.body.split(separator: "\n")
      #expect(lines.count == 2 && lines.allSatisfy { $0.contains("\"ADDED\"") }, "\(lines)")

      // The other server knows who asks, and judges for itself.
      #expect(
        try await kubectl("create clusterrole fl --verb=list --resource=flunders.wardle.example.com").status
          == 0)
      #expect(try await kubectl("create clusterrolebinding fl --clusterrole=fl --user=bob").status == 0)
      var bob = Program(status: 0, output: "", errors: "")
      try await eventually {
        bob = try await kubectl("get fl --as=bob")
        return bob.errors.contains(
          #"User "bob" cannot list resource "flunders" in API group "wardle.example.com""#)
      }

      // It goes away: the condition says so, requests are refused, nothing hangs.
      await other.shutdown()
      try await eventually { try await condition(api, name)?["status"] == "False" }
      #expect(try await condition(api, name)?["reason"] == "FailedDiscoveryCheck")
      let refused = try await ask(server, folder, "/apis/wardle.example.com/v1alpha1/flunders")
      #expect(refused.code == 503 && refused.json["reason"] == "ServiceUnavailable", "\(refused)")
      let aggregated = try await ask(
        server, folder, "/apis",
        headers: ["accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"])
      let group = aggregated.json["items"]?.elements.first { $0.name == "wardle.example.com" }
      #expect(group?["versions"]?[0]?["freshness"] == "Stale", "\(String(describing: group))")
      // Without its APIService it is nobody's.
      #expect(try await kubectl("delete apiservice \(name)").status == 0)
      try await eventually {
        try await ask(server, folder, "/apis/wardle.example.com/v1alpha1/flunders").code == 404
      }
    }
  }

  @Test func `a namespace goes with what another server keeps in it, and stays while that server is silent`()
    async throws
  {
    try await withServer { server, folder in
      var settings = ServerSettings(dataFolder: folder + "/other")
      settings.port = 0
      settings.extraNames = ["remote.default.svc"]
      settings.authentication.frontProxyAuthorityFile = folder + "/data/certificates/front-proxy/ca.crt"
      settings.authentication.frontProxyNames = ["front-proxy-client"]
      let other = try await ClusterServer.start(settings)
      let (api, remote) = (server.client(user: "test"), other.client(user: "test"))
      let remoteKubectl = Kubectl(server: other, cache: folder + "/cache2")
      #expect(try await remoteKubectl("apply -f -", input: flunders).status == 0)
      let group = "wardle.example.com"
      try await register(
        api, group, "v1alpha1", service: "remote", port: other.port,
        caBundle: Base64.encode(Array(other.authorityPEM.utf8)))
      try await eventually { server.aggregatedResources("\(group)/v1alpha1")?.count == 1 }
      #expect(server.aggregatedResources("apps/v1") == nil)

      let resource = GroupVersionResource(group, "v1alpha1", "flunders")
      func name(_ number: Int) -> String { "doomed-\(number)" }
      for number in 0..<2 {
        let space: JSON = ["metadata": ["name": JSON(name(number))]]
        _ = try await api.create(.namespaces, space, options: WriteOptions())
        _ = try await remote.create(.namespaces, space, options: WriteOptions())
        _ = try await remote.create(
          resource,
          [
            "apiVersion": JSON("\(group)/v1alpha1"), "kind": "Flunder",
            "metadata": ["name": "one", "namespace": JSON(name(number))], "spec": ["reference": "r"],
          ], options: WriteOptions())
      }
      var controllers = ControllerSettings()
      controllers.aggregatedResources = { groupVersion in
        server.aggregatedResources(groupVersion)?.map {
          TrackedResource($0.resource, kind: $0.kind, isNamespaced: $0.isNamespaced)
        }
      }
      let informers = SharedInformers(api: api, metrics: Metrics())
      let running = startControllers(
        api: api, informers: informers, settings: controllers, metrics: Metrics())
      func isGone(_ number: Int) async throws -> Bool {
        (try? await api.get(.namespaces, namespace: "", name: name(number))) == nil
      }
      try await api.delete(.namespaces, namespace: "", name: name(0), options: DeleteOptions())
      try await eventually { try await isGone(0) }
      let left = try await remote.list(resource, namespace: "", options: ListOptions()).items
      #expect(left.map(\.namespace) == [name(1)])

      await other.shutdown()
      try await eventually { try await condition(api, "v1alpha1.\(group)")?["status"] == "False" }
      try await api.delete(.namespaces, namespace: "", name: name(1), options: DeleteOptions())
      try await eventually {
        let space = try await api.get(.namespaces, namespace: "", name: name(1))
        let said = space.condition("NamespaceDeletionDiscoveryFailure")
        return said?["status"] == "True" && said?["message"]?.string?.contains(group) == true
      }
      // Whoever gives the API up lets the namespace go.
      try await api.delete(apiServices, namespace: "", name: "v1alpha1.\(group)", options: DeleteOptions())
      try await eventually { try await isGone(1) }
      await running.stop()
      await informers.stop()
    }
  }

  @Test func `another server may not redirect, and is told nothing by a client's own headers`() async throws {
    try await withServer { server, folder in
      let api = server.client(user: "test")
      try await WebhookServer.with(folder, names: ["hook.default.svc"]) { path, _ in
        path.hasSuffix("/v1")
          ? .raw(status: 200, headers: [], body: "{}")
          : .raw(status: 302, headers: [("location", "https://elsewhere.example.com/")], body: "")
      } _: { hook in
        try await register(
          api, "moved.example.com", "v1", service: "hook", port: hook.port, caBundle: hook.caBundle)
        try await eventually { try await condition(api, "v1.moved.example.com")?["status"] == "True" }
        let answer = try await ask(server, folder, "/apis/moved.example.com/v1/things")
        #expect(answer.code == 502 && answer.body.contains("attempted to redirect"), "\(answer)")
      }
    }
  }

  @Test func `group versions of this server have local APIServices, and others are told whom to trust`()
    async throws
  {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      let api = server.client(user: "test")
      for name in ["v1.", "v1.apps", "v1.apiextensions.k8s.io"] {
        try await eventually { try await condition(api, name)?["reason"] == "Local" }
      }
      let listed = try await kubectl("get apiservice v1.apps --no-headers")
      #expect(listed.output.contains("Local") && listed.output.contains("True"), "\(listed.output)")
      try await eventually {
        let map = try await api.get(
          .configMaps, namespace: "kube-system", name: "extension-apiserver-authentication")
        return map.at("data", "requestheader-client-ca-file")?.string?.contains("BEGIN CERTIFICATE") == true
          && map.at("data", "client-ca-file")?.string == server.authorityPEM
      }
      // A definition's group version comes and goes.
      _ = try await kubectl("apply -f -", input: crontabs)
      try await eventually { try await condition(api, "v1.stable.example.com")?["reason"] == "Local" }
      _ = try await kubectl("delete crd crontabs.stable.example.com")
      try await eventually {
        (try? await api.get(apiServices, namespace: "", name: "v1.stable.example.com")) == nil
      }
    }
  }

  @Test func `an APIService without its Service says what is missing`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      _ = try await api.create(
        apiServices,
        [
          "metadata": ["name": "v1.gone.example.com"],
          "spec": [
            "group": "gone.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "service": ["namespace": "default", "name": "gone"],
          ],
        ], options: WriteOptions())
      try await eventually { try await condition(api, "v1.gone.example.com")?["reason"] == "ServiceNotFound" }
      #expect(
        try await condition(api, "v1.gone.example.com")?["message"]
          == "service/gone in \"default\" is not present")
    }
  }
}
