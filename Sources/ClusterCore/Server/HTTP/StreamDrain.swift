// What watches are to be sent, on its way from the watch cache to an event loop, and the turns in which the loop writes it.
//
//   any thread ─► inbox (in order) ─► feeds and writers ─► passes over the writers ─► connections
//
// An event for ten thousand watches is one message a loop. While a pass is under way, and for a while after a long one, what
// comes gathers in the feeds: a frame then carries several events, so that a busy loop pays less for each.

import Diagnostics
import NIOCore
import Synchronization

/// The writers of one event loop.
final class StreamDrain: @unchecked Sendable {
  enum Message: Sendable {
    case bytes(StreamWriter, [ByteBuffer], isInitial: Bool)
    case end(StreamWriter)
    case cutOff(StreamWriter)
    case join(StreamWriter, WatchFeed)
    case events(WatchFeed, [ByteBuffer])
    case endAll(WatchFeed)
    case cutOffAll(WatchFeed)
  }
  private struct Inbox {
    var messages: [Message] = []
    var bytes = 0
  }
  /// Writers that are served before the loop sees to its other work.
  static let turnMax = 256
  /// Bytes that wait for the loop itself. Past it, those whom the next event was for are cut off.
  static let inboxBytesMax = 128 << 20
  /// Bytes of shared events that wait for slow readers of all feeds. Past it the feed that holds most loses its slowest.
  static let feedBytesMax = 256 << 20
  /// A pass that took this long is followed by a rest of three times its length, at most `restMax`: a frame costs several times
  /// what an event in it does, so that fewer and fuller ones leave the machine time for its clients.
  static let busyPass = TimeAmount.milliseconds(2)
  static let restMax = TimeAmount.milliseconds(15)

  let loop: any EventLoop
  private let inbox = Mutex(Inbox())

  // From here on: the event loop's alone.
  private var ready: [StreamWriter] = []
  private var readyFrom = 0
  private var isServing = false
  /// Feeds with events that their members have not been woken for.
  private var waiting: [WatchFeed] = []
  private var passBegan: NIODeadline?
  private var isResting = false
  /// Feeds that hold bytes.
  private var filled: [ObjectIdentifier: WatchFeed] = [:]
  private var feedBytes = 0

  init(loop: any EventLoop) { self.loop = loop }

  /// From any thread; what is posted first is done first.
  func post(_ message: Message) {
    let size =
      switch message {
      case .bytes(_, let buffers, let isInitial):
        isInitial ? 0 : buffers.reduce(0) { $0 + $1.readableBytes }
      case .events(_, let buffers): buffers.reduce(0) { $0 + $1.readableBytes }
      default: 0
      }
    let isFirst = inbox.withLock { inbox in
      if size > 0, inbox.bytes + size > Self.inboxBytesMax {
        switch message {
        case .bytes(let writer, _, _): inbox.messages.append(.cutOff(writer))
        case .events(let feed, _): inbox.messages.append(.cutOffAll(feed))
        default: break
        }
      } else {
        inbox.messages.append(message)
        inbox.bytes += size
      }
      return inbox.messages.count == 1
    }
    if isFirst { loop.execute { self.turn() } }
  }

  private func turn() {
    let messages = inbox.withLock { inbox in
      defer { inbox = Inbox() }
      return inbox.messages
    }
    for message in messages {
      switch message {
      case .bytes(let writer, let buffers, let isInitial): writer.take(buffers, isInitial: isInitial)
      case .end(let writer): writer.finish()
      case .cutOff(let writer): writer.cutOff()
      case .join(let writer, let feed): writer.join(feed)
      case .events(let feed, let buffers): fill(feed, buffers)
      case .endAll(let feed): for writer in feed.members { writer.finish() }
      case .cutOffAll(let feed): for writer in feed.members { writer.cutOff() }
      }
    }
    serveLater()
  }

  private func fill(_ feed: WatchFeed, _ buffers: [ByteBuffer]) {
    let before = feed.bytes
    feed.append(buffers)
    feedBytes += feed.bytes - before
    if feed.bytes > 0 { filled[ObjectIdentifier(feed)] = feed }
    if !feed.isWaiting {
      feed.isWaiting = true
      waiting.append(feed)
    }
    while feedBytes > Self.feedBytesMax, let largest = filled.values.max(by: { $0.bytes < $1.bytes }) {
      let held = largest.bytes
      largest.shorten(to: held / 2)
      feedBytes -= held - largest.bytes
    }
  }

  /// On the event loop: the writer is flushed soon.
  func wake(_ writer: StreamWriter) {
    if writer.isReady { return }
    writer.isReady = true
    ready.append(writer)
    serveLater()
  }

  private func serveLater() {
    if isServing { return }
    if passBegan == nil, !isResting, !waiting.isEmpty {
      passBegan = .now()
      for feed in waiting {
        feed.isWaiting = false
        for writer in feed.members where !writer.isReady {
          writer.isReady = true
          ready.append(writer)
        }
      }
      waiting = []
    }
    if ready.isEmpty { return passEnded() }
    isServing = true
    loop.execute { self.serve() }
  }

  private func serve() {
    let end = min(ready.count, readyFrom + Self.turnMax)
    while readyFrom < end {
      let writer = ready[readyFrom]
      readyFrom += 1
      writer.isReady = false
      writer.flush()
    }
    isServing = false
    if readyFrom == ready.count {
      ready.removeAll(keepingCapacity: ready.count < 4096)
      readyFrom = 0
      trim()
      passEnded()
    }
    serveLater()
  }

  /// Events that everybody has taken by now are let go of.
  private func trim() {
    for feed in filled.values where feed.hasMoved {
      feed.trim()
      if feed.bytes == 0 { filled[ObjectIdentifier(feed)] = nil }
    }
    feedBytes = filled.values.reduce(0) { $0 + $1.bytes }
  }

  private func passEnded() {
    guard let began = passBegan else { return }
    passBegan = nil
    let took = NIODeadline.now() - began
    guard took >= Self.busyPass else { return }
    isResting = true
    loop.scheduleTask(in: min(took * 3, Self.restMax)) {
      self.isResting = false
      self.serveLater()
    }
  }
}

/// One drain an event loop.
struct StreamDrains: Sendable {
  private let drains: [ObjectIdentifier: StreamDrain]

  init(_ group: any EventLoopGroup) {
    drains = Dictionary(
      uniqueKeysWithValues: group.makeIterator().map { (ObjectIdentifier($0), StreamDrain(loop: $0)) })
  }

  subscript(_ loop: any EventLoop) -> StreamDrain {
    drains[ObjectIdentifier(loop)] ?? StreamDrain(loop: loop)
  }
}
