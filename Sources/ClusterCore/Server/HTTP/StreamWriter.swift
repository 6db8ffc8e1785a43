// The bytes of one long answer on their way to a connection: filled from any thread, drained on the event
// loop.

import NIOCore
import Synchronization

/// A bounded queue of shared byte buffers in front of one HTTP stream. `offer` never blocks; a client that
/// reads too slowly is cut off, as watches demand: it resumes from where it was.
final class StreamWriter: Sendable {
  private struct State {
    var queue: [ByteBuffer] = []
    var queuedBytes = 0
    var isScheduled = false
    var isEnded = false
    var isCutOff = false
    var onClose: [@Sendable () -> Void] = []
    var isClosed = false
  }
  /// Bytes that may wait for one slow reader. A list of initial events may be larger: it is let through
  /// whole.
  static let queuedBytesMax = 64 << 20

  private let state = Mutex(State())
  fileprivate let loop: any EventLoop
  private let drain: StreamDrain
  private let write: @Sendable ([ByteBuffer], _ isEnd: Bool) -> Void

  private let isWritable: @Sendable () -> Bool

  init(
    loop: any EventLoop, drain: StreamDrain, isWritable: @escaping @Sendable () -> Bool,
    write: @escaping @Sendable ([ByteBuffer], Bool) -> Void
  ) {
    self.loop = loop
    self.drain = drain
    self.isWritable = isWritable
    self.write = write
  }

  /// Called once when the client went away or the stream ended. May be asked for several times.
  func onClose(_ body: @escaping @Sendable () -> Void) {
    let now = state.withLock { state in
      if state.isClosed { return true }
      state.onClose.append(body)
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
        state.isCutOff = true
        state.queue = []
        defer { state.isScheduled = true }
        return (false, !state.isScheduled)
      }
      // Most of the time nothing waits, and what all watchers are sent is shared by them.
      if state.queue.isEmpty { state.queue = buffers } else { state.queue += buffers }
      for buffer in buffers { state.queuedBytes += buffer.readableBytes }
      defer { state.isScheduled = true }
      return (true, !state.isScheduled)
    }
    if verdict.schedule { drain.add(self) }
    return verdict.isAlive
  }

  func end() {
    let schedule = state.withLock { state in
      state.isEnded = true
      defer { state.isScheduled = true }
      return !state.isScheduled
    }
    if schedule { drain.add(self) }
  }

  /// On the event loop: the connection takes bytes again.
  func resume() { flush() }

  /// On the event loop: passes on what waits.
  func flush() {
    // What the connection does not take stays here, where it is counted.
    let takes = isWritable()
    let taken: (buffers: [ByteBuffer], isEnd: Bool, isClosed: Bool)? = state.withLock { state in
      state.isScheduled = false
      guard takes || state.isCutOff || state.isClosed else { return nil }
      defer {
        state.queue = []
        state.queuedBytes = 0
      }
      return (state.queue, state.isEnded, state.isClosed)
    }
    guard let taken else { return }
    if !taken.isClosed, !taken.buffers.isEmpty || taken.isEnd {
      write(Self.joined(taken.buffers), taken.isEnd)
    }
    if taken.isEnd { closed() }
  }

  /// Buffers that are joined are at most this large together.
  private static let joinedMax = 64 << 10

  /// Small neighbours become one: each buffer would be a frame of its own, which costs more than the copy.
  static func joined(_ buffers: [ByteBuffer]) -> [ByteBuffer] {
    guard buffers.count > 1 else { return buffers }
    var result: [ByteBuffer] = []
    var open = ByteBuffer()
    for buffer in buffers {
      if open.readableBytes + buffer.readableBytes > joinedMax {
        if open.readableBytes > 0 { result.append(open) }
        open = ByteBuffer()
        if buffer.readableBytes > joinedMax / 2 {
          result.append(buffer)
          continue
        }
      }
      open.writeImmutableBuffer(buffer)
    }
    if open.readableBytes > 0 { result.append(open) }
    return result
  }

  /// The connection is gone.
  func closed() {
    let onClose = state.withLock { state -> [@Sendable () -> Void] in
      if state.isClosed { return [] }
      state.isClosed = true
      state.queue = []
      defer { state.onClose = [] }
      return state.onClose
    }
    for body in onClose { body() }
  }
}

extension StreamWriter {
  /// Runs `body` later on the stream's event loop.
  func schedule(after delay: TimeAmount, _ body: @escaping @Sendable () -> Void) -> Scheduled<Void> {
    loop.scheduleTask(in: delay, body)
  }
}
