// What waits for watches: shared by those that see the same, in order, and bounded in bytes whoever reads slowly. The client's
// side is a sink that takes bytes or does not; the event loop is a real one.

import NIOCore
import NIOPosix
import Testing

@testable import ClusterServer

/// One stream as its writer sees it. Used on the event loop.
private final class Sink: StreamSink, @unchecked Sendable {
  var takesMore = true
  var writes: [ByteBuffer] = []
  var hasEnded = false
  var text: String { writes.map { String(buffer: $0) }.joined() }
  func write(_ bytes: ByteBuffer) { writes.append(bytes) }
  func flush() {}
  func end() { hasEnded = true }
}

private struct Stream: Sendable {
  let sink: Sink
  let writer: StreamWriter
}

/// A loop with its drain, and streams on it.
private struct Bench: Sendable {
  let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let drain: StreamDrain
  let feed = WatchFeed()

  init() { drain = StreamDrain(loop: group.next()) }

  func stream() -> Stream {
    let sink = Sink()
    return Stream(sink: sink, writer: StreamWriter(drain: drain, sink: sink))
  }
  /// Streams that share the feed.
  func members(_ count: Int, of feed: WatchFeed? = nil) -> [Stream] {
    (0..<count).map { _ in
      let stream = stream()
      drain.post(.join(stream.writer, feed ?? self.feed))
      return stream
    }
  }
  func send(_ text: String, to feed: WatchFeed? = nil) {
    drain.post(.events(feed ?? self.feed, [ByteBuffer(string: text)]))
  }
  func on<T: Sendable>(_ body: @escaping @Sendable () -> T) async throws -> T {
    try await drain.loop.submit(body).get()
  }
  /// Whether it comes to hold on the event loop within a minute.
  func comes(_ condition: @escaping @Sendable () -> Bool) async throws -> Bool {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
      if try await on(condition) { return true }
      try await Task.sleep(for: .milliseconds(2))
    }
    return false
  }
}

private func withBench(_ body: (Bench) async throws -> Void) async throws {
  let bench = Bench()
  do {
    try await body(bench)
    try await bench.group.shutdownGracefully()
  } catch {
    try await bench.group.shutdownGracefully()
    throw error
  }
}

