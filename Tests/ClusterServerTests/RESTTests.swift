// The rules of the API, through the client that has no HTTP: the same path that users take.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let pod: JSON = [
  "metadata": ["name": "p", "namespace": "default"],
  "spec": ["containers": [["name": "c", "image": "x"]]],
]
private let deployment: JSON = [
  "metadata": ["name": "d", "namespace": "default"],
  "spec": [
    "selector": ["matchLabels": ["a": "b"]],
    "template": [
      "metadata": ["labels": ["a": "b"]], "spec": ["containers": [["name": "c", "image": "x"]]],
    ],
  ],
]

private func service(_ name: String, _ spec: JSON = [:]) -> JSON {
  var spec = spec
  if spec["ports"] == nil { spec["ports"] = [["port": 80]] }
  return ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
}

private func configMap(_ name: String) -> JSON {
  ["metadata": ["name": JSON(name), "namespace": "default"]]
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct RESTTests {
  private func withAPI(_ body: (InProcessClient) async throws -> Void) async throws {
    try await withServer { server, _ in try await body(server.client(user: "test")) }
  }

  private func refusal(_ body: () async throws -> Void) async -> APIStatusError? {
    do {
      try await body()
      return nil
    } catch { return error as? APIStatusError }
  }

  @Test func `a stale resourceVersion is a conflict and nothing changes`() async throws {
    try await withAPI { api in
      var first = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
      first["data"] = ["a": "1"]
      let second = try await api.update(.configMaps, first, subresource: nil, options: WriteOptions())
      first["data"] = ["a": "2"]
      let error = await refusal {
        _ = try await api.update(.configMaps, first, subresource: nil, options: WriteOptions())
      }
      #expect(error?.isConflict == true)
      let now = try await api.get(.configMaps, namespace: "default", name: "c")
      #expect(now == second)
      let same = try await api.update(.configMaps, second, subresource: nil, options: WriteOptions())
      #expect(same.resourceVersion == second.resourceVersion, "writing the same again is no change")
    }
  }

  @Test func `status and spec are written apart, and only a spec change counts`() async throws {
    try await withAPI { api in
      var object = deployment
      object["status"] = ["replicas": 7]
      let created = try await api.create(.deployments, object, options: WriteOptions())
      #expect(created.at("status", "replicas") == nil)
      #expect(created.generation == 1)
      var both = created
      both.set(3, at: "spec", "replicas")
      both.set(5, at: "status", "replicas")
      let main = try await api.update(.deployments, both, subresource: nil, options: WriteOptions())
      #expect(main.at("spec", "replicas")?.int == 3)
      #expect(main.at("status", "replicas") == nil)
      #expect(main.generation == 2)
      both = main
      both.set(9, at: "spec", "replicas")
      both.set(5, at: "status", "replicas")
      let status = try await api.update(.deployments, both, subresource: "status", options: WriteOptions())
      #expect(status.at("spec", "replicas")?.int == 3)
      #expect(status.at("status", "replicas")?.int == 5)
      #expect(status.generation == 2)
    }
  }

  @Test func `generated names are their base and five letters`() async throws {
    try await withAPI { api in
      let made = try await api.create(
        .configMaps, ["metadata": ["generateName": "c-", "namespace": "default"]], options: WriteOptions())
      #expect(made.name.hasPrefix("c-"))
      #expect(made.name.count == 7)
      #expect(made.uid.count == 36)
    }
  }

  @Test func `a finalizer keeps an object until it is gone`() async throws {
    try await withAPI { api in
      var object = configMap("c")
      object.set(["test/x"], at: "metadata", "finalizers")
      _ = try await api.create(.configMaps, object, options: WriteOptions())
      try await api.delete(.configMaps, namespace: "default", name: "c", options: DeleteOptions())
      let held = try await api.get(.configMaps, namespace: "default", name: "c")
      #expect(held.isTerminating)
      _ = try await api.patch(
        .configMaps, namespace: "default", name: "c", patch: .merge(["metadata": ["finalizers": .null]]),
        subresource: nil, options: WriteOptions())
      let error = await refusal { _ = try await api.get(.configMaps, namespace: "default", name: "c") }
      #expect(error?.isNotFound == true)
    }
  }

  @Test func `a placed pod is given its grace, an unplaced one goes at once`() async throws {
    try await withAPI { api in
      _ = try await api.create(.pods, pod, options: WriteOptions())
      try await api.delete(.pods, namespace: "default", name: "p", options: DeleteOptions())
      #expect(
        await refusal { _ = try await api.get(.pods, namespace: "default", name: "p") }?.isNotFound == true)

      _ = try await api.create(.pods, pod, options: WriteOptions())
      _ = try await api.createSubresource(
        .pods, namespace: "default", name: "p", subresource: "binding", ["target": ["name": "n1"]])
      let bound = try await api.get(.pods, namespace: "default", name: "p")
      #expect(bound.at("spec", "nodeName")?.string == "n1")
      let conditions = bound.at("status", "conditions")?.elements ?? []
      #expect(conditions.contains { $0["type"]?.string == "PodScheduled" && $0["status"]?.string == "True" })
      let twice = await refusal {
        _ = try await api.createSubresource(
          .pods, namespace: "default", name: "p", subresource: "binding", ["target": ["name": "n2"]])
      }
      #expect(twice?.isConflict == true)
      try await api.delete(.pods, namespace: "default", name: "p", options: DeleteOptions())
      let going = try await api.get(.pods, namespace: "default", name: "p")
      #expect(going.at("metadata", "deletionGracePeriodSeconds")?.int == 30)
      // The node agent's last word.
      try await api.delete(
        .pods, namespace: "default", name: "p", options: DeleteOptions(gracePeriodSeconds: 0))
      #expect(
        await refusal { _ = try await api.get(.pods, namespace: "default", name: "p") }?.isNotFound == true)
    }
  }

  @Test func `a namespace goes when its finalizer is taken, and takes nothing new meanwhile`() async throws {
    try await withAPI { api in
      _ = try await api.create(.namespaces, ["metadata": ["name": "n"]], options: WriteOptions())
      try await api.delete(.namespaces, namespace: "", name: "n", options: DeleteOptions())
      var going = try await api.get(.namespaces, namespace: "", name: "n")
      #expect(going.at("status", "phase")?.string == "Terminating")
      let error = await refusal {
        _ = try await api.create(
          .configMaps, ["metadata": ["name": "c", "namespace": "n"]], options: WriteOptions())
      }
      #expect(error?.code == 403)
      #expect(error?.message.contains("because it is being terminated") == true)
      going.set([], at: "spec", "finalizers")
      _ = try await api.update(.namespaces, going, subresource: "finalize", options: WriteOptions())
      #expect(
        await refusal { _ = try await api.get(.namespaces, namespace: "", name: "n") }?.isNotFound == true)
    }
  }

  @Test func `Services get addresses and ports, once each, and give them back`() async throws {
    try await withAPI { api in
      var seen: Set<String> = []
      for index in 0..<40 {
        let made = try await api.create(
          .services, service("s\(index)", ["type": "NodePort"]), options: WriteOptions())
        seen.insert(made.at("spec", "clusterIP")?.string ?? "")
        seen.insert(made.at("spec", "ports")?[0]?["nodePort"]?.integer.map(String.init) ?? "")
      }
      #expect(seen.count == 80)
      let dns = service("dns", ["clusterIP": "10.43.0.10"])
      _ = try await api.create(.services, dns, options: WriteOptions())
      let taken = await refusal {
        _ = try await api.create(
          .services, service("dns2", ["clusterIP": "10.43.0.10"]), options: WriteOptions())
      }
      #expect(taken?.message.contains("provided IP is already allocated") == true)
      try await api.delete(.services, namespace: "default", name: "dns", options: DeleteOptions())
      _ = try await api.create(
        .services, service("dns2", ["clusterIP": "10.43.0.10"]), options: WriteOptions())
      let outside = await refusal {
        _ = try await api.create(.services, service("x", ["clusterIP": "10.44.0.1"]), options: WriteOptions())
      }
      #expect(outside?.code == 422)
      let headless = try await api.create(
        .services, service("h", ["clusterIP": "None"]), options: WriteOptions())
      #expect(headless.at("spec", "clusterIPs")?[0]?.string == "None")
    }
  }

  @Test func `an update without addresses keeps them; another address is refused`() async throws {
    try await withAPI { api in
      let made = try await api.create(.services, service("s", ["type": "NodePort"]), options: WriteOptions())
      let kept = try await api.update(
        .services, service("s", ["type": "NodePort", "ports": [["port": 80, "targetPort": 81]]]),
        subresource: nil, options: WriteOptions())
      #expect(kept.at("spec", "clusterIP") == made.at("spec", "clusterIP"))
      #expect(kept.at("spec", "ports")?[0]?["nodePort"] == made.at("spec", "ports")?[0]?["nodePort"])
      let error = await refusal {
        _ = try await api.update(
          .services, service("s", ["clusterIP": "10.43.7.7"]), subresource: nil, options: WriteOptions())
      }
      #expect(error?.message.contains("may not change once set") == true)
      let plain = try await api.update(.services, service("s"), subresource: nil, options: WriteOptions())
      #expect(plain.at("spec", "ports")?[0]?["nodePort"] == nil)
    }
  }

  @Test func `pages of a list show one moment`() async throws {
    try await withAPI { api in
      for index in 0..<7 {
        _ = try await api.create(.configMaps, configMap("c\(index)"), options: WriteOptions())
      }
      let first = try await api.list(.configMaps, namespace: "default", options: ListOptions(limit: 3))
      try await api.delete(.configMaps, namespace: "default", name: "c5", options: DeleteOptions())
      _ = try await api.create(.configMaps, configMap("c55"), options: WriteOptions())
      var names = first.items.map(\.name)
      var token = first.continueToken
      while let next = token {
        var options = ListOptions(limit: 3)
        options.continueToken = next
        let page = try await api.list(.configMaps, namespace: "default", options: options)
        #expect(page.resourceVersion == first.resourceVersion)
        names += page.items.map(\.name)
        token = page.continueToken
      }
      #expect(names == (0..<7).map { "c\($0)" })
      let now = try await api.list(.configMaps, namespace: "default", options: ListOptions())
      #expect(now.items.map(\.name) == ["c0", "c1", "c2", "c3", "c4", "c55", "c6"])
    }
  }

  @Test func `a watch by label sees objects come, change and leave its selection`() async throws {
    try await withAPI { api in
      let list = try await api.list(.configMaps, namespace: "", options: ListOptions())
      let events = try await api.watch(
        .configMaps, namespace: "",
        options: ListOptions(labelSelector: "a=1", resourceVersion: list.resourceVersion))
      _ = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
      func patch(_ changes: JSON) async throws {
        _ = try await api.patch(
          .configMaps, namespace: "default", name: "c", patch: .merge(changes), subresource: nil,
          options: WriteOptions())
      }
      try await patch(["metadata": ["labels": ["a": "1"]]])
      try await patch(["data": ["x": "y"]])
      try await patch(["metadata": ["labels": ["a": "2"]]])
      var seen: [String] = []
      for try await event in events {
        switch event {
        case .added: seen.append("added")
        case .modified: seen.append("modified")
        case .deleted(let object):
          seen.append("deleted")
          #expect(object.labels == ["a": "1"], "the last state that matched")
        case .bookmark: break
        }
        if seen.count == 3 { break }
      }
      #expect(seen == ["added", "modified", "deleted"])
    }
  }

  @Test func `patches of six at once lose nothing`() async throws {
    try await withAPI { api in
      _ = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<6 {
          group.addTask {
            _ = try await api.patch(
              .configMaps, namespace: "default", name: "c", patch: .merge(["data": ["k\(index)": "v"]]),
              subresource: nil, options: WriteOptions())
          }
        }
        try await group.waitForAll()
      }
      let now = try await api.get(.configMaps, namespace: "default", name: "c")
      #expect(now["data"]?.object?.count == 6)
    }
  }

  @Test(arguments: [
    (Patch.strategicMerge(["data": ["k": 1]]), #"{"data":{"k":1}}"#),
    (.strategicMerge(["data": "x"]), #"{"data":"x"}"#), (.merge(["data": ["k": 1]]), #""data":{"k":1}"#),
    (.json([["op": "add", "path": "/data", "value": "x"]]), #""data":"x""#),
  ])
  func `a patch that makes something else of the object is an invalid patch`(patch: Patch, told: String)
    async throws
  {
    try await withAPI { api in
      _ = try await api.create(.configMaps, configMap("c"), options: WriteOptions())
      let refusal = try await #require(throws: APIStatusError.self) {
        _ = try await api.patch(
          .configMaps, namespace: "default", name: "c", patch: patch, subresource: nil,
          options: WriteOptions())
      }
      #expect(refusal.code == 422 && refusal.reason == "Invalid", "\(refusal)")
      let cause = try #require(refusal.details["causes"]?.elements.first)
      #expect(cause["field"] == "patch" && refusal.details["kind"] == nil, "\(refusal)")
      let text = cause["message"]?.string ?? ""
      #expect(text.hasPrefix("Invalid value: ") && text.contains("json: cannot unmarshal"), "\(text)")
      #expect(text.contains(JSON.string(told).text.dropFirst().dropLast()), "\(text)")
    }
  }
}
