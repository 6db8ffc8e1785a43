// The few calls of libsqlite3 that the engine needs, with errors that carry its code and its text.

import CSQLite
import Diagnostics
import Glibc

/// What libsqlite3 answered when it was not success.
struct SQLiteFailure: Error {
  var code: Int32
  var text: String
  var doing: String
}

/// One connection. Not thread-safe: its owner is one thread, or holds a lock.
final class SQLiteConnection {
  private let handle: OpaquePointer
  /// Pages in the write-ahead log after the last commit of this connection, once they are counted.
  private(set) var logPages = 0

  init(path: String, readOnly: Bool, creates: Bool = true) throws(SQLiteFailure) {
    if !readOnly, creates { Self.keepPrivate(path) }
    var opened: OpaquePointer?
    let flags =
      (readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | (creates ? SQLITE_OPEN_CREATE : 0))
      | SQLITE_OPEN_NOMUTEX
    let code = sqlite3_open_v2(path, &opened, flags, nil)
    guard code == SQLITE_OK, let opened else {
      let text = opened.map { String(cString: sqlite3_errmsg($0)) } ?? "no memory"
      if let opened { sqlite3_close_v2(opened) }
      throw SQLiteFailure(code: code, text: text, doing: "opening")
    }
    handle = opened
    sqlite3_busy_timeout(handle, 2000)
    sqlite3_extended_result_codes(handle, 1)
  }

  deinit { sqlite3_close_v2(handle) }

  /// Secrets stand in these files: they are their owner's alone, also those of an earlier version. The file is made before libsqlite3 does
  /// it, which gives its log the same rights. One that exists is not opened for that: closing it would drop this process's locks.
  private static func keepPrivate(_ path: String) {
    let made = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if made >= 0 { close(made) }
    for suffix in ["", "-wal", "-shm"] { chmod(path + suffix, 0o600) }
  }

  /// From now on `logPages` is kept, and SQLite copies nothing from the log by itself.
  func countLogPages() {
    // The connection outlives the calls: they come from its own commits.
    let context = Unmanaged.passUnretained(self).toOpaque()
    sqlite3_wal_hook(
      handle,
      { context, _, _, pages in
        guard let context else { return SQLITE_OK }
        Unmanaged<SQLiteConnection>.fromOpaque(context).takeUnretainedValue().logPages = Int(pages)
        return SQLITE_OK
      }, context)
  }

  /// Runs statements that give no rows.
  func run(_ sql: String) throws(SQLiteFailure) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    if code != SQLITE_OK { throw failure(code, sql) }
  }

  func prepare(_ sql: String) throws(SQLiteFailure) -> SQLiteStatement {
    var prepared: OpaquePointer?
    let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
    guard code == SQLITE_OK, let prepared else { throw failure(code, sql) }
    return SQLiteStatement(prepared, of: self, sql: sql)
  }

  func failure(_ code: Int32, _ doing: String) -> SQLiteFailure {
    SQLiteFailure(code: code, text: String(cString: sqlite3_errmsg(handle)), doing: doing)
  }

  var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }
}

/// A prepared statement, bound and stepped by its connection's owner. Columns are read between `step` and
/// the next one.
final class SQLiteStatement {
  private let handle: OpaquePointer
  private let connection: SQLiteConnection
  private let sql: String
  // libsqlite3's SQLITE_TRANSIENT: it copies what it is given.
  private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

  init(_ handle: OpaquePointer, of connection: SQLiteConnection, sql: String) {
    self.handle = handle
    self.connection = connection
    self.sql = sql
  }

  deinit { sqlite3_finalize(handle) }

  func bind(_ index: Int32, _ number: Int64) { sqlite3_bind_int64(handle, index, number) }
  func bind(_ index: Int32, _ text: String) {
    sqlite3_bind_text(handle, index, text, Int32(text.utf8.count), Self.copied)
  }
  func bind(_ index: Int32, _ bytes: [UInt8]) {
    _ = bytes.withUnsafeBytes { buffer in
      sqlite3_bind_blob64(handle, index, buffer.baseAddress ?? Self.empty, UInt64(buffer.count), Self.copied)
    }
  }
  // A blob of no bytes still needs an address: nil would bind NULL.
  nonisolated(unsafe) private static let empty = UnsafeRawPointer(
    UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1))

  /// Moves to the next row; false when there is none, or the statement gives none.
  func step() throws(SQLiteFailure) -> Bool {
    let code = sqlite3_step(handle)
    if code == SQLITE_ROW { return true }
    if code == SQLITE_DONE { return false }
    let failure = connection.failure(code, sql)
    sqlite3_reset(handle)
    throw failure
  }

  func reset() { sqlite3_reset(handle) }

  /// Steps to the end and resets, for statements that write.
  func run() throws(SQLiteFailure) {
    while try step() {}
    reset()
  }

  func int(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
  func text(_ column: Int32) -> String {
    guard let start = sqlite3_column_text(handle, column) else { return "" }
    let count = Int(sqlite3_column_bytes(handle, column))
    return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
  }
  /// The column's bytes, valid within `body`.
  func withBytes<T>(_ column: Int32, _ body: (UnsafeRawBufferPointer) -> T) -> T {
    body(
      UnsafeRawBufferPointer(
        start: sqlite3_column_blob(handle, column), count: Int(sqlite3_column_bytes(handle, column))))
  }
  func bytes(_ column: Int32) -> [UInt8] {
    guard let start = sqlite3_column_blob(handle, column) else { return [] }
    return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
  }
}

extension SQLiteFailure {
  /// The error a person reads. `file` is the database.
  func explained(file: String) -> WeftError {
    let folder = file.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
      separator: "/")
    // With its log: a log left behind would be replayed into the next store.
    let aside = "mkdir \(folder)/damaged && mv \(file)* \(folder)/damaged/"
    return switch code & 0xff {
    case SQLITE_IOERR:
      WeftError(
        "STO0008", object: file,
        cause: "the disk failed (\(text), sqlite code \(code)); the write does not count as done",
        next: "look at the disk (dmesg | tail); writes go on by themselves when it works again",
        exit: .unreachable, isRetryable: true, underlying: self)
    case SQLITE_NOTADB, SQLITE_CORRUPT:
      WeftError(
        "STO0003", object: file, cause: "the store is damaged (\(text))",
        next: "restore it from a copy, or move it away to start with an empty cluster: \(aside)",
        underlying: self)
    case SQLITE_BUSY, SQLITE_LOCKED:
      WeftError(
        "STO0004", object: file, cause: "another program holds a lock on the store (\(text))",
        next: "close that program (fuser \(file) names it) and start again", exit: .unreachable,
        isRetryable: true, underlying: self)
    case SQLITE_FULL:
      WeftError(
        "STO0005", object: file, cause: "the disk is full", next: "free space there (df -h \(file))",
        exit: .unreachable, isRetryable: true, underlying: self)
    case SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH:
      WeftError(
        "STO0006", object: file, cause: "the store cannot be opened for writing (\(text))",
        next: "check owner and mode of the folder (ls -ld, id), or choose another with --data-dir",
        underlying: self)
    default:
      WeftError(
        "STO0007", object: file, cause: "\(text) (sqlite code \(code))",
        next: "check the disk (dmesg | tail) and start again", exit: .unreachable, underlying: self)
    }
  }
}
