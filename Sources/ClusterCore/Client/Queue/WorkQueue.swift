// Keys of objects that need attention. A key waits at most once however often it is added; it is never
// worked on by two at a time; added while it is worked on, it comes again afterwards.
//
//   add -> dirty + queue -> next() -> processing -> done() --(dirty again?)--> queue
//   add(after:) / retry() -> delayed (a heap) --when due--> add

import DequeModule
import Diagnostics
import HeapModule
import Synchronization

/// A bounded, rate-limited queue of keys with the semantics of client-go's work queue. Thread-safe.
///
/// Past `capacity` waiting keys further ones are refused and counted; `takeOverflow()` then says once that
/// something was lost, and the owner adds everything anew when the queue has room. `runWorkers` does that
/// by itself.
public final class WorkQueue<Key: Hashable & Sendable>: Sendable {
  public let name: String
  public let capacity: Int
  private let limiter: any RateLimiter<Key>
  private let state: Mutex<State>
  private let metrics: WorkQueueMetrics

  private struct State {
    var queue: Deque<Key> = []
    /// What must be worked on: all in `queue`, and those in `processing` that were added meanwhile.
    var dirty: Set<Key> = []
    var processing: [Key: ContinuousClock.Instant] = [:]
    var addedAt: [Key: ContinuousClock.Instant] = [:]
    var delayed = Heap<Delayed>()
    var dueAt: [Key: ContinuousClock.Instant] = [:]
    var timer: (due: ContinuousClock.Instant, task: Task<Void, Never>)?
    var waiters: [(id: UInt64, continuation: CheckedContinuation<Key?, Never>)] = []
    var cancelled: Set<UInt64> = []
    var nextID: UInt64 = 0
    var isShutDown = false
    var hasOverflowed = false
  }
  private struct Delayed: Comparable {
    var due: ContinuousClock.Instant
    var key: Key
    static func < (a: Self, b: Self) -> Bool { a.due < b.due }
    static func == (a: Self, b: Self) -> Bool { a.due == b.due }
  }

  /// `name` is the label of the metrics, as upstream names its controllers. Failed keys wait as `limiter` says.
  public init(
    name: String, capacity: Int = 100_000, limiter: any RateLimiter<Key>, metrics: Metrics = .shared
  ) {
    self.name = name
    self.capacity = capacity
    self.limiter = limiter
    state = Mutex(State())
    self.metrics = WorkQueueMetrics(name: name, metrics: metrics)
    // Read when somebody asks: a key that is stuck is seen before it is done.
    metrics.onCollect { [weak self] in self?.observeWork() }
  }

  /// Failed keys wait longer each time, by `retry` and a quarter more or less.
  public convenience init(
    name: String, capacity: Int = 100_000,
    retry: RetryPolicy = RetryPolicy(initial: .milliseconds(5), maximum: .seconds(60)),
    metrics: Metrics = .shared
  ) {
    self.init(
      name: name, capacity: capacity,
      limiter: ItemExponentialFailureRateLimiter(retry, jitter: 0.75...1.25), metrics: metrics)
  }

  deinit { metrics.observe([], now: .now) }

  private func observeWork() {
    let began = state.withLock { Array($0.processing.values) }
    metrics.observe(began, now: .now)
  }

  /// Keys that wait now.
  public var count: Int { state.withLock { $0.queue.count } }
  /// Whether nothing waits, nothing is worked on and nothing is due later.
  public var isIdle: Bool {
    state.withLock { $0.queue.isEmpty && $0.processing.isEmpty && $0.dueAt.isEmpty }
  }

  // MARK: Adding

  public func add(_ key: Key) {
    let resume = state.withLock { insert(key, &$0) }
    resume?()
  }

  /// Adds the key when `delay` has passed; of several the earliest counts.
  public func add(_ key: Key, after delay: Duration) {
    if delay <= .zero { return add(key) }
    state.withLock { state in
      guard !state.isShutDown else { return }
      let due = ContinuousClock.now + delay
      if let earlier = state.dueAt[key], earlier <= due { return }
      if state.dueAt.count >= capacity, state.dueAt[key] == nil {
        state.hasOverflowed = true
        return
      }
      state.dueAt[key] = due
      state.delayed.insert(Delayed(due: due, key: key))
      arm(&state)
    }
  }

  /// Adds the key after the wait that the limiter says, which grows until `forget`.
  public func retry(_ key: Key) {
    metrics.retries.increment()
    add(key, after: limiter.delay(for: key))
  }

