// One thread that owns the tables of a node. Planners hand in what they want; whatever has gathered while the
// kernel worked goes into the next transaction, so a burst of changes costs two commits, and several
// planners' tables change together.

import CLinux
import Glibc
import Ruleset
import Synchronization

/// Commits tables of several planners from a thread of its own, in the namespace in which it was started.
///
/// `commit` returns when what was handed in is in force: a CNI ADD may wait for its pod's verdict. Only the
/// newest tables of each planner wait, so the queue is as long as there are planners; waiters are bounded by
/// `waitersMax`.
public final class RulesetWorker: Sendable {
  public static let waitersMax = 4096
  /// How often the kernel is asked whether another program has changed something (one small message).
  public static let checkSeconds: Int32 = 10

  private struct Waiter {
    var planner: String
    var done: @Sendable (Result<SyncReport, any Error>) -> Void
  }

  private struct Pending {
    var tables: [String: [Table]] = [:]
    var isDirty = false
    var waiters: [Waiter] = []
    var tasks: [@Sendable (RulesetSyncer) -> Void] = []
    var isStopping = false
    var hasStopped = false
  }

  private let pending = Mutex(Pending())
  /// Planners without whose tables nothing is committed.
  private let expected: Set<String>
  private let wakeUp: Int32
  private let settled: Int32
  /// What was in force when the worker started: planners recover their numbers from it.
  public let initially: InForce

