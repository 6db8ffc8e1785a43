// Starting, starting again, and what stands in the way.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import Glibc
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct StartTests {
  /// How soon is measured by Benchmarks/Startup; here only that nothing is waited for.
  @Test func `the API answers after the first start and the second, keys made on the way`() async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder)
      settings.port = 0
      for _ in 0..<2 {
        let start = ContinuousClock.now
        let server = try await ClusterServer.start(settings)
        #expect(ContinuousClock.now - start < .seconds(60))
        _ = try await server.client(user: "test").get(.namespaces, namespace: "", name: "default")
        await server.shutdown()
      }
    }
  }

  @Test func `objects, authority and addresses survive a restart`() async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder)
      settings.port = 0
      let first = try await ClusterServer.start(settings)
      let api = first.client(user: "test")
      let service = try await api.create(
        .services,
        ["metadata": ["name": "a", "namespace": "default"], "spec": ["ports": [["port": 80]]]],
        options: WriteOptions())
      let authority = first.authorityPEM
      await first.shutdown()

      let second = try await ClusterServer.start(settings)
      #expect(second.authorityPEM == authority)
      let found = try await second.client(user: "test").get(.services, namespace: "default", name: "a")
      #expect(found == service)
      let other = try await second.client(user: "test").create(
        .services,
        ["metadata": ["name": "b", "namespace": "default"], "spec": ["ports": [["port": 80]]]],
        options: WriteOptions())
      #expect(other.at("spec", "clusterIP") != service.at("spec", "clusterIP"))
      await second.shutdown()
    }
  }

  @Test func `a taken port is named with the command that shows who holds it`() async throws {
    try await withServer { server, folder in
      var settings = ServerSettings(dataFolder: folder + "/other")
      settings.port = server.port
      let error = await #expect(throws: WeftError.self) { try await ClusterServer.start(settings) }
      #expect(error?.code == "API0001")
      #expect(error?.object == "127.0.0.1:\(server.port)")
      #expect(error?.next.contains("ss -ltnp") == true)
      // Nothing half-done: the same folder starts on another port.
      settings.port = 0
      let next = try await ClusterServer.start(settings)
      await next.shutdown()
    }
  }

  @Test func `a second server on the folder is refused`() async throws {
    try await withServer { _, folder in
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      let error = await #expect(throws: WeftError.self) { try await ClusterServer.start(settings) }
      #expect(error?.code == "STO0002")
    }
  }

  @Test func `keys and kubeconfig are for their owner alone`() async throws {
    try await withServer { server, folder in
      for file in [server.kubeconfigPath, folder + "/data/certificates/ca.key"] {
        var status = stat()
        #expect(stat(file, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600, "\(file)")
      }
    }
  }
}
