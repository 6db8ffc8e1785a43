// Requests that go on while something about the servers changes.

import Synchronization

/// Requests without end, each on a connection of its own as `curl` makes it, by certificate and by token, until `stop`.
final class Traffic: Sendable {
  struct Counts {
    var answered = 0
    var failures: [String] = []
  }
  private let state = Mutex(Counts())
  private let isStopped = Atomic(false)
  var counts: Counts { state.withLock { $0 } }

  func stop() { isStopped.store(true, ordering: .relaxed) }

  /// Runs until stopped. `request` says what went wrong, or nil; an answer of a server that is being started again is none.
  func run(_ request: @Sendable @escaping () async -> String??) async {
    while !isStopped.load(ordering: .relaxed) {
      guard let outcome = await request() else {
        // Nobody was there to ask; asking without a pause would leave no thread to who comes.
        try? await Task.sleep(for: .milliseconds(5))
        continue
      }
      state.withLock { state in
        if let failure = outcome { state.failures.append(failure) } else { state.answered += 1 }
      }
    }
  }

  /// Waits for so many more answers, or a failure.
  func more(_ count: Int) async {
    let goal = counts.answered + count
    let end = ContinuousClock.now + .seconds(120)
    while counts.answered < goal, counts.failures.isEmpty, ContinuousClock.now < end {
      try? await Task.sleep(for: .milliseconds(5))
    }
  }
}
