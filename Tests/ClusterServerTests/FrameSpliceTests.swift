// What the splice passes on, whatever the pieces are in which bytes come; and that a window divided in two never stands still.

import FuzzLab
import NIOCore
import NIOEmbedded
import Testing

@testable import ClusterServer

/// Stands where the library is: keeps what it is passed.
private final class Library: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  var bytes: [UInt8] = []
  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    bytes += Array(unwrapInboundIn(data).readableBytesView)
  }
}

private struct Bench {
  let channel = EmbeddedChannel()
  let library = Library()
  let splice: FrameSplice

  init() throws {
    let gatherer = WriteGatherer(load: ConnectionLoad())
    splice = FrameSplice(gatherer: gatherer)
    try channel.pipeline.syncOperations.addHandlers(gatherer, splice, library)
    try channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
  }

  func read(_ bytes: [UInt8]) throws { try channel.writeInbound(ByteBuffer(bytes: bytes)) }

  /// The library writes.
  func write(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

  /// What went to the socket since the last call.
  func sent() throws -> [UInt8] {
    channel.embeddedEventLoop.run()
    var all: [UInt8] = []
    while let part = try channel.readOutbound(as: ByteBuffer.self) { all += part.readableBytesView }
    return all
  }
}

private let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

private func frame(_ kind: UInt8, flags: UInt8 = 0, _ stream: UInt32, _ payload: [UInt8] = []) -> [UInt8] {
  var out = ByteBuffer()
  FrameHead(length: payload.count, kind: kind, flags: flags, stream: stream).write(to: &out)
  return Array(out.readableBytesView) + payload
}
private func big(_ number: UInt32) -> [UInt8] { FrameClient.big(number) }

@Suite struct FrameSpliceTests {
  /// A client that opens two streams, gives both more, and the connection.
  private let conversation =
    preface + frame(4, 0, [0, 4] + big(1_000)) + frame(8, 0, big(4 << 20)) + frame(1, flags: 5, 1, [0x82])
    + frame(8, 1, big(500)) + frame(1, flags: 5, 3, [0x82]) + frame(0, 3, Array(repeating: 7, count: 40))

  @Test func `the library is told of a share of the connection's window, and of everything else`() throws {
    let bench = try Bench()
    try bench.read(conversation)
    var expected = SharedWindow()
    let grown = expected.grew(by: 4 << 20)
    let told = try #require(grown)
    #expect(told > 0 && told < 4 << 20)
    let passed =
      preface + frame(4, 0, [0, 4] + big(1_000)) + frame(8, 0, big(UInt32(told)))
      + frame(1, flags: 5, 1, [0x82])
      + frame(8, 1, big(500)) + frame(1, flags: 5, 3, [0x82]) + frame(0, 3, Array(repeating: 7, count: 40))
    #expect(bench.library.bytes == passed)
  }

  @Test func `it does not matter in which pieces bytes come`() throws {
    let whole = try Bench()
    try whole.read(conversation)
    var numbers = SeededNumbers(7)
    for _ in 0..<200 {
      let bench = try Bench()
      var rest = conversation[...]
      while !rest.isEmpty {
        let count = Int.random(in: 1...min(30, rest.count), using: &numbers)
        try bench.read(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
      }
      #expect(bench.library.bytes == whole.library.bytes)
    }
  }

  @Test func `a spliced stream's windows hold, and its frames come between the library's`() throws {
    let bench = try Bench()
    try bench.read(conversation)
    let stream = try #require(bench.splice.attach(1))
    // Not before its HEADERS.
    #expect(!stream.takesMore)
    stream.write(ByteBuffer(repeating: 1, count: 10))
    #expect(try bench.sent() == [])
    bench.write(frame(1, flags: 4, 1, [0x88]))
    #expect(try bench.sent() == frame(1, flags: 4, 1, [0x88]) + frame(0, 1, Array(repeating: 1, count: 10)))
    // 1,500 bytes were allowed.
    #expect(stream.takesMore)
    stream.write(ByteBuffer(repeating: 2, count: 2_000))
    #expect(!stream.takesMore)
    #expect(try bench.sent() == frame(0, 1, Array(repeating: 2, count: 1_490)))
    // What the peer says of it is not the library's to know.
    let before = bench.library.bytes
    try bench.read(frame(8, 1, big(300)))
    #expect(bench.library.bytes == before)
    #expect(try bench.sent() == frame(0, 1, Array(repeating: 2, count: 300)))
    try bench.read(frame(4, 0, [0, 4] + big(2_000)))
    #expect(try bench.sent() == frame(0, 1, Array(repeating: 2, count: 210)))
    #expect(stream.takesMore)
    // A reset ends it at once.
    try bench.read(frame(3, 1, big(8)))
    stream.write(ByteBuffer(repeating: 3, count: 10))
    #expect(!stream.takesMore)
    #expect(try bench.sent() == [])
  }

  @Test func `streams that were answered, or that nobody asked for, are not spliced`() throws {
    let bench = try Bench()
    try bench.read(conversation)
    bench.write(frame(1, flags: 4, 3, [0x88]))
    #expect(bench.splice.attach(3) == nil)
    #expect(bench.splice.attach(5) == nil)
    let narrow = try Bench()
    try narrow.read(preface + frame(4, 0) + frame(1, flags: 5, 1, [0x82]))
    #expect(narrow.splice.attach(1) == nil)
  }

  @Test func `no bytes from a peer stop it`() throws {
    for mutant in mutations(of: conversation, count: 3_000, seed: 11) {
      let bench = try Bench()
      try bench.read(mutant)
      if let stream = bench.splice.attach(1) {
        bench.write(frame(1, flags: 4, 1, [0x88]))
        stream.write(ByteBuffer(repeating: 1, count: 50_000))
      }
      try bench.read(mutant)
      _ = try bench.sent()
    }
  }

  /// Both sides write as they like; the peer gives back what it has got once that is half of the whole.
  @Test(arguments: [4 * 65_535, 1 << 20, 16 << 20, 1 << 30])
  func `a window divided in two never stands still and is never overrun`(whole: Int) throws {
    var numbers = SeededNumbers(UInt64(whole))
    for style in 0..<3 {
      var window = SharedWindow()
      _ = window.grew(by: whole - SharedWindow.initial)
      var taken = 0
      var idle = 0
      var written = 0
      while written < 20 * whole {
        // Watches alone, the library alone, both.
        let isLibrary = style == 2 ? Bool.random(using: &numbers) : style == 1
        let size = Int.random(in: 1...max(2, whole / 50), using: &numbers)
        let count = min(size, isLibrary ? window.library : window.spare)
        if isLibrary { window.libraryWrote(count) } else { window.watchWrote(count) }
        _ = window.lend()
        written += count
        taken += count
        idle = count == 0 ? idle + 1 : 0
        #expect(idle < 200, "\(style): \(window) stands still, \(taken) were not given back")
        #expect(window.spare >= 0 && window.library >= 0)
        if idle >= 200 { break }
        if taken >= (whole + 1) / 2 {
          let told = window.grew(by: taken)
          #expect(told != nil)
          taken = 0
        }
        #expect(window.real == whole - taken)
      }
    }
  }
}
