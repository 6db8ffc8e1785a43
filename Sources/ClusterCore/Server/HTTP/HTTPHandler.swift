// One HTTP/1.1 connection, or one HTTP/2 stream: gathers a request, has it answered, writes the answer.
//
// Everything here runs on the connection's event loop. An answer is one task, which stays on the loop when it is short
// (`LoopExecutor`); a watch is no task at all: its writer is filled by the watch cache and drained here.

import ClusterStreams
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOSSL

typealias Responder = @Sendable (HTTPRequest) async -> HTTPResponse

final class HTTPHandler: ChannelDuplexHandler, RemovableChannelHandler, @unchecked Sendable {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  /// Bytes of a request's body that are read; more is answered with 413.
  static let bodyMax = 3 << 20

  private let respond: Responder
  private let peer: Peer
  private let timer: HeadTimer
  private let bodyLimit: TimeAmount
  private var bodyTimer: Scheduled<Void>?
  private var head: HTTPRequestHead?
  private var body: [UInt8] = []
  private var isTooLarge = false
  private var isBusy = false
  private var waiting: [(HTTPRequestHead, [UInt8], Bool)] = []
  private var writer: StreamWriter?
  private var streamed = Ending()
  private var large: LargeAnswer?
  private var largeIsLast = false
  private var context: ChannelHandlerContext?
  private var stream: RequestStream?
  private var bodyWriter: BodyWriter?
  private var readWaits = false
  /// Requests that one HTTP/1.1 client may send before reading the first answer.
  private static let pipelinedMax = 16

  /// Paths of other servers, to which requests are passed on.
  private let isPassedOn: @Sendable ([String]) -> Bool
  /// Of this connection's event loop.
  private let drain: StreamDrain
  /// This HTTP/2 connection; nil over HTTP/1.1.
  private let connection: HTTP2Connection?
  /// A watch over HTTP/2.
  private var spliced: SplicedStream?
  private var endsOnceDrained = false
  private let executor: LoopExecutor

  init(
    respond: @escaping Responder, peer: Peer, timer: HeadTimer, bodyLimit: TimeAmount, drain: StreamDrain,
    executor: LoopExecutor, connection: HTTP2Connection? = nil,
    isPassedOn: @escaping @Sendable ([String]) -> Bool = { _ in false }
  ) {
    self.respond = respond
    self.drain = drain
    self.connection = connection
    self.executor = executor
    self.isPassedOn = isPassedOn
    self.peer = peer
    self.timer = timer
    self.bodyLimit = bodyLimit
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    leaveWriter()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      timer.headCame()
      if !isBusy, let target = HTTPRequest.split(head.uri),
        RequestStream.isWanted(head, target.path) || isPassedOn(target.path)
      {
        beginStream(context, head, target)
        return
      }
      stream = nil
      self.head = head
      body = []
      isTooLarge = false
      if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > Self.bodyMax {
        isTooLarge = true
      }
    case .body(let part):
      if let stream { return stream.push(part) }
      if isTooLarge { return }
      if body.count + part.readableBytes > Self.bodyMax {
        isTooLarge = true
        body = []
        return
      }
      body += part.readableBytesView
    case .end:
      stream?.finish()
      bodyTimer?.cancel()
      bodyTimer = nil
      guard let head else { return }
      self.head = nil
      if isBusy {
        guard waiting.count < Self.pipelinedMax else {
          context.close(promise: nil)
          return
        }
        waiting.append((head, body, isTooLarge))
      } else {
        begin(context, head, body, isTooLarge)
      }
      body = []
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    // Most bodies have come with their head and need no timer.
    if head != nil, bodyTimer == nil {
      let channel = context.channel
      bodyTimer = context.eventLoop.scheduleTask(in: bodyLimit) { channel.close(promise: nil) }
    }
    context.fireChannelReadComplete()
  }

