// A cluster that moves: from SQLite to etcd and back, while clients write, with what its Services hold.

import ClusterClient
import ClusterObjects
import ClusterServer
import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import Glibc
import StoreLab
import Synchronization
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct ServerCopyTests {
  private static func start(_ folder: String, _ store: ServerStore) async throws -> ClusterServer {
    var settings = ServerSettings(dataFolder: folder)
    settings.port = 0
    settings.store = store
    return try await ClusterServer.start(settings)
  }

  /// Every object of the kinds the test makes, without its version.
  private static func objects(_ server: ClusterServer) async throws -> [String: JSON] {
    var all: [String: JSON] = [:]
    for resource in [GroupVersionResource.configMaps, .services, .leases] {
      let list = try await server.client(user: "admin").list(
        resource, namespace: "", options: ListOptions())
      for item in list.items where item.name != "kubernetes" {
        var item = item
        item.set(.null, at: "metadata", "resourceVersion")
        all["\(resource.resource) \(item.namespace)/\(item.name)"] = item
      }
    }
    return all
  }

  private static func configMap(_ name: String) -> JSON {
    [
      "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": JSON(name), "namespace": "default"],
      "data": ["a": "ä\u{0}\n"],
    ]
  }

  /// Writes ConfigMaps until told to stop; their versions by name.
  private static func writeOn(
    _ server: ClusterServer, _ prefix: String, _ load: Load
  ) async throws -> [String: Revision] {
    let api = server.client(user: "admin")
    var made: [String: Revision] = [:]
    var number = 0
    while !load.isOver.load(ordering: .relaxed) {
      let object = try await api.create(
        .configMaps, configMap("\(prefix)-\(number)"), options: WriteOptions())
      made[object.name] = Revision(object.resourceVersion)
      number += 1
      load.written.add(1, ordering: .relaxed)
    }
    return made
  }

  private final class Load: Sendable {
    let isOver = Atomic(false)
    let written = Atomic(0)

    /// Waits until one more was written, at most half a minute.
    func another() async throws {
      let now = written.load(ordering: .relaxed)
      let start = ContinuousClock.now
      while written.load(ordering: .relaxed) < now + 2, ContinuousClock.now - start < .seconds(30) {
        try await Task.sleep(for: .milliseconds(2))
      }
    }
  }

  /// Runs `body` while somebody writes; what was written, and what `body` gave.
  private static func underLoad<T: Sendable>(
    _ server: ClusterServer, _ prefix: String, _ body: () async throws -> T
  ) async throws -> (made: [String: Revision], T) {
    let load = Load()
    let writing = Task { try await writeOn(server, prefix, load) }
    defer { load.isOver.store(true, ordering: .relaxed) }
    try await load.another()
    let value = try await body()
    try await load.another()
    load.isOver.store(true, ordering: .relaxed)
    return (try await writing.value, value)
  }

  /// Whether exactly what was acknowledged up to the copy's revision is there.
  private static func expectPrefix(
    _ made: [String: Revision], _ copy: StoreCopy, _ server: ClusterServer
  ) async throws {
    let there = Set(
      try await server.client(user: "admin").list(.configMaps, namespace: "default", options: ListOptions())
        .items.map(\.name))
    for (name, revision) in made {
      #expect(there.contains(name) == (revision <= copy.revision), "\(name) \(revision) \(copy.revision)")
    }
    #expect(made.values.contains { $0 <= copy.revision })
    #expect(made.values.contains { $0 > copy.revision })
  }

  private static func expectExpired(_ server: ClusterServer, _ revision: Revision) async throws {
    var options = ListOptions()
    options.resourceVersion = "\(revision)"
    let error = await #expect(throws: APIStatusError.self) {
      let watch = try await server.client(user: "admin").watch(
        .configMaps, namespace: "default", options: options)
      for try await _ in watch { break }
    }
    #expect(error?.code == 410)
  }

  @Test func `a cluster moves from SQLite to etcd and back under load, with every object and address`()
    async throws
  {
    try await withFolder { folder in
      // SQLite.
      let first = try await Self.start("\(folder)/a", .sqlite)
      let api = first.client(user: "admin")
      for index in 0..<30 {
        let service: JSON = [
          "apiVersion": "v1", "kind": "Service",
          "metadata": ["name": JSON("s\(index)"), "namespace": "default"],
          "spec": ["type": "NodePort", "ports": [["port": 80]]],
        ]
        _ = try await api.create(.services, service, options: WriteOptions())
      }
      let lease: JSON = [
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": ["name": "l", "namespace": "default"], "spec": ["holderIdentity": "x"],
      ]
      _ = try await api.create(.leases, lease, options: WriteOptions())
      let (made, copy) = try await Self.underLoad(first, "one") {
        try SQLiteBackup.write(from: "\(folder)/a", to: "\(folder)/copy-a")
      }
      let before = try await Self.objects(first)
      let newest = try #require(made.values.max())
      await first.shutdown()

      // To etcd.
      let etcd = try EtcdServer.shared(.newer).settings(prefix: "\(folder)/e", root: "/registry")
      let filling = try await EtcdStore.beginRestore(
        settings: etcd, above: copy.revision + SQLiteBackup.revisionGap, metrics: Metrics())
      try await ServerCopy.fill(filling, from: try StoreCopyReader("\(folder)/copy-a"))
      _ = try await filling.endRestore()
      await filling.shutdown()
      mkdir("\(folder)/b", 0o700)
      try StoreLab.Program.run("/bin/cp", ["-r", "\(folder)/a/certificates", "\(folder)/b/certificates"])
      let open = ServerStore.shared { () async throws(WeftError) in
        try await EtcdStore(settings: etcd, metrics: Metrics())
      }
      let second = try await Self.start("\(folder)/b", open)
      try await Self.expectPrefix(made, copy, second)
      let kept = made.filter { $0.value <= copy.revision }
      let moved = try await Self.objects(second)
      #expect(
        moved
          == before.filter { key, value in !made.keys.contains(value.name) || kept.keys.contains(value.name) }
      )
      try await Self.expectExpired(second, newest)
      let later = try await second.client(user: "admin").create(
        .configMaps, Self.configMap("later"), options: WriteOptions())
      #expect(try #require(Revision(later.resourceVersion)) > newest)
      // Addresses are claimed: a second owner is refused.
      let address = try #require(before["services default/s0"]?.at("spec", "clusterIP")?.string)
      let thief: JSON = [
        "apiVersion": "v1", "kind": "Service", "metadata": ["name": "thief", "namespace": "default"],
        "spec": ["clusterIP": JSON(address), "ports": [["port": 80]]],
      ]
      let refused = await #expect(throws: APIStatusError.self) {
        try await second.client(user: "admin").create(.services, thief, options: WriteOptions())
      }
      #expect(refused?.code == 422)

      // And back.
      let reading = try await EtcdStore(settings: etcd, metrics: Metrics())
      let (more, again) = try await Self.underLoad(second, "two") {
        try await ServerCopy.write(reading, to: "\(folder)/copy-b")
      }
      await reading.shutdown()
      let then = try await Self.objects(second)
      let last = try #require(more.values.max())
      await second.shutdown()
      _ = try SQLiteBackup.restore("\(folder)/copy-b", into: "\(folder)/c")
      try StoreLab.Program.run("/bin/cp", ["-r", "\(folder)/a/certificates", "\(folder)/c/certificates"])
      let third = try await Self.start("\(folder)/c", .sqlite)
      try await Self.expectPrefix(more, again, third)
      let stayed = more.filter { $0.value <= again.revision }
      let back = try await Self.objects(third)
      #expect(
        back
          == then.filter { key, value in !more.keys.contains(value.name) || stayed.keys.contains(value.name) }
      )
      try await Self.expectExpired(third, last)
      await third.shutdown()
    }
  }
}
