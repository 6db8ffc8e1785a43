// Copies of stores in etcd, put into etcd again: made while others write, cut off in the middle, numbered above all that clients
// may have seen.

import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct RestoreTests {
  private static func contents(of copy: StoreCopyReader) throws -> [StoredValue] {
    var values: [StoredValue] = []
    while true {
      let page = try copy.values(after: values.last?.key ?? "", limit: 100)
      if page.isEmpty { return values }
      values += page
    }
  }

  @Test(arguments: Engine.allCases)
  func `a copy made while eight write holds every key as it was at its revision`(engine: Engine) async throws
  {
    try await withScratch { folder in
      let store = try await engine.open(folder)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<20 {
          group.addTask {
            for index in stride(from: writer, to: 700, by: 20) {
              _ = try await store.create("/k/before/\(index)", [UInt8](text: "\(index)"))
            }
          }
        }
        try await group.waitForAll()
      }
      async let writing = withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<8 {
          group.addTask {
            _ = try await writeAtRandom(
              store, writer: writer, keys: ["/k/\(writer)/a", "/k/\(writer)/b"], count: 60, seed: 5)
          }
        }
        try await group.waitForAll()
      }
      let copy = try await SQLiteBackup.write(
        store, prefix: "/k/", besides: ["/k/before/13"], to: "\(folder)/copy")
      try await writing
      let reader = try StoreCopyReader("\(folder)/copy")
      #expect(reader.revision == copy.revision)
      let expected = try await store.list(prefix: "/k/", limit: 0, after: nil, at: copy.revision).values
      #expect(try Self.contents(of: reader) == expected.filter { !$0.key.hasPrefix("/k/before/13") })
      #expect(expected.count >= 700)
      let again = await #expect(throws: WeftError.self) {
        try await SQLiteBackup.write(store, prefix: "/k/", to: "\(folder)/copy")
      }
      #expect(again?.code == "STO0020")
      // SQLite takes it as one of its own.
      let restored = try SQLiteBackup.restore("\(folder)/copy", into: "\(folder)/new")
      #expect(restored.revision == copy.revision + SQLiteBackup.revisionGap)
      await store.shutdown()
    }
  }

  @Test(arguments: EtcdServer.Version.allCases)
  func `a store restored into etcd counts above the copy, and refuses what is older as compacted`(
    version: EtcdServer.Version
  ) async throws {
    try await withScratch { folder in
      let server = try EtcdServer.shared(version)
      let before: Revision = 5_000_000_000
      let settings = try server.settings(prefix: folder)
      let filling = try await EtcdStore.beginRestore(settings: settings, above: before, metrics: Metrics())
      var keys: [String] = []
      for index in 0..<20 {
        keys.append("/k/\(index)")
        #expect(try await filling.create("/k/\(index)", [UInt8(index)]) > before)
      }
      // Nobody sees half a cluster.
      let early = await #expect(throws: WeftError.self) {
        try await EtcdStore(settings: settings, metrics: Metrics())
      }
      #expect(early?.code == "STO0024")
      let end = try await filling.endRestore()
      await filling.shutdown()

      let store = try await EtcdStore(settings: settings, metrics: Metrics())
      #expect(store.currentRevision >= end)
      let page = try await store.list(prefix: "/k/", limit: 0, after: nil, at: nil)
      #expect(page.values.map(\.key).sorted() == keys.sorted())
      #expect(page.values.allSatisfy { $0.revision > before && $0.createRevision == $0.revision })
      #expect(page.revision >= end)
      for old in [0, 1, before - 1, before, before + 1] {
        for isWatch in [true, false] {
          let refused = await #expect(throws: StoreError.self) {
            if isWatch {
              _ = try await store.watch(prefix: "/k/", after: old, queueMax: 10)
            } else {
              _ = try await store.list(prefix: "/k/", limit: 0, after: nil, at: max(1, old))
            }
          }
          guard case .compacted(let oldest) = refused else {
            Issue.record("\(old): \(String(describing: refused))")
            return
          }
          #expect(oldest > before && oldest <= page.revision)
        }
      }
      // Everything else is as ever: swaps, watches, compaction, the future.
      let watch = try await store.watch(prefix: "/k/", after: page.revision, queueMax: 100)
      let first = try #require(page.values.first)
      let next = try await store.update(first.key, [9], expecting: first.revision)
      #expect(next > page.revision)
      let events = try await Waiting("the first write after a restore").next(watch)
      #expect(events?.map(\.revision) == [next])
      #expect(events?.first?.createRevision == first.createRevision)
      let stale = await #expect(throws: StoreError.self) {
        try await store.update(first.key, [8], expecting: first.revision)
      }
      guard case .conflict(let current) = stale else {
        Issue.record("\(String(describing: stale))")
        return
      }
      #expect(current.revision == next)
      let old = await #expect(throws: StoreError.self) { try await store.delete(first.key, expecting: 7) }
      guard case .conflict = old else {
        Issue.record("\(String(describing: old))")
        return
      }
      let past = try await store.list(prefix: "/k/", limit: 0, after: nil, at: page.revision)
      #expect(past.values == page.values)
      let gone = try await store.delete(first.key, expecting: next)
      #expect(gone > next)
      try await store.compact(to: gone)
      let refused = await #expect(throws: StoreError.self) {
        try await store.watch(prefix: "/k/", after: next, queueMax: 10)
      }
      guard case .compacted(let oldest) = refused else {
        Issue.record("\(String(describing: refused))")
        return
      }
      #expect(oldest == gone)
      let future = await #expect(throws: StoreError.self) {
        try await store.watch(prefix: "/k/", after: gone + 1_000_000, queueMax: 10)
      }
      guard case .future = future else {
        Issue.record("\(String(describing: future))")
        return
      }
      await store.shutdown()
    }
  }

  @Test func `a restore over keys that are there is refused, one that was cut off is done again`()
    async throws
  {
    try await withScratch { folder in
      let server = try EtcdServer.shared(.newer)
      let settings = try server.settings(prefix: folder)
      let store = try await EtcdStore(settings: settings, metrics: Metrics())
      let made = try await store.create("/k/mine", [1])
      let refused = await #expect(throws: WeftError.self) {
        try await EtcdStore.beginRestore(settings: settings, above: 10, metrics: Metrics())
      }
      #expect(refused?.code == "STO0022")
      #expect(try await store.get("/k/mine")?.revision == made)
      _ = try await store.delete("/k/mine", expecting: made)
      await store.shutdown()

      let first = try await EtcdStore.beginRestore(
        settings: settings, above: 1_000_000_000, metrics: Metrics())
      _ = try await first.create("/k/half", [1], claims: StoreClaims(claiming: ["ip/1"]))
      await first.shutdown()
      let second = try await EtcdStore.beginRestore(
        settings: settings, above: 1_000_000_000, metrics: Metrics())
      #expect(try await second.get("/k/half") == nil)
      let whole = try await second.create("/k/whole", [1], claims: StoreClaims(claiming: ["ip/1"]))
      #expect(whole > 1_000_000_000)
      _ = try await second.endRestore()
      await second.shutdown()
      let after = try await EtcdStore(settings: settings, metrics: Metrics())
      #expect(try await after.list(prefix: "/k/", limit: 0, after: nil, at: nil).values.count == 1)
      await after.shutdown()
      let third = await #expect(throws: WeftError.self) {
        try await EtcdStore.beginRestore(settings: settings, above: 10, metrics: Metrics())
      }
      #expect(third?.code == "STO0022")
    }
  }
}
