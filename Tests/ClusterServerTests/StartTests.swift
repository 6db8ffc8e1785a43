// Starting, starting again, and what stands in the way.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import Glibc
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct StartTests {
  @Test func `the API answers soon after the first start, keys made on the way`() async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder)
      settings.port = 0
      let start = ContinuousClock.now
      let server = try await ClusterServer.start(settings)
      let took = ContinuousClock.now - start
      let line = "API ready after \(took) (first start)\n"
      _ = line.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
      await server.shutdown()
      let again = ContinuousClock.now
      let second = try await ClusterServer.start(settings)
      let line2 = "API ready after \(ContinuousClock.now - again) (second start)\n"
      _ = line2.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
      await second.shutdown()
      #expect(took < .seconds(2))
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
