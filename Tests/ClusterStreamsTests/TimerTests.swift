// Limits of time on connections, with a clock that the test moves.

import NIOCore
import NIOEmbedded
import Testing

@testable import ClusterStreams

@Suite struct TimerTests {
  private func timed(_ seconds: Int64) throws -> (channel: EmbeddedChannel, timer: HeadTimer) {
    let channel = EmbeddedChannel()
    let timer = HeadTimer(channel: channel, limit: .seconds(seconds))
    try channel.pipeline.syncOperations.addHandler(timer)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    return (channel, timer)
  }

  private func pass(_ seconds: Int64, _ channel: EmbeddedChannel) {
    channel.embeddedEventLoop.advanceTime(by: .seconds(seconds))
  }

  @Test func `a connection that never says what it wants is closed, however often it sends a byte`() throws {
    let (channel, _) = try timed(32)
    for _ in 0..<31 {
      pass(1, channel)
      try channel.writeInbound(ByteBuffer(string: "x"))
    }
    #expect(channel.isActive)
    pass(1, channel)
    #expect(!channel.isActive)
  }

  @Test func `a request that is being answered has no limit, nor has a connection between two`() throws {
    let (channel, timer) = try timed(32)
    pass(31, channel)
    timer.headCame()
    pass(3600, channel)
    #expect(channel.isActive)
    timer.answered()
    pass(3600, channel)
    #expect(channel.isActive)
    #expect(try channel.finish().isClean)
  }

  @Test func `each head has its own time from its first byte`() throws {
    let (channel, timer) = try timed(32)
    for _ in 0..<5 {
      pass(20, channel)
      timer.headCame()
      timer.answered()
      pass(100, channel)
      try channel.writeInbound(ByteBuffer(string: "GET"))
    }
    pass(31, channel)
    #expect(channel.isActive)
    pass(1, channel)
    #expect(!channel.isActive)
  }

  @Test func `what was read is passed on`() throws {
    let (channel, _) = try timed(1)
    try channel.writeInbound(ByteBuffer(string: "abc"))
    #expect(try channel.readInbound(as: ByteBuffer.self) == ByteBuffer(string: "abc"))
    _ = try channel.finish()
  }

  @Test func `a link on which nothing moves is closed, and bytes either way keep it`() throws {
    let channel = EmbeddedChannel()
    let link = ByteLink(channel: channel)
    try channel.pipeline.syncOperations.addHandler(link)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    var closings = 0
    link.start(onRead: { _ in }, onClose: { closings += 1 })
    link.closeWhenIdle(after: .hours(4))
    for turn in 0..<6 {
      pass(4 * 3600 - 1, channel)
      if turn % 2 == 0 {
        try channel.writeInbound(ByteBuffer(string: "in"))
      } else {
        link.write(ByteBuffer(string: "out"))
      }
    }
    pass(4 * 3600 - 1, channel)
    #expect(channel.isActive && closings == 0)
    pass(1, channel)
    #expect(!channel.isActive && closings == 1)
  }
}
