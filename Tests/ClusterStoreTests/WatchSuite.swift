// What a watch promises, after etcd's own list: ordered, unique, reliable (no gap), atomic, resumable, filtered, telling
// creations from updates, and complete up to a revision that was promised. Method: writers write at random, watchers of
// different keys, starts and habits record what they are told, and at the end each record is held against the writes that
// were acknowledged.

import ClusterStore
import StoreLab
import Testing

/// A write that the store acknowledged.
struct Acknowledged: Sendable, Equatable {
  var kind: StoreEvent.Kind
  var key: String
  var revision: Revision
  var value: [UInt8]
}

/// Writes to a few keys at random and remembers what was acknowledged. One writer a key: nothing is refused.
func writeAtRandom(
  _ store: any Store, writer: Int, keys: [String], count: Int, seed: UInt64
) async throws -> [Acknowledged] {
  var random = SeededGenerator(seed: seed &+ UInt64(writer))
  var live: [String: Revision] = [:]
  var done: [Acknowledged] = []
  for number in 0..<count {
    let key = keys[Int.random(in: 0..<keys.count, using: &random)]
    let value =
      [UInt8](text: "\(writer) \(number) ")
      + [UInt8](repeating: 120, count: Int.random(in: 0..<300, using: &random))
    if let revision = live[key] {
      if Int.random(in: 0..<6, using: &random) == 0 {
        let gone = try await store.delete(key, expecting: revision)
        live[key] = nil
        done.append(Acknowledged(kind: .delete, key: key, revision: gone, value: []))
      } else {
        let next = try await store.update(key, value, expecting: revision)
        live[key] = next
        done.append(Acknowledged(kind: .update, key: key, revision: next, value: value))
      }
    } else {
      let made = try await store.create(key, value)
      live[key] = made
      done.append(Acknowledged(kind: .create, key: key, revision: made, value: value))
    }
  }
  return done
}

