// Writing: one thread, one transaction for all that arrived while the previous one was on its way to the
// disk.
//
// A commit with synchronous=FULL takes 0.5–1 ms here. Writers that arrive meanwhile wait in the queue and
// share the next commit, so no timer is needed to form groups: a single writer pays one commit, 64 writers
// pay about one for all.

import CSQLite
import Diagnostics
import Logging

/// What the queue carries.
enum WriteRequest: Sendable {
  case change(WriteChange, @Sendable (Result<Revision, StoreError>) -> Void)
  case compact(Revision, @Sendable (Result<Revision, StoreError>) -> Void)
  case expire
}

struct WriteChange: Sendable {
  enum Kind: Sendable {
    case create
    case update(expecting: Revision)
    case delete(expecting: Revision)
  }
  var kind: Kind
  var key: String
  var value: [UInt8]
}

/// Runs on the writer thread alone.
final class SQLiteWriter {
  static let batchMax = 200
  private static let compactSlice: Int64 = 500

  let connection: SQLiteConnection
  let checkpointer: Checkpointer
  private let rules: [EphemeralRule]
  private let metrics: StoreMetrics
  let log: Logger
  private(set) var revision: Revision
  private var compacted: Revision
  private var compactCursor: Revision
  /// Sums of all rows' sums, in `log` with `ephemeral` and in `cur`.
  private var digest: Int64
  private var currentDigest: Int64
  /// After a failed write or sync nothing is accepted until everything before it was written to the database and synced.
  var isInDoubt = false
  var lastSettling: ContinuousClock.Instant?
  private let now: @Sendable () -> Int64
  private var ephemeralCounts: [Int]
  private var statements: Statements

  private struct Statements {
    let current, log, setCurrent, dropCurrent: SQLiteStatement
    let ephemeral, setEphemeral, dropEphemeral, oldest, expired: SQLiteStatement
    let value, meta, setMeta, count, compactUpdates, compactDeletes, pages: SQLiteStatement
  }