  private func begin(
    _ context: ChannelHandlerContext, _ head: HTTPRequestHead, _ body: [UInt8], _ isTooLarge: Bool
  ) {
    isBusy = true
    let channel = context.channel
    guard let target = HTTPRequest.split(head.uri) else {
      write(.text(400, "bad request target\n"), to: head, channel)
      return
    }
    if isTooLarge {
      let error = Failure.tooLarge(Self.bodyMax)
      write(Answer.status(error), to: head, channel)
      return
    }
    let request = HTTPRequest(
      method: head.method, path: target.path, rawPath: target.rawPath, query: target.query,
      headers: head.headers, body: body, identity: .anonymous, peer: peer,
      remoteAddress: channel.remoteAddress?.ipAddress ?? "", uri: head.uri)
    let loop = context.eventLoop
    if request.isShort {
      // On the loop from beginning to end.
      Task.immediate(executorPreference: executor) { [respond] in
        let response = await respond(request)
        if loop.inEventLoop {
          self.write(response, to: head, channel)
        } else {
          loop.execute { self.write(response, to: head, channel) }
        }
      }
      return
    }
    Task { [respond] in
      let response = await respond(request)
      loop.execute { self.write(response, to: head, channel) }
    }
  }

  /// The body is passed on as it comes.
  private func beginStream(
    _ context: ChannelHandlerContext, _ head: HTTPRequestHead,
    _ target: (rawPath: String, path: [String], query: [(name: String, value: String)])
  ) {
    isBusy = true
    let channel = context.channel
    let loop = context.eventLoop
    let stream = RequestStream(channel: channel) { [weak self] in self?.readIfWaiting() }
    self.stream = stream
    let request = HTTPRequest(
      method: head.method, path: target.path, rawPath: target.rawPath, query: target.query,
      headers: head.headers, body: [], identity: .anonymous, peer: peer,
      remoteAddress: channel.remoteAddress?.ipAddress ?? "", uri: head.uri, stream: stream
    )
    Task { [respond] in
      let response = await respond(request)
      loop.execute { self.write(response, to: head, channel) }
    }
  }

  func read(context: ChannelHandlerContext) {
    if stream?.isFull ?? false { readWaits = true } else { context.read() }
  }

  private func readIfWaiting() {
    guard readWaits, let channel = stream?.channel else { return }
    readWaits = false
    (try? channel.pipeline.syncOperations.context(handler: self))?.read()
  }

