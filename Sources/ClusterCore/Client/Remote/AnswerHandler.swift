// The end of a client's pipeline: hands the parts of an answer to whoever waits for it.

import NIOCore
import NIOHTTP1

/// Takes one answer. Called on the connection's event loop.
protocol AnswerReceiver: Sendable {
  func head(_ head: HTTPResponseHead)
  func body(_ bytes: ByteBuffer)
  func end()
  func fail(_ error: any Error)
}

/// One exchange after the other on a connection.
final class AnswerHandler: ChannelInboundHandler, Sendable {
  typealias InboundIn = HTTPClientResponsePart
  private let box = NIOLoopBoundReceiver()

  var receiver: (any AnswerReceiver)? {
    get { box.value }
    set { box.value = newValue }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): receiver?.head(head)
    case .body(let bytes): receiver?.body(bytes)
    case .end:
      let done = receiver
      receiver = nil
      done?.end()
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    let waiting = receiver
    receiver = nil
    waiting?.fail(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    let waiting = receiver
    receiver = nil
    waiting?.fail(ClosedBeforeAnswer())
    context.fireChannelInactive()
  }
}

/// A value touched on one event loop alone.
final class NIOLoopBoundReceiver: @unchecked Sendable {
  var value: (any AnswerReceiver)?
}

/// Collects a whole answer.
final class WholeAnswer: AnswerReceiver, @unchecked Sendable {
  let promise: EventLoopPromise<HTTPAnswer>
  private var answer = HTTPAnswer(status: 0, headers: [:], body: [])

  init(_ promise: EventLoopPromise<HTTPAnswer>) { self.promise = promise }

  func head(_ head: HTTPResponseHead) {
    // Interim answers (100, 103) come before the one that counts.
    guard head.status.code >= 200 else { return }
    answer.status = Int(head.status.code)
    answer.headers = head.headers
  }
  func body(_ bytes: ByteBuffer) {
    guard answer.body.count + bytes.readableBytes <= HTTPTransport.bodyBytesMax else {
      return fail(AnswerTooLarge())
    }
    answer.body += bytes.readableBytesView
  }
  func end() { promise.succeed(answer) }
  func fail(_ error: any Error) {
    promise.fail(answer.status == 0 ? error : TruncatedAnswer(underlying: error))
  }
}

/// Passes the body on as it comes. What a slow reader has not taken is kept by the stream; API servers cut slow watchers off.
final class StreamedAnswer: AnswerReceiver, @unchecked Sendable {
  let status: EventLoopPromise<Int>
  private let output: AsyncThrowingStream<[UInt8], any Error>.Continuation
  private var hasHead = false

  init(_ status: EventLoopPromise<Int>, _ output: AsyncThrowingStream<[UInt8], any Error>.Continuation) {
    self.status = status
    self.output = output
  }

  func head(_ head: HTTPResponseHead) {
    guard head.status.code >= 200, !hasHead else { return }
    hasHead = true
    status.succeed(Int(head.status.code))
  }
  func body(_ bytes: ByteBuffer) { output.yield(Array(bytes.readableBytesView)) }
  func end() { output.finish() }
  func fail(_ error: any Error) {
    if !hasHead { status.fail(error) }
    // A watch that breaks off ends: whoever follows takes it up from the last revision.
    output.finish()
  }
}

struct AnswerTooLarge: Error {}
struct TruncatedAnswer: Error { var underlying: any Error }