  /// Starts the thread in the network namespace of the calling thread and reads what is in force of `owned`.
  /// - Parameter expecting: planners that all must have handed in their tables before the first transaction.
  /// After a
  ///   restart the first to speak would otherwise take the tables of the others out of force.
  public init(owned: [Table.ID], expecting: Set<String> = []) throws {
    expected = expecting
    // A semaphore descriptor counts wake-ups; the thread blocks in read.
    wakeUp = eventfd(0, Int32(EFD_CLOEXEC))
    settled = eventfd(0, Int32(EFD_CLOEXEC))
    guard wakeUp >= 0, settled >= 0 else {
      throw NftablesError(operation: "make an event descriptor", errno: errno)
    }
    // The socket keeps the namespace it was opened in, whichever thread uses it.
    nonisolated(unsafe) let syncer = try RulesetSyncer(owned: owned)
    initially = try syncer.observed()
    let box = ThreadStart { [self] in work(syncer) }
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { raw in
        guard let raw else { return nil }
        let start = Unmanaged<ThreadStart>.fromOpaque(raw).takeRetainedValue()
        start.body()
        return nil
      }, Unmanaged.passRetained(box).toOpaque())
    guard status == 0 else {
      Unmanaged.passUnretained(box).release()
      throw NftablesError(operation: "start the ruleset thread", errno: status)
    }
    pthread_detach(thread)
  }

  deinit {
    close(wakeUp)
    close(settled)
  }

  /// Makes these the tables of `planner` and returns when they are in force. Throws `NftablesError` when the
  /// kernel refused.
  @discardableResult
  public func commit(_ planner: String, _ tables: [Table]) async throws -> SyncReport {
    try await withCheckedThrowingContinuation { continuation in
      submit(planner, tables) { continuation.resume(with: $0) }
    }
  }

  /// The same without waiting.
  public func submit(
    _ planner: String, _ tables: [Table],
    done: @escaping @Sendable (Result<SyncReport, any Error>) -> Void = { _ in }
  ) {
    let isAccepted = pending.withLock { pending in
      guard !pending.isStopping, pending.waiters.count < Self.waitersMax else { return false }
      pending.tables[planner] = tables
      pending.isDirty = true
      pending.waiters.append(Waiter(planner: planner, done: done))
      return true
    }
    if isAccepted {
      signal(wakeUp)
    } else {
      done(.failure(NftablesError(operation: "wait for a transaction", errno: EAGAIN)))
    }
  }

  /// Runs something on the thread after what was handed in before, for example `deleteFlows`.
  public func perform<Value: Sendable>(
    _ body: @escaping @Sendable (RulesetSyncer) throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      let isAccepted = pending.withLock { pending in
        guard !pending.isStopping, pending.tasks.count < Self.waitersMax else { return false }
        pending.tasks.append { syncer in continuation.resume(with: Result { try body(syncer) }) }
        return true
      }
      if isAccepted {
        signal(wakeUp)
      } else {
        continuation.resume(throwing: NftablesError(operation: "wait for the ruleset thread", errno: EAGAIN))
      }
    }
  }

  /// Ends the thread after what was handed in; with `removingTables` our tables are deleted. Blocks until it
  /// is done.
  public func stop(removingTables: Bool = false) {
    let isFirst = pending.withLock { pending in
      defer { pending.isStopping = true }
      if !pending.isStopping, removingTables {
        pending.tasks.append { syncer in try? syncer.removeAll() }
      }
      return !pending.isStopping
    }
    guard isFirst else { return }
    signal(wakeUp)
    wait(settled)
  }

  private func signal(_ descriptor: Int32) {
    var one: UInt64 = 1
    _ = withUnsafeBytes(of: &one) { write(descriptor, $0.baseAddress, 8) }
  }

  /// False when `checkSeconds` passed without a signal.
  private func waitBriefly(_ descriptor: Int32) -> Bool {
    var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&poll, 1, Self.checkSeconds * 1000) > 0 else { return false }
    wait(descriptor)
    return true
  }

  private func wait(_ descriptor: Int32) {
    var count: UInt64 = 0
    while read(descriptor, &count, 8) < 0, errno == EINTR {}
  }

  /// One transaction for all. When the kernel refuses a planner's table, that planner's tables stay as they
  /// were and the others go on without it: a bad policy must not hold up Services.
  private func commit(
    _ planners: [(key: String, value: [Table])], with syncer: RulesetSyncer
  ) -> [String: Result<SyncReport, any Error>] {
    var results: [String: Result<SyncReport, any Error>] = [:]
    var kept: Set<Table.ID> = []
    while results.count < planners.count {
      let rest = planners.filter { results[$0.key] == nil }
      do {
        let report = try syncer.sync(rest.flatMap(\.value), keeping: kept)
        for planner in rest { results[planner.key] = .success(report) }
      } catch {
        let guilty = rest.first { planner in planner.value.contains { $0.id == error.table } }
        for planner in rest where guilty == nil || planner.key == guilty?.key {
          results[planner.key] = .failure(error)
          kept.formUnion(planner.value.map(\.id))
        }
      }
    }
    return results
  }

  /// Reads the tables again when another program has committed, and repairs them.
  private func check(_ syncer: RulesetSyncer) {
    guard (try? syncer.hasForeignChange()) == true else { return }
    let tables = pending.withLock { pending in
      expected.isSubset(of: pending.tables.keys) ? pending.tables.sorted { $0.key < $1.key } : []
    }
    // Refusals come up again, and are reported, with the next tables handed in.
    if !tables.isEmpty { _ = commit(tables, with: syncer) }
  }

  private func work(_ syncer: RulesetSyncer) {
    while true {
      guard waitBriefly(wakeUp) else {
        check(syncer)
        continue
      }
      let (tables, waiters, tasks, isStopping) = pending.withLock {
        pending -> ([(key: String, value: [Table])]?, [Waiter], [@Sendable (RulesetSyncer) -> Void], Bool) in
        // Waiters of a planner that came first wait for the others.
        let isComplete = expected.isSubset(of: pending.tables.keys) || pending.isStopping
        defer {
          if isComplete {
            pending.waiters = []
            pending.isDirty = false
          }
          pending.tasks = []
        }
        guard isComplete else { return (nil, [], pending.tasks, pending.isStopping) }
        let planners = pending.tables.sorted { $0.key < $1.key }
        return (
          pending.isDirty && !(pending.isStopping && !expected.isSubset(of: pending.tables.keys))
            ? planners : nil, pending.waiters, pending.tasks, pending.isStopping
        )
      }
      if let tables {
        let results = commit(tables, with: syncer)
        for waiter in waiters {
          waiter.done(results[waiter.planner] ?? .failure(NftablesError(operation: "commit", errno: EPROTO)))
        }
      } else {
        let stopped = NftablesError(operation: "wait for a transaction", errno: ECANCELED)
        for waiter in waiters { waiter.done(.failure(stopped)) }
      }
      for task in tasks { task(syncer) }
      if isStopping {
        signal(settled)
        return
      }
    }
  }
}

private final class ThreadStart {
  let body: () -> Void
  init(_ body: @escaping () -> Void) { self.body = body }
}
