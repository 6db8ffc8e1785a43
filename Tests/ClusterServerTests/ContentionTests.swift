// Many writers of one object: whoever names no resourceVersion is never told that somebody else was quicker.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

@Suite(.serialized, .timeLimit(.minutes(2))) struct ContentionTests {
  @Test func `thirty-two writers of one object all get through, and nobody's change is lost`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      _ = try await api.create(
        .configMaps, ["metadata": ["name": "hot", "namespace": "default"]], options: WriteOptions())
      let refusals = await withTaskGroup(of: [APIStatusError].self) { group in
        for writer in 0..<32 {
          group.addTask {
            var refusals: [APIStatusError] = []
            for round in 0..<5 {
              let change: JSON = ["data": .object(["w\(writer)-\(round)": "x"])]
              if let error = await refusal({
                _ = try await api.patch(
                  .configMaps, namespace: "default", name: "hot", patch: .merge(change), subresource: nil,
                  options: WriteOptions())
              }) {
                refusals.append(error)
              }
            }
            return refusals
          }
        }
        return await group.reduce(into: []) { $0 += $1 }
      }
      #expect(refusals.isEmpty, "\(refusals.count), first: \(refusals.first?.message ?? "")")
      let stored = try await api.get(.configMaps, namespace: "default", name: "hot")
      #expect(stored["data"]?.object?.count == 160)
    }
  }

  @Test func `a delete gets through while others write the object`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      _ = try await api.create(
        .configMaps, ["metadata": ["name": "hot", "namespace": "default"]], options: WriteOptions())
      try await withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<16 {
          group.addTask {
            for round in 0..<10_000 {
              let change: JSON = ["data": .object(["w\(writer)": JSON("\(round)")])]
              let error = await refusal {
                _ = try await api.patch(
                  .configMaps, namespace: "default", name: "hot", patch: .merge(change), subresource: nil,
                  options: WriteOptions())
              }
              guard let error else { continue }
              #expect(error.isNotFound, "\(error.message)")
              return
            }
            Issue.record("the object was never deleted")
          }
        }
        // In the midst of the writers.
        group.addTask {
          try await eventually {
            try await api.get(.configMaps, namespace: "default", name: "hot")["data"]?.object?.count == 16
          }
          try await api.delete(.configMaps, namespace: "default", name: "hot", options: DeleteOptions())
        }
        try await group.waitForAll()
      }
    }
  }
}
