// What a controller has done and not seen yet. Without it, a controller faster than its informer makes
// everything twice.

import ClusterObjects
import Synchronization

/// Pods created or deleted for an owner that the informer has not shown so far. Each is forgotten after
/// `timeout`, so a lost event delays and never blocks.
final class Expectations: Sendable {
  private let pending = Mutex<[ObjectKey: [String: ContinuousClock.Instant]]>([:])
  private let timeout: Duration

  /// What is held when nothing else is said. Tests in which events are lost on purpose say less.
  @TaskLocal static var defaultTimeout: Duration = .seconds(30)

  init(timeout: Duration = Expectations.defaultTimeout) { self.timeout = timeout }

  /// Expects to see something of this uid; `isSeen` is asked afterwards, in case the informer was faster.
  func expect(_ owner: ObjectKey, _ token: String, isSeen: () -> Bool) {
    pending.withLock { $0[owner, default: [:]][token] = .now + timeout }
    if isSeen() { see(owner, token) }
  }

  func see(_ owner: ObjectKey, _ token: String) {
    pending.withLock { pending in
      pending[owner]?[token] = nil
      if pending[owner]?.isEmpty == true { pending[owner] = nil }
    }
  }

  /// Nil when everything was seen; else how long the oldest expectation is still held.
  func wait(_ owner: ObjectKey) -> Duration? {
    pending.withLock { pending in
      let now = ContinuousClock.now
      guard let tokens = pending[owner]?.filter({ $0.value > now }), let first = tokens.values.min() else {
        pending[owner] = nil
        return nil
      }
      pending[owner] = tokens
      return first - now
    }
  }

  func forget(_ owner: ObjectKey) { pending.withLock { $0[owner] = nil } }
}
