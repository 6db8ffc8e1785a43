// The keeper against an API server in this process: definitions, objects, statuses as clients read them.

import ClusterClient
import ClusterObjects
import ClusterServer
import ClusterView
import DataPlane
import Diagnostics
import GatewayAPI
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct KeeperTests {
  private struct Failed: Error { var text: String }

  /// A server with Gateway API, and a keeper that follows it.
  private func withKeeper(
    installs: Bool = true, _ body: (ClusterServer, any ClusterAPI) async throws -> Void
  ) async throws {
    try await withServer { running, _ in
      if installs { try await running.installGatewayAPI() }
      let informers = SharedInformers(api: running.client(user: "system:kube-controller-manager", groups: []))
      let follower = ViewFollower()
      let keeper = GatewayKeeper(
        api: running.controllerClient(GatewayKeeper.account), informers: informers,
        settings: GatewaySettings(addresses: ["192.0.2.1"]))
      let subscription = follower.subscribe()
      let loop = Task { for await _ in subscription.changes { await keeper.take(follower.view) } }
      func end() async {
        loop.cancel()
        follower.stop()
        await keeper.stop()
        await informers.stop()
      }
      do {
        await follower.followGateways(informers, asking: .milliseconds(50))
        try await follower.start(informers)
        try await body(running, running.client(user: "admin", groups: ["system:masters"]))
      } catch {
        await end()
        throw error
      }
      await end()
    }
  }

  private func create(_ api: any ClusterAPI, _ manifests: String) async throws {
    for document in try YAML.parseAll(manifests) {
      let object = document.value
      let resource: GroupVersionResource =
        switch object.kind {
        case "Namespace": .namespaces
        case "Service": .services
        case "Secret": .secrets
        case "GatewayClass": .gatewayClasses
        case "Gateway": .gateways
        case "ListenerSet": .listenerSets
        case "ReferenceGrant": .referenceGrants
        default: GatewayRoute.Kind(rawValue: object.kind)?.resource ?? .gatewayClasses
        }
      var new = object
      new.set(nil, at: "metadata", "generation")
      _ = try await api.create(resource, new, options: WriteOptions())
    }
  }

  /// Reads an object until it is as wanted.
  private func wait(
    _ api: any ClusterAPI, _ resource: GroupVersionResource, _ namespace: String, _ name: String,
    until isWanted: (JSON) -> Bool
  ) async throws -> JSON {
    var last = JSON.null
    let deadline = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < deadline {
      last = try await api.get(resource, namespace: namespace, name: name)
      if isWanted(last) { return last }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Failed(text: "\(resource) \(name): \(last.status.prettyText)")
  }

  private func state(_ conditions: JSON?, _ type: String) -> String {
    let found = conditions?.elements.first { $0["type"]?.string == type }
    return "\(found?["status"]?.string ?? "") \(found?["reason"]?.string ?? "")"
  }

  @Test func `classes, Gateways and routes get their status, and change with what they name`() async throws {
    try await withKeeper { _, api in
      try await create(api, base)
      try await create(
        api,
        gateway(
          "gw", "name: http, port: 80, protocol: HTTP",
          "name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}"))
      try await create(api, route("a", to: "{name: gw}"))
      try await create(api, route("lost", to: "{name: gw}", backend: "{name: missing, port: 80}"))
      let kind = try await wait(api, .gatewayClasses, "", "weft") {
        state($0.at("status", "conditions"), "Accepted") == "True Accepted"
      }
      #expect(kind.at("status", "conditions")?.elements.count == 1)
      let gw = try await wait(api, .gateways, "infra", "gw") {
        $0.at("status", "listeners")?.elements.map { $0["attachedRoutes"] } == [2, 2]
      }
      #expect(gw.at("status", "addresses") == [["type": "IPAddress", "value": "192.0.2.1"]])
      #expect(state(gw.at("status", "conditions"), "Programmed") == "True Programmed")
      #expect(
        state(gw.at("status", "listeners")?.elements.last?["conditions"], "ResolvedRefs")
          == "False InvalidCertificateRef")
      let lost = try await wait(api, .httpRoutes, "infra", "lost") {
        $0.at("status", "parents")?.elements.count == 1
      }
      let parent = lost.at("status", "parents")?.elements.first
      #expect(state(parent?["conditions"], "ResolvedRefs") == "False BackendNotFound")
      #expect(parent?.at("parentRef", "kind") == "Gateway", "the parent is told as it was defaulted")

      // What was missing comes: a Service, and the Secret, of which no view knows.
      try await create(
        api,
        """
        apiVersion: v1
        kind: Service
        metadata: {name: missing, namespace: infra}
        spec: {ports: [{port: 80}]}
        """)
      let pair = TestCertificate.pair
      _ = try await api.create(
        .secrets,
        [
          "metadata": ["name": "good", "namespace": "infra"], "type": "kubernetes.io/tls",
          "data": ["tls.crt": JSON(Base64.encode(pair.chain)), "tls.key": JSON(Base64.encode(pair.key))],
        ], options: WriteOptions())
      _ = try await wait(api, .httpRoutes, "infra", "lost") {
        state($0.at("status", "parents")?.elements.first?["conditions"], "ResolvedRefs")
          == "True ResolvedRefs"
      }
      _ = try await wait(api, .gateways, "infra", "gw") {
        state($0.at("status", "listeners")?.elements.last?["conditions"], "Programmed") == "True Programmed"
      }
      // A route goes, and is counted no more.
      try await api.delete(.httpRoutes, namespace: "infra", name: "lost", options: DeleteOptions())
      _ = try await wait(api, .gateways, "infra", "gw") {
        $0.at("status", "listeners")?.elements.map { $0["attachedRoutes"] } == [1, 1]
      }
    }
  }

  @Test func `when all is said nothing more is written`() async throws {
    try await withKeeper { _, api in
      try await create(api, base)
      try await create(api, gateway("gw", "name: http, port: 80, protocol: HTTP"))
      for index in 0..<40 { try await create(api, route("r\(index)", to: "{name: gw}")) }
      let settled = try await wait(api, .gateways, "infra", "gw") {
        $0.at("status", "listeners")?.elements.first?["attachedRoutes"] == 40
      }
      for index in 0..<40 {
        _ = try await wait(api, .httpRoutes, "infra", "r\(index)") {
          $0.at("status", "parents")?.elements.count == 1
        }
      }
      // Others change; what the Gateway says stays, to the revision.
      try await create(
        api,
        """
        apiVersion: v1
        kind: Service
        metadata: {name: another, namespace: infra}
        spec: {ports: [{port: 80}]}
        """)
      try await create(api, gateway("second", "name: http, port: 81, protocol: HTTP"))
      _ = try await wait(api, .gateways, "infra", "second") {
        state($0.at("status", "conditions"), "Accepted") == "True Accepted"
      }
      let after = try await api.get(.gateways, namespace: "infra", name: "gw")
      #expect(after.resourceVersion == settled.resourceVersion)
    }
  }

  @Test func `another controller's part of a status and ours live side by side`() async throws {
    try await withKeeper { _, api in
      try await create(api, base)
      try await create(api, gateway("gw", "name: http, port: 80, protocol: HTTP"))
      try await create(api, route("a", to: "{name: gw}, {name: theirs}"))
      _ = try await wait(api, .httpRoutes, "infra", "a") { $0.at("status", "parents")?.elements.count == 1 }
      let theirs: JSON = [
        "parentRef": ["group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "theirs"],
        "controllerName": "example.com/other",
        "conditions": [
          [
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
          ]
        ],
      ]
      try await api.modify(.httpRoutes, ObjectKey("infra", "a"), subresource: "status") { route in
        var route = route
        route.set(.array((route.at("status", "parents")?.elements ?? []) + [theirs]), at: "status", "parents")
        return route
      }
      _ = try await api.patch(
        .httpRoutes, namespace: "infra", name: "a",
        patch: .merge(["spec": ["hostnames": ["a.example.org"]]]), subresource: nil, options: WriteOptions())
      let route = try await wait(api, .httpRoutes, "infra", "a") {
        $0.at("status", "parents")?.elements.contains {
          $0["controllerName"]?.string == gatewayControllerName
            && $0["conditions"]?.elements.first?["observedGeneration"] == 2
        } == true
      }
      #expect(route.at("status", "parents")?.elements.contains(theirs) == true)
    }
  }

  @Test func `a cluster that gets the definitions later is followed from then on`() async throws {
    try await withKeeper(installs: false) { server, api in
      try await server.installGatewayAPI()
      try await create(api, base)
      _ = try await wait(api, .gatewayClasses, "", "weft") {
        state($0.at("status", "conditions"), "Accepted") == "True Accepted"
      }
    }
  }

  @Test func `a Service's annotation without effect is an event of the routes that lead there`() async throws
  {
    try await withKeeper { _, api in
      try await create(api, base)
      try await create(api, gateway("gw", "name: http, port: 80, protocol: HTTP"))
      try await create(api, route("a", to: "{name: gw}"))
      try await create(api, route("b", to: "{name: gw}", backend: "{name: two, port: 8080}"))
      try await api.modify(.services, ObjectKey("infra", "one")) { live in
        var service = live
        service.set("often", at: "metadata", "annotations", "weft.dev/max-failures")
        return service
      }
      let deadline = ContinuousClock.now + .seconds(60)
      var told: [JSON] = []
      while told.isEmpty, ContinuousClock.now < deadline {
        told = try await api.list(.events, namespace: "infra", options: ListOptions()).items
        try await Task.sleep(for: .milliseconds(20))
      }
      try #require(told.count == 1)
      #expect(told[0].at("involvedObject", "kind")?.string == "HTTPRoute")
      #expect(told[0].at("involvedObject", "name")?.string == "a")
      #expect(told[0]["type"]?.string == "Warning" && told[0]["reason"]?.string == "UnsupportedAnnotation")
      #expect(told[0]["message"]?.string?.contains("weft.dev/max-failures") == true)
    }
  }
}
