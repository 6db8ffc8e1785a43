// Keeps the kernel's tables equal to what planners want: diff against what is in force, one transaction, bad
// elements left out by name. Knows nothing of what the tables are for.
//
//   whole tables ──> compared with what is in force ──┐
//   deltas ────────> looked up in what is in force ───┴─> operations ─> one transaction ─> in force
//
// A delta costs what it changes. Whatever goes wrong with one (a refused element, a foreign edit) is handled the long way:
// the tables are read, compared as a whole, and the difference is sent.

import Diagnostics
import Glibc
import Ruleset

/// What one synchronisation did.
public struct SyncReport: Sendable, Hashable {
  /// An element that the kernel refused. The rest is in force.
  public struct Quarantined: Sendable, Hashable {
    /// The element's comment, which names whose it is, else the element itself.
    public var object: String
    public var reason: String
  }

  /// Elements, rules, chains, sets and tables that changed. 0: nothing was sent.
  public var operations = 0
  public var netlinkBytes = 0
  public var readMilliseconds = 0.0
  public var diffMilliseconds = 0.0
  public var commitMilliseconds = 0.0
  public var quarantined: [Quarantined] = []
  public init() {}
}

/// Owns a set of tables in one network namespace: the one of the thread that makes it. For one thread at a
/// time.
public final class RulesetSyncer {
  public let socket: NftablesSocket
  private let kernel: any KernelTables
  /// The tables that are ours. Others are neither read nor touched.
  public let owned: [Table.ID]
  /// What is in force; nil after a failure that leaves it unknown, and then it is read again.
  public private(set) var inForce: InForce?
  /// Chains and counters as they were last put in force: with the elements of `inForce` they make the tables again.
  private var skeletons: [Table.ID: Table] = [:]
  private let metrics: RulesetMetrics
  /// Told of each foreign change of our tables that has been put right; on the thread that synchronises.
  public var onRepair: ((RulesetRepair) -> Void)?
  /// What a repair that failed was to put in force.
  private var unrepaired: [Table] = []
  private var readMilliseconds = 0.0
  /// The generation after our last transaction: another one means that somebody else changed something.
  private var generation: UInt32 = 0
  /// Bound on elements left out in one synchronisation; past it the transaction fails as a whole.
  public static let quarantineMax = 64
  /// How often a transaction is tried when the kernel is busy, and how long the first pause is; each is four times the last.
  public static let attemptsMax = 4
  public static let firstPauseMicroseconds: UInt32 = 1000

  /// Opens a socket and reads what is in force of `owned`.
  /// - Parameter kernel: makes what stands between syncer and socket; the socket itself by default.
  public init(
    owned: [Table.ID], metrics: Metrics = .shared,
    kernel: (NftablesSocket) -> any KernelTables = { $0 }
  ) throws(NftablesError) {
    socket = try NftablesSocket()
    self.kernel = kernel(socket)
    self.owned = owned
    self.metrics = RulesetMetrics(metrics)
    _ = try observed()
  }

  /// What is in force, read from the kernel if it is not known.
  public func observed() throws(NftablesError) -> InForce {
    if let inForce { return inForce }
    let clock = ContinuousClock()
    let start = clock.now
    let (read, at) = try patiently { () throws(NftablesError) in
      // The generation first: a change in between is seen as a foreign one and read again.
      let before = try kernel.generation()
      return (try kernel.observe(owned), before)
    }
    generation = at
    metrics.reads.increment()
    readMilliseconds = (clock.now - start).milliseconds
    inForce = read
    return read
  }

  /// Makes the kernel hold `tables` and none of the other owned ones. One transaction, or nothing when
  /// nothing differs.
  ///
  /// An element that the kernel refuses is left out and reported; every other refusal is thrown and leaves
  /// the old tables in force. When another program has committed meanwhile, our tables are read again first,
  /// so damage is repaired. Costs a pass over all elements of sets that changed.
  /// - Parameters:
  ///   - deltas: changes of tables that are in force, in the same transaction. Alone they cost what they change. Throws
  ///     ESTALE when what they change is not known: then their tables have to be handed in whole.
  ///   - keeping: tables that stay as they are, whether in `tables` or not.
  public func sync(
    _ tables: [Table], deltas: [TableDelta] = [], keeping kept: Set<Table.ID> = []
  ) throws(NftablesError) -> SyncReport {
    if deltas.isEmpty { return try syncWhole(tables, keeping: kept) }
    let changed = Set(deltas.map(\.id))
    // Damaged by another program, and not yet put right: a change alone would be lost with the damage.
    if let damaged = unrepaired.first(where: { changed.contains($0.id) }) { throw Self.stale(damaged.id) }
    if let report = try syncQuickly(tables, deltas, keeping: kept.union(changed)) { return report }
    var whole = tables
    for delta in deltas {
      guard var table = rebuilt(delta.id) else { throw Self.stale(delta.id) }
      table.apply(delta)
      whole.append(table)
    }
    let believed = believed
    forget()
    return try syncWhole(whole, keeping: kept.subtracting(changed), believed: believed)
  }

