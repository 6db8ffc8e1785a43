// The bytes of one long answer on their way to a connection: filled from any thread, drained on the event loop.

import NIOCore
import Synchronization

/// A bounded queue of shared byte buffers in front of one HTTP stream. `offer` never blocks; a client that reads too slowly
/// is cut off, as watches demand: it resumes from where it was.
final class StreamWriter: Sendable {
  private struct State {
    var queue: [ByteBuffer] = []
    var queuedBytes = 0
    var isScheduled = false
    var isEnded = false
    var onClose: (@Sendable () -> Void)?
    var isClosed = false
  }
  /// Bytes that may wait for one slow reader. A list of initial events may be larger: it is let through whole.
  static let queuedBytesMax = 64 << 20

  private let state = Mutex(State())
  fileprivate let loop: any EventLoop
  private let drain: @Sendable ([ByteBuffer], _ isEnd: Bool) -> Void

  init(loop: any EventLoop, drain: @escaping @Sendable ([ByteBuffer], Bool) -> Void) {
    self.loop = loop
    self.drain = drain
  }

  /// Called once when the client went away or the stream ended.
  func onClose(_ body: @escaping @Sendable () -> Void) {
    let now = state.withLock { state in
      if state.isClosed { return true }
      state.onClose = body
      return false
    }
    if now { body() }
  }

  /// Queues bytes; false when the stream is over or was cut off.
  @discardableResult func offer(_ buffers: [ByteBuffer]) -> Bool {
    let verdict: (isAlive: Bool, schedule: Bool) = state.withLock { state in
      if state.isEnded || state.isClosed { return (false, false) }
      if state.queuedBytes > Self.queuedBytesMax {
        state.isEnded = true
        state.queue = []
        defer { state.isScheduled = true }
        return (false, !state.isScheduled)
      }
      state.queue += buffers
      for buffer in buffers { state.queuedBytes += buffer.readableBytes }
      defer { state.isScheduled = true }
      return (true, !state.isScheduled)
    }
    if verdict.schedule { loop.execute { self.flush() } }
    return verdict.isAlive
  }

  func end() {
    let schedule = state.withLock { state in
      state.isEnded = true
      defer { state.isScheduled = true }
      return !state.isScheduled
    }
    if schedule { loop.execute { self.flush() } }
  }

  private func flush() {
    let taken = state.withLock { state in
      state.isScheduled = false
      defer {
        state.queue = []
        state.queuedBytes = 0
      }
      return (state.queue, state.isEnded, state.isClosed)
    }
    if !taken.2 { drain(taken.0, taken.1) }
    if taken.1 { closed() }
  }

  /// The connection is gone.
  func closed() {
    let onClose = state.withLock { state in
      if state.isClosed { return nil as (@Sendable () -> Void)? }
      state.isClosed = true
      state.queue = []
      return state.onClose
    }
    onClose?()
  }
}

extension StreamWriter {
  /// Runs `body` later on the stream's event loop.
  func schedule(after delay: TimeAmount, _ body: @escaping @Sendable () -> Void) -> Scheduled<Void> {
    loop.scheduleTask(in: delay, body)
  }
}
