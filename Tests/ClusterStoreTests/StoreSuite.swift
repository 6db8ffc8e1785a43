// What every engine must do, through the protocol alone.

import ClusterStore
import StoreLab
import Testing

@Suite(.timeLimit(.minutes(5))) struct StoreSuite {
  @Test(arguments: Engine.allCases)
  func `what was created is read back with its revision`(engine: Engine) async throws {
    try await engine.withStore { store in
      let revision = try await store.create("/a/1", [UInt8](text: "x"))
      let found = try #require(try await store.get("/a/1"))
      #expect(found.value == [UInt8](text: "x"))
      #expect(found.revision == revision)
      #expect(found.createRevision == revision)
      #expect(store.currentRevision == revision)
      #expect(try await store.get("/a/2") == nil)
    }
  }

  @Test(arguments: Engine.allCases)
  func `revisions are one sequence over all keys, history on disk or not`(engine: Engine) async throws {
    try await engine.withStore { store in
      let start = try await store.latestRevision()
      let first = try await store.create("/a/1", [1])
      let second = try await store.create("/e/1", [1])
      let third = try await store.update("/a/1", [2], expecting: first)
      let fourth = try await store.delete("/e/1", expecting: second)
      #expect(start < first && first < second && second < third && third < fourth)
      if engine.isAlone { #expect([first, second, third, fourth] == [1, 2, 3, 4]) }
      #expect(store.currentRevision >= fourth)
    }
  }

  @Test(arguments: Engine.allCases, ["/a/1", "/e/1"])
  func `creating twice is refused and shows what is there`(engine: Engine, key: String) async throws {
    try await engine.withStore { store in
      let revision = try await store.create(key, [7])
      let error = await #expect(throws: StoreError.self) { try await store.create(key, [8]) }
      guard case .exists(let current) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(current.value == [7])
      #expect(current.revision == revision)
    }
  }

  @Test(arguments: Engine.allCases, ["/a/1", "/e/1"])
  func `a stale update or delete changes nothing and shows what is there`(
    engine: Engine, key: String
  ) async throws {
    try await engine.withStore { store in
      let first = try await store.create(key, [1])
      let second = try await store.update(key, [2], expecting: first)
      let update = await #expect(throws: StoreError.self) {
        try await store.update(key, [3], expecting: first)
      }
      let delete = await #expect(throws: StoreError.self) { try await store.delete(key, expecting: first) }
      for error in [update, delete] {
        guard case .conflict(let current) = error else {
          Issue.record("\(String(describing: error))")
          return
        }
        #expect(current.value == [2])
        #expect(current.revision == second)
        #expect(current.createRevision == first)
      }
      #expect(store.currentRevision == second)
    }
  }

  @Test(arguments: Engine.allCases)
  func `a list is in byte order, in pages, and leaves out neighbours of the prefix`(engine: Engine)
    async throws
  {
    try await engine.withStore { store in
      for name in ["/a/b", "/a/a", "/a/c", "/ab/x", "/a"] { _ = try await store.create(name, [0]) }
      let first = try await store.list(prefix: "/a/", limit: 2, after: nil, at: nil)
      #expect(first.values.map(\.key) == ["/a/a", "/a/b"])
      #expect(first.hasMore)
      let second = try await store.list(prefix: "/a/", limit: 2, after: "/a/b", at: first.revision)
      #expect(second.values.map(\.key) == ["/a/c"])
      #expect(!second.hasMore)
    }
  }

  @Test(arguments: Engine.allCases)
  func `a list at an old revision shows the world as it was`(engine: Engine) async throws {
    try await engine.withStore { store in
      let one = try await store.create("/a/1", [1])
      let two = try await store.create("/a/2", [1])
      _ = try await store.update("/a/1", [9], expecting: one)
      _ = try await store.delete("/a/2", expecting: two)
      let then = try await store.list(prefix: "/a/", limit: 0, after: nil, at: two)
      #expect(then.values.map(\.value) == [[1], [1]])
      let now = try await store.list(prefix: "/a/", limit: 0, after: nil, at: nil)
      #expect(now.values.map(\.value) == [[9]])
      await #expect(throws: StoreError.self) {
        try await store.list(prefix: "/a/", limit: 0, after: nil, at: 1 << 40)
      }
    }
  }

  @Test(arguments: Engine.allCases)
  func `a watch gives the past and the present without a gap and in order`(engine: Engine) async throws {
    try await engine.withStore { store in
      var made: [Revision] = []
      for index in 0..<50 { made.append(try await store.create("/a/\(index)", [0])) }
      async let more: [Revision] = {
        var made: [Revision] = []
        for index in 50..<300 { made.append(try await store.create("/a/\(index)", [0])) }
        return made
      }()
      let watch = try await store.watch(prefix: "/a/", after: made[9], queueMax: 1000)
      var seen: [Revision] = []
      let waiting = Waiting("290 events")
      while seen.count < 290, let events = try await waiting.next(watch) { seen += events.map(\.revision) }
      made += try await more
      #expect(seen == Array(made.dropFirst(10)))
      watch.cancel()
      #expect(try await watch.next() == nil)
    }
  }

  @Test(arguments: Engine.allCases)
  func `a watcher that does not listen is cut off and the others go on`(engine: Engine) async throws {
    try await engine.withStore { store in
      let start = try await store.latestRevision()
      let slow = try await store.watch(prefix: "/a/", after: start, queueMax: 5)
      let quick = try await store.watch(prefix: "/a/", after: start, queueMax: 100)
      for index in 0..<20 { _ = try await store.create("/a/\(index)", [0]) }
      var seen = 0
      let waiting = Waiting("twenty events, and the end of the one that does not listen")
      while seen < 20, let events = try await waiting.next(quick) { seen += events.count }
      #expect(seen == 20)
      let error = await #expect(throws: StoreError.self) {
        while try await waiting.next(slow) != nil {}
      }
      guard case .slowWatcher = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }

  @Test(arguments: Engine.allCases)
  func `after compaction old revisions are refused and the present is whole`(engine: Engine) async throws {
    try await engine.withStore { store in
      var revision = try await store.create("/a/1", [0])
      let early = revision
      for index in 1..<20 { revision = try await store.update("/a/1", [UInt8(index)], expecting: revision) }
      let gone = try await store.create("/a/gone", [0])
      let mark = try await store.delete("/a/gone", expecting: gone)
      let last = try await store.create("/a/2", [0])
      try await store.compact(to: mark)
      let watch = await #expect(throws: StoreError.self) {
        try await store.watch(prefix: "/a/", after: early, queueMax: 10)
      }
      guard case .compacted(let oldest) = watch else {
        Issue.record("\(String(describing: watch))")
        return
      }
      #expect(oldest == mark)
      await #expect(throws: StoreError.self) {
        try await store.list(prefix: "/a/", limit: 0, after: nil, at: mark - 1)
      }
      let there = try await store.list(prefix: "/a/", limit: 0, after: nil, at: mark)
      #expect(there.values.map(\.key) == ["/a/1"])
      #expect(there.values.map(\.value) == [[19]])
      let later = try await store.watch(prefix: "/a/", after: mark, queueMax: 10)
      let events = try await Waiting("the write after the compaction").next(later)
      #expect(events?.map(\.revision) == [last])
    }
  }

  @Test(arguments: Engine.allCases)
  func `many writers on one key: exactly one wins each revision`(engine: Engine) async throws {
    try await engine.withStore { store in
      _ = try await store.create("/a/1", [0])
      let wins = try await withThrowingTaskGroup(of: Int.self) { group in
        let writers = engine.isAlone ? 64 : 16
        for _ in 0..<writers {
          group.addTask {
            var wins = 0
            let waiting = Waiting("three wins of a writer", .seconds(120))
            while wins < 3 {
              try waiting.check()
              guard let now = try await store.get("/a/1") else { return wins }
              do {
                _ = try await store.update("/a/1", now.value, expecting: now.revision)
                wins += 1
              } catch StoreError.conflict {}
            }
            return wins
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(wins == 3 * (engine.isAlone ? 64 : 16))
      if engine.isAlone { #expect(store.currentRevision == 193) }
    }
  }

  @Test(arguments: Engine.allCases)
  func `a restart keeps data, revision and the compaction mark`(engine: Engine) async throws {
    try await withScratch { folder in
      let first = try await engine.open(folder)
      let one = try await first.create("/a/1", [1])
      _ = try await first.create("/e/1", [2])
      let three = try await first.update("/a/1", [3], expecting: one)
      try await first.compact(to: three - 1)
      await first.shutdown()
      await #expect(throws: StoreError.self) { try await first.create("/a/2", []) }

      let second = try await engine.open(folder)
      #expect(second.currentRevision >= three)
      #expect(try await second.get("/a/1")?.value == [3])
      #expect(try await second.get("/e/1")?.value == [2])
      await #expect(throws: StoreError.self) {
        try await second.watch(prefix: "/a/", after: one, queueMax: 10)
      }
      let later = try await second.watch(prefix: "/a/", after: three - 1, queueMax: 10)
      let events = try await Waiting("the last write before the restart").next(later)
      #expect(events?.map(\.revision) == [three])
      #expect(try await second.create("/a/2", []) > three)
      await second.shutdown()
    }
  }
}
