// A watcher's bounded queue, and the hub that fills the queues after each commit.
//
//   writer: commit ─► hub.publish ─► queue of watcher 1 ─► next()
//                                 └► queue of watcher 2 (full: cut off with slowWatcher, the others go on)

import Synchronization

/// The changes under one prefix, in order. One consumer calls `next()`; `cancel()` ends it.
public final class StoreWatch: Sendable, AsyncSequence, AsyncIteratorProtocol {
  public typealias Element = [StoreEvent]
  public typealias Failure = StoreError

  private struct State {
    var queue: [StoreEvent] = []
    var waiter: CheckedContinuation<Void, Never>?
    /// Live events wait here until the history before them was read.
    var isHolding = true
    var end: StoreError?
    var isEnded = false
  }

  public let prefix: String
  private let queueMax: Int
  private let state = Mutex(State())
  private let onCancel: @Sendable (StoreWatch) -> Void

  /// For engines: a watch that delivers nothing until `begin(with:)`.
  public init(prefix: String, queueMax: Int, onCancel: @escaping @Sendable (StoreWatch) -> Void) {
    self.prefix = prefix
    self.queueMax = queueMax
    self.onCancel = onCancel
  }

  public func makeAsyncIterator() -> StoreWatch { self }

  /// The next changes, at least one; nil after `cancel()` or the store's shutdown. Throws once, when cut off.
  public func next() async throws(StoreError) -> [StoreEvent]? {
    while true {
      let taken: (events: [StoreEvent], isEnded: Bool, end: StoreError?) = state.withLock { state in
        if state.isHolding, !state.isEnded { return ([], false, nil) }
        let events = state.queue
        state.queue = []
        if !events.isEmpty { return (events, false, nil) }
        let end = state.end
        state.end = nil
        return ([], state.isEnded, end)
      }
      if let end = taken.end { throw end }
      if !taken.events.isEmpty { return taken.events }
      if taken.isEnded { return nil }
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let ready = state.withLock { state in
            if state.isEnded || (!state.isHolding && !state.queue.isEmpty) { return true }
            state.waiter = continuation
            return false
          }
          if ready { continuation.resume() }
        }
      } onCancel: {
        cancel()
      }
    }
  }

  /// Ends the watch; `next()` gives what is queued, then nil.
  public func cancel() {
    finish(nil)
    onCancel(self)
  }

  /// For engines: gives the history before the live events and starts delivering.
  public func begin(with history: [StoreEvent]) {
    wake { state in
      state.queue = history + state.queue
      state.isHolding = false
    }
  }

  /// For engines: appends live changes. False when the watcher was too slow and is ended.
  public func offer(_ events: [StoreEvent]) -> Bool {
    var isAlive = true
    wake { state in
      if state.isEnded {
        isAlive = false
      } else if state.queue.count + events.count > queueMax {
        state.queue = []
        state.isEnded = true
        state.end = .slowWatcher
        isAlive = false
      } else {
        state.queue += events
      }
    }
    return isAlive
  }

  /// For engines: ends the watch once what is queued was taken, with an error or without.
  public func finish(_ error: StoreError?) {
    wake { state in
      guard !state.isEnded else { return }
      state.isEnded = true
      state.end = error
    }
  }

  private func wake(_ change: (inout State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }
}

/// The watchers of one engine and the last revision they were told of.
final class WatchHub: Sendable {
  private struct State {
    var revision: Revision
    var watches: [ObjectIdentifier: StoreWatch] = [:]
    var isClosed = false
    /// Changes of keys without history on disk, newest last; and the revision up to which they are
    /// incomplete.
    var ephemeral: [StoreEvent] = []
    var ephemeralLost: Revision
  }
  private let state: Mutex<State>
  /// How many changes of keys without history are remembered.
  static let ephemeralMax = 8192

  init(revision: Revision) {
    state = Mutex(State(revision: revision, ephemeralLost: revision))
  }

  var revision: Revision { state.withLock { $0.revision } }
  var watchCount: Int { state.withLock { $0.watches.count } }

  /// Registers a watch. Everything up to the revision returned is the caller's to deliver by `begin(with:)`.
  func add(
    _ watch: StoreWatch
  ) throws(StoreError) -> (revision: Revision, ephemeral: [StoreEvent], ephemeralLost: Revision) {
    let seen = state.withLock { state -> (Revision, [StoreEvent], Revision)? in
      if state.isClosed { return nil }
      state.watches[ObjectIdentifier(watch)] = watch
      return (state.revision, state.ephemeral, state.ephemeralLost)
    }
    guard let seen else { throw .closed }
    return seen
  }

  func remove(_ watch: StoreWatch) {
    state.withLock { _ = $0.watches.removeValue(forKey: ObjectIdentifier(watch)) }
  }

  func publish(_ events: [StoreEvent], revision: Revision, isEphemeral: (String) -> Bool) {
    state.withLock { state in
      state.revision = revision
      for event in events where isEphemeral(event.key) { state.ephemeral.append(event) }
      // Trimmed by halves, so that a write costs no shifting of the whole ring.
      if state.ephemeral.count > 2 * Self.ephemeralMax {
        let dropped = state.ephemeral.count - Self.ephemeralMax
        state.ephemeralLost = state.ephemeral[dropped - 1].revision
        state.ephemeral.removeFirst(dropped)
      }
      for (id, watch) in state.watches {
        let wanted = events.filter { $0.key.hasPrefix(watch.prefix) }
        if !wanted.isEmpty, !watch.offer(wanted) { state.watches[id] = nil }
      }
    }
  }

  func close() {
    let watches = state.withLock { state in
      state.isClosed = true
      defer { state.watches = [:] }
      return Array(state.watches.values)
    }
    for watch in watches { watch.finish(nil) }
  }
}