  private func write(_ response: HTTPResponse, to head: HTTPRequestHead, _ channel: any Channel) {
    guard channel.isActive else { return }
    var headers = HTTPHeaders()
    if !response.contentType.isEmpty { headers.add(name: "content-type", value: response.contentType) }
    headers.add(contentsOf: response.headers)
    if headers.first(name: "cache-control") == nil, !response.contentType.isEmpty {
      headers.add(name: "cache-control", value: "no-cache, private")
    }
    let isHead = head.method == .HEAD
    // After a request to upgrade the decoder has stopped, whatever the answer is.
    let isLast = head.version.major == 1 && stream != nil && RequestStream.isUpgrade(head)
    switch response.body {
    case .upgrade(let attach):
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
      do {
        try HTTPServerCodec.remove(from: channel, self).whenComplete { result in
          switch result {
          case .success(let link): attach(link)
          case .failure: channel.close(promise: nil)
          }
        }
      } catch {
        channel.close(promise: nil)
      }
    case .relay(let attach):
      let ending = Ending(head)
      if isLast { headers.replaceOrAdd(name: "connection", value: "close") }
      let hasBody = !isHead && response.status != .noContent && response.status != .notModified
      if head.version == .http1_1, hasBody, headers.first(name: "content-length") == nil {
        headers.add(name: "transfer-encoding", value: "chunked")
      }
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      channel.flush()
      let writer = BodyWriter(channel: channel) { bytes in
        guard hasBody, channel.isActive else { return }
        channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(bytes)), promise: nil)
      } end: { [weak self] isWhole in
        guard let self, self.bodyWriter != nil, channel.isActive else { return }
        self.bodyWriter = nil
        // What broke off must not look whole.
        if isWhole { self.finish(ending, channel, isLast: isLast) } else { channel.close(promise: nil) }
      }
      bodyWriter = writer
      attach(writer)
    case .bytes(let bytes):
      headers.add(name: "content-length", value: String(bytes.readableBytes))
      if isLast { headers.add(name: "connection", value: "close") }
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      if !isHead, bytes.readableBytes > LargeAnswer.partBytes {
        large = LargeAnswer(bytes)
        (streamed, largeIsLast) = (Ending(head), isLast)
        return writeLarge(channel)
      }
      if !isHead, bytes.readableBytes > 0 { send(.body(.byteBuffer(bytes)), channel) }
      finish(Ending(head), channel, isLast: isLast)
    case .list(let list):
      headers.add(name: "content-length", value: String(list.readableBytes))
      if isLast { headers.add(name: "connection", value: "close") }
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      if isHead { return finish(Ending(head), channel, isLast: isLast) }
      large = LargeAnswer(list)
      (streamed, largeIsLast) = (Ending(head), isLast)
      writeLarge(channel)
    case .stream(let attach):
      if head.version.major == 1 { headers.add(name: "transfer-encoding", value: "chunked") }
      splice(channel)
      send(.head(HTTPResponseHead(version: head.version, status: response.status, headers: headers)), channel)
      channel.flush()
      let writer = StreamWriter(drain: drain, sink: self)
      self.writer = writer
      streamed = Ending(head)
      attach(writer)
    }
  }

  /// Goes on with a large answer as far as the connection takes it.
  private func writeLarge(_ channel: any Channel) {
    while channel.isWritable, channel.isActive, let part = large?.begin() {
      channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(part)), promise: nil)
      large?.wrote()
    }
    guard large?.isWhole ?? false else { return }
    large = nil
    finish(streamed, channel, isLast: largeIsLast)
  }

  private func send(_ part: HTTPServerResponsePart, _ channel: any Channel) {
    channel.write(part, promise: nil)
  }

  private func finish(_ answered: Ending, _ channel: any Channel, isLast: Bool = false) {
    isBusy = false
    if answered.isHTTP1, waiting.isEmpty, self.head == nil { timer.answered() }
    let keepsAlive = !answered.isHTTP1 || (answered.isKeepAlive && !isLast)
    if keepsAlive {
      channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
    } else {
      channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in channel.close(promise: nil) }
    }
    guard keepsAlive, !waiting.isEmpty else { return }
    let next = waiting.removeFirst()
    if let context = try? channel.pipeline.syncOperations.context(handler: self) {
      begin(context, next.0, next.1, next.2)
    }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable {
      writer?.resume()
      bodyWriter?.onWritable?()
      if large != nil { writeLarge(context.channel) }
    }
    context.fireChannelWritabilityChanged()
  }

  func channelInactive(context: ChannelHandlerContext) {
    bodyTimer?.cancel()
    large = nil
    leaveWriter()
    let stream = stream
    let bodyWriter = bodyWriter
    self.stream = nil
    self.bodyWriter = nil
    stream?.closed()
    bodyWriter?.closed()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}

/// What is to be known of a request when its answer ends. A watch keeps no more of it: its headers may be a kilobyte.
private struct Ending {
  var isHTTP1 = false
  var isKeepAlive = true
  init() {}
  init(_ head: HTTPRequestHead) {
    isHTTP1 = head.version.major == 1
    isKeepAlive = head.isKeepAlive
  }
}

extension HTTPHandler: StreamSink, SplicedStreamOwner {
  private func splice(_ channel: any Channel) {
    guard let connection,
      let id = try? channel.syncOptions?.getOption(HTTP2StreamChannelOptions.streamID)
    else { return }
    spliced = connection.splice.attach(UInt32(Int(id)))
    spliced?.belong(to: self)
  }

  private func leaveWriter() {
    spliced?.detach()
    spliced = nil
    writer?.closed()
    writer = nil
  }

  var takesMore: Bool {
    guard let context else { return false }
    guard spliced?.takesMore ?? context.channel.isWritable else { return false }
    guard let connection, connection.load.isFull else { return true }
    if let writer { connection.load.hold(writer) }
    return false
  }

  func streamHasRoom() { if endsOnceDrained { end() } else { writer?.resume() } }

  func write(_ bytes: ByteBuffer) {
    if let spliced {
      spliced.write(bytes)
    } else {
      context?.write(wrapOutboundOut(.body(.byteBuffer(bytes))), promise: nil)
    }
  }

  func flush() { if spliced == nil { context?.flush() } }

  func end() {
    writer = nil
    // Its last event is not cut in the middle.
    endsOnceDrained = spliced?.isDrained == false
    if endsOnceDrained { return }
    spliced?.detach()
    spliced = nil
    guard let channel = context?.channel, channel.isActive else { return }
    finish(streamed, channel)
  }
}
