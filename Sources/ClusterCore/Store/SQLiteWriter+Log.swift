// The write-ahead log as the writer sees it: copied when it has grown, and written off whole when a write, a sync or a copy
// failed.

import CSQLite
import Logging

extension SQLiteWriter {
  /// Has the log copied into the database when it has grown.
  func copyLog() {
    guard checkpointer.committed(pages: connection.logPages) == .copyRest else { return }
    do throws(SQLiteFailure) { _ = try connection.checkpoint() } catch { copyFailed(error) }
  }

  private func copyFailed(_ failure: SQLiteFailure) {
    log.error(
      "the write-ahead log could not be copied into the database",
      metadata: ["error": "\(failure.text)", "code": "\(failure.code)", "doing": "\(failure.doing)"])
    doubt(after: failure)
  }

  /// A failed write or sync may have dropped pages that the next sync will not mention, whichever thread it met. A full disk
  /// leaves nothing unsure: what was not copied stays in the log.
  func doubt(after failure: SQLiteFailure) {
    if failure.code & 0xff == SQLITE_IOERR { isInDoubt = true }
  }

  /// Before anything is taken on: writes everything committed into the database, syncs it and empties the log, if something
  /// is in doubt. What a failed write or sync left is gone then. Throws as long as that fails; tried at most twice a second.
  func settleDoubt() throws(SQLiteFailure) {
    if let failure = checkpointer.takeFailure() { copyFailed(failure) }
    guard isInDoubt else { return }
    if let lastTry = lastSettling, ContinuousClock.now - lastTry < .milliseconds(500) {
      throw SQLiteFailure(code: SQLITE_IOERR, text: "an earlier write failed", doing: "curing")
    }
    lastSettling = .now
    let checkpoint = try connection.prepare("PRAGMA wal_checkpoint(TRUNCATE)")
    guard try checkpoint.step(), checkpoint.int(0) == 0 else {
      throw SQLiteFailure(
        code: SQLITE_IOERR, text: "an earlier write failed, and others are at work on the log",
        doing: "curing")
    }
    isInDoubt = false
    log.notice("the disk works again; writes are accepted")
  }

  /// The end: everything into the database, and the log empty.
  func finish() throws(SQLiteFailure) {
    checkpointer.stopAndWait()
    try connection.run("PRAGMA wal_checkpoint(TRUNCATE)")
  }
}
