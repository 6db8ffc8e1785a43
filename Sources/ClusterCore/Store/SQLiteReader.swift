// Reading: its own thread and its own read-only connection, so that readers and the writer never wait for
// each other.

import Diagnostics

/// What runs on a reader thread: SELECTs inside one read transaction, which sees one revision throughout.
final class SQLiteReader {
  private let connection: SQLiteConnection
  private let ephemeralPrefixes: [String]
  private let meta, getDurable, getEphemeral, listDurable, listEphemeral, listAt, history: SQLiteStatement

  init(path: String, ephemeralPrefixes: [String]) throws(SQLiteFailure) {
    connection = try SQLiteConnection(path: path, readOnly: true)
    self.ephemeralPrefixes = ephemeralPrefixes
    meta = try connection.prepare("SELECT number FROM meta WHERE name = ?")
    getDurable = try connection.prepare(
      """
      SELECT l.key, c.rev, c.create_rev, l.value, l.kind, l.sum FROM cur c JOIN log l ON l.rev = c.rev WHERE c.key = ?
      """)
    getEphemeral = try connection.prepare(
      "SELECT key, rev, create_rev, value, -1, sum FROM ephemeral WHERE key = ?")
    listDurable = try connection.prepare(
      """
      SELECT l.key, c.rev, c.create_rev, l.value, l.kind, l.sum FROM cur c JOIN log l ON l.rev = c.rev
      WHERE c.key > ? AND c.key >= ? AND c.key < ? ORDER BY c.key LIMIT ?
      """)
    listEphemeral = try connection.prepare(
      """
      SELECT key, rev, create_rev, value, -1, sum FROM ephemeral
      WHERE key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?
      """)
    listAt = try connection.prepare(
      """
      SELECT l.key, l.rev, l.create_rev, l.value, l.kind, l.sum FROM
        (SELECT key AS k, max(rev) AS r FROM log WHERE key > ? AND key >= ? AND key < ? AND rev <= ? GROUP BY key) n
        JOIN log l ON l.rev = n.r WHERE l.kind <> 2 ORDER BY l.key LIMIT ?
      """)
    history = try connection.prepare(
      "SELECT key, rev, create_rev, value, kind, sum FROM log WHERE rev > ? AND rev <= ? ORDER BY rev")
  }

  private func number(_ name: String) throws(SQLiteFailure) -> Int64 {
    meta.bind(1, name)
    defer { meta.reset() }
    return try meta.step() ? meta.int(0) : 0
  }

  private func snapshot<T>(_ body: () throws(SQLiteFailure) -> T) throws(SQLiteFailure) -> T {
    try connection.run("BEGIN")
    do throws(SQLiteFailure) {
      let value = try body()
      try connection.run("COMMIT")
      return value
    } catch {
      if connection.isInTransaction { try? connection.run("ROLLBACK") }
      throw error
    }
  }

  func get(_ key: String) throws(SQLiteFailure) -> StoredValue? {
    let isEphemeral = ephemeralPrefixes.contains { key.hasPrefix($0) }
    let statement = isEphemeral ? getEphemeral : getDurable
    statement.bind(1, key)
    defer { statement.reset() }
    return try statement.step() ? try Self.value(statement) : nil
  }

  /// A page, or the reason there is none.
  func list(
    prefix: String, limit: Int, after: String?, at revision: Revision?
  ) throws(SQLiteFailure) -> Result<StorePage, StoreError> {
    try snapshot { () throws(SQLiteFailure) in
      let current = try number("revision")
      if let revision {
        if revision > current { return .failure(.future(current: current)) }
        let oldest = try number("compacted")
        if revision < oldest { return .failure(.compacted(oldest: oldest)) }
      }
      let rowsMax = limit > 0 ? limit + 1 : -1
      var values: [StoredValue] = []
      let isAllEphemeral = ephemeralPrefixes.contains { prefix.hasPrefix($0) }
      if !isAllEphemeral {
        if let revision, revision < current {
          values = try rows(listAt, prefix, after, rowsMax, at: revision)
        } else {
          values = try rows(listDurable, prefix, after, rowsMax, at: nil)
        }
      }
      if isAllEphemeral || ephemeralPrefixes.contains(where: { $0.hasPrefix(prefix) }) {
        let more = try rows(listEphemeral, prefix, after, rowsMax, at: nil)
        values = values.isEmpty ? more : (values + more).sorted { $0.key < $1.key }
      }
      let hasMore = limit > 0 && values.count > limit
      if hasMore { values.removeLast(values.count - limit) }
      return .success(StorePage(values: values, revision: revision ?? current, hasMore: hasMore))
    }
  }

  /// The changes in (after, through] under `prefix`; `compacted` when some are gone.
  func changes(
    prefix: String, after: Revision, through: Revision
  ) throws(SQLiteFailure) -> Result<[StoreEvent], StoreError> {
    try snapshot { () throws(SQLiteFailure) in
      let oldest = try number("compacted")
      if after < oldest { return .failure(.compacted(oldest: oldest)) }
      history.bind(1, after)
      history.bind(2, through)
      defer { history.reset() }
      var events: [StoreEvent] = []
      while try history.step() {
        let key = history.text(0)
        guard key.hasPrefix(prefix) else { continue }
        try Self.check(history)
        guard let kind = StoreEvent.Kind(rawValue: history.int(4)) else { continue }
        events.append(
          StoreEvent(
            kind: kind, key: key, revision: history.int(1), createRevision: history.int(2),
            value: history.bytes(3)))
      }
      return .success(events)
    }
  }

  private func rows(
    _ statement: SQLiteStatement, _ prefix: String, _ after: String?, _ limit: Int, at revision: Revision?
  ) throws(SQLiteFailure) -> [StoredValue] {
    statement.bind(1, after ?? "")
    statement.bind(2, prefix)
    statement.bind(3, SQLiteSchema.end(of: prefix))
    if let revision { statement.bind(4, revision) }
    statement.bind(revision == nil ? 4 : 5, Int64(limit))
    defer { statement.reset() }
    var values: [StoredValue] = []
    while try statement.step() { values.append(try Self.value(statement)) }
    return values
  }

  /// A row that does not fit its checksum is never given out.
  private static func check(_ row: SQLiteStatement) throws(SQLiteFailure) {
    guard row.int(5) == row.sum(key: 0, kind: row.int(4), revision: 1, created: 2, value: 3) else {
      throw SQLiteCheck.damaged("revision \(row.int(1)) does not fit its checksum")
    }
  }

  private static func value(_ statement: SQLiteStatement) throws(SQLiteFailure) -> StoredValue {
    try check(statement)
    return StoredValue(
      key: statement.text(0), value: statement.bytes(3), createRevision: statement.int(2),
      revision: statement.int(1))
  }
}
