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
  public static let checkPause: Duration = .seconds(1)
  private let checkPause: Duration

  private struct Waiter {
    var planner: String
    var done: @Sendable (Result<SyncReport, any Error>) -> Void
  }

  /// What a planner wants that is not in force yet.
  private enum Wish {
    case whole([Table])
    case deltas([TableDelta])

    /// Takes in what was handed in after this.
    mutating func take(_ later: [TableDelta]) {
      switch self {
      case .whole(var tables):
        for delta in later {
          if let at = tables.firstIndex(where: { $0.id == delta.id }) { tables[at].apply(delta) }
        }
        self = .whole(tables)
      case .deltas(var deltas):
        for delta in later {
          if let at = deltas.firstIndex(where: { $0.id == delta.id }) {
            deltas[at].merge(delta)
          } else {
            deltas.append(delta)
          }
        }
        self = .deltas(deltas)
      }
    }

    var ids: [Table.ID] {
      switch self {
      case .whole(let tables): tables.map(\.id)
      case .deltas(let deltas): deltas.map(\.id)
      }
    }
  }

  private struct Pending {
    var wishes: [String: Wish] = [:]
    /// Who has handed in tables, ever.
    var planners: Set<String> = []
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
  /// Foreign changes of our tables that have been put right, the newest `repairsMax`. For one consumer.
  public let repairs: AsyncStream<RulesetRepair>
  public static let repairsMax = 16
  private let found: AsyncStream<RulesetRepair>.Continuation

  /// Starts the thread in the network namespace of the calling thread and reads what is in force of `owned`.
  /// - Parameter expecting: planners that all must have handed in their tables before the first transaction.
  /// After a
  ///   restart the first to speak would otherwise take the tables of the others out of force.
  public init(
    owned: [Table.ID], expecting: Set<String> = [], checkPause: Duration = RulesetWorker.checkPause
  ) throws {
    expected = expecting
    self.checkPause = checkPause
    // A semaphore descriptor counts wake-ups; the thread blocks in read.
    wakeUp = eventfd(0, Int32(EFD_CLOEXEC))
    settled = eventfd(0, Int32(EFD_CLOEXEC))
    guard wakeUp >= 0, settled >= 0 else {
      throw NftablesError(operation: "make an event descriptor", errno: errno)
    }
    // The socket keeps the namespace it was opened in, whichever thread uses it.
    nonisolated(unsafe) let syncer = try RulesetSyncer(owned: owned)
    initially = try syncer.observed()
    (repairs, found) = AsyncStream.makeStream(
      of: RulesetRepair.self, bufferingPolicy: .bufferingNewest(Self.repairsMax))
    syncer.onRepair = { [found] in found.yield($0) }
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

  /// Changes tables of `planner` that are in force, element by element: costs what changes. Throws an `NftablesError` with
  /// ESTALE when the tables in force are not known (none were handed in, or the last transaction failed): hand them in
  /// whole then.
  @discardableResult
  public func commit(_ planner: String, deltas: [TableDelta]) async throws -> SyncReport {
    try await withCheckedThrowingContinuation { continuation in
      submit(planner, deltas: deltas) { continuation.resume(with: $0) }
    }
  }

  /// The same without waiting.
  public func submit(
    _ planner: String, _ tables: [Table],
    done: @escaping @Sendable (Result<SyncReport, any Error>) -> Void = { _ in }
  ) {
    submit(planner, done) { $0 = .whole(tables) }
  }

  /// The same without waiting. Deltas that wait are merged.
  public func submit(
    _ planner: String, deltas: [TableDelta],
    done: @escaping @Sendable (Result<SyncReport, any Error>) -> Void = { _ in }
  ) {
    submit(planner, done) { wish in
      if wish == nil { wish = .deltas(deltas) } else { wish?.take(deltas) }
    }
  }

  private func submit(
    _ planner: String, _ done: @escaping @Sendable (Result<SyncReport, any Error>) -> Void,
    _ change: (inout Wish?) -> Void
  ) {
    let isAccepted = pending.withLock { pending in
      guard !pending.isStopping, pending.waiters.count < Self.waitersMax else { return false }
      change(&pending.wishes[planner])
      pending.planners.insert(planner)
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

  /// False when `checkPause` passed without a signal.
  private func waitBriefly(_ descriptor: Int32) -> Bool {
    var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&poll, 1, Int32(clamping: Int64(checkPause.milliseconds))) > 0 else { return false }
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
    _ wishes: [String: Wish], with syncer: RulesetSyncer, _ tables: inout [String: Set<Table.ID>]
  ) -> [String: Result<SyncReport, any Error>] {
    var results: [String: Result<SyncReport, any Error>] = [:]
    while results.count < wishes.count {
      let rest = wishes.filter { results[$0.key] == nil }.sorted { $0.key < $1.key }
      var whole: [Table] = []
      var deltas: [TableDelta] = []
      for (_, wish) in rest {
        switch wish {
        case .whole(let tables): whole += tables
        case .deltas(let changes): deltas += changes
        }
      }
      // Of a planner that changes elements all tables stay, also those that it does not change.
      let replaced = Set(rest.filter { if case .whole = $0.value { true } else { false } }.map(\.key))
      let kept = tables.filter { !replaced.contains($0.key) }.values
        .reduce(into: Set<Table.ID>()) { $0.formUnion($1) }
      do {
        let report = try syncer.sync(whole, deltas: deltas, keeping: kept)
        for (planner, wish) in rest {
          results[planner] = .success(report)
          if case .whole(let now) = wish { tables[planner] = Set(now.map(\.id)) }
        }
      } catch {
        let guilty = rest.first { $0.value.ids.contains { $0 == error.table } }
        for (planner, wish) in rest where guilty == nil || planner == guilty?.key {
          results[planner] = .failure(error)
          tables[planner, default: []].formUnion(wish.ids)
        }
      }
    }
    return results
  }

  private func work(_ syncer: RulesetSyncer) {
    /// Tables by planner, as far as handed in.
    var tables: [String: Set<Table.ID>] = [:]
    let clock = ContinuousClock()
    var lastLook = clock.now
    while true {
      let isCalled = waitBriefly(wakeUp)
      // Another program may have committed, whether there is work or not. A repair that fails is tried again at the next look.
      if !isCalled || clock.now - lastLook >= checkPause {
        _ = try? syncer.repair()
        lastLook = clock.now
      }
      guard isCalled else { continue }
      let (wishes, waiters, tasks, isStopping) = pending.withLock {
        pending -> ([String: Wish], [Waiter], [@Sendable (RulesetSyncer) -> Void], Bool) in
        let isComplete = expected.isSubset(of: pending.planners)
        let tasks = pending.tasks
        pending.tasks = []
        // Waiters of a planner that came first wait for the others.
        guard isComplete || pending.isStopping else { return ([:], [], tasks, false) }
        let wishes = isComplete ? pending.wishes : [:]
        let waiters = pending.waiters
        pending.wishes = [:]
        pending.waiters = []
        return (wishes, waiters, tasks, pending.isStopping)
      }
      let results = commit(wishes, with: syncer, &tables)
      let stopped = NftablesError(operation: "wait for a transaction", errno: ECANCELED)
      for waiter in waiters { waiter.done(results[waiter.planner] ?? .failure(stopped)) }
      for task in tasks { task(syncer) }
      if isStopping {
        found.finish()
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
