// Large answers are compressed for clients that take it, and only then.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct CompressionTests {
  @Test func `a large list is compressed when asked for, and reads back the same`() async throws {
    try await withServer { server, folder in
      let api = server.client(user: "test")
      let text = String(repeating: "abcdefgh", count: 4096)
      for number in 0..<6 {
        _ = try await api.create(
          .configMaps,
          ["metadata": ["name": JSON("c\(number)"), "namespace": "default"], "data": ["text": JSON(text)]],
          options: WriteOptions())
      }
      let keys = folder + "/data/certificates"
      func get(_ path: String, _ more: [String]) async throws -> Program {
        try await Program.run(
          "/usr/bin/curl",
          [
            "-sS", "--cacert", keys + "/ca.crt", "--cert", keys + "/admin.crt", "--key", keys + "/admin.key",
            "-D", folder + "/head", "-w", "\n%{size_download}",
          ] + more + [server.address + path])
      }
      func size(_ run: Program) -> Int { Int(run.output.split(separator: "\n").last ?? "") ?? 0 }
      let list = "/api/v1/namespaces/default/configmaps"
      let plain = try await get(list, [])
      let packed = try await get(list, ["--compressed", "-H", "accept-encoding: gzip"])
      #expect(Program.read(folder + "/head").lowercased().contains("content-encoding: gzip"))
      #expect(size(plain) > 150_000)
      #expect(size(packed) < size(plain) / 10)
      #expect(packed.output.split(separator: "\n").first == plain.output.split(separator: "\n").first)
      _ = try await get(list, ["-H", "accept-encoding: gzip;q=0, br"])
      #expect(!Program.read(folder + "/head").lowercased().contains("content-encoding"))
      _ = try await get(list + "/c1", ["-H", "accept-encoding: gzip"])
      #expect(!Program.read(folder + "/head").lowercased().contains("content-encoding"))
    }
  }
}
