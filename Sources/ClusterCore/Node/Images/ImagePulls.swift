// Pulls of a node's images: of one image with one set of logins at most one, of all so many at once, the others in the order in
// which they came.

import Diagnostics

/// Who waits for a pull leaves when his task is cancelled; a pull for which nobody waits any more is ended, or never begins.
///
/// A pod waits for one image at a time, so no more than the node's pods wait here (`weft_node_image_pulls_waiting`).
actor ImagePulls<Key: Hashable & Sendable> {
  struct Done: Sendable {
    /// The runtime's name of the image.
    var id: String
    /// Of the pull alone, without what it waited for.
    var duration: Duration
  }

  private struct Pull {
    var number: UInt64
    var body: @Sendable () async throws -> String
    var waiters: [UInt64: CheckedContinuation<Done, any Error>] = [:]
    /// Nil until it begins.
    var task: Task<Void, Never>?
  }
  private let atOnceMax: Int
  private var pulls: [Key: Pull] = [:]
  /// Those that have not begun, the oldest first.
  private var queue: [Key] = []
  private var running = 0
  private var lastNumber: UInt64 = 0
  private let waiting: Gauge

  /// - Parameter atOnceMax: nil for as many as come.
  init(atOnceMax: Int?, metrics: Metrics) {
    self.atOnceMax = atOnceMax.map { max($0, 1) } ?? .max
    waiting = metrics.gauge(
      "weft_node_image_pulls_waiting", "Images that wait until others have come."
    ).child()
  }

  /// What `body` answers, in its turn. Throws what it throws, and `CancellationError` as soon as the caller's task is cancelled.
  func pull(_ key: Key, _ body: @escaping @Sendable () async throws -> String) async throws -> Done {
    let waiter = nextNumber()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        join(key, waiter, continuation, body)
      }
    } onCancel: {
      Task { await self.leave(key, waiter) }
    }
  }

  /// How many wait for one pull, be it that it has begun.
  func waiters(_ key: Key) -> Int { pulls[key]?.waiters.count ?? 0 }

  private func nextNumber() -> UInt64 {
    lastNumber += 1
    return lastNumber
  }

  private func join(
    _ key: Key, _ waiter: UInt64, _ continuation: CheckedContinuation<Done, any Error>,
    _ body: @escaping @Sendable () async throws -> String
  ) {
    if pulls[key] == nil {
      pulls[key] = Pull(number: nextNumber(), body: body)
      queue.append(key)
    }
    pulls[key]?.waiters[waiter] = continuation
    begin()
  }

  private func begin() {
    while running < atOnceMax, !queue.isEmpty {
      let key = queue.removeFirst()
      guard let pull = pulls[key] else { continue }
      running += 1
      pulls[key]?.task = Task {
        let start = ContinuousClock.now
        do {
          let id = try await pull.body()
          finish(key, pull.number, .success(Done(id: id, duration: ContinuousClock.now - start)))
        } catch {
          finish(key, pull.number, .failure(error))
        }
      }
    }
    waiting.set(Double(queue.count))
  }

  private func finish(_ key: Key, _ number: UInt64, _ result: Result<Done, any Error>) {
    running -= 1
    // One that everybody left has made room for another of its name.
    if let pull = pulls[key], pull.number == number {
      pulls[key] = nil
      for waiter in pull.waiters.values { waiter.resume(with: result) }
    }
    begin()
  }

  private func leave(_ key: Key, _ waiter: UInt64) {
    guard let continuation = pulls[key]?.waiters.removeValue(forKey: waiter) else { return }
    continuation.resume(throwing: CancellationError())
    guard let pull = pulls[key], pull.waiters.isEmpty else { return }
    pulls[key] = nil
    if let task = pull.task { task.cancel() } else { queue.removeAll { $0 == key } }
    waiting.set(Double(queue.count))
  }
}
