// The loop of a controller: take a key, bring its object to what it should be, try again later if that
// failed.

import ClusterObjects
import Logging

extension WorkQueue {
  /// Runs `count` workers until the queue shuts down or the task is cancelled. `reconcile` returns when to
  /// look at the key again, or nil for not until something changes. A conflict or a missing object is
  /// ordinary and logged as debug; other errors are warnings. Every failed key is tried again with growing
  /// waits. `resync` adds all keys after an overflow.
  public func runWorkers(
    _ count: Int, logger: Logger, resync: @escaping @Sendable () -> Void = {},
    reconcile: @escaping @Sendable (Key) async throws -> Duration?
  ) async {
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<count {
        group.addTask {
          while let key = await self.next() {
            await self.work(on: key, logger: logger, reconcile: reconcile)
            if self.takeOverflow() { resync() }
          }
        }
      }
    }
  }

  private func work(
    on key: Key, logger: Logger, reconcile: @escaping @Sendable (Key) async throws -> Duration?
  ) async {
    defer { done(key) }
    do {
      let again = try await reconcile(key)
      forget(key)
      if let again { add(key, after: again) }
    } catch {
      if Task.isCancelled { return }
      let isOrdinary = (error as? APIStatusError).map { $0.isConflict || $0.isNotFound } ?? false
      logger.log(
        level: isOrdinary ? .debug : .warning, "trying again",
        metadata: ["controller": "\(name)", "key": "\(key)", "error": "\(error)"])
      retry(key)
    }
  }
}
