// How many bindings are on their way at once.

import Synchronization

/// Counts slots; `take` waits for a free one. Thread-safe.
final class BindingSlots: Sendable {
  private struct State {
    var free: Int
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state: Mutex<State>

  init(_ count: Int) { state = Mutex(State(free: max(1, count))) }

  /// For one waiter at a time: the scheduling loop.
  func take() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.free > 0 else {
          state.waiter = continuation
          return false
        }
        state.free -= 1
        return true
      }
      if isFree { continuation.resume() }
    }
  }

  func give() {
    let waiter = state.withLock { state in
      guard let waiter = state.waiter else {
        state.free += 1
        return nil as CheckedContinuation<Void, Never>?
      }
      state.waiter = nil
      return waiter
    }
    waiter?.resume()
  }
}
