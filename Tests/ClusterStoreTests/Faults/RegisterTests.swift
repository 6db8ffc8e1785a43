// Linearizability: clients read and swap a few registers at once, sometimes while etcd is killed. Each write that counts has a
// revision, so the order is known; the checker holds it against real time.
//
//   a write that returned before another began has the lower revision
//   a read that began after a write returned shows that write or a later one of its key
//   a read shows nothing that was begun after it returned

import ClusterStore
import ClusterStoreEtcd
import StoreLab
import Synchronization
import Testing

/// Counts, for who waits.
final class Counter: Sendable {
  private let number = Atomic(0)
  func add() { number.add(1, ordering: .relaxed) }
  var value: Int { number.load(ordering: .relaxed) }
}

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 5))) struct RegisterTests {
  struct Operation: Sendable {
    var key: String
    var isWrite: Bool
    /// Nil: the outcome is not known.
    var revision: Revision?
    var value: [UInt8]
    var from: ContinuousClock.Instant
    var to: ContinuousClock.Instant
  }

  /// What is wrong with a history, or nil.
  static func problem(_ history: [Operation]) -> String? {
    for key in Set(history.map(\.key)) {
      let all = history.filter { $0.key == key }
      let writes = all.filter { $0.isWrite && $0.revision != nil }
      for (index, one) in writes.enumerated() {
        for other in writes[(index + 1)...] {
          guard let first = one.revision, let second = other.revision else { continue }
          if first == second { return "\(key): two writes are revision \(first)" }
          if first < second ? other.to < one.from : one.to < other.from {
            return "\(key): \(first), \(second) against time"
          }
        }
      }
      for read in all where !read.isWrite {
        guard let seen = read.revision else { continue }
        for write in writes {
          guard let made = write.revision else { continue }
          if made > seen, write.to < read.from {
            return "\(key): read \(seen) after \(made) was acknowledged"
          }
          if made == seen, write.from > read.to { return "\(key): read \(seen) before it was written" }
          if made == seen, write.value != read.value { return "\(key): revision \(seen) with another value" }
        }
        for other in all where !other.isWrite {
          if let later = other.revision, read.to < other.from, later < seen {
            return "\(key): reads went back"
          }
        }
      }
    }
    return nil
  }

  @Test func `the checker knows a bad history`() {
    let start = ContinuousClock.now
    func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }
    func operation(_ isWrite: Bool, _ revision: Revision, _ from: Int, _ to: Int) -> Operation {
      Operation(key: "k", isWrite: isWrite, revision: revision, value: [1], from: at(from), to: at(to))
    }
    #expect(
      Self.problem([operation(true, 1, 0, 1), operation(true, 2, 2, 3), operation(false, 2, 4, 5)]) == nil)
    #expect(Self.problem([operation(true, 2, 0, 1), operation(true, 1, 2, 3)]) != nil)
    #expect(
      Self.problem([operation(true, 1, 0, 1), operation(true, 2, 2, 3), operation(false, 1, 4, 5)]) != nil)
    #expect(Self.problem([operation(true, 3, 4, 5), operation(false, 3, 1, 2)]) != nil)
    #expect(Self.problem([operation(false, 3, 1, 2), operation(false, 2, 4, 5)]) != nil)
  }

  /// `clients` clients of the stores, `count` operations each or until `isOver`. Each acknowledged write is also counted in
  /// `acknowledged`, for who waits for writes.
  static func run(
    _ stores: [any Store], clients: Int, count: Int, seed: UInt64, pause: Duration = .zero,
    acknowledged: Counter = Counter(), isOver: @escaping @Sendable () -> Bool = { false }
  ) async -> [Operation] {
    await withTaskGroup(of: [Operation].self) { group in
      for client in 0..<clients {
        let store = stores[client % stores.count]
        group.addTask {
          var random = SeededGenerator(seed: seed &* 100 &+ UInt64(client))
          var done: [Operation] = []
          var known: [String: Revision] = [:]
          for number in 0..<count {
            if isOver() { break }
            if pause > .zero { try? await Task.sleep(for: pause) }
            let key = "/r/\(Int.random(in: 0..<3, using: &random))"
            let from = ContinuousClock.now
            if Bool.random(using: &random) {
              guard let found = try? await store.get(key) else { continue }
              known[key] = found.revision
              done.append(
                Operation(
                  key: key, isWrite: false, revision: found.revision, value: found.value, from: from, to: .now
                ))
            } else {
              let value = [UInt8](text: "\(seed) \(client) \(number)")
              var revision: Revision?
              do throws(StoreError) {
                if let expected = known[key] {
                  revision = try await store.update(key, value, expecting: expected)
                } else {
                  revision = try await store.create(key, value)
                }
              } catch {
                switch error {
                case .conflict(let current), .exists(let current): known[key] = current.revision
                default: break
                }
                continue
              }
              known[key] = revision
              acknowledged.add()
              done.append(
                Operation(key: key, isWrite: true, revision: revision, value: value, from: from, to: .now))
            }
          }
          return done
        }
      }
      var all: [Operation] = []
      for await part in group { all += part }
      return all
    }
  }

  @Test(arguments: Engine.allCases)
  func `reads and swaps of many clients have one order that agrees with time`(engine: Engine) async throws {
    let runs = engine.isAlone ? Soak.rounds(20, long: 1000) : Soak.rounds(4, long: 200)
    for seed in 0..<runs {
      try await engine.withStore { store in
        let history = await Self.run([store], clients: 16, count: 25, seed: UInt64(seed))
        #expect(history.count > 100)
        #expect(Self.problem(history) == nil, "seed \(seed)")
      }
    }
    Soak.report("\(engine): \(runs) histories of sixteen clients, each with one order that agrees with time")
  }

  @Test(arguments: EtcdServer.Version.allCases)
  func `killing etcd loses no acknowledged write, and two servers keep one order`(version: EtcdServer.Version)
    async throws
  {
    let server = try EtcdServer(version)
    let stores = [try await server.open(prefix: "/t"), try await server.open(prefix: "/t")]
    let watch = try await stores[0].watch(
      prefix: "/r/", after: try await stores[0].latestRevision(), queueMax: 100_000)
    async let history = Self.run(stores, clients: 8, count: Soak.rounds(120, long: 1200), seed: 77)
    for _ in 0..<Soak.rounds(3, long: 30) {
      try await Task.sleep(for: .milliseconds(300))
      server.kill()
      try server.start()
    }
    let found = await history
    #expect(found.count > 200)
    #expect(Self.problem(found) == nil)
    // The watch went on through it all: every acknowledged write is told once, in order.
    let writes = found.filter(\.isWrite).compactMap(\.revision).sorted()
    var told: [Revision] = []
    let waiting = Waiting("the last write on a watch that went through three restarts of etcd")
    while (told.last ?? 0) < (writes.last ?? 0), let events = try await waiting.next(watch) {
      told += events.map(\.revision)
    }
    #expect(told == told.sorted() && Set(told).count == told.count)
    #expect(Set(writes).isSubset(of: Set(told)))
    for store in stores { await store.shutdown() }
    server.remove()
  }
}