/// Compares what a watch of `prefix` after `after` told with what was written; through the last acknowledged write.
func check(_ told: [StoreEvent], _ written: [Acknowledged], prefix: String, after: Revision) {
  let expected = written.filter { $0.key.hasPrefix(prefix) && $0.revision > after }.sorted {
    $0.revision < $1.revision
  }
  let revisions = told.map(\.revision)
  #expect(zip(revisions, revisions.dropFirst()).allSatisfy { $0 < $1 }, "ordered and unique")
  #expect(told.allSatisfy { $0.revision > after }, "nothing of before the start")
  #expect(told.allSatisfy { $0.key.hasPrefix(prefix) }, "nothing of other keys")
  let seen = told.map { Acknowledged(kind: $0.kind, key: $0.key, revision: $0.revision, value: $0.value) }
  #expect(seen.count == expected.count, "reliable: \(seen.count) told, \(expected.count) written")
  #expect(seen == expected, "kinds, keys, values and revisions as written")
  var created: [String: Revision] = [:]
  for event in told {
    switch event.kind {
    case .create:
      #expect(event.createRevision == event.revision)
      created[event.key] = event.revision
    case .update:
      if let created = created[event.key] { #expect(event.createRevision == created) }
      #expect(event.createRevision < event.revision)
    case .delete:
      #expect(event.value.isEmpty && event.createRevision == 0)
      created[event.key] = nil
    }
  }
}

@Suite(.timeLimit(.minutes(5))) struct WatchSuite {
  /// Collects until `last` was told, resuming on a new watch every `resumeEvery` batches (0: never).
  private static func follow(
    _ store: any Store, prefix: String, after: Revision, until last: Revision, resumeEvery: Int,
    pause: Duration?
  ) async throws -> [StoreEvent] {
    var told: [StoreEvent] = []
    var from = after
    let waiting = Waiting("\(prefix) through revision \(last)")
    while from < last {
      let watch = try await store.watch(prefix: prefix, after: from, queueMax: 100_000)
      var batches = 0
      while from < last, let events = try await waiting.next(watch) {
        told += events
        from = events.last?.revision ?? from
        batches += 1
        if let pause { try await Task.sleep(for: pause) }
        if resumeEvery > 0, batches >= resumeEvery { break }
      }
      watch.cancel()
    }
    return told
  }

  @Test(arguments: Engine.allCases)
  func `every watcher is told every write of its keys, once, in order, whatever its start and habits`(
    engine: Engine
  ) async throws {
    try await engine.withStore { store in
      let start = try await store.latestRevision()
      // The write that ends each watcher is known beforehand by its key.
      let prefixes = ["/w/", "/w/1/", "/w/2/a", ""]
      let (written, records) = try await withThrowingTaskGroup(
        of: [Acknowledged].self
      ) { group -> ([Acknowledged], [(String, Revision, [StoreEvent])]) in
        for writer in 0..<8 {
          group.addTask {
            let keys = (0..<5).map { "/w/\(writer)/\(["a", "ab", "b", "c", "d"][$0])" }
            return try await writeAtRandom(store, writer: writer, keys: keys, count: 120, seed: 7)
          }
        }
        async let early = Self.record(store, prefixes, after: start)
        var written: [Acknowledged] = []
        for try await part in group { written += part }
        var final: [Acknowledged] = []
        for prefix in prefixes {
          let key = prefix + "z-end"
          final.append(
            Acknowledged(kind: .create, key: key, revision: try await store.create(key, [1]), value: [1]))
        }
        written += final
        return (written, try await early)
      }
      for (prefix, after, told) in records {
        let end = try #require(written.first { $0.key == prefix + "z-end" }).revision
        check(
          told.filter { $0.revision <= end }, written.filter { $0.revision <= end }, prefix: prefix,
          after: after)
      }
      // Watchers that come late read the same from history.
      for after in [start, written[written.count / 2].revision, written[200].revision] {
        let end = written.filter { $0.key.hasPrefix("/w/1/") }.map(\.revision).max() ?? 0
        let told = try await Self.follow(
          store, prefix: "/w/1/", after: after, until: end, resumeEvery: 3, pause: nil)
        check(told, written, prefix: "/w/1/", after: after)
      }
    }
  }

  /// Four watchers at once: one for each prefix, of different habits, until each saw the write that ends it.
  private static func record(
    _ store: any Store, _ prefixes: [String], after: Revision
  ) async throws -> [(String, Revision, [StoreEvent])] {
    try await withThrowingTaskGroup(of: (String, Revision, [StoreEvent]).self) { group in
      for (index, prefix) in prefixes.enumerated() {
        group.addTask {
          var told: [StoreEvent] = []
          var from = after
          let end = prefix + "z-end"
          let waiting = Waiting("the creation of \(end)", .seconds(120))
          while told.last?.key != end, !told.contains(where: { $0.key == end }) {
            let watch = try await store.watch(prefix: prefix, after: from, queueMax: 100_000)
            var batches = 0
            while let events = try await waiting.next(watch) {
              told += events
              from = events.last?.revision ?? from
              batches += 1
              if index == 1 { try await Task.sleep(for: .milliseconds(3)) }
              if told.contains(where: { $0.key == end }) || index == 2 && batches >= 5 { break }
            }
            watch.cancel()
          }
          return (prefix, after, told)
        }
      }
      var records: [(String, Revision, [StoreEvent])] = []
      for try await record in group { records.append(record) }
      return records
    }
  }

  @Test(arguments: Engine.allCases)
  func `a watch started while many write misses nothing`(engine: Engine) async throws {
    try await engine.withStore { store in
      let start = try await store.latestRevision()
      async let writing = writeAtRandom(
        store, writer: 0, keys: ["/w/a", "/w/b", "/w/c"], count: 300, seed: 3)
      var told: [StoreEvent] = []
      var from = start
      let waiting = Waiting("three hundred writes, each on a watch of its own", .seconds(120))
      while told.count < 300 {
        let watch = try await store.watch(prefix: "/w/", after: from, queueMax: 10_000)
        if let events = try await waiting.next(watch) {
          told += events
          from = events.last?.revision ?? from
        }
        watch.cancel()
      }
      check(told, try await writing, prefix: "/w/", after: start)
    }
  }

  @Test(arguments: Engine.allCases)
  func `what the latest revision covers reaches a watch of everything`(engine: Engine) async throws {
    try await engine.withStore { store in
      let start = try await store.latestRevision()
      let watch = try await store.watch(prefix: "", after: start, queueMax: 10_000)
      for index in 0..<20 {
        let made = try await store.create("/w/\(index)", [1])
        let latest = try await store.latestRevision()
        #expect(latest >= made)
        var seen: Revision = 0
        let waiting = Waiting("revision \(latest) on a watch of everything")
        while seen < latest, let events = try await waiting.next(watch) {
          seen = events.last?.revision ?? seen
        }
        #expect(seen >= latest)
      }
      watch.cancel()
    }
  }

  enum Start: String, CaseIterable, Sendable {
    case beforeCompacted, compacted, afterCompacted, current, next, farFuture, zero
  }

  @Test(arguments: Engine.allCases, Start.allCases)
  func `where a watch may start`(engine: Engine, start: Start) async throws {
    try await engine.withStore { store in
      var revision = try await store.create("/w/a", [0])
      var all = [revision]
      for index in 1..<10 {
        revision = try await store.update("/w/a", [UInt8(index)], expecting: revision)
        all.append(revision)
      }
      let mark = all[5]
      try await store.compact(to: mark)
      let after: Revision =
        switch start {
        case .beforeCompacted: mark - 1
        case .compacted: mark
        case .afterCompacted: mark + 1
        case .current: revision
        case .next: revision + 1
        case .farFuture: revision + 1_000_000
        case .zero: 0
        }
      do {
        let watch = try await store.watch(prefix: "/w/", after: after, queueMax: 100)
        let more = try await store.update("/w/a", [99], expecting: revision)
        var told: [Revision] = []
        let waiting = Waiting("revision \(more)")
        while told.last != more, let events = try await waiting.next(watch) { told += events.map(\.revision) }
        #expect(told == (all + [more]).filter { $0 > after })
        #expect([.compacted, .afterCompacted, .current].contains(start))
      } catch StoreError.compacted(let oldest) {
        #expect(oldest == mark)
        #expect([.beforeCompacted, .zero].contains(start))
      } catch StoreError.future(let current) {
        #expect(current == revision)
        #expect([.next, .farFuture].contains(start))
      }
    }
  }

  @Test(arguments: Engine.allCases)
  func `after shutdown watches end and calls are refused`(engine: Engine) async throws {
    try await withScratch { folder in
      let store = try await engine.open(folder)
      let made = try await store.create("/w/a", [1])
      let watch = try await store.watch(prefix: "/w/", after: made, queueMax: 10)
      await store.shutdown()
      #expect(try await Waiting("the end of a watch after shutdown").next(watch) == nil)
      await #expect(throws: StoreError.self) { try await store.create("/w/b", []) }
      await #expect(throws: StoreError.self) {
        try await store.watch(prefix: "/w/", after: made, queueMax: 10)
      }
    }
  }
}