  /// The key is well again: its next retry starts from the shortest wait.
  public func forget(_ key: Key) { limiter.forget(key) }
  public func failures(of key: Key) -> Int { limiter.failures(of: key) }

  /// True once after keys were refused and the queue has room again.
  public func takeOverflow() -> Bool {
    state.withLock { state in
      guard state.hasOverflowed, state.queue.count < capacity / 2 else { return false }
      state.hasOverflowed = false
      return true
    }
  }

  // MARK: Working

  /// The next key, which then belongs to the caller until `done`. Nil when the queue was shut down or the
  /// task cancelled.
  public func next() async -> Key? {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let ready: Key?? = state.withLock { state in
          if state.cancelled.remove(id) != nil { return .some(nil) }
          if let key = state.queue.popFirst() { return .some(take(key, &state)) }
          if state.isShutDown { return .some(nil) }
          state.waiters.append((id, continuation))
          return nil
        }
        if let ready { continuation.resume(returning: ready) }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        guard let position = state.waiters.firstIndex(where: { $0.id == id }) else {
          state.cancelled.insert(id)
          return nil as CheckedContinuation<Key?, Never>?
        }
        return state.waiters.remove(at: position).continuation
      }
      waiter?.resume(returning: nil)
    }
  }

  /// The caller has finished with a key that `next` gave it.
  public func done(_ key: Key) {
    let resume = state.withLock { state -> (() -> Void)? in
      if let began = state.processing.removeValue(forKey: key) {
        metrics.workDuration.observe(ContinuousClock.now - began)
      }
      guard state.dirty.contains(key) else { return nil }
      return hand(key, &state)
    }
    resume?()
  }

  /// Gives out what still waits and then nil; refuses additions.
  public func shutDown() {
    let waiters = state.withLock { state in
      state.isShutDown = true
      state.timer?.task.cancel()
      state.timer = nil
      state.dueAt = [:]
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.continuation.resume(returning: nil) }
  }

  // MARK: Inside

  private func insert(_ key: Key, _ state: inout State) -> (() -> Void)? {
    guard !state.isShutDown, !state.dirty.contains(key) else { return nil }
    guard state.queue.count < capacity else {
      state.hasOverflowed = true
      metrics.refused.increment()
      return nil
    }
    metrics.adds.increment()
    state.dirty.insert(key)
    state.addedAt[key] = .now
    return state.processing[key] == nil ? hand(key, &state) : nil
  }

  /// Gives a dirty key to a waiter, or lines it up.
  private func hand(_ key: Key, _ state: inout State) -> (() -> Void)? {
    guard !state.waiters.isEmpty else {
      state.queue.append(key)
      metrics.depth.set(Double(state.queue.count))
      return nil
    }
    let waiter = state.waiters.removeFirst()
    let key = take(key, &state)
    return { waiter.continuation.resume(returning: key) }
  }

  private func take(_ key: Key, _ state: inout State) -> Key {
    state.dirty.remove(key)
    state.processing[key] = .now
    if let added = state.addedAt.removeValue(forKey: key) {
      metrics.queueDuration.observe(ContinuousClock.now - added)
    }
    metrics.depth.set(Double(state.queue.count))
    return key
  }

  /// Sets the timer for the earliest delayed key. One task however many keys wait.
  private func arm(_ state: inout State) {
    while let first = state.delayed.min, state.dueAt[first.key] != first.due { _ = state.delayed.popMin() }
    guard let due = state.delayed.min?.due else { return }
    if let timer = state.timer, timer.due <= due { return }
    state.timer?.task.cancel()
    state.timer = (
      due,
      Task.detached { [weak self] in
        do { try await Task.sleep(until: due, clock: .continuous) } catch { return }
        self?.fire(due)
      }
    )
  }

  private func fire(_ due: ContinuousClock.Instant) {
    let resumes = state.withLock { state -> [() -> Void] in
      if state.timer?.due == due { state.timer = nil }
      var resumes: [() -> Void] = []
      let now = ContinuousClock.now
      while let first = state.delayed.min, first.due <= now {
        _ = state.delayed.popMin()
        guard state.dueAt[first.key] == first.due else { continue }
        state.dueAt[first.key] = nil
        if let resume = insert(first.key, &state) { resumes.append(resume) }
      }
      arm(&state)
      return resumes
    }
    for resume in resumes { resume() }
  }
}
