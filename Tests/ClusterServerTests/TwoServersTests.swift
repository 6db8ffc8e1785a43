// Two API servers on one etcd: what one writes the other shows, and what must be unique in the cluster stays unique.

import ClusterClient
import ClusterObjects
import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import Glibc
import StoreLab
import Testing

@testable import ClusterServer

@Suite(.timeLimit(.minutes(5))) struct TwoServersTests {
  /// Two servers with one authority, each with a data folder of its own.
  private func withTwoServers<T>(_ body: ([ClusterServer], String) async throws -> T) async throws -> T {
    try await withFolder { folder in
      var servers: [ClusterServer] = []
      func stop() async { for server in servers { await server.shutdown() } }
      do {
        for name in ["a", "b"] {
          var settings = ServerSettings(dataFolder: "\(folder)/\(name)")
          settings.port = 0
          settings.store = try etcdStore(prefix: folder)
          settings.advertiseAddress = name == "a" ? "192.0.2.1" : "192.0.2.2"
          if name == "b" {
            mkdir("\(folder)/b", 0o700)
            try StoreLab.Program.run(
              "/bin/cp", ["-r", "\(folder)/a/certificates", "\(folder)/b/certificates"])
            // Another address of the loopback, so that both have one port.
            settings.host = "127.0.0.2"
            settings.port = servers[0].port
          }
          servers.append(try await ClusterServer.start(settings))
        }
        let value = try await body(servers, folder)
        await stop()
        return value
      } catch {
        await stop()
        throw error
      }
    }
  }

  private func configMap(_ name: String) -> JSON {
    [
      "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": JSON(name), "namespace": "default"],
      "data": ["a": "1"],
    ]
  }

  /// Addresses of the EndpointSlices of Service `kubernetes`, by slice.
  private func endpoints(_ server: ClusterServer) async throws -> [String: [String]] {
    var options = ListOptions()
    options.labelSelector = "kubernetes.io/service-name=kubernetes"
    let slices = try await server.client(user: "admin").list(
      .endpointSlices, namespace: "default", options: options)
    return Dictionary(
      uniqueKeysWithValues: slices.items.map { slice in
        (slice.name, (slice["endpoints"]?.elements ?? []).compactMap { $0["addresses"]?[0]?.string })
      })
  }

  @Test
  func `the Service of the API leads to every server that lives, and no longer to one that was stopped`()
    async throws
  {
    try await withTwoServers { servers, folder in
      for server in servers {
        #expect(try await endpoints(server) == ["kubernetes": ["192.0.2.1", "192.0.2.2"]])
      }
      let port = servers[0].port
      let service = try await servers[1].client(user: "admin").get(
        .services, namespace: "default", name: "kubernetes")
      #expect(service.at("spec", "ports")?[0]?["targetPort"]?.integer == Int64(port))
      await servers[1].shutdown()
      #expect(try await endpoints(servers[0]) == ["kubernetes": ["192.0.2.1"]])
      // The last one stays written when it goes.
      await servers[0].shutdown()
      let store = try await EtcdStore(
        settings: EtcdServer.shared(.newer).settings(prefix: folder, root: "/registry"),
        metrics: Metrics())
      #expect(
        try await store.list(prefix: "/registry/masterleases/", limit: 0, after: nil, at: nil).values.isEmpty)
      let slice = try await store.get("/registry/endpointslices/default/kubernetes")
      #expect(slice.map { String(decoding: $0.value, as: UTF8.self).contains("192.0.2.1") } == true)
      await store.shutdown()
    }
  }

  @Test func `a server that died leaves the Service of the API when its lease ends`() async throws {
    try await withFolder { folder in
      // Whoever writes the lease by hand and then nothing more is dead.
      let settings = try EtcdServer.shared(.newer).settings(prefix: folder, root: "/registry")
      var dying = settings
      dying.ephemeral = [
        EphemeralRule(prefix: "/registry/masterleases/", entriesMax: 0, lifetimeSeconds: 2)
      ]
      let dead = try await EtcdStore(settings: dying, metrics: Metrics())
      let lease = ServerEndpoints.lease(ServerEndpoints.Endpoint(address: "192.0.2.9", port: 7443))
      var own = ServerSettings(dataFolder: "\(folder)/a")
      own.port = 0
      own.store = .shared { () async throws(WeftError) in
        try await EtcdStore(settings: settings, metrics: Metrics())
      }
      own.advertiseAddress = "192.0.2.1"
      _ = try await dead.create("/registry/masterleases/192.0.2.9:7443", lease.bytes)
      let server = try await ClusterServer.start(own)
      let start = ContinuousClock.now
      var found = try await endpoints(server)
      // One slice after the other is written: between them both name the server that is left.
      while Array(found.values) != [["192.0.2.1"]], ContinuousClock.now - start < .seconds(60) {
        try await Task.sleep(for: .milliseconds(100))
        found = try await endpoints(server)
      }
      #expect(Array(found.values) == [["192.0.2.1"]])
      await dead.shutdown()
      await server.shutdown()
    }
  }

  @Test func `servers of different ports and families get slices of their own`() {
    typealias Endpoint = ServerEndpoints.Endpoint
    let plan = ServerEndpoints.plan([
      Endpoint(address: "192.0.2.2", port: 6443), Endpoint(address: "2001:db8::1", port: 6443),
      Endpoint(address: "192.0.2.1", port: 6443), Endpoint(address: "192.0.2.3", port: 7443),
    ])
    #expect(plan.map(\.name) == ["kubernetes", "kubernetes-ipv6-6443", "kubernetes-ipv4-7443"])
    #expect(plan[0].slice["endpoints"]?.elements.count == 2)
    #expect(plan[0].slice["endpoints"]?[0]?["addresses"]?[0]?.string == "192.0.2.1")
    #expect(plan[2].slice["ports"]?[0]?["port"]?.integer == 7443)
    #expect(ServerEndpoints.plan([]).isEmpty)
    let one = Endpoint(address: "2001:db8::1", port: 1)
    #expect(ServerEndpoints.endpoint(of: ServerEndpoints.lease(one).bytes) == one)
    for text in ["", "{}", "[]", "{\"subsets\":[{\"addresses\":[{\"ip\":\"x\"}],\"ports\":[{\"port\":1}]}]}"]
    {
      #expect(ServerEndpoints.endpoint(of: Array(text.utf8)) == nil)
    }
  }

  @Test func `what one server wrote the other lists at once, and an old version is refused by both`()
    async throws
  {
    try await withTwoServers { servers, _ in
      let apis = servers.map { $0.client(user: "admin") }
      for index in 0..<20 {
        let name = "m\(index)"
        let made = try await apis[index % 2].create(.configMaps, configMap(name), options: WriteOptions())
        let list = try await apis[(index + 1) % 2].list(
          .configMaps, namespace: "default", options: ListOptions())
        #expect(list.items.contains { $0.name == name })
        var changed = made
        changed.set("2", at: "data", "a")
        _ = try await apis[(index + 1) % 2].update(
          .configMaps, changed, subresource: nil, options: WriteOptions())
        let error = await #expect(throws: APIStatusError.self) {
          try await apis[index % 2].update(.configMaps, changed, subresource: nil, options: WriteOptions())
        }
        #expect(error?.reason == "Conflict")
      }
    }
  }

  @Test func `no two Services get one address or one node port, whichever server makes them`() async throws {
    try await withTwoServers { servers, _ in
      let made = try await withThrowingTaskGroup(of: JSON.self) { group in
        for writer in 0..<8 {
          let api = servers[writer % 2].client(user: "admin")
          group.addTask {
            var last: JSON = .null
            for index in 0..<15 {
              let service: JSON = [
                "apiVersion": "v1", "kind": "Service",
                "metadata": ["name": JSON("s\(writer)-\(index)"), "namespace": "default"],
                "spec": ["type": "NodePort", "ports": [["port": 80]]],
              ]
              last = try await api.create(.services, service, options: WriteOptions())
            }
            return last
          }
        }
        var made: [JSON] = []
        for try await service in group { made.append(service) }
        return made
      }
      #expect(made.count == 8)
      for server in servers {
        let all = try await server.client(user: "admin").list(
          .services, namespace: "", options: ListOptions()
        ).items
        let addresses = all.compactMap { $0.at("spec", "clusterIP")?.string }
        let ports = all.compactMap { $0.at("spec", "ports")?[0]?["nodePort"]?.integer }
        #expect(all.count == 121)
        #expect(Set(addresses).count == addresses.count)
        #expect(ports.count == 120)
        #expect(Set(ports).count == ports.count)
      }
    }
  }

  @Test func `what a leader that was stopped still writes is refused once another leads, each sort of write`()
    async throws
  {
    try await withTwoServers { servers, _ in
      let users = servers.map { $0.client(user: "admin") }
      func lease(_ holder: String, _ transitions: Int, _ version: String? = nil) -> JSON {
        var lease: JSON = [
          "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
          "metadata": ["namespace": "kube-system", "name": "leader"],
          "spec": [
            "holderIdentity": JSON(holder), "leaseTransitions": JSON(transitions), "leaseDurationSeconds": 15,
          ],
        ]
        if let version { lease.set(JSON(version), at: "metadata", "resourceVersion") }
        return lease
      }
      func leader(_ number: Int, _ lease: JSON) throws -> InProcessClient {
        let term = try #require(LeaderTerm(lease))
        return servers[number].client(user: "admin", groups: ["system:masters"], during: term)
      }
      var held = try await users[0].create(.leases, lease("a", 0), options: WriteOptions())
      let old = try leader(0, held)
      let pod: JSON = [
        "apiVersion": "v1", "kind": "Pod", "metadata": ["name": "p", "namespace": "default"],
        "spec": ["containers": [["name": "c", "image": "i"]]],
      ]
      let service: JSON = [
        "apiVersion": "v1", "kind": "Service", "metadata": ["name": "s", "namespace": "default"],
        "spec": ["ports": [["port": 80]]],
      ]
      // While it leads all of it is done, also after a renewal.
      _ = try await old.create(.configMaps, configMap("a"), options: WriteOptions())
      held = try await users[1].update(
        .leases, lease("a", 0, held.resourceVersion), subresource: nil, options: WriteOptions())
      _ = try await old.create(.pods, pod, options: WriteOptions())
      _ = try await old.create(.services, service, options: WriteOptions())
      let map = try await users[0].get(.configMaps, namespace: "default", name: "a")
      let made = try await users[0].get(.pods, namespace: "default", name: "p")
      // The other takes over. Nobody tells the first.
      held = try await users[1].update(
        .leases, lease("b", 1, held.resourceVersion), subresource: nil, options: WriteOptions())
      let before = try await users[1].list(.configMaps, namespace: "default", options: ListOptions()).items
      func refuses(_ what: String, _ body: () async throws -> Void) async {
        do {
          try await body()
          Issue.record("\(what) was done")
        } catch let error as APIStatusError {
          #expect(error.isConflict && error.message.contains("leads no more"), "\(what): \(error)")
        } catch { Issue.record("\(what): \(error)") }
      }
      let late = configMap("late")
      await refuses("create") { _ = try await old.create(.configMaps, late, options: WriteOptions()) }
      await refuses("update") {
        var changed = map
        changed.set("2", at: "data", "a")
        _ = try await old.update(.configMaps, changed, subresource: nil, options: WriteOptions())
      }
      await refuses("status") {
        var changed = made
        changed.set("Running", at: "status", "phase")
        _ = try await old.update(.pods, changed, subresource: "status", options: WriteOptions())
      }
      for (name, patch) in [
        ("a", Patch.merge(["data": ["a": "3"]])), ("applied", .apply(configMap("applied"))),
      ] {
        await refuses("patch of \(name)") {
          _ = try await old.patch(
            .configMaps, namespace: "default", name: name, patch: patch, subresource: nil,
            options: WriteOptions(fieldManager: "test"))
        }
      }
      await refuses("binding") {
        _ = try await old.createSubresource(
          .pods, namespace: "default", name: "p", subresource: "binding", ["target": ["name": "n1"]])
      }
      await refuses("eviction") {
        _ = try await old.createSubresource(
          .pods, namespace: "default", name: "p", subresource: "eviction",
          ["apiVersion": "policy/v1", "kind": "Eviction", "metadata": ["name": "p", "namespace": "default"]])
      }
      await refuses("delete") {
        try await old.delete(.configMaps, namespace: "default", name: "a", options: DeleteOptions())
      }
      await refuses("create of a Service") {
        var other = service
        other.set("t", at: "metadata", "name")
        _ = try await old.create(.services, other, options: WriteOptions())
      }
      await refuses("delete of a Service") {
        try await old.delete(.services, namespace: "default", name: "s", options: DeleteOptions())
      }
      // Nothing has changed, for either.
      for user in users {
        let after = try await user.list(.configMaps, namespace: "default", options: ListOptions()).items
        #expect(after == before)
        let pod = try await user.get(.pods, namespace: "default", name: "p")
        #expect(pod == made)
      }
      // Users and the new leader write, through either server.
      _ = try await users[0].create(.configMaps, configMap("user"), options: WriteOptions())
      _ = try await leader(1, held).create(.configMaps, configMap("led"), options: WriteOptions())
      // A lease that is gone is nobody's.
      try await users[0].delete(.leases, namespace: "kube-system", name: "leader", options: DeleteOptions())
      await refuses("create without a lease") {
        _ = try await leader(1, held).create(.configMaps, late, options: WriteOptions())
      }
    }
  }

  @Test
  func `an address asked for by name goes to one of two who ask at once, and is free again after deletion`()
    async throws
  {
    try await withTwoServers { servers, _ in
      for round in 0..<10 {
        let address = "10.43.7.\(round + 1)"
        let results = await withTaskGroup(of: Result<JSON, any Error>.self) { group in
          for (index, server) in servers.enumerated() {
            let api = server.client(user: "admin")
            group.addTask {
              let service: JSON = [
                "apiVersion": "v1", "kind": "Service",
                "metadata": ["name": JSON("r\(round)-\(index)"), "namespace": "default"],
                "spec": ["clusterIP": JSON(address), "ports": [["port": 80]]],
              ]
              do { return .success(try await api.create(.services, service, options: WriteOptions())) } catch
              {
                return .failure(error)
              }
            }
          }
          var results: [Result<JSON, any Error>] = []
          for await result in group { results.append(result) }
          return results
        }
        let winners = results.compactMap { try? $0.get() }
        #expect(winners.count == 1)
        for case .failure(let error) in results {
          let status = try #require(error as? APIStatusError)
          #expect(status.code == 422)
          #expect(status.message.contains("provided IP is already allocated"))
        }
        // The other server takes it over.
        let winner = try #require(winners.first)
        let other = servers[winner.name.hasSuffix("-0") ? 1 : 0].client(user: "admin")
        _ = try await other.delete(
          .services, namespace: "default", name: winner.name, options: DeleteOptions())
        let again: JSON = [
          "apiVersion": "v1", "kind": "Service",
          "metadata": ["name": JSON("again\(round)"), "namespace": "default"],
          "spec": ["clusterIP": JSON(address), "ports": [["port": 80]]],
        ]
        let made = try await other.create(.services, again, options: WriteOptions())
        #expect(made.at("spec", "clusterIP")?.string == address)
      }
    }
  }
}
