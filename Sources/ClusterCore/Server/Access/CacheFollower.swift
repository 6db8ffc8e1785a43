// Following watch caches from inside the server: the present state, then every change, begun again when a
// cache was loaded anew.

import ClusterObjects
import ClusterStore
import Synchronization

/// Subscriptions of one part of the server. Closures are called with the cache's lock held, in order: they must
/// be quick and must not call back into the caches.
final class CacheFollower: Sendable {
  enum Change {
    /// All that is there; what was known before and is not among it is gone.
    case begin([CachedObject])
    case set(CachedObject)
    case removed(CachedObject)
  }
  private let caches: ObjectCaches
  private let subscriptions = Mutex<[Subscription]>([])

  init(caches: ObjectCaches) { self.caches = caches }

  deinit {
    for subscription in subscriptions.withLock({ $0 }) { subscription.cancel() }
  }

  func follow(_ resource: String, _ body: @escaping @Sendable (Change) -> Void) {
    let subscription = Subscription(caches: caches, resource: resource, body)
    subscriptions.withLock { $0.append(subscription) }
    subscription.begin()
  }

  private final class Subscription: WatchSubscriber {
    private let caches: ObjectCaches
    private let resource: String
    private let body: @Sendable (Change) -> Void
    private let isCancelled = Atomic(false)

    init(caches: ObjectCaches, resource: String, _ body: @escaping @Sendable (Change) -> Void) {
      self.caches = caches
      self.resource = resource
      self.body = body
    }

    func begin() {
      if isCancelled.load(ordering: .relaxed) { return }
      _ = caches.subscribe(
        self, to: resource, from: .state(prefix: ObjectCaches.root, filter: nil, marksEnd: false))
    }

    func cancel() {
      isCancelled.store(true, ordering: .relaxed)
      Task { [caches, resource] in caches[resource].unsubscribe(self) }
    }

    func begin(_ objects: [CachedObject], end: Revision?) { body(.begin(objects)) }

    func offer(_ events: [CacheEvent]) {
      for event in events { body(event.kind == .deleted ? .removed(event.object) : .set(event.object)) }
    }

    func bookmark(_ revision: Revision) {}

    /// The cache was loaded anew, or the server stops; after that a subscription is harmless.
    func finish() { Task { begin() } }
  }
}
