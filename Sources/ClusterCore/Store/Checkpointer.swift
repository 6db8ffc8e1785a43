// Copies the write-ahead log into the database beside the writer: done by the writer itself, a thousand pages and two syncs
// would stand in the way of every write that waits.
//
//   writer:        commit  commit  commit  commit  [rest]  commit (the log begins anew)
//   checkpointer:          └─ copies what is there ─┘
//
// The log begins anew only when all of it was copied, which never happens beside a writer that goes on: the writer copies
// the rest itself, once little is left.

import CSQLite
import Synchronization

/// A thread with a connection of its own, of which only that thread makes use. The other calls come from the writer.
final class Checkpointer: Sendable {
  /// Pages of the log from which on they are copied: SQLite's own measure.
  static let pagesDefault = 1000

  /// What the writer is to do about the log after a commit.
  enum Step: Equatable { case nothing, copyRest }

  /// What the thread and the writer tell each other. An object of its own: `deinit` waits for the thread.
  private final class Progress: Sendable {
    struct State {
      var isAtWork = false
      /// Pages of the log that the last round has copied; nil when that is used up.
      var copied: Int?
      /// Pages from which on the next round begins.
      var next: Int
      /// Pages after the last commit.
      var last = 0
      var failure: SQLiteFailure?
    }
    let state: Mutex<State>
    init(next: Int) { state = Mutex(State(next: next)) }
  }
  private struct Handover: @unchecked Sendable { var connection: SQLiteConnection }

  private let pagesMin: Int
  /// A rest that the writer may copy itself, in a millisecond or two.
  private var restMax: Int { pagesMin / 5 }
  /// Past it the writer waits and copies, whatever it costs: the log is read whole at the next start.
  private var pagesMax: Int { pagesMin * 8 }
  private let progress: Progress
  private let rounds = WorkerThread<Void>(pendingMax: 1)

  /// Takes the connection over and starts the thread.
  init(_ connection: consuming SQLiteConnection, pages: Int) {
    let pagesMin = max(1, pages)
    self.pagesMin = pagesMin
    progress = Progress(next: pagesMin)
    let owned = Handover(connection: connection)
    rounds.start(name: "weft-store-c") { [rounds, progress] in
      while rounds.take(max: 1, wait: true) != nil {
        let result: Result<Int?, SQLiteFailure>
        do throws(SQLiteFailure) {
          result = .success(try owned.connection.checkpoint())
        } catch {
          result = .failure(error)
        }
        progress.state.withLock { state in
          state.isAtWork = false
          switch result {
          case .success(let copied): state.copied = copied
          case .failure(let failure):
            state.failure = failure
            state.copied = nil
            state.next = state.last + pagesMin
          }
        }
      }
    }
  }

  deinit { rounds.stopAndWait() }

  /// After a commit: `pages` are in the log now. Begins a round when there are enough of them.
  func committed(pages: Int) -> Step {
    let (begins, waits, step): (Bool, Bool, Step) = progress.state.withLock { state in
      // The log began anew.
      if pages < state.last { (state.next, state.copied) = (pagesMin, nil) }
      state.last = pages
      let isLong = pages >= pagesMax
      guard pages >= state.next, isLong || !state.isAtWork else { return (false, false, .nothing) }
      if isLong || state.copied.map({ pages - $0 <= restMax }) ?? false {
        // If somebody still reads the log it goes on growing: it is tried again after as many pages.
        state.next = pages + pagesMin
        state.copied = nil
        return (false, state.isAtWork, .copyRest)
      }
      state.isAtWork = true
      return (true, false, .nothing)
    }
    if waits { rounds.waitUntilIdle() }
    if begins, rounds.submit(()) != nil { progress.state.withLock { $0.isAtWork = false } }
    return step
  }

  /// What made a round fail since this was last asked. The writer must ask before it takes on a write.
  func takeFailure() -> SQLiteFailure? {
    progress.state.withLock { state in
      defer { state.failure = nil }
      return state.failure
    }
  }

  /// Waits for the round that is under way, and does no more.
  func stopAndWait() { rounds.stopAndWait() }
}

extension SQLiteConnection {
  /// Copies as much of the log as readers allow, without waiting for anybody. Gives the pages of the log that are copied;
  /// nil when another connection is copying.
  func checkpoint() throws(SQLiteFailure) -> Int? {
    let statement = try prepare("PRAGMA wal_checkpoint(PASSIVE)")
    guard try statement.step(), statement.int(0) == 0, statement.int(2) >= 0 else { return nil }
    return Int(statement.int(2))
  }
}
