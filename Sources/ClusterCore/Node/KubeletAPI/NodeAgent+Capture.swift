// Captures for who is not on this node: the node process's capture socket, carried over the agent's port.
//
//   GET /weft/capture?id=ID&question=BASE64     lines of base64, each some bytes of what the socket says, until its end
//   GET /weft/capture?end=ID                    asks that capture for its end; what is on its way still comes
//
// Who may: whoever may `get` `nodes/proxy`, which the API server asks before it calls here.

import ClusterClient
import ClusterObjects
import Diagnostics
import NIOCore
import NIOPosix
import Synchronization

/// Captures that are carried at the moment, by the names that their askers gave them.
final class CaptureRelays: Sendable {
  /// The node process itself runs fewer.
  static let relaysMax = 16
  private let channels = Mutex<[String: any Channel]>([:])

  /// False when there are too many, or one has this name.
  func add(_ id: String, _ channel: any Channel) -> Bool {
    channels.withLock { channels in
      guard channels.count < Self.relaysMax, channels[id] == nil else { return false }
      channels[id] = channel
      return true
    }
  }

  func remove(_ id: String) { channels.withLock { _ = $0.removeValue(forKey: id) } }

  /// Whatever is said after the question means the end.
  func end(_ id: String) -> Bool {
    guard let channel = channels.withLock({ $0[id] }) else { return false }
    channel.writeAndFlush(ByteBuffer(string: "\n"), promise: nil)
    return true
  }
}

extension NodeAgent {
  /// Bytes of a question; one with a filter of 4,096 instructions does not fit into a request.
  static let captureQuestionMax = 48 << 10

  nonisolated func captureAnswer(_ request: NodeRequest) async throws -> NodeAnswer {
    if let id = request.parameter("end") {
      return captureRelays.end(id) ? .text(200, "ok") : .text(404, "no such capture")
    }
    guard let id = request.parameter("id"), (1...64).contains(id.utf8.count),
      let text = request.parameter("question"), let question = Base64.decode(text),
      question.count <= Self.captureQuestionMax, !question.contains(10)
    else { throw APIStatusError(code: 400, reason: "BadRequest", message: "id or question cannot be read") }
    let relays = captureRelays
    let path = "\(settings.runDirectory)/capture.sock"
    let pipe = CapturePipe()
    let socket: any Channel
    do {
      socket = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .channelOption(.autoRead, value: false)
        .channelOption(.allowRemoteHalfClosure, value: false)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(CaptureRelay(pipe))
          }
        }
        .connect(unixDomainSocketPath: path).get()
    } catch {
      throw APIStatusError(
        code: 503, reason: "ServiceUnavailable",
        message: "nobody captures on node \(settings.nodeName): \(error)")
    }
    guard relays.add(id, socket) else {
      socket.close(promise: nil)
      throw APIStatusError(
        code: 429, reason: "TooManyRequests", message: "node \(settings.nodeName) carries too many captures")
    }
    return .body(contentType: "text/plain") { body in
      defer { relays.remove(id) }
      try await withTaskCancellationHandler {
        try await socket.writeAndFlush(ByteBuffer(bytes: question + [10])).get()
        while let bytes = try await pipe.next(socket) {
          try await body.write(Array((Base64.encode(bytes) + "\n").utf8))
        }
      } onCancel: {
        socket.close(promise: nil)
        pipe.finish()
      }
      socket.close(promise: nil)
    }
  }
}

/// Bytes between the socket and the answer: read only when the answer has left.
private final class CapturePipe: Sendable {
  private struct State {
    var bytes: [UInt8] = []
    var isOver = false
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())

  func add(_ bytes: ByteBuffer) {
    wake { $0.bytes.append(contentsOf: bytes.readableBytesView) }
  }

  func finish() { wake { $0.isOver = true } }

  private func wake(_ change: (inout State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  /// Nil at the end.
  func next(_ socket: any Channel) async throws -> [UInt8]? {
    while true {
      let (bytes, isOver) = state.withLock { state in
        defer { state.bytes = [] }
        return (state.bytes, state.isOver)
      }
      if !bytes.isEmpty { return bytes }
      if isOver { return nil }
      socket.read()
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if !state.bytes.isEmpty || state.isOver { return true }
          state.waiter = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    }
  }
}

private final class CaptureRelay: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let pipe: CapturePipe
  init(_ pipe: CapturePipe) { self.pipe = pipe }
  func channelRead(context: ChannelHandlerContext, data: NIOAny) { pipe.add(unwrapInboundIn(data)) }
  func channelInactive(context: ChannelHandlerContext) {
    pipe.finish()
    context.fireChannelInactive()
  }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
