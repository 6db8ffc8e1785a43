// Lets the DATA frames of watches go past the HTTP/2 library: a frame then costs its bytes and a few additions.
//
//   requests, answers ─► streams ─► NIOHTTP2Handler ─┐
//                                                    ├─► FrameSplice ─► WriteGatherer ─► TLS ─► socket
//   watches ─► SplicedStream ────────────────────────┘
//
// Everything else of a watch's stream is the library's: its HEADERS, its end, its reset. Only the flow-control windows are kept here,
// since the library cannot know of bytes that it did not write: what the peer says of a spliced stream's window is not passed on
// to it, and of the connection's window it is told a share (`SharedWindow`).

import NIOCore

/// Used on the connection's event loop.
final class FrameSplice: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private static let prefaceLength = 24
  /// More than the library lets a peer have open. A stream past it goes through the library.
  private static let askedMax = 2000

  private let gatherer: WriteGatherer
  private var context: ChannelHandlerContext?
  private var shared = SharedWindow()
  /// Of streams that the peer opens from now on.
  private var initialWindow = SharedWindow.initial
  /// Streams that were asked for and not yet answered, and by how much their windows grew meanwhile.
  private var asked: [UInt32: Int] = [:]
  private var lastAsked: UInt32 = 0
  private var streams: [UInt32: SplicedStream] = [:]
  private var waiting: [SplicedStream] = []
  /// Streams whose HEADERS are being written.
  private var opened: [SplicedStream] = []

  /// Bytes from the peer that pass whatever they are: the preface, the rest of a frame that is not looked into.
  private var passing = FrameSplice.prefaceLength
  /// The beginning of a frame that has not come whole.
  private var held = ByteBuffer()
  /// Bytes until the library's frame ends.
  private var writing = 0
  /// The library wrote what is no frame. It never does; but then nothing can be put between its frames.
  private var isLost = false
  private var lends = false

  init(gatherer: WriteGatherer) { self.gatherer = gatherer }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    for stream in streams.values { stream.close() }
    streams = [:]
    waiting = []
  }

  // MARK: For streams

  /// From now on the stream's DATA goes past the library. Called before its HEADERS are written. Nil when that cannot be; then
  /// everything goes through the library.
  func attach(_ id: UInt32) -> SplicedStream? {
    guard !isLost, shared.isWide, let grown = asked.removeValue(forKey: id) else { return nil }
    let stream = SplicedStream(id: id, window: initialWindow + grown, splice: self)
    streams[id] = stream
    return stream
  }

  /// Bytes that may be written now.
  var room: Int { writing == 0 && !isLost ? max(0, shared.spare) : 0 }

  func write(_ payload: ByteBuffer, of stream: SplicedStream) {
    shared.watchWrote(payload.readableBytes)
    gatherer.append(
      FrameHead(length: payload.readableBytes, kind: FrameHead.Kind.data, stream: stream.id), payload)
  }

  func wait(_ stream: SplicedStream) {
    if stream.isWaiting { return }
    stream.isWaiting = true
    waiting.append(stream)
  }

  func forget(_ stream: SplicedStream) {
    if streams[stream.id] === stream { streams[stream.id] = nil }
  }

  private func resumeWaiting() {
    guard !waiting.isEmpty, room > 0 else { return }
    let resumed = waiting
    waiting = []
    for stream in resumed {
      stream.isWaiting = false
      stream.resume()
    }
  }

  private func close(_ id: UInt32) {
    asked[id] = nil
    streams.removeValue(forKey: id)?.close()
  }

  // MARK: From the peer

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    if held.readableBytes > 0 {
      held.writeBuffer(&bytes)
      bytes = held
      held = ByteBuffer()
    }
    var reopened: [SplicedStream] = []
    let end = bytes.writerIndex
    var from = bytes.readerIndex
    var at = from
    while at < end {
      if passing > 0 {
        let count = min(passing, end - at)
        passing -= count
        at += count
        continue
      }
      guard let head = FrameHead(bytes, at: at),
        !isLookedInto(head) || at + FrameHead.size + head.length <= end
      else {
        held = bytes.getSlice(at: at, length: end - at) ?? ByteBuffer()
        break
      }
      let next = at + FrameHead.size + head.length
      switch look(at: head, in: bytes, payload: at + FrameHead.size, &reopened) {
      case .pass: passing = FrameHead.size + head.length
      case .tell(let count):
        bytes.setInteger(UInt32(truncatingIfNeeded: count), at: at + FrameHead.size)
        at = next
      case .drop:
        pass(on: bytes, from, at, context)
        at = next
        from = next
      case .refuse:
        context.close(promise: nil)
        return
      }
    }
    pass(on: bytes, from, at, context)
    for stream in reopened { stream.resume() }
    resumeWaiting()
    lendSoon()
  }

  private func pass(on bytes: ByteBuffer, _ from: Int, _ to: Int, _ context: ChannelHandlerContext) {
    guard from < to, let part = bytes.getSlice(at: from, length: to - from) else { return }
    context.fireChannelRead(wrapInboundOut(part))
  }

  /// Frames whose payload counts here. Those of a wrong length are the library's to refuse.
  private func isLookedInto(_ head: FrameHead) -> Bool {
    switch head.kind {
    case FrameHead.Kind.windowUpdate: head.length == 4
    case FrameHead.Kind.settings: head.length <= FrameHead.payloadMax
    default: false
    }
  }

  private enum Action {
    case pass
    /// A WINDOW_UPDATE, with another number in it.
    case tell(Int)
    case drop
    /// A window past what is allowed: the connection ends (RFC 9113, 6.9.1).
    case refuse
  }

  private func look(
    at head: FrameHead, in bytes: ByteBuffer, payload: Int, _ reopened: inout [SplicedStream]
  ) -> Action {
    switch head.kind {
    case FrameHead.Kind.headers where head.stream > lastAsked:
      lastAsked = head.stream
      if asked.count < Self.askedMax { asked[head.stream] = 0 }
    case FrameHead.Kind.reset: close(head.stream)
    case FrameHead.Kind.settings where isLookedInto(head) && head.flags & FrameHead.Flag.end == 0:
      for entry in stride(from: payload, to: payload + head.length - 5, by: 6) {
        guard bytes.getInteger(at: entry, as: UInt16.self) == 4,
          let size = bytes.getInteger(at: entry + 2, as: UInt32.self), Int(size) <= SharedWindow.sizeMax
        else { continue }
        let change = Int(size) - initialWindow
        initialWindow = Int(size)
        for stream in streams.values where stream.grow(by: change) { reopened.append(stream) }
      }
    case FrameHead.Kind.windowUpdate where isLookedInto(head):
      guard let number = bytes.getInteger(at: payload, as: UInt32.self), number & 0x7fff_ffff > 0 else {
        return .pass
      }
      let count = Int(number & 0x7fff_ffff)
      if head.stream == 0 {
        guard let told = shared.grew(by: count) else { return .refuse }
        return told == 0 ? .drop : told == count ? .pass : .tell(told)
      }
      if let stream = streams[head.stream] {
        guard count <= SharedWindow.sizeMax - stream.window else { return .refuse }
        if stream.grow(by: count) { reopened.append(stream) }
        return .drop
      }
      if let grown = asked[head.stream] {
        guard count <= SharedWindow.sizeMax - initialWindow - grown else { return .refuse }
        asked[head.stream] = grown + count
      }
    default: break
    }
    return .pass
  }

  // MARK: From the library

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let bytes = unwrapOutboundIn(data)
    if !isLost { follow(bytes) }
    context.write(wrapOutboundOut(bytes), promise: promise)
    guard writing == 0, !opened.isEmpty else { return }
    let ready = opened
    opened = []
    for stream in ready { stream.open() }
  }

  private func follow(_ bytes: ByteBuffer) {
    var at = bytes.readerIndex
    while at < bytes.writerIndex {
      if writing > 0 {
        let count = min(writing, bytes.writerIndex - at)
        writing -= count
        at += count
        continue
      }
      guard let head = FrameHead(bytes, at: at) else {
        isLost = true
        context?.close(promise: nil)
        return
      }
      writing = FrameHead.size + head.length
      note(head)
    }
  }

  private func note(_ head: FrameHead) {
    let ends = head.flags & FrameHead.Flag.end != 0
    switch head.kind {
    case FrameHead.Kind.data:
      shared.libraryWrote(head.length)
      if ends { close(head.stream) }
      lendSoon()
    case FrameHead.Kind.headers:
      asked[head.stream] = nil
      if ends { close(head.stream) } else if let stream = streams[head.stream] { opened.append(stream) }
    case FrameHead.Kind.reset: close(head.stream)
    default: break
    }
  }

  /// The library is not told in the middle of its own writing.
  private func lendSoon() {
    guard !lends, shared.canLend, let context else { return }
    lends = true
    context.eventLoop.assumeIsolated().execute {
      self.lends = false
      guard let context = self.context, context.channel.isActive else { return }
      // Only between two of the peer's frames; otherwise after its next bytes.
      guard self.passing == 0 else { return }
      let count = self.shared.lend()
      if count == 0 { return }
      var update = ByteBuffer()
      FrameHead(length: 4, kind: FrameHead.Kind.windowUpdate, stream: 0).write(to: &update)
      update.writeInteger(UInt32(truncatingIfNeeded: count))
      context.fireChannelRead(self.wrapInboundOut(update))
      context.fireChannelReadComplete()
    }
  }
}
