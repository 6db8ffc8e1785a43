// Copies the write-ahead log into the database while the writer goes on: done by the writer itself, a thousand pages and two
// syncs would stand in the way of every write that waits.
//
//   writer:        commit  commit  commit  commit  [rest]  commit (the log begins anew)
//   checkpointer:          └─ copies what is there ─┘

import CSQLite
import Synchronization

/// A thread with a connection of its own. `note` is called by the writer after each commit.
final class Checkpointer: Sendable {
  /// Pages in the log from which on they are copied: SQLite's own measure.
  static let pagesMin = 1000
  /// A rest that the writer may copy itself, in a millisecond or two.
  static let restMax = 200
  /// Past it the writer copies, whatever it costs: the log is read whole at the next start.
  static let pagesMax = 8000

  /// What the thread and the writer tell each other.
  private final class Progress: Sendable {
    struct State {
      var isAtWork = false
      /// Pages of the log that the last round has copied; nil when it is used up.
      var copied: Int?
      /// Pages from which on the next round begins.
      var next = Checkpointer.pagesMin
      var last = 0
    }
    let state = Mutex(State())
  }
  private struct Handover: @unchecked Sendable { var connection: SQLiteConnection }

  private let progress = Progress()
  private let rounds = WorkerThread<Void>(pendingMax: 1)

  init(path: String) throws(SQLiteFailure) {
    let owned = Handover(connection: try SQLiteConnection(path: path, readOnly: false))
    rounds.start(name: "weft-store-c") { [rounds, progress] in
      while rounds.take(max: 1, wait: true) != nil {
        // What fails here is tried again with the next round; the writer meets a sick disk by itself.
        let copied = try? owned.connection.checkpoint()
        progress.state.withLock { state in
          state.isAtWork = false
          state.copied = copied
        }
      }
    }
  }

  deinit { rounds.stopAndWait() }

  /// Whether the writer is to copy the rest now: `pages` are in the log.
  func note(pages: Int) -> Bool {
    let (begins, isRest) = progress.state.withLock { state in
      if pages < state.last {
        // The log began anew.
        state.next = Self.pagesMin
        state.copied = nil
      }
      state.last = pages
      guard !state.isAtWork, pages >= state.next else { return (false, false) }
      if pages >= Self.pagesMax || state.copied.map({ pages - $0 <= Self.restMax }) ?? false {
        state.copied = nil
        // If somebody still reads the log it goes on growing; not before each thousand is it tried again.
        state.next = pages + Self.pagesMin
        return (false, true)
      }
      state.isAtWork = true
      return (true, false)
    }
    if begins { _ = rounds.submit(()) }
    return isRest
  }

  func stopAndWait() { rounds.stopAndWait() }
}

extension SQLiteConnection {
  /// Copies as much of the log as readers allow, without waiting for anybody. Gives the pages of the log that are copied.
  func checkpoint() throws(SQLiteFailure) -> Int {
    let statement = try prepare("PRAGMA wal_checkpoint(PASSIVE)")
    return try statement.step() ? Int(statement.int(2)) : 0
  }
}
