// Two API servers on one etcd: what one writes the other shows, and what must be unique in the cluster stays unique.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite struct TwoServersTests {
  /// Two servers with one authority, each with a data folder of its own.
  private func withTwoServers<T>(_ body: ([ClusterServer]) async throws -> T) async throws -> T {
    try await withFolder { folder in
      var servers: [ClusterServer] = []
      func stop() async { for server in servers { await server.shutdown() } }
      do {
        for name in ["a", "b"] {
          var settings = ServerSettings(dataFolder: "\(folder)/\(name)")
          settings.port = 0
          settings.store = try etcdStore(prefix: folder)
          if name == "b" {
            mkdir("\(folder)/b", 0o700)
            try StoreLab.Program.run(
              "/bin/cp", ["-r", "\(folder)/a/certificates", "\(folder)/b/certificates"])
          }
          servers.append(try await ClusterServer.start(settings))
        }
        let value = try await body(servers)
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

  @Test func `what one server wrote the other lists at once, and an old version is refused by both`()
    async throws
  {
    try await withTwoServers { servers in
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
    try await withTwoServers { servers in
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

  @Test
  func `an address asked for by name goes to one of two who ask at once, and is free again after deletion`()
    async throws
  {
    try await withTwoServers { servers in
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
