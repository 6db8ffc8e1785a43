// Keeps the kernel's tables equal to what planners want: diff against what is in force, one transaction, bad
// elements left out by name. Knows nothing of what the tables are for.

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
  /// The tables that are ours. Others are neither read nor touched.
  public let owned: [Table.ID]
  /// What is in force; nil after a failure that leaves it unknown, and then it is read again.
  public private(set) var inForce: InForce?
  private var readMilliseconds = 0.0
  /// The generation after our last transaction: another one means that somebody else changed something.
  private var generation: UInt32 = 0
  /// Bound on elements left out in one synchronisation; past it the transaction fails as a whole.
  public static let quarantineMax = 64

  /// Opens a socket and reads what is in force of `owned`.
  public init(owned: [Table.ID]) throws(NftablesError) {
    socket = try NftablesSocket()
    self.owned = owned
    _ = try observed()
  }

  /// What is in force, read from the kernel if it is not known.
  public func observed() throws(NftablesError) -> InForce {
    if let inForce { return inForce }
    let clock = ContinuousClock()
    let start = clock.now
    let read = try socket.observe(owned)
    generation = try socket.generation()
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
  /// - Parameter keeping: tables that stay as they are, whether in `tables` or not.
  public func sync(_ tables: [Table], keeping kept: Set<Table.ID> = []) throws(NftablesError) -> SyncReport {
    var report = SyncReport()
    var wanted = Ruleset(tables.filter { !kept.contains($0.id) })
    let clock = ContinuousClock()
    if inForce != nil, try hasForeignChange() { inForce = nil }
    for attempt in 0... {
      let all = try observed()
      var base = all
      for id in kept { base.tables[id] = nil }
      report.readMilliseconds += readMilliseconds
      readMilliseconds = 0
      let start = clock.now
      let operations = wanted.operations(from: base)
      report.diffMilliseconds += (clock.now - start).milliseconds
      if operations.isEmpty { return report }
      do throws(NftablesError) {
        let commit = try socket.apply(operations)
        report.operations += commit.operations
        report.netlinkBytes += commit.netlinkBytes
        report.commitMilliseconds += commit.commitMilliseconds
        var after = InForce(wanted)
        for id in kept { after.tables[id] = all.tables[id] }
        inForce = after
        generation = (try? socket.generation()) ?? 0
        return report
      } catch {
        if report.quarantined.count < Self.quarantineMax,
          let left = wanted.removeElement(refusedBy: error, operations)
        {
          report.quarantined.append(left)
          continue
        }
        // Somebody else may have changed our tables: read them once more before giving up.
        inForce = nil
        guard attempt < report.quarantined.count + 1 else { throw error }
      }
    }
    return report
  }

  /// Whether another program has committed since our last transaction. Its change need not touch our tables.
  public func hasForeignChange() throws(NftablesError) -> Bool { try socket.generation() != generation }

  /// Forgets what is in force, so that the next synchronisation reads it from the kernel.
  public func forget() { inForce = nil }

  /// Deletes the owned tables.
  public func removeAll() throws(NftablesError) {
    inForce = nil
    _ = try sync([])
  }
}

extension Ruleset {
  /// Takes out the element that a refusal points at.
  fileprivate mutating func removeElement(
    refusedBy error: NftablesError, _ operations: [Operation]
  ) -> SyncReport.Quarantined? {
    guard let index = error.operationIndex, index < operations.count,
      case .addElements(let id, let set, let changes) = operations[index],
      let table = tables.firstIndex(where: { $0.id == id }),
      let at = tables[table].sets.firstIndex(where: { $0.name == set.name })
    else { return nil }
    // Without a pointer from the kernel only a single element can be to blame for sure.
    guard let element = error.elementIndex ?? (changes.count == 1 ? 0 : nil), element < changes.count else {
      return nil
    }
    let change = changes[element]
    tables[table].sets[at].elements[change.key] = nil
    let text = "\(id) \(set.name) { \(set.elementText(change.key, change.element)) }"
    return .init(
      object: change.element.comment ?? text,
      reason: "\(text): \(String(cString: strerror(error.errno)))")
  }
}
