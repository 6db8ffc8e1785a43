// Many watchers of one store at once while many write and history is compacted: prompt ones, slow ones that are cut off and
// resume, ones that leave and come back. Each keeps what it was told in stretches; every stretch must hold exactly the acknowledged
// writes of its keys, in order, between where it began and where it ended (etcd's list: ordered, unique, reliable,
// atomic, resumable). The long form, with 5,000 watchers, is `make soak`.

import ClusterStore
import Diagnostics
import StoreLab
import Synchronization
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 30 : 5))) struct ManyWatchersTests {
  enum Habit: CaseIterable { case prompt, slow, leaving, starved }

  /// What a watcher was told without a break: all of (after, last told].
  struct Stretch: Sendable {
    var after: Revision
    var told: [Revision] = []
    var last: Revision { told.last ?? after }
  }
  struct Record: Sendable {
    var prefix: String
    var stretches: [Stretch]
    var cutOff = 0
    var compacted = 0
  }

  /// Follows until `end` was told or a list showed it. A watch that is cut off goes on where it was; one whose history is gone
  /// lists, and begins a new stretch there.
  private static func follow(
    _ store: any Store, prefix: String, after: Revision, habit: Habit, seed: UInt64, end: SharedNumber
  ) async throws -> Record {
    var random = SeededGenerator(seed: seed)
    var record = Record(prefix: prefix, stretches: [Stretch(after: after)])
    let waiting = Waiting(
      "the end of \(prefix) by a watcher that is \(habit)", .seconds(Soak.rounds(120, long: 1500)))
    func isOver() -> Bool {
      let last = end.value.load(ordering: .acquiring)
      return last > 0 && (record.stretches.last?.last ?? 0) >= last
    }
    while !isOver() {
      let from = record.stretches.last?.last ?? after
      try waiting.check()
      // Who left comes back when the compaction went over where it was.
      while habit == .leaving, from > after, end.value.load(ordering: .acquiring) == 0,
        store.currentRevision < from + 150
      {
        try waiting.check()
        try await Task.sleep(for: .milliseconds(10))
      }
      do {
        let watch = try await store.watch(
          prefix: prefix, after: from, queueMax: habit == .starved ? 8 : 1_000_000)
        var batches = 0
        while !isOver(), let events = try await waiting.next(watch) {
          record.stretches[record.stretches.count - 1].told += events.map(\.revision)
          batches += 1
          if habit == .leaving, batches % 4 == 3 { break }
          if habit == .slow || habit == .starved {
            try? await Task.sleep(for: .milliseconds(Int.random(in: 0..<20, using: &random)))
          }
        }
        watch.cancel()
      } catch let error as StoreError {
        switch error {
        case .slowWatcher: record.cutOff += 1
        case .compacted(let oldest):
          #expect(oldest > from)
          record.compacted += 1
          let page = try await store.list(prefix: prefix, limit: 1, after: nil, at: nil)
          #expect(page.revision >= oldest)
          record.stretches.append(Stretch(after: page.revision))
        default: throw error
        }
      }
    }
    return record
  }

  @Test
  func
    `every stretch of every watcher holds all writes of its keys once and in order, also when history goes`()
    async throws
  {
    try await withScratch { folder in
      let store = try Faults.open(folder)
      let watchers = Soak.rounds(400, long: 5000)
      let each = Soak.rounds(60, long: 300)
      let end = SharedNumber()
      let start = ContinuousClock.now
      let records = Task {
        try await withThrowingTaskGroup(of: Record.self) { group in
          for number in 0..<watchers {
            // Most look at one writer's keys, some at all.
            let prefix = number % 50 == 0 ? "/w/" : "/w/\(number % 16)/"
            let habit = Habit.allCases[number / 16 % 4]
            group.addTask {
              try await Self.follow(
                store, prefix: prefix, after: 0, habit: habit, seed: Soak.seed &+ UInt64(number), end: end)
            }
          }
          var records: [Record] = []
          for try await record in group { records.append(record) }
          return records
        }
      }
      let compacting = Task {
        while !Task.isCancelled {
          try? await Task.sleep(for: .milliseconds(20))
          let mark = store.currentRevision - 100
          if mark > 0 { try? await store.compact(to: mark) }
        }
      }
      var written = try await withThrowingTaskGroup(of: [Acknowledged].self) { group in
        for writer in 0..<16 {
          group.addTask {
            try await writeAtRandom(
              store, writer: writer, keys: (0..<4).map { "/w/\(writer)/\($0)" }, count: each, seed: Soak.seed)
          }
        }
        var written: [Acknowledged] = []
        for try await part in group { written += part }
        return written
      }
      compacting.cancel()
      await compacting.value
      // The end: a write for each prefix, all later than what the end says.
      end.value.store((written.map(\.revision).max() ?? 0) + 1, ordering: .releasing)
      for writer in 0..<16 {
        let made = try await store.create("/w/\(writer)/end", [1])
        written.append(Acknowledged(kind: .create, key: "/w/\(writer)/end", revision: made, value: [1]))
      }
      let found = try await records.value
      var byPrefix: [String: [Revision]] = ["/w/": written.map(\.revision).sorted()]
      for writer in 0..<16 {
        byPrefix["/w/\(writer)/"] = written.filter { $0.key.hasPrefix("/w/\(writer)/") }.map(\.revision)
          .sorted()
      }
      var wrong = 0
      for record in found {
        let all = try #require(byPrefix[record.prefix])
        for stretch in record.stretches
        where stretch.told != all.filter({ $0 > stretch.after && $0 <= stretch.last }) {
          wrong += 1
        }
      }
      #expect(found.count == watchers)
      #expect(wrong == 0, "\(wrong) stretches do not hold what was written")
      let told = found.reduce(0) { $0 + $1.stretches.reduce(0) { $0 + $1.told.count } }
      #expect(told > written.count)
      #expect(found.contains { $0.cutOff > 0 } && found.contains { $0.compacted > 0 })
      await store.shutdown()
      Soak.report(
        "\(watchers) watchers of one store: \(written.count) writes, \(told) events told, cut off "
          + "\(found.reduce(0) { $0 + $1.cutOff }) times, history gone \(found.reduce(0) { $0 + $1.compacted }) times, "
          + "\(ContinuousClock.now - start)")
    }
  }
}
