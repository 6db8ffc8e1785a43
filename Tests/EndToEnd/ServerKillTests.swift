// The whole `weft server` killed and paused under the load of sixty-four HTTP clients: what was acknowledged is there afterwards,
// nothing else is, and versions only rise. The long form is `make soak`.
import ClusterClient
import ClusterObjects
import Diagnostics
import Foundation
import StoreLab
import Synchronization
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 5))) struct ServerKillTests {
  enum Store: String, CaseIterable { case sqlite, etcd }

  /// A server over a fresh store; for etcd one of its own.
  private func withServer(_ store: Store, _ body: (KilledServer) async throws -> Void) async throws {
    try await withScratch { folder in
      let etcd = store == .etcd ? try EtcdServer(.newer) : nil
      let server = try KilledServer(
        folder: "\(folder)/data", store: etcd.map { "etcd:\($0.endpoint)" } ?? "sqlite")
      defer {
        server.kill()
        etcd?.remove()
      }
      try await server.start()
      try await body(server)
    }
  }

  private final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
  }

  /// Runs `count` clients until `body` returns and they noticed.
  private func withClients(
    _ server: KilledServer, _ history: SentAndAcknowledged, count: Int, round: Int,
    _ body: () async throws -> Void
  ) async throws {
    let over = Flag()
    let clients = Task {
      await withTaskGroup(of: Void.self) { group in
        for client in 0..<count {
          group.addTask {
            await server.write(client, Soak.seed, round, into: history) { over.isSet }
          }
        }
      }
    }
    defer { over.set() }
    try await body()
    over.set()
    await clients.value
  }

  @Test(arguments: Store.allCases)
  func
    `killed under sixty-four clients, the server loses no acknowledged write, invents none, and never counts back`(
      store: Store
    ) async throws
  {
    try await withServer(store) { server in
      let history = SentAndAcknowledged()
      let follower = Follower()
      let following = Task { await follower.run(server) }
      defer { following.cancel() }
      if Soak.isLong {
        // A hundred megabytes beside what is written.
        try await fill(server, objects: 25_000)
      }
      var random = SeededGenerator(seed: Soak.seed)
      var starts: [Duration] = []
      let rounds = Soak.rounds(store == .sqlite ? 4 : 2, long: store == .sqlite ? 200 : 50)
      for round in 0..<rounds {
        let before = history.count
        try await withClients(server, history, count: 64, round: round) {
          let isWriting = try await eventually { history.count >= before + 100 }
          #expect(isWriting, "round \(round): writes do not get on")
          try await Task.sleep(for: .milliseconds(Int.random(in: 0..<250, using: &random)))
          server.kill()
        }
        starts.append(try await server.start())
        let (items, version) = try await server.configMaps()
        history.check(items, version: version, "round \(round)")
        if !history.problems.isEmpty { break }
      }
      #expect(history.problems.isEmpty, "\(history.problems.prefix(10))")
      #expect(history.count >= rounds * 100)
      // Who follows by lists and watches sees in the end what is there.
      let expected = history.keys.compactMapValues { $0.acknowledged?.tag }
      let isSeen = try await eventually { follower.objects == expected }
      #expect(isSeen, "\(follower.objects.count) of \(expected.count) objects are seen as they are")
      #expect(follower.problems.isEmpty, "\(follower.problems.prefix(10))")
      let counts = follower.counts
      let sorted = starts.sorted()
      Soak.report(
        "\(store): \(rounds) kills, \(history.count) writes acknowledged, \(counts.lists) lists and \(counts.events) events "
          + "of a watcher; ready again after \(sorted[sorted.count / 2]) (median), \(sorted[sorted.count - 1]) (worst)"
      )
    }
  }

  /// ConfigMaps of 4 KiB by sixty-four clients.
  private func fill(_ server: KilledServer, objects: Int) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<64 {
        group.addTask {
          let api = try server.client()
          for number in stride(from: client, to: objects, by: 64) {
            let object: JSON = [
              "apiVersion": "v1", "kind": "ConfigMap",
              "metadata": ["name": JSON("filler-\(number)"), "namespace": "kube-public"],
              "data": ["filler": JSON(String(repeating: "y", count: 4096))],
            ]
            _ = try await api.create(.configMaps, object, options: WriteOptions())
          }
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func `paused and let go on, the server answers late and never wrongly`() async throws {
    try await withServer(.sqlite) { server in
      let history = SentAndAcknowledged()
      for round in 0..<Soak.rounds(2, long: 20) {
        let before = history.count
        try await withClients(server, history, count: 16, round: round) {
          let isWriting = try await eventually { history.count >= before + 50 }
          #expect(isWriting, "round \(round): writes do not get on")
          server.signal(SIGSTOP)
          let paused = history.count
          let question = Task { try await server.configMaps() }
          try await Task.sleep(for: .milliseconds(Soak.isLong ? 5000 : 1000))
          // What the kernel had of answers may still arrive, sixteen at most.
          #expect(history.count <= paused + 16, "a server that stands still acknowledges nothing")
          server.signal(SIGCONT)
          let answer = try await question.value
          #expect(answer.version >= before)
          let goesOn = try await eventually { history.count >= paused + 100 }
          #expect(goesOn, "round \(round): writes do not go on")
        }
        let (items, version) = try await server.configMaps()
        history.check(items, version: version, "pause \(round)")
      }
      #expect(history.problems.isEmpty, "\(history.problems.prefix(10))")
    }
  }

  @Test func `a server that was paused while another wrote shows what the other wrote`() async throws {
    try await withScratch { folder in
      let etcd = try EtcdServer(.newer)
      let first = try KilledServer(folder: "\(folder)/a", store: "etcd:\(etcd.endpoint)")
      let second = try KilledServer(folder: "\(folder)/b", store: "etcd:\(etcd.endpoint)")
      defer {
        first.kill()
        second.kill()
        etcd.remove()
      }
      try await first.start()
      try FileManager.default.createDirectory(atPath: "\(folder)/b", withIntermediateDirectories: true)
      try FileManager.default.copyItem(atPath: "\(folder)/a/certificates", toPath: "\(folder)/b/certificates")
      try await second.start()
      let (one, other) = (try first.client(), try second.client())
      func object(_ tag: String) -> JSON {
        [
          "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "k-1", "namespace": "default"],
          "data": ["tag": JSON(tag)],
        ]
      }
      _ = try await one.create(.configMaps, object("0"), options: WriteOptions())
      for round in 1...Soak.rounds(3, long: 30) {
        first.signal(SIGSTOP)
        let written = try await other.update(
          .configMaps, object("\(round)"), subresource: nil, options: WriteOptions())
        let early = Task { try await one.get(.configMaps, namespace: "default", name: "k-1") }
        try await Task.sleep(for: .milliseconds(300))
        first.signal(SIGCONT)
        for seen in [
          try await early.value, try await one.get(.configMaps, namespace: "default", name: "k-1"),
        ] {
          #expect(seen.at("data", "tag")?.string == "\(round)")
          #expect(seen.resourceVersion == written.resourceVersion)
        }
      }
      // etcd itself stands still: no answer, or a late one that is right.
      for round in 0..<Soak.rounds(1, long: 10) {
        etcd.signal(SIGSTOP)
        let reading = Task { try await one.get(.configMaps, namespace: "default", name: "k-1") }
        let writing = Task {
          try await other.update(
            .configMaps, object("late \(round)"), subresource: nil, options: WriteOptions())
        }
        try await Task.sleep(for: .milliseconds(1500))
        etcd.signal(SIGCONT)
        _ = try? await reading.value
        let written = try? await writing.value
        let isBack = try await eventually {
          (try? await one.get(.configMaps, namespace: "default", name: "k-1")) != nil
        }
        #expect(isBack)
        if let written {
          let seen = try await one.get(.configMaps, namespace: "default", name: "k-1")
          #expect(seen.at("data", "tag")?.string == written.at("data", "tag")?.string)
        }
      }
    }
  }
}
