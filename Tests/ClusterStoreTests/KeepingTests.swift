// What happens to a store over time: copies, restores, older versions, and a day of heartbeats.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Synchronization
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct KeepingTests {
  @Test func `a copy made while sixteen write is whole, and a restored store goes on far above it`()
    async throws
  {
    try await withScratch { folder in
      let output = "\(folder)/said"
      let program = try Program(
        Faults.program, ["load", "\(folder)/store", "4", "16", "0", "compact"], output: output)
      let isWriting = try await until { Faults.said(output).split(separator: "\n").count > 500 }
      try #require(isWriting)
      let before = Faults.said(output)
      let copy = try SQLiteBackup.write(from: "\(folder)/store", to: "\(folder)/copy")
      // A restore does not touch a store that somebody has open, nor one with something in it.
      let inUse = #expect(throws: WeftError.self) {
        try SQLiteBackup.restore("\(folder)/copy", into: "\(folder)/store")
      }
      #expect(["STO0002", "STO0022"].contains(inUse?.code), "\(inUse?.code ?? "")")
      let later = Faults.said(output).utf8.count
      let goesOn = try await until { Faults.said(output).utf8.count > later }
      #expect(goesOn, "who writes is not held up by a refused restore")
      program.stop()
      var promised = History()
      promised.read(before)
      #expect(copy.revision >= promised.newest)
      #expect(throws: WeftError.self) {
        try SQLiteBackup.write(from: "\(folder)/store", to: "\(folder)/copy")
      }
      #expect(throws: WeftError.self) { try SQLiteBackup.restore("\(folder)/copy", into: "\(folder)/store") }

      let restored = try SQLiteBackup.restore("\(folder)/copy", into: "\(folder)/new")
      #expect(restored.revision == copy.revision + SQLiteBackup.revisionGap)
      let store = try Faults.open("\(folder)/new")
      #expect(store.currentRevision == restored.revision)
      // The world as the log of all writes says it was at that revision.
      var all = History()
      all.read(Faults.said(output))
      var world: [String: String] = [:]
      for write in all.acknowledged.sorted(by: { $0.revision < $1.revision })
      where write.revision <= copy.revision {
        world[write.key] = write.kind == "delete" ? nil : write.tag
      }
      let page = try await store.list(prefix: "/k/", limit: 0, after: nil, at: nil)
      var found: [String: String] = [:]
      for value in page.values {
        found[value.key] = String(decoding: value.value.prefix { $0 != 46 }, as: UTF8.self)
      }
      // Writes under way at the moment of the copy may be in it without having been acknowledged.
      let differing = Set(world.keys).union(found.keys).filter { world[$0] != found[$0] }
      #expect(differing.count <= 16, "\(differing)")
      let refused = await #expect(throws: StoreError.self) {
        try await store.watch(prefix: "/k/", after: copy.revision, queueMax: 10)
      }
      guard case .compacted = refused else {
        Issue.record("\(String(describing: refused))")
        return
      }
      #expect(try await store.create("/k/new", [1]) == restored.revision + 1)
      await store.shutdown()
    }
  }

  @Test func `a damaged copy is not restored`() async throws {
    try await withScratch { folder in
      let store = try Faults.open("\(folder)/store")
      for index in 0..<50 { _ = try await store.create("/k/\(index)", [UInt8](repeating: 7, count: 900)) }
      _ = try SQLiteBackup.write(from: "\(folder)/store", to: "\(folder)/copy")
      await store.shutdown()
      let file = open("\(folder)/copy", O_RDWR)
      var byte: UInt8 = 0
      pread(file, &byte, 1, 40_000)
      byte ^= 4
      pwrite(file, &byte, 1, 40_000)
      close(file)
      let error = #expect(throws: WeftError.self) {
        try SQLiteBackup.restore("\(folder)/copy", into: "\(folder)/new")
      }
      #expect(error?.code == "STO0003")
      #expect(access("\(folder)/new/store.db", F_OK) != 0)
    }
  }

  @Test
  func `after hours of ten nodes' heartbeats and events the disk holds at most twice what lives`()
    async throws
  {
    try await withScratch { folder in
      var settings = SQLiteStoreSettings(folder: folder)
      // Time passes as fast as the disk allows; ten seconds a round.
      let shared = Shared()
      settings.now = { shared.clock.load(ordering: .relaxed) }
      let store = try SQLiteStore(settings: settings, metrics: Metrics())
      let lease = [UInt8](repeating: 108, count: 400)
      let pod = [UInt8](repeating: 112, count: 3000)
      let event = [UInt8](repeating: 101, count: 900)
      for index in 0..<300 { _ = try await store.create("/registry/pods/demo/\(index)", pod) }
      var leases: [Revision] = []
      for node in 0..<10 {
        leases.append(try await store.create("/registry/leases/kube-node-lease/\(node)", lease))
      }
      var past: [Revision] = []
      // Six hours; a day in the long form.
      let rounds = Soak.rounds(2160, long: 8640)
      for round in 0..<rounds {
        try await withThrowingTaskGroup(of: (Int, Revision).self) { group in
          for node in 0..<10 {
            let expected = leases[node]
            group.addTask {
              (
                node,
                try await store.update("/registry/leases/kube-node-lease/\(node)", lease, expecting: expected)
              )
            }
          }
          // An event and a pod's status every ten seconds: 8,640 a day of each.
          group.addTask { (-1, try await store.create("/registry/events/demo/\(round)", event)) }
          group.addTask {
            let key = "/registry/pods/demo/\(round % 300)"
            guard let old = try await store.get(key) else { throw Failed(text: "\(key) is gone") }
            return (-1, try await store.update(key, pod, expecting: old.revision))
          }
          for try await (node, revision) in group where node >= 0 { leases[node] = revision }
        }
        shared.clock.add(10, ordering: .relaxed)
        if round % 6 == 5 {
          store.expire()
          past.append(store.currentRevision)
          if past.count > 5 { try await store.compact(to: past.removeFirst()) }
        }
      }
      let page = try await store.list(prefix: "/", limit: 0, after: nil, at: nil)
      let live = page.values.map { $0.key.utf8.count + $0.value.count }.reduce(0, +)
      var size = 0
      for name in ["store.db", "store.db-wal"] {
        var status = stat()
        if stat("\(folder)/\(name)", &status) == 0 { size += Int(status.st_size) }
      }
      let events = page.values.filter { $0.key.hasPrefix("/registry/events/") }.count
      #expect((360...370).contains(events), "an hour of events: \(events)")
      // The log of writes has a size of its own, whatever lives: 4 MiB.
      Soak.report("after \(rounds / 360) hours: \(live) bytes live, \(size) on disk")
      #expect(size <= 2 * live + (4 << 20) + (1 << 20), "\(live) bytes live, \(size) on disk")
      await store.shutdown()
      var status = stat()
      #expect(stat("\(folder)/store.db", &status) == 0)
      #expect(Int(status.st_size) <= 2 * live, "\(live) bytes live, \(status.st_size) in the file")
    }
  }

  @Test func `a clock that jumps moves no revision, and ends only what has a lifetime`() async throws {
    try await withScratch { folder in
      let clock = Shared()
      var settings = SQLiteStoreSettings(
        folder: folder, ephemeral: [EphemeralRule(prefix: "/e/", entriesMax: 100, lifetimeSeconds: 3600)])
      settings.now = { clock.clock.load(ordering: .relaxed) }
      let store = try SQLiteStore(settings: settings, metrics: Metrics())
      let watch = try await store.watch(prefix: "/", after: 0, queueMax: 1000)
      var made: [Revision] = []
      func round(_ name: String, _ step: Int64) async throws {
        clock.clock.add(step, ordering: .relaxed)
        store.expire()
        made.append(try await store.create("/k/\(name)", [1]))
        made.append(try await store.create("/e/\(name)", [1]))
      }
      func living() async throws -> [String] {
        try await store.list(prefix: "/e/", limit: 0, after: nil, at: nil).values.map(\.key)
      }
      try await round("a", 0)
      try await round("b", -3600)
      #expect(try await living() == ["/e/a", "/e/b"], "an hour back ends nothing")
      try await round("c", 3600 + 3599)
      #expect(try await living() == ["/e/a", "/e/c"], "its hour by the clock, to the second")
      for number in 0..<50 { try await round("strobe-\(number)", number % 2 == 0 ? -1800 : 1800) }
      #expect(try await living().count == 52)
      try await round("d", 400 * 86400)
      #expect(try await living() == ["/e/d"])
      #expect(try await store.list(prefix: "/k/", limit: 0, after: nil, at: nil).values.count == 54)
      var told: [Revision] = []
      let waiting = Waiting("every change of a clock that jumps")
      while (told.last ?? 0) < (made.last ?? 0), let events = try await waiting.next(watch) {
        told += events.map(\.revision)
      }
      #expect(told == Array(1...(made.last ?? 0)), "one sequence, without a gap")
      await store.shutdown()
    }
  }

  private final class Shared: Sendable {
    let clock = Atomic<Int64>(1_000_000)
  }
}
