// What a controller has done and not seen yet. Without it, a controller faster than its informer makes
// everything twice.

import ClusterObjects
import Synchronization

/// Pods created or deleted for an owner that the informer has not shown so far. Each is forgotten after `timeout`, so a lost event delays
/// and never blocks. Of a creation (`+` and the pod's name) the API is asked then.
final class Expectations: Sendable {
  /// Pods whose creation got no answer, or one that leaves it open; as many as one sync makes at most.
  private let open = Mutex<[ObjectKey: Set<ObjectKey>]>([:])
  private let pending = Mutex<[ObjectKey: [String: ContinuousClock.Instant]]>([:])
  private let timeout: Duration

  /// What is held when nothing else is said. Tests in which events are lost on purpose say less.
  @TaskLocal static var defaultTimeout: Duration = .seconds(30)

  init(timeout: Duration = Expectations.defaultTimeout) { self.timeout = timeout }

  /// Expects to see something, before it is done; or afterwards, and then `isSeen` is asked, in case the informer was faster.
  func expect(_ owner: ObjectKey, _ token: String, isSeen: () -> Bool = { false }) {
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

  /// Names of pods that were expected to be seen by now. They are expected no more: who asks has to look for them.
  func overdue(_ owner: ObjectKey) -> [String] {
    pending.withLock { pending in
      let now = ContinuousClock.now
      let late = pending[owner]?.filter { $0.value <= now && $0.key.hasPrefix("+") }.keys.sorted() ?? []
      for token in late { pending[owner]?[token] = nil }
      return late.map { String($0.dropFirst()) }
    }
  }

  func wonder(_ owner: ObjectKey, about pod: ObjectKey) {
    _ = open.withLock { $0[owner, default: []].insert(pod) }
  }

  func wonders(_ owner: ObjectKey) -> Set<ObjectKey> { open.withLock { $0[owner] ?? [] } }

  func settle(_ owner: ObjectKey, _ pod: ObjectKey) {
    open.withLock { open in
      open[owner]?.remove(pod)
      if open[owner]?.isEmpty == true { open[owner] = nil }
    }
  }

  func forget(_ owner: ObjectKey) {
    pending.withLock { $0[owner] = nil }
    open.withLock { $0[owner] = nil }
  }
}
