// A thread of its own for a reactor, optionally kept on one processor.

import CLinux
import Glibc

/// Runs one reactor on its own pthread from creation until `stop`.
///
///     let worker = try ReactorThread(name: "dns-0", processor: 0) { reactor in … open channels … }
///     worker.stop(draining: .seconds(5))
public final class ReactorThread: @unchecked Sendable {
  public let reactor: Reactor
  private var thread = pthread_t()

  private final class Start {
    let reactor: Reactor
    let processor: Int?
    let setUp: @Sendable (Reactor) -> Void
    init(_ reactor: Reactor, _ processor: Int?, _ setUp: @escaping @Sendable (Reactor) -> Void) {
      self.reactor = reactor
      self.processor = processor
      self.setUp = setUp
    }
  }

  /// Starts the thread. `setUp` runs on it before the loop.
  /// - Parameter processor: the processor to stay on; nil lets the scheduler choose.
  public init(
    name: String, processor: Int? = nil, limits: ReactorLimits = ReactorLimits(),
    setUp: @escaping @Sendable (Reactor) -> Void = { _ in }
  ) throws(SocketError) {
    reactor = try Reactor(name: name, limits: limits)
    let start = Unmanaged.passRetained(Start(reactor, processor, setUp))
    let result = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        weft_prepare_thread(start.reactor.name)
        // Best effort: a cpuset may forbid the processor, and then the scheduler's choice is right.
        if let processor = start.processor { _ = weft_pin_thread(Int32(processor)) }
        start.setUp(start.reactor)
        start.reactor.run()
        return nil
      }, start.toOpaque())
    guard result == 0 else {
      start.release()
      throw SocketError("pthread_create", result)
    }
  }

  /// Stops the reactor and waits for its thread. Call once, from another thread.
  public func stop(draining duration: Duration = .zero) {
    reactor.stop(draining: duration)
    join()
  }

  /// Waits until the loop has ended. Call once, from another thread.
  public func join() { _ = pthread_join(thread, nil) }

  /// Processors that this process may use.
  public static var processorCount: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }
}
