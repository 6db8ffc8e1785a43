// Quotas hold whoever writes at once, and say what upstream says.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import Testing

private let quotas = GroupVersionResource("", "v1", "resourcequotas")
private let claims = GroupVersionResource("", "v1", "persistentvolumeclaims")

private func quota(_ name: String, _ hard: JSON, _ more: JSON = [:]) -> JSON {
  var spec: JSON = ["hard": hard]
  for (key, value) in more.object ?? [:] { spec[key] = value }
  return ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
}

private func configMap(_ name: String) -> JSON {
  ["metadata": ["name": JSON(name), "namespace": "default"]]
}

private func pod(_ name: String, _ resources: JSON = [:], _ more: JSON = [:]) -> JSON {
  var spec: JSON = ["containers": [["name": "c", "image": "x", "resources": resources]]]
  for (key, value) in more.object ?? [:] { spec[key] = value }
  return ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct ResourceQuotaTests {
  private func withAPI(_ body: (InProcessClient) async throws -> Void) async throws {
    try await withServer { server, _ in try await body(server.client(user: "test")) }
  }

  @discardableResult private func create(
    _ api: InProcessClient, _ resource: GroupVersionResource, _ object: JSON
  ) async throws -> JSON { try await api.create(resource, object, options: WriteOptions()) }

  private func used(_ api: InProcessClient, _ name: String) async throws -> JSON {
    try await api.get(quotas, namespace: "default", name: name).at("status", "used") ?? .null
  }

  @Test func `sixty-four writers at once never get past the limit, and none is refused below it`()
    async throws
  {
    try await withAPI { api in
      try await create(api, .configMaps, configMap("before"))
      try await create(api, quotas, quota("few", ["configmaps": "101", "count/configmaps": "101"]))
      let refusals = await withTaskGroup(of: [APIStatusError].self) { group in
        for writer in 0..<64 {
          group.addTask {
            var refusals: [APIStatusError] = []
            for round in 0..<4 {
              if let error = await refusal({
                _ = try await api.create(
                  .configMaps, configMap("m-\(writer)-\(round)"), options: WriteOptions())
              }) {
                refusals.append(error)
              }
            }
            return refusals
          }
        }
        return await group.reduce(into: []) { $0 += $1 }
      }
      let stored = try await api.list(.configMaps, namespace: "default", options: ListOptions()).items
      #expect(stored.count == 101)
      #expect(refusals.count == 256 - 100)
      #expect(Set(refusals.map(\.code)) == [403])
      #expect(
        refusals.first?.message.contains(
          "is forbidden: exceeded quota: few, requested: configmaps=1,count/configmaps=1, used: configmaps=101,count/configmaps=101, limited: configmaps=101,count/configmaps=101"
        ) == true, "\(refusals.first?.message ?? "")")
      #expect(try await used(api, "few") == ["configmaps": "101", "count/configmaps": "101"])
    }
  }

  @Test func `a writer of the status and many creators do not lose each other's changes`() async throws {
    try await withAPI { api in
      try await create(api, quotas, quota("q", ["configmaps": "1000"]))
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          for round in 0..<40 {
            _ = try await api.patch(
              quotas, namespace: "default", name: "q",
              patch: .merge(["metadata": ["labels": ["round": JSON("\(round)")]]]), subresource: nil,
              options: WriteOptions())
          }
        }
        for writer in 0..<64 {
          group.addTask {
            for round in 0..<3 {
              _ = try await api.create(
                .configMaps, configMap("m-\(writer)-\(round)"), options: WriteOptions())
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await used(api, "q") == ["configmaps": "192"])
    }
  }

  @Test func `a pod under a compute quota must say what it needs, and is charged for it`() async throws {
    try await withAPI { api in
      try await create(
        api, quotas,
        quota(
          "compute",
          ["pods": "2", "requests.cpu": "1", "limits.memory": "1Gi", "requests.example.com/gpu": "1"]))
      let silent = await refusal { try await create(api, .pods, pod("silent")) }
      #expect(
        silent?.message
          == "pods \"silent\" is forbidden: failed quota: compute: must specify limits.memory for: c; requests.cpu for: c"
      )
      try await create(
        api, .pods,
        pod(
          "one",
          [
            "requests": ["cpu": "600m", "example.com/gpu": "1"],
            "limits": ["memory": "512Mi", "example.com/gpu": "1"],
          ]))
      #expect(
        try await used(api, "compute")
          == [
            "limits.memory": "512Mi", "pods": "1", "requests.cpu": "600m", "requests.example.com/gpu": "1",
          ])
      let large = await refusal {
        try await create(
          api, .pods, pod("large", ["requests": ["cpu": "500m"], "limits": ["memory": "1Gi"]]))
      }
      #expect(
        large?.message
          == "pods \"large\" is forbidden: exceeded quota: compute, requested: limits.memory=1Gi,requests.cpu=500m, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1"
      )
    }
  }

  @Test func `should verify ResourceQuota with terminating and best effort scopes`() async throws {
    try await withAPI { api in
      for scope in ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"] {
        try await create(
          api, quotas, quota(scope.lowercased(), ["pods": "5"], ["scopes": [JSON(scope)]]))
      }
      try await create(
        api, quotas,
        quota(
          "critical", ["pods": "1"],
          [
            "scopeSelector": [
              "matchExpressions": [
                ["scopeName": "PriorityClass", "operator": "In", "values": ["system-cluster-critical"]]
              ]
            ]
          ]))
      try await create(api, .pods, pod("long", ["requests": ["cpu": "1"]]))
      try await create(api, .pods, pod("short", [:], ["activeDeadlineSeconds": 60]))
      try await create(api, .pods, pod("c1", [:], ["priorityClassName": "system-cluster-critical"]))
      #expect(try await used(api, "terminating") == ["pods": "1"])
      #expect(try await used(api, "notterminating") == ["pods": "2"])
      #expect(try await used(api, "besteffort") == ["pods": "2"])
      #expect(try await used(api, "notbesteffort") == ["pods": "1"])
      let second = await refusal {
        try await create(api, .pods, pod("c2", [:], ["priorityClassName": "system-cluster-critical"]))
      }
      #expect(second?.message.contains("exceeded quota: critical, requested: pods=1, used: pods=1") == true)
    }
  }

  @Test func `services, their ports and claims are charged when they change, too`() async throws {
    try await withAPI { api in
      try await create(
        api, quotas,
        quota(
          "net",
          [
            "services": "3", "services.nodeports": "2", "services.loadbalancers": "1",
            "requests.storage": "10Gi", "fast.storageclass.storage.k8s.io/requests.storage": "4Gi",
          ]))
      var service = try await create(
        api, .services,
        ["metadata": ["name": "s", "namespace": "default"], "spec": ["ports": [["port": 80]]]])
      service.set("NodePort", at: "spec", "type")
      service = try await api.update(.services, service, subresource: nil, options: WriteOptions())
      var status = try await used(api, "net")
      #expect(status["services"] == "2", "the API's own Service counts")
      #expect(status["services.nodeports"] == "1")
      service.set(
        [["port": 80, "name": "a"], ["port": 81, "name": "b"], ["port": 82, "name": "c"]], at: "spec", "ports"
      )
      let more = await refusal {
        _ = try await api.update(.services, service, subresource: nil, options: WriteOptions())
      }
      #expect(
        more?.message
          == "services \"s\" is forbidden: exceeded quota: net, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2"
      )
      func claim(_ name: String, _ size: String, _ storageClass: String) -> JSON {
        [
          "metadata": ["name": JSON(name), "namespace": "default"],
          "spec": [
            "accessModes": ["ReadWriteOnce"], "storageClassName": JSON(storageClass),
            "resources": ["requests": ["storage": JSON(size)]],
          ],
        ]
      }
      try await create(api, claims, claim("a", "3Gi", "fast"))
      #expect(await refusal { try await create(api, claims, claim("b", "2Gi", "fast")) }?.code == 403)
      try await create(api, claims, claim("c", "7Gi", "slow"))
      status = try await used(api, "net")
      #expect(status["requests.storage"] == "10Gi")
      #expect(status["fast.storageclass.storage.k8s.io/requests.storage"] == "3Gi")
    }
  }

  @Test func `a dry run is judged and not charged; a raised limit holds at once`() async throws {
    try await withAPI { api in
      try await create(api, quotas, quota("q", ["secrets": "1"]))
      let secret: JSON = ["metadata": ["name": "s", "namespace": "default"]]
      var options = WriteOptions()
      options.dryRun = true
      _ = try await api.create(.secrets, secret, options: options)
      try await create(api, .secrets, secret)
      let again = await refusal {
        _ = try await api.create(
          .secrets, ["metadata": ["name": "t", "namespace": "default"]], options: options)
      }
      #expect(again?.code == 403)
      _ = try await api.patch(
        quotas, namespace: "default", name: "q", patch: .merge(["spec": ["hard": ["secrets": "2"]]]),
        subresource: nil, options: WriteOptions())
      try await create(api, .secrets, ["metadata": ["name": "t", "namespace": "default"]])
      #expect(try await used(api, "q") == ["secrets": "2"])
    }
  }
}
