// The whole API server when its disk is full, and when it is killed under load.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct StoreFaultTests {
  private func configMap(_ name: String, bytes: Int) -> JSON {
    [
      "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": JSON(name), "namespace": "default"],
      "data": ["a": JSON(String(repeating: "x", count: bytes))],
    ]
  }

  @Test
  func
    `on a full disk writes get 507 with the reason, reads and watches go on, and writes come back by themselves`()
    async throws
  {
    try await withFolder { scratch in
      let disk = try SmallDisk(scratch, mebibytes: 32)
      var settings = ServerSettings(dataFolder: disk.folder + "/data")
      settings.port = 0
      let server = try await ClusterServer.start(settings)
      let api = server.client(user: "admin")
      _ = try await api.create(.configMaps, configMap("first", bytes: 100), options: WriteOptions())
      let events = try await api.watch(.configMaps, namespace: "default", options: ListOptions())
      try StoreLab.Program.run(
        "/bin/sh", ["-c", "dd if=/dev/zero of=\(disk.folder)/filler bs=64k 2>/dev/null; sync"])
      var refusal: APIStatusError?
      var made = 0
      for index in 0..<200 where refusal == nil {
        do {
          _ = try await api.create(
            .configMaps, configMap("m\(index)", bytes: 200_000), options: WriteOptions())
          made += 1
        } catch let error as APIStatusError { refusal = error }
      }
      #expect(refusal?.code == 507)
      #expect(refusal?.reason == "InsufficientStorage")
      #expect(refusal?.message.contains("the disk is full") == true)
      let list = try await api.list(.configMaps, namespace: "default", options: ListOptions())
      #expect(list.items.contains { $0.name == "first" })
      unlink(disk.folder + "/filler")
      let freed = ContinuousClock.now
      var isBack = false
      while !isBack, ContinuousClock.now - freed < .seconds(30) {
        do {
          _ = try await api.create(.configMaps, configMap("back", bytes: 200_000), options: WriteOptions())
          isBack = true
        } catch { try await Task.sleep(for: .milliseconds(50)) }
      }
      #expect(isBack)
      var seen: Set<String> = []
      for try await event in events {
        if case .added(let object) = event { seen.insert(object.name) }
        if seen.contains("back") { break }
      }
      #expect(seen.contains("back"))
      #expect(seen.filter { $0.hasPrefix("m") }.count == made)
      await server.shutdown()
      try disk.unmount()
    }
  }
}
