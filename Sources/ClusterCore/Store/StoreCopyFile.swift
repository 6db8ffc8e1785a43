// A copy of any store as a file: the form of SQLite's own copies, whatever the engine. So a cluster moves from one engine to
// another, and a copy can be looked into with sqlite3.

import CSQLite
import Diagnostics
import Glibc

extension SQLiteBackup {
  /// Writes what `store` holds at one revision to `file`, which must not exist. The store may be in use. Not carried: history,
  /// keys in `besides`, and how long a key with a lifetime lived already: that begins anew. Errors: `STO0020` the file is there,
  /// `STO0023` the store's history was compacted while it was read, `STO0005`–`STO0008` of the disk, and the engine's.
  public static func write(
    _ store: any Store, prefix: String, besides: [String] = [], to file: String,
    ephemeral: [EphemeralRule] = SQLiteStoreSettings(folder: "").ephemeral
  ) async throws(WeftError) -> StoreCopy {
    guard access(file, F_OK) != 0 else { throw isThere(file) }
    let part = file + ".part"
    unlink(part)
    do throws(WeftError) {
      let writer = try StoreCopyWriter(part, ephemeral: ephemeral.map(\.prefix))
      var page = StorePage(values: [], revision: 0, hasMore: true)
      while page.hasMore {
        page = try await next(of: store, prefix, page)
        try writer.add(
          page.values.filter { value in !besides.contains { value.key.hasPrefix($0) } })
      }
      try writer.finish(revision: page.revision)
      let found = try inspect(part)
      try finish(part, file)
      return found
    } catch {
      unlink(part)
      throw error
    }
  }

  private static func next(
    of store: any Store, _ prefix: String, _ page: StorePage
  ) async throws(WeftError) -> StorePage {
    do throws(StoreError) {
      return try await store.list(
        prefix: prefix, limit: 500, after: page.values.last?.key,
        at: page.revision > 0 ? page.revision : nil)
    } catch {
      switch error {
      case .failed(let cause): throw cause
      case .compacted:
        throw WeftError(
          "STO0023", object: "revision \(page.revision)",
          cause: "its history was compacted before all of it was read", next: "make the copy again",
          isRetryable: true)
      default:
        throw WeftError(
          "STO0023", object: "the store", cause: "cannot be read: \(error)", next: "make the copy again",
          isRetryable: true)
      }
    }
  }
}

/// What a copy holds, for putting it into another engine.
public final class StoreCopyReader {
  private let connection: SQLiteConnection
  private let file: String
  private let rows: SQLiteStatement
  /// The revision that the copy shows.
  public let revision: Revision

  /// Opens and checks a copy: every row against its sum. Errors: `STO0003` damaged, `STO0021` no such file.
  public init(_ file: String) throws(WeftError) {
    guard access(file, R_OK) == 0 else { throw SQLiteBackup.isMissing(file) }
    self.file = file
    do throws(SQLiteFailure) {
      connection = try SQLiteConnection(path: file, readOnly: true)
      try SQLiteCheck.run(connection)
      revision = try SQLiteCheck.number(connection, "revision")
      rows = try connection.prepare(
        """
        SELECT * FROM (
          SELECT l.key AS key, c.rev, c.create_rev, l.value FROM cur c JOIN log l ON l.rev = c.rev
          UNION ALL SELECT key, rev, create_rev, value FROM ephemeral)
        WHERE key > ? ORDER BY key LIMIT ?
        """)
    } catch {
      throw error.explained(file: file)
    }
  }

  /// The first `limit` values whose keys come after `key`; none at the end. Runs on the caller's thread.
  public func values(after key: String, limit: Int) throws(WeftError) -> [StoredValue] {
    rows.bind(1, key)
    rows.bind(2, Int64(limit))
    defer { rows.reset() }
    var values: [StoredValue] = []
    do throws(SQLiteFailure) {
      while try rows.step() {
        values.append(
          StoredValue(
            key: rows.text(0), value: rows.bytes(3), createRevision: rows.int(2), revision: rows.int(1)))
      }
    } catch {
      throw error.explained(file: file)
    }
    return values
  }
}

/// A new store file that is filled once.
private final class StoreCopyWriter {
  private let connection: SQLiteConnection
  private let ephemeral: [String]
  private let log, current, passing: SQLiteStatement
  private let now = Timestamp.now().seconds
  /// The engine numbers each change once; etcd may number those of one transaction alike.
  private var taken: Set<Revision> = []
  private var twice: [StoredValue] = []

  init(_ file: String, ephemeral: [String]) throws(WeftError) {
    self.ephemeral = ephemeral
    do throws(SQLiteFailure) {
      connection = try SQLiteConnection(path: file, readOnly: false)
      // A copy counts when it is whole: it is synced once at the end.
      try connection.run(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
      try connection.run(SQLiteSchema.tables)
      try connection.run("BEGIN IMMEDIATE")
      log = try connection.prepare("INSERT INTO log VALUES (?, ?, ?, ?, 0, ?, 0)")
      current = try connection.prepare("INSERT INTO cur VALUES (?, ?, ?)")
      passing = try connection.prepare("INSERT INTO ephemeral VALUES (?, ?, ?, ?, ?, 0)")
    } catch {
      throw error.explained(file: file)
    }
    path = file
  }
  private let path: String

  func add(_ values: [StoredValue]) throws(WeftError) {
    for value in values {
      if taken.insert(value.revision).inserted { try insert(value) } else { twice.append(value) }
    }
  }

  private func insert(_ value: StoredValue) throws(WeftError) {
    do throws(SQLiteFailure) {
      if ephemeral.contains(where: { value.key.hasPrefix($0) }) {
        passing.bind(1, value.key)
        passing.bind(2, value.revision)
        passing.bind(3, value.createRevision)
        passing.bind(4, value.value)
        passing.bind(5, now)
        return try passing.run()
      }
      log.bind(1, value.revision)
      log.bind(2, value.key)
      log.bind(3, value.createRevision == value.revision ? 0 : 1)
      log.bind(4, value.createRevision)
      log.bind(5, value.value)
      try log.run()
      current.bind(1, value.key)
      current.bind(2, value.revision)
      current.bind(3, value.createRevision)
      try current.run()
    } catch {
      throw error.explained(file: path)
    }
  }

  func finish(revision: Revision) throws(WeftError) {
    var revision = revision
    for value in twice {
      revision += 1
      var value = value
      value.revision = revision
      try insert(value)
    }
    do throws(SQLiteFailure) {
      try connection.run(
        """
        UPDATE meta SET number = \(revision) WHERE name IN ('revision', 'compacted', 'compact_cursor')
        """)
      try SQLiteCheck.writeSums(connection)
      try connection.run("COMMIT")
    } catch {
      throw error.explained(file: path)
    }
  }
}