  private static func stale(_ id: Table.ID) -> NftablesError {
    NftablesError(operation: "change table \(id), which is not known any more", errno: ESTALE, table: id)
  }

  /// The way of deltas; nil when it has to go the long way.
  private func syncQuickly(
    _ tables: [Table], _ deltas: [TableDelta], keeping kept: Set<Table.ID>
  ) throws(NftablesError) -> SyncReport? {
    guard inForce != nil else { return nil }
    let clock = ContinuousClock()
    let start = clock.now
    var operations = wholeOperations(tables, keeping: kept)
    for delta in deltas {
      guard skeletons[delta.id] != nil, let more = inForce?.tables[delta.id]?.operations(delta) else {
        return nil
      }
      operations += more
    }
    var report = SyncReport()
    report.diffMilliseconds = (clock.now - start).milliseconds
    guard !operations.isEmpty else { return report }
    do throws(NftablesError) {
      try commit(operations, &report)
    } catch {
      // Refused, or the answer was lost. What is in force is read and compared as a whole.
      return nil
    }
    settle(tables, keeping: kept)
    for delta in deltas {
      inForce?.tables[delta.id]?.apply(delta)
      skeletons[delta.id]?.applyStructure(delta)
    }
    return report
  }

  /// - Parameter believed: what was believed to be in force, when there is reason to doubt it.
  private func syncWhole(
    _ tables: [Table], keeping kept: Set<Table.ID>, believed doubted: [Table] = []
  ) throws(NftablesError) -> SyncReport {
    var report = SyncReport()
    var wanted = tables.filter { !kept.contains($0.id) }
    let clock = ContinuousClock()
    var doubted = doubted
    if inForce != nil, try hasForeignChange() {
      metrics.foreignChanges.increment()
      doubted = believed
      forget()
    }
    var repair: RulesetRepair?
    for attempt in 0... {
      let found = try observed()
      if !doubted.isEmpty { repair = Self.repair(from: found, to: doubted) }
      doubted = []
      report.readMilliseconds += readMilliseconds
      readMilliseconds = 0
      let start = clock.now
      let operations = wholeOperations(wanted, keeping: kept)
      report.diffMilliseconds += (clock.now - start).milliseconds
      do throws(NftablesError) {
        if !operations.isEmpty { try commit(operations, &report) }
        settle(wanted, keeping: kept)
        if let repair { noteRepair(repair) }
        return report
      } catch {
        if report.quarantined.count < Self.quarantineMax,
          let left = wanted.removeElement(refusedBy: error, operations)
        {
          report.quarantined.append(left)
          continue
        }
        // Somebody else may have changed our tables: read them once more before giving up.
        forget()
        guard attempt < report.quarantined.count + 1 else { throw error }
      }
    }
    return report
  }

  private func wholeOperations(_ tables: [Table], keeping kept: Set<Table.ID>) -> [Operation] {
    var base = inForce ?? InForce()
    for id in kept { base.tables[id] = nil }
    return tables.isEmpty && base.tables.isEmpty ? [] : Ruleset(tables).operations(from: base)
  }

  private func commit(_ operations: [Operation], _ report: inout SyncReport) throws(NftablesError) {
    let commit = try patiently { () throws(NftablesError) in try kernel.apply(operations) }
    report.operations += commit.operations
    report.netlinkBytes += commit.netlinkBytes
    report.commitMilliseconds += commit.commitMilliseconds
    // Each change takes the next number. When somebody came in between, the kernel's is another one, and that is noticed
    // as a foreign change.
    generation = generation == .max ? 1 : generation + 1
  }

