// What only the SQLite engine has: a file that can be damaged, a lock, a log that must not grow.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.timeLimit(.minutes(5))) struct SQLiteStoreTests {
  @Test func `a second process on the folder is refused with the holder's pid`() async throws {
    try await withScratch { folder in
      let first = try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: Metrics())
      let error = #expect(throws: WeftError.self) {
        try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: Metrics())
      }
      #expect(error?.code == "STO0002")
      #expect(error?.cause.contains("pid \(getpid())") == true)
      await first.shutdown()
    }
  }

  @Test func `a damaged file is named with the command that helps`() async throws {
    try await withScratch { folder in
      let file = try #require(fopen("\(folder)/store.db", "w"))
      for _ in 0..<1000 { fputs("this is no database ", file) }
      fclose(file)
      let error = #expect(throws: WeftError.self) {
        try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: Metrics())
      }
      #expect(error?.code == "STO0003")
      #expect(error?.object == "\(folder)/store.db")
      #expect(error?.next.contains("mv ") == true)
      #expect(error?.exit == .usage)
    }
  }

  @Test func `a folder that cannot be made is named`() async throws {
    let error = #expect(throws: WeftError.self) {
      try SQLiteStore(settings: SQLiteStoreSettings(folder: "/dev/null/x"), metrics: Metrics())
    }
    #expect(error?.code == "STO0001")
  }

  @Test func `what is stored is the owner's alone, in files of an earlier version too`() async throws {
    func others(_ path: String) -> mode_t? {
      var status = stat()
      return stat(path, &status) == 0 ? status.st_mode & 0o077 : nil
    }
    try await withScratch { folder in
      let paths = ["store.db", "store.db-wal", "store.db-shm"].map { "\(folder)/\($0)" }
      for round in 0..<2 {
        let store = try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: Metrics())
        _ = try await store.create("/registry/secrets/a/\(round)", Array("s3cret".utf8))
        for path in paths { #expect(others(path) == 0, "\(path) in round \(round)") }
        await store.shutdown()
        for path in paths { chmod(path, 0o644) }
      }
    }
  }

  @Test func `heartbeats do not grow the file`() async throws {
    try await withScratch { folder in
      let store = try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: Metrics())
      let value = [UInt8](repeating: 65, count: 1000)
      var revision = try await store.create("/registry/leases/n/a", value)
      for _ in 0..<500 {
        revision = try await store.update("/registry/leases/n/a", value, expecting: revision)
      }
      await store.shutdown()
      var status = stat()
      #expect(stat("\(folder)/store.db", &status) == 0)
      #expect(status.st_size < 200_000)
    }
  }

  @Test func `writers share commits`() async throws {
    try await withScratch { folder in
      let metrics = Metrics()
      let store = try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: metrics)
      let value = [UInt8](repeating: 65, count: 1500)
      func rate(writers: Int, each: Int) async throws -> Double {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
          for writer in 0..<writers {
            group.addTask {
              for index in 0..<each { _ = try await store.create("/a/\(writers)/\(writer)/\(index)", value) }
            }
          }
          try await group.waitForAll()
        }
        let took = (ContinuousClock.now - start) / .seconds(1)
        return Double(writers * each) / took
      }
      let alone = try await rate(writers: 1, each: 300)
      let together = try await rate(writers: 64, each: 50)
      await store.shutdown()
      let line = "durable writes a second: 1 writer \(Int(alone)), 64 writers \(Int(together))\n"
      _ = line.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
      let commits = metrics.histogram("weft_store_commit_duration_seconds", "").child().snapshot.counts
        .reduce(0, +)
      #expect(commits < 300 + 1600, "64 writers must average at least two to a commit")
    }
  }

  @Test func `the oldest entry of a full ephemeral table makes room and watchers are told`() async throws {
    try await Engine.sqlite.withStore { store in
      let watch = try await store.watch(prefix: "/e/", after: 0, queueMax: 100)
      for index in 0..<4 { _ = try await store.create("/e/\(index)", [0]) }
      let left = try await store.list(prefix: "/e/", limit: 0, after: nil, at: nil)
      #expect(left.values.map(\.key) == ["/e/1", "/e/2", "/e/3"])
      var events: [StoreEvent] = []
      let waiting = Waiting("five events of the full table")
      while events.count < 5, let more = try await waiting.next(watch) { events += more }
      #expect(events.last?.kind == .delete)
      #expect(events.last?.key == "/e/0")
    }
  }
}
