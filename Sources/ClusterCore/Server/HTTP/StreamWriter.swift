// The bytes of one long answer on their way to a connection: what is its own waits here, what it shares with other
// watches waits in their feed.
//
//   own queue (initial state, a table's rows, the last bookmark) ─┐
//                                                                 ├─► HTTPHandler ─► connection
//   WatchFeed (shared by all watches that see the same) ──────────┘

import NIOCore

/// Where a writer's bytes go: one HTTP/1.1 connection or one HTTP/2 stream. Used on its event loop.
protocol StreamSink: AnyObject {
  /// Whether the client keeps up: neither the stream nor its connection holds more than its watermark. Asked by who has more;
  /// when it is false, the writer is resumed once it is true again.
  var takesMore: Bool { get }
  func write(_ bytes: ByteBuffer)
  func flush()
  /// The answer is whole.
  func end()
}

/// Feeds one stream. `offer` and `end` may be called from any thread and never block: they post to the event loop, where
/// everything else happens. A client that reads too slowly is cut off, as watches demand: it resumes from where it was.
final class StreamWriter: @unchecked Sendable {
  /// Bytes that may wait for one slow reader. A list of initial events may be larger: it is let through whole.
  static let queuedBytesMax = 64 << 20
  /// Bytes that one stream may write before others have their turn.
  static let turnBytesMax = 256 << 10

  let drain: StreamDrain

  // From here on: the event loop's alone.
  private var sink: (any StreamSink)?
  private var queue: [ByteBuffer] = []
  private var queueFrom = 0
  private var queuedBytes = 0
  private var onClose: [@Sendable () -> Void] = []
  private var onLimit: (@Sendable () -> Void)?
  private var limit: NIOScheduledCallback?
  /// What it shares with others, once the state at its beginning was queued.
  private(set) var feed: WatchFeed?
  /// The next entry of the feed; and where in the feed's list of members it stands.
  var position = 0
  var slot = 0
  /// It waits for room on its connection (`ConnectionLoad`).
  var isHeldUp = false
  /// It stands in its drain's queue.
  var isReady = false
  private var isEnding = false
  private(set) var isCutOff = false
  private(set) var isClosed = false

  init(drain: StreamDrain, sink: any StreamSink) {
    self.drain = drain
    self.sink = sink
  }

  /// From any thread. `isInitial`: the state at the beginning, which may be of any size.
  func offer(_ buffers: [ByteBuffer], isInitial: Bool = false) {
    if !buffers.isEmpty { drain.post(.bytes(self, buffers, isInitial: isInitial)) }
  }

  /// From any thread: the stream ends after what was offered.
  func end() { drain.post(.end(self)) }

  /// On the event loop. Called once when the client went away or the stream ended. May be asked for several times.
  func onClose(_ body: @escaping @Sendable () -> Void) {
    if isClosed { body() } else { onClose.append(body) }
  }

  /// On the event loop, once: `body` is run there when the stream is still open after `delay`.
  func limit(to delay: TimeAmount, _ body: @escaping @Sendable () -> Void) {
    onLimit = body
    limit = try? drain.loop.scheduleCallback(in: delay, handler: self)
  }

  // MARK: On the event loop

  func take(_ buffers: [ByteBuffer], isInitial: Bool) {
    if isClosed || isEnding { return }
    if !isInitial, queuedBytes > Self.queuedBytesMax { return cutOff() }
    leaveFeed()
    if queue.isEmpty { queue = buffers } else { queue += buffers }
    if !isInitial { queuedBytes += buffers.reduce(0) { $0 + $1.readableBytes } }
    drain.wake(self)
  }

  func join(_ feed: WatchFeed) {
    if isClosed || isEnding { return }
    self.feed = feed
    feed.add(self)
  }

  func finish() {
    if isClosed || isEnding { return }
    leaveFeed()
    isEnding = true
    drain.wake(self)
  }

  /// What waits is dropped and the stream ends.
  func cutOff() {
    if isClosed || isCutOff { return }
    feed?.remove(self)
    feed = nil
    queue = []
    queueFrom = 0
    isCutOff = true
    isEnding = true
    drain.wake(self)
  }

  /// The connection takes bytes again.
  func resume() {
    if !isClosed, hasMore || isEnding { drain.wake(self) }
  }

  /// What is left of the feed becomes its own, so that what follows comes after it.
  private func leaveFeed() {
    guard let feed else { return }
    self.feed = nil
    let rest = feed.rest(from: position)
    feed.remove(self)
    queue += rest
    queuedBytes += rest.reduce(0) { $0 + $1.readableBytes }
  }

  private var hasMore: Bool { queueFrom < queue.count || (feed.map { position < $0.end } ?? false) }

  /// Passes on what waits, as far as the client takes it.
  func flush() {
    guard let sink, !isClosed else { return }
    var written = 0
    while written < Self.turnBytesMax, hasMore, sink.takesMore, let bytes = next() {
      written += bytes.readableBytes
      sink.write(bytes)
    }
    if isEnding, isCutOff || !hasMore {
      sink.end()
      closed()
      return
    }
    guard written > 0 else { return }
    sink.flush()
    if hasMore, sink.takesMore { drain.wake(self) }
  }

  private func next() -> ByteBuffer? {
    if queueFrom < queue.count {
      let (bytes, to) = Self.joined(queue, from: queueFrom)
      queueFrom = to
      if queueFrom == queue.count {
        queue = []
        queueFrom = 0
        queuedBytes = 0
      }
      return bytes
    }
    return feed?.next(&position)
  }

  /// Small neighbours become one up to this size: each would be a frame of its own, which costs more than the copy.
  static let joinedMax = 64 << 10

  /// The buffers from `start` on as one, and where the next begin.
  static func joined(_ buffers: [ByteBuffer], from start: Int) -> (ByteBuffer, next: Int) {
    var end = start + 1
    var size = buffers[start].readableBytes
    while end < buffers.count, size + buffers[end].readableBytes <= joinedMax {
      size += buffers[end].readableBytes
      end += 1
    }
    if end == start + 1 { return (buffers[start], end) }
    var out = ByteBufferAllocator().buffer(capacity: size)
    for buffer in buffers[start..<end] { out.writeImmutableBuffer(buffer) }
    return (out, end)
  }

  /// The connection is gone, or the answer is whole.
  func closed() {
    if isClosed { return }
    isClosed = true
    feed?.remove(self)
    feed = nil
    queue = []
    sink = nil
    onLimit = nil
    limit?.cancel()
    limit = nil
    let bodies = onClose
    onClose = []
    for body in bodies { body() }
  }
}

extension StreamWriter: NIOScheduledCallbackHandler {
  func handleScheduledCallback(eventLoop: some EventLoop) {
    limit = nil
    onLimit?()
  }
}