@Suite(.timeLimit(.minutes(3))) struct WatchFeedTests {
  private static let megabyte = ByteBuffer(repeating: 0x78, count: 1 << 20)

  @Test func `all that see the same are sent the same bytes, in order`() async throws {
    try await withBench { bench in
      let streams = bench.members(700)
      let numbers = (0..<300).map { "\($0) " }
      for number in numbers { bench.send(number) }
      let expected = numbers.joined()
      let areWhole = try await bench.comes { streams.allSatisfy { $0.sink.text == expected } }
      #expect(areWhole)
      // Nothing is kept of what all have.
      let isEmpty = try await bench.comes { bench.feed.bytes == 0 && bench.feed.end == 300 }
      #expect(isEmpty)
    }
  }

  @Test func `a stream is told its beginning, then what follows it, and nothing from before`() async throws {
    try await withBench { bench in
      let early = bench.members(1)[0]
      early.sink.takesMore = false
      bench.send("1 ")
      let late = bench.stream()
      late.writer.offer([ByteBuffer(string: "state "), ByteBuffer(string: "at 1; ")], isInitial: true)
      bench.drain.post(.join(late.writer, bench.feed))
      bench.send("2 ")
      bench.send("3 ")
      let isTold = try await bench.comes { late.sink.text == "state at 1; 2 3 " }
      #expect(isTold)
      try await bench.on {
        #expect(early.sink.text.isEmpty)
        early.sink.takesMore = true
        early.writer.resume()
      }
      let isAlso = try await bench.comes { early.sink.text == "1 2 3 " }
      #expect(isAlso)
    }
  }

  @Test func `who was slow misses nothing, and has many events in one write`() async throws {
    try await withBench { bench in
      let streams = bench.members(3)
      let slow = streams[1].sink
      try await bench.on { slow.takesMore = false }
      let numbers = (0..<1000).map { "\($0) " }
      for number in numbers { bench.send(number) }
      let expected = numbers.joined()
      let others = [streams[0], streams[2]]
      let areWhole = try await bench.comes { others.allSatisfy { $0.sink.text == expected } }
      #expect(areWhole)
      try await bench.on {
        #expect(slow.writes.isEmpty)
        #expect(bench.feed.bytes == expected.utf8.count)
        slow.takesMore = true
        streams[1].writer.resume()
      }
      let isWhole = try await bench.comes { slow.text == expected && bench.feed.bytes == 0 }
      #expect(isWhole)
      let writes = try await bench.on { slow.writes.count }
      #expect(writes == 1)
    }
  }

  @Test func `a slow reader is cut off at the bound, and the others go on`() async throws {
    try await withBench { bench in
      let streams = bench.members(4)
      let (slow, others) = (streams[2], [streams[0], streams[1], streams[3]])
      try await bench.on { slow.sink.takesMore = false }
      // One at a time, so that only the slow one falls behind.
      let count = (WatchFeed.bytesMax >> 20) + 8
      for number in 1...count {
        bench.drain.post(.events(bench.feed, [Self.megabyte]))
        let haveIt = try await bench.comes {
          others.allSatisfy { $0.sink.writes.reduce(0) { $0 + $1.readableBytes } == number << 20 }
        }
        #expect(haveIt)
        let waiting = try await bench.on { bench.feed.bytes }
        #expect(waiting <= WatchFeed.bytesMax)
      }
      let isCut = try await bench.comes { slow.sink.hasEnded }
      #expect(isCut)
      try await bench.on {
        #expect(slow.writer.isCutOff && slow.writer.isClosed && slow.sink.writes.isEmpty)
        #expect(others.allSatisfy { !$0.sink.hasEnded && !$0.writer.isCutOff })
        #expect(bench.feed.members.count == 3)
      }
      let isEmpty = try await bench.comes { bench.feed.bytes == 0 }
      #expect(isEmpty)
    }
  }

  @Test func `the slow readers of all feeds together are bounded too`() async throws {
    try await withBench { bench in
      let feeds = (0..<6).map { _ in WatchFeed() }
      let slow = feeds.map { bench.members(1, of: $0)[0] }
      try await bench.on { for stream in slow { stream.sink.takesMore = false } }
      // The last feed has less than the others and keeps it.
      for round in 0..<60 {
        for feed in round < 20 ? feeds[...] : feeds.dropLast() {
          bench.drain.post(.events(feed, [Self.megabyte]))
        }
        let held = try await bench.on { feeds.reduce(0) { $0 + $1.bytes } }
        #expect(held <= StreamDrain.feedBytesMax)
      }
      let isCut = try await bench.comes { slow.contains { $0.sink.hasEnded } }
      #expect(isCut)
      try await bench.on {
        #expect(!slow[5].writer.isCutOff)
        #expect(feeds[5].bytes == 20 << 20)
      }
    }
  }

  @Test func `a loop that does not come round holds no more than its bound`() async throws {
    try await withBench { bench in
      let old = bench.members(2)
      let isJoined = try await bench.comes { bench.feed.members.count == 2 }
      #expect(isJoined)
      // On the loop itself: nothing is taken from the inbox meanwhile.
      let young = try await bench.on {
        for _ in 0..<(StreamDrain.inboxBytesMax >> 20) + 4 {
          bench.drain.post(.events(bench.feed, [Self.megabyte]))
        }
        let young = bench.members(1)[0]
        return young
      }
      let areCut = try await bench.comes { old.allSatisfy { $0.sink.hasEnded && $0.writer.isCutOff } }
      #expect(areCut)
      bench.send("later")
      let isTold = try await bench.comes { young.sink.text == "later" }
      #expect(isTold)
    }
  }

  @Test func `the last words of a stream follow all that it was sent, and nothing follows them`() async throws
  {
    try await withBench { bench in
      let streams = bench.members(2)
      try await bench.on { streams[0].sink.takesMore = false }
      bench.send("1 ")
      bench.send("2 ")
      streams[0].writer.offer([ByteBuffer(string: "bookmark")])
      streams[0].writer.end()
      bench.send("3 ")
      let isTold = try await bench.comes { streams[1].sink.text == "1 2 3 " }
      #expect(isTold)
      try await bench.on {
        #expect(!streams[0].sink.hasEnded)
        streams[0].sink.takesMore = true
        streams[0].writer.resume()
      }
      let isOver = try await bench.comes { streams[0].sink.hasEnded }
      #expect(isOver)
      try await bench.on {
        #expect(streams[0].sink.text == "1 2 bookmark")
        #expect(!streams[0].writer.isCutOff)
      }
    }
  }

  @Test func `a stream that goes in the middle is told to whoever asked, once, and holds nothing`()
    async throws
  {
    try await withBench { bench in
      let streams = bench.members(3)
      try await bench.on {
        streams[1].sink.takesMore = false
        streams[1].writer.onClose { streams[1].sink.writes.append(ByteBuffer(string: "closed")) }
      }
      bench.send("1 ")
      let isTold = try await bench.comes { streams[2].sink.text == "1 " && bench.feed.bytes == 2 }
      #expect(isTold)
      try await bench.on {
        streams[1].writer.closed()
        streams[1].writer.closed()
      }
      bench.send("2 ")
      let goOn = try await bench.comes {
        streams[0].sink.text == "1 2 " && streams[2].sink.text == "1 2 " && bench.feed.bytes == 0
      }
      #expect(goOn)
      try await bench.on {
        #expect(streams[1].sink.text == "closed")
        #expect(bench.feed.members.count == 2)
      }
    }
  }

  @Test func `a large beginning is passed on in turns, so that others have theirs`() async throws {
    try await withBench { bench in
      let large = bench.stream()
      let small = bench.stream()
      let parts = [ByteBuffer](repeating: ByteBuffer(repeating: 0x79, count: 10_000), count: 400)
      large.writer.offer(parts, isInitial: true)
      small.writer.offer([ByteBuffer(string: "state")], isInitial: true)
      let isWhole = try await bench.comes {
        large.sink.writes.reduce(0) { $0 + $1.readableBytes } == 4_000_000 && small.sink.text == "state"
      }
      #expect(isWhole)
      let sizes = try await bench.on { large.sink.writes.map(\.readableBytes) }
      #expect(sizes.allSatisfy { $0 <= StreamWriter.joinedMax })
      #expect(sizes.count < 100)
    }
  }
}
