// Blocking work inside a network namespace. A namespace belongs to a thread, and tasks hop threads: so each piece of work
// gets a thread of its own, which ends with it.

import CLinux
import Glibc
import Synchronization

enum NetnsThread {
  private final class Job: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Runs `body` on a fresh thread inside the namespace at `path` (nil: the process's own), and returns what it returns.
  /// Costs about 50 microseconds. `nil` when the namespace cannot be entered.
  static func run<Result: Sendable>(_ path: String?, _ body: @escaping @Sendable () -> Result) async
    -> Result?
  {
    await withCheckedContinuation { continuation in
      let job = Job {
        if let path {
          let descriptor = open(path, O_RDONLY | O_CLOEXEC)
          guard descriptor >= 0 else { return continuation.resume(returning: nil) }
          let result = weft_setns(descriptor, Int32(CLONE_NEWNET))
          close(descriptor)
          guard result == 0 else { return continuation.resume(returning: nil) }
        }
        continuation.resume(returning: body())
      }
      let argument = Unmanaged.passRetained(job)
      var thread = pthread_t()
      let failure = pthread_create(
        &thread, nil,
        { pointer in
          guard let pointer else { return nil }
          Unmanaged<Job>.fromOpaque(pointer).takeRetainedValue().body()
          return nil
        }, argument.toOpaque())
      if failure != 0 {
        argument.release()
        continuation.resume(returning: nil)
      } else {
        pthread_detach(thread)
      }
    }
  }
}