  /// Notes that `tables` are in force, and of the others only the kept ones.
  private func settle(_ tables: [Table], keeping kept: Set<Table.ID>) {
    // What is put in force now is newer than what a repair that failed was to put back.
    unrepaired.removeAll { !kept.contains($0.id) }
    for id in owned where !kept.contains(id) {
      inForce?.tables[id] = nil
      skeletons[id] = nil
    }
    for table in tables {
      inForce?.tables[table.id] = InForce(Ruleset([table])).tables[table.id]
      skeletons[table.id] = table.withoutElements
    }
  }

  /// Tries again while the kernel is busy, interrupted or short of memory.
  private func patiently<Value>(
    _ body: () throws(NftablesError) -> Value
  ) throws(NftablesError) -> Value {
    var pause = Self.firstPauseMicroseconds
    for _ in 1..<Self.attemptsMax {
      do throws(NftablesError) {
        return try body()
      } catch {
        guard error.isForNow else { throw error }
        metrics.retries.increment()
        usleep(pause)
        pause *= 4
      }
    }
    return try body()
  }

  /// The table as it was last put in force; nil when that is not known.
  private func rebuilt(_ id: Table.ID) -> Table? {
    guard var table = skeletons[id], let inForce = inForce?.tables[id] else { return nil }
    for index in table.sets.indices where !table.sets[index].isDynamic {
      table.sets[index].elements = inForce.sets[table.sets[index].name]?.elements ?? [:]
    }
    return table
  }

  /// Our tables as they were last put in force, as far as that is known.
  private var believed: [Table] { skeletons.keys.sorted().compactMap { rebuilt($0) } }

  /// Reads our tables again when another program has committed since our last transaction, and puts back what it took or
  /// changed. Nil when nobody has. After a failure the next call tries again.
  public func repair() throws(NftablesError) -> SyncReport? {
    if unrepaired.isEmpty, try !hasForeignChange() { return nil }
    metrics.foreignChanges.increment()
    if unrepaired.isEmpty { unrepaired = believed }
    guard !unrepaired.isEmpty else { return nil }
    forget()
    // Tables that no planner has handed in yet are not ours to judge.
    let repair = Self.repair(from: try observed(), to: unrepaired)
    let report = try syncWhole(unrepaired, keeping: Set(owned).subtracting(unrepaired.map(\.id)))
    if report.operations > 0, let repair { noteRepair(repair) }
    return report
  }

  private func noteRepair(_ repair: RulesetRepair) {
    metrics.repairs.increment(by: UInt64(repair.operations))
    onRepair?(repair)
  }

  /// What was found instead of `tables`; nil when they are as they were.
  private static func repair(from found: InForce, to tables: [Table]) -> RulesetRepair? {
    var ours = InForce()
    for table in tables { ours.tables[table.id] = found.tables[table.id] }
    let operations = tables.isEmpty ? [] : Ruleset(tables).operations(from: ours)
    return operations.isEmpty ? nil : RulesetRepair(operations)
  }

  /// Whether another program has committed since our last transaction. Its change need not touch our tables.
  public func hasForeignChange() throws(NftablesError) -> Bool { try kernel.generation() != generation }

  /// Forgets what is in force, so that the next synchronisation reads it from the kernel.
  public func forget() { inForce = nil }

  /// Deletes the owned tables.
  public func removeAll() throws(NftablesError) {
    inForce = nil
    _ = try sync([])
  }
}
extension [Table] {
  /// Takes out the element that a refusal points at.
  fileprivate mutating func removeElement(
    refusedBy error: NftablesError, _ operations: [Operation]
  ) -> SyncReport.Quarantined? {
    guard let index = error.operationIndex, index < operations.count,
      case .addElements(let id, let set, let changes) = operations[index],
      let table = firstIndex(where: { $0.id == id }),
      let at = self[table].sets.firstIndex(where: { $0.name == set.name })
    else { return nil }
    // Without a pointer from the kernel only a single element can be to blame for sure.
    guard let element = error.elementIndex ?? (changes.count == 1 ? 0 : nil), element < changes.count else {
      return nil
    }
    let change = changes[element]
    self[table].sets[at].elements[change.key] = nil
    let text = "\(id) \(set.name) { \(set.elementText(change.key, change.element)) }"
    return .init(
      object: change.element.comment ?? text,
      reason: "\(text): \(String(cString: strerror(error.errno)))")
  }
}
