// A thread with a bounded queue, for what must not block the cooperative pool: fsync and disk reads.

import Glibc

/// A dedicated thread that takes queued items in batches. The handler runs on that thread alone, so what
/// only it touches needs no lock.
final class WorkerThread<Item: Sendable>: @unchecked Sendable {
  // Guarded by `mutex`; the two pthread objects live as long as this object.
  private var items: [Item] = []
  private var isStopping = false
  private var hasStopped = false
  private var isIdle = false
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let pendingMax: Int

  init(pendingMax: Int) {
    self.pendingMax = pendingMax
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(changed, nil)
  }

  deinit {
    pthread_cond_destroy(changed)
    pthread_mutex_destroy(mutex)
    changed.deallocate()
    mutex.deallocate()
  }

  /// Starts the thread. `body` calls `take` until it gives nil.
  func start(name: String, _ body: @escaping @Sendable () -> Void) {
    let box = ThreadBody(body) { [self] in
      locked { hasStopped = true }
      pthread_cond_broadcast(changed)
    }
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(box).toOpaque()
    let result = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, argument)
    precondition(result == 0, "no thread for \(name): errno \(result)")
    pthread_detach(thread)
  }

  enum Refusal { case full, stopping }

  /// Queues an item; says why when it cannot.
  func submit(_ item: Item) -> Refusal? {
    let refusal: Refusal? = locked {
      if isStopping { return .stopping }
      if items.count >= pendingMax { return .full }
      items.append(item)
      return nil
    }
    // The thread is not the only one that may wait.
    if refusal == nil { pthread_cond_broadcast(changed) }
    return refusal
  }

  /// On the thread: up to `max` items. Waits for the first unless `wait` is false; nil when stopping and
  /// empty.
  func take(max: Int, wait: Bool) -> [Item]? {
    locked {
      while items.isEmpty {
        if isStopping { return nil }
        if !wait { return [] }
        if !isIdle {
          isIdle = true
          pthread_cond_broadcast(changed)
        }
        pthread_cond_wait(changed, mutex)
      }
      isIdle = false
      if items.count <= max {
        defer { items = [] }
        return items
      }
      defer { items.removeFirst(max) }
      return Array(items.prefix(max))
    }
  }

  /// Waits until everything queued is done.
  func waitUntilIdle() {
    pthread_mutex_lock(mutex)
    while !hasStopped, !(isIdle && items.isEmpty) { pthread_cond_wait(changed, mutex) }
    pthread_mutex_unlock(mutex)
  }

  /// Refuses new items, lets the thread finish those queued, and waits for its end.
  func stopAndWait() {
    locked { isStopping = true }
    pthread_cond_broadcast(changed)
    pthread_mutex_lock(mutex)
    while !hasStopped { pthread_cond_wait(changed, mutex) }
    pthread_mutex_unlock(mutex)
  }

  private func locked<T>(_ body: () -> T) -> T {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }
}

/// What a thread runs. `ended` is called when `body` and all that it held are gone: a connection that it alone held is closed.
private final class ThreadBody: @unchecked Sendable {
  // Touched by the thread alone, once it runs.
  private var body: (@Sendable () -> Void)?
  private let ended: @Sendable () -> Void

  init(_ body: @escaping @Sendable () -> Void, ended: @escaping @Sendable () -> Void) {
    self.body = body
    self.ended = ended
  }

  func run() {
    body?()
    body = nil
    ended()
  }
}