  init(
    path: String, rules: [EphemeralRule], metrics: StoreMetrics, log: Logger,
    checkpointPages: Int = Checkpointer.pagesDefault,
    now: @escaping @Sendable () -> Int64 = { Timestamp.now().seconds }
  ) throws(SQLiteFailure) {
    connection = try SQLiteConnection(path: path, readOnly: false)
    self.rules = rules
    self.metrics = metrics
    self.log = log
    self.now = now
    try connection.run(SQLiteSchema.setup)
    try Self.upgrade(connection)
    try connection.run(SQLiteSchema.tables)
    let copying = try SQLiteConnection(path: path, readOnly: false)
    try copying.run("PRAGMA synchronous = FULL")
    checkpointer = Checkpointer(copying, pages: checkpointPages)
    connection.countLogPages()
    let db = connection
    statements = Statements(
      current: try db.prepare("SELECT rev, create_rev FROM cur WHERE key = ?"),
      log: try db.prepare("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)"),
      setCurrent: try db.prepare("INSERT OR REPLACE INTO cur VALUES (?, ?, ?)"),
      dropCurrent: try db.prepare("DELETE FROM cur WHERE key = ?"),
      ephemeral: try db.prepare("SELECT rev, create_rev, sum FROM ephemeral WHERE key = ?"),
      setEphemeral: try db.prepare(
        """
        INSERT INTO ephemeral VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (key) DO UPDATE SET rev = ?2, create_rev = ?3, value = ?4, written = ?5, sum = ?6
        """),
      dropEphemeral: try db.prepare("DELETE FROM ephemeral WHERE key = ? RETURNING sum"),
      oldest: try db.prepare(
        "SELECT key, create_rev FROM ephemeral WHERE key >= ? AND key < ? ORDER BY rev LIMIT 1"),
      expired: try db.prepare(
        "SELECT key, create_rev FROM ephemeral WHERE key >= ? AND key < ? AND written < ? LIMIT ?"),
      value: try db.prepare(
        "SELECT value FROM log WHERE rev = ?1 UNION ALL SELECT value FROM ephemeral WHERE rev = ?1"),
      meta: try db.prepare("SELECT number FROM meta WHERE name = ?"),
      setMeta: try db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)"),
      count: try db.prepare("SELECT count(*) FROM ephemeral WHERE key >= ? AND key < ?"),
      compactUpdates: try db.prepare(
        """
        DELETE FROM log WHERE rev IN
          (SELECT prev_rev FROM log WHERE rev > ? AND rev <= ? AND prev_rev > 0) RETURNING sum
        """),
      compactDeletes: try db.prepare(
        "DELETE FROM log WHERE rev > ? AND rev <= ? AND kind = 2 RETURNING sum"),
      pages: try db.prepare("SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count")
    )
    func number(_ name: String) throws(SQLiteFailure) -> Int64 {
      statements.meta.bind(1, name)
      defer { statements.meta.reset() }
      return try statements.meta.step() ? statements.meta.int(0) : 0
    }
    revision = 0
    digest = 0
    currentDigest = 0
    compacted = 0
    compactCursor = 0
    ephemeralCounts = []
    let found = try number("version")
    guard found == SQLiteSchema.version else {
      throw SQLiteFailure(
        code: 1, text: "written by another version of weft (schema \(found))", doing: "opening")
    }
    revision = try number("revision")
    compacted = try number("compacted")
    compactCursor = try number("compact_cursor")
    digest = try number("digest")
    currentDigest = try number("cur_digest")
    for rule in rules {
      statements.count.bind(1, rule.prefix)
      statements.count.bind(2, SQLiteSchema.end(of: rule.prefix))
      ephemeralCounts.append(try statements.count.step() ? Int(statements.count.int(0)) : 0)
      statements.count.reset()
    }
  }

  var hasBackgroundWork: Bool { compactCursor < compacted }

  /// Carries out a batch in one transaction; then publishes, then answers.
  func carryOut(
    _ batch: [WriteRequest], publish: ([StoreEvent], Revision) -> Void, explain: (SQLiteFailure) -> WeftError
  ) {
    var events: [StoreEvent] = []
    var answers: [(@Sendable (Result<Revision, StoreError>) -> Void, Result<Revision, StoreError>)] = []
    let start = ContinuousClock.now
    let before = (revision, compacted, ephemeralCounts, digest, currentDigest)
    do throws(SQLiteFailure) {
      try settleDoubt()
      try connection.run("BEGIN IMMEDIATE")
      for request in batch {
        switch request {
        case .change(let change, let answer):
          answers.append((answer, try apply(change, &events)))
        case .compact(let target, let answer):
          answers.append((answer, try beginCompaction(target)))
        case .expire:
          try expire(&events)
        }
      }
      if revision != before.0 {
        try setMeta("revision", revision)
        try setMeta("digest", digest)
        try setMeta("cur_digest", currentDigest)
      }
      try connection.run("COMMIT")
    } catch {
      if connection.isInTransaction { try? connection.run("ROLLBACK") }
      (revision, compacted, ephemeralCounts, digest, currentDigest) = before
      doubt(after: error)
      let failure = StoreError.failed(explain(error))
      log.error("write failed", metadata: ["error": "\(failure)"])
      for case .change(_, let answer) in batch { answer(.failure(failure)) }
      for case .compact(_, let answer) in batch { answer(.failure(failure)) }
      return
    }
    metrics.batch(count: batch.count, revision: revision, took: ContinuousClock.now - start)
    if !events.isEmpty { publish(events, revision) }
    for (answer, result) in answers { answer(result) }
    copyLog()
  }

  /// A store of an earlier version, made what this one expects.
  private static func upgrade(_ connection: SQLiteConnection) throws(SQLiteFailure) {
    let table = try connection.prepare("SELECT count(*) FROM sqlite_master WHERE name = 'meta'")
    guard try table.step(), table.int(0) == 1, try SQLiteCheck.number(connection, "version") == 1 else {
      return
    }
    try connection.run("BEGIN IMMEDIATE")
    try connection.run(SQLiteSchema.fromVersion1)
    try SQLiteCheck.writeSums(connection)
    try connection.run("UPDATE meta SET number = 2 WHERE name = 'version'")
    try connection.run("COMMIT")
  }

  private func apply(
    _ change: WriteChange, _ events: inout [StoreEvent]
  ) throws(SQLiteFailure) -> Result<Revision, StoreError> {
    let rule = rules.firstIndex { change.key.hasPrefix($0.prefix) }
    let look = rule == nil ? statements.current : statements.ephemeral
    look.bind(1, change.key)
    let found: (revision: Revision, created: Revision)? = try look.step() ? (look.int(0), look.int(1)) : nil
    let oldSum = found != nil && rule != nil ? look.int(2) : 0
    look.reset()
    let event: StoreEvent
    let next = revision + 1
    switch (change.kind, found) {
    case (.create, .some(let found)):
      return .failure(.exists(current: try current(change.key, found)))
    case (.create, nil):
      event = StoreEvent(
        kind: .create, key: change.key, revision: next, createRevision: next, value: change.value)
    case (.update, nil), (.delete, nil):
      return .failure(.notFound)
    case (.update(let expecting), .some(let found)):
      guard expecting == found.revision else {
        return .failure(.conflict(current: try current(change.key, found)))
      }
      event = StoreEvent(
        kind: .update, key: change.key, revision: next, createRevision: found.created, value: change.value)
    case (.delete(let expecting), .some(let found)):
      guard expecting == found.revision else {
        return .failure(.conflict(current: try current(change.key, found)))
      }
      event = StoreEvent(
        kind: .delete, key: change.key, revision: next, createRevision: 0, value: [])
    }
    if let rule {
      if event.kind != .delete { digest &-= oldSum }
      try writeEphemeral(event, rule: rule, isNew: found == nil, &events)
    } else {
      if let found {
        currentDigest &-= RowSum.current(change.key, revision: found.revision, created: found.created)
      }
      try writeDurable(event, previous: found?.revision ?? 0)
      events.append(event)
    }
    return .success(event.revision)
  }

  private func writeDurable(_ event: StoreEvent, previous: Revision) throws(SQLiteFailure) {
    revision = event.revision
    statements.log.bind(1, event.revision)
    statements.log.bind(2, event.key)
    statements.log.bind(3, event.kind.rawValue)
    statements.log.bind(4, event.createRevision)
    statements.log.bind(5, previous)
    statements.log.bind(6, event.value)
    let sum = event.value.withUnsafeBytes {
      RowSum.row(
        event.key, kind: event.kind.rawValue, revision: event.revision, created: event.createRevision,
        value: $0)
    }
    statements.log.bind(7, sum)
    digest &+= sum
    try statements.log.run()
    if event.kind == .delete {
      statements.dropCurrent.bind(1, event.key)
      try statements.dropCurrent.run()
    } else {
      statements.setCurrent.bind(1, event.key)
      statements.setCurrent.bind(2, event.revision)
      statements.setCurrent.bind(3, event.createRevision)
      currentDigest &+= RowSum.current(event.key, revision: event.revision, created: event.createRevision)
      try statements.setCurrent.run()
    }
  }

  private func writeEphemeral(
    _ event: StoreEvent, rule: Int, isNew: Bool, _ events: inout [StoreEvent]
  ) throws(SQLiteFailure) {
    revision = event.revision
    if event.kind == .delete {
      statements.dropEphemeral.bind(1, event.key)
      while try statements.dropEphemeral.step() { digest &-= statements.dropEphemeral.int(0) }
      statements.dropEphemeral.reset()
      ephemeralCounts[rule] -= 1
      events.append(event)
      return
    }
    statements.setEphemeral.bind(1, event.key)
    statements.setEphemeral.bind(2, event.revision)
    statements.setEphemeral.bind(3, event.createRevision)
    statements.setEphemeral.bind(4, event.value)
    statements.setEphemeral.bind(5, now())
    let sum = event.value.withUnsafeBytes {
      RowSum.row(event.key, kind: -1, revision: event.revision, created: event.createRevision, value: $0)
    }
    statements.setEphemeral.bind(6, sum)
    digest &+= sum
    try statements.setEphemeral.run()
    events.append(event)
    guard isNew else { return }
    ephemeralCounts[rule] += 1
    if ephemeralCounts[rule] > rules[rule].entriesMax {
      let prefix = rules[rule].prefix
      statements.oldest.bind(1, prefix)
      statements.oldest.bind(2, SQLiteSchema.end(of: prefix))
      let oldest =
        try statements.oldest.step() ? (statements.oldest.text(0), statements.oldest.int(1)) : nil
      statements.oldest.reset()
      if let oldest { try dropEphemeral(oldest.0, created: oldest.1, rule: rule, &events) }
      metrics.evicted.increment()
    }
  }

  private func dropEphemeral(
    _ key: String, created: Revision, rule: Int, _ events: inout [StoreEvent]
  ) throws(SQLiteFailure) {
    let event = StoreEvent(
      kind: .delete, key: key, revision: revision + 1, createRevision: created, value: [])
    try writeEphemeral(event, rule: rule, isNew: false, &events)
  }

  private func expire(_ events: inout [StoreEvent]) throws(SQLiteFailure) {
    for (index, rule) in rules.enumerated() where rule.lifetimeSeconds > 0 {
      statements.expired.bind(1, rule.prefix)
      statements.expired.bind(2, SQLiteSchema.end(of: rule.prefix))
      statements.expired.bind(3, now() - rule.lifetimeSeconds)
      statements.expired.bind(4, Int64(Self.batchMax))
      var gone: [(String, Revision)] = []
      while try statements.expired.step() {
        gone.append((statements.expired.text(0), statements.expired.int(1)))
      }
      statements.expired.reset()
      for (key, created) in gone { try dropEphemeral(key, created: created, rule: index, &events) }
    }
  }

  private func current(
    _ key: String, _ found: (revision: Revision, created: Revision)
  ) throws(SQLiteFailure) -> StoredValue {
    statements.value.bind(1, found.revision)
    defer { statements.value.reset() }
    let value = try statements.value.step() ? statements.value.bytes(0) : []
    return StoredValue(key: key, value: value, createRevision: found.created, revision: found.revision)
  }

  private func setMeta(_ name: String, _ number: Int64) throws(SQLiteFailure) {
    statements.setMeta.bind(1, name)
    statements.setMeta.bind(2, number)
    try statements.setMeta.run()
  }

  // MARK: Compaction

  private func beginCompaction(_ target: Revision) throws(SQLiteFailure) -> Result<Revision, StoreError> {
    if target > revision { return .failure(.future(current: revision)) }
    if target > compacted {
      compacted = target
      try setMeta("compacted", target)
    }
    return .success(compacted)
  }

  /// One slice of the work that `compact` promised: a row that superseded another, at or before the mark,
  /// takes that other with it; a deletion goes itself. Only rows newer than the last compaction are looked
  /// at.
  func compactSome() throws(SQLiteFailure) {
    let through = min(compactCursor + Self.compactSlice, compacted)
    let before = digest
    do throws(SQLiteFailure) {
      try settleDoubt()
      try connection.run("BEGIN IMMEDIATE")
      for statement in [statements.compactUpdates, statements.compactDeletes] {
        statement.bind(1, compactCursor)
        statement.bind(2, through)
        while try statement.step() { digest &-= statement.int(0) }
        statement.reset()
      }
      try setMeta("compact_cursor", through)
      try setMeta("digest", digest)
      try connection.run("COMMIT")
    } catch {
      if connection.isInTransaction { try? connection.run("ROLLBACK") }
      digest = before
      doubt(after: error)
      throw error
    }
    compactCursor = through
    copyLog()
    if compactCursor == compacted { try giveBack() }
  }

  /// Free pages beyond an eighth of the file go back to the file system, some at a time.
  func giveBack() throws(SQLiteFailure) {
    guard try statements.pages.step() else { return }
    let (free, all) = (statements.pages.int(0), statements.pages.int(1))
    statements.pages.reset()
    let surplus = free - all / 8
    if surplus > 0 { try connection.run("PRAGMA incremental_vacuum(\(min(surplus, 2000)))") }
  }
}
