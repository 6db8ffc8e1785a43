// A thread for one piece of blocking work.

import Glibc

/// Never one of the pool: what blocks there holds up everybody.
public enum DetachedThread {
  private final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// Runs `run` on a new thread, which nobody waits for. False when there is no thread to be had.
  @discardableResult
  public static func start(_ run: @escaping @Sendable () -> Void) -> Bool {
    let body = Unmanaged.passRetained(Body(run))
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { raw in
        if let raw { Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run() }
        return nil
      }, body.toOpaque())
    if status != 0 { body.release() } else { pthread_detach(thread) }
    return status == 0
  }
}
