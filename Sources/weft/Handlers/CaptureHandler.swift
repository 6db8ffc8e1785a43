// Captures for who is not on this node: the node process's capture socket, carried over the agent's port.
//
//   capture?id=ID&question=BASE64     lines of base64, each some bytes of what the socket says, until its end
//   capture?end=ID                    asks that capture for its end; what is on its way still comes
//
// The socket is read as fast as the client takes: who reads slowly loses packets in his own ring, and is told how many.

import ClusterClient
import ClusterNode
import ClusterObjects
import Diagnostics
import NIOCore
import NIOPosix
import Observe
import Synchronization

extension NodeHandlers {
  /// Bytes of a question: in base64 it must fit into a request's first line.
  static let captureQuestionMax = 32 << 10

  mutating func addCapture(_ node: String, socket: String) {
    let relays = CaptureRelays(node: node, socket: socket)
    add("capture") { request in
      if let id = request.parameter("end") {
        guard await relays.end(id) else {
          throw APIStatusError(code: 404, reason: "NotFound", message: "no such capture")
        }
        return .json([:])
      }
      guard let id = request.parameter("id"), (1...64).contains(id.utf8.count),
        let question = request.parameter("question").flatMap(Base64.decode),
        question.count <= Self.captureQuestionMax, !question.contains(10)
      else { throw APIStatusError(code: 400, reason: "BadRequest", message: "id, question: cannot be read") }
      return .stream(contentType: "text/plain") { write in try await relays.carry(id, question, write) }
    }
  }
}

/// Captures that are carried at the moment, by the names that their askers gave them.
private final class CaptureRelays: Sendable {
  /// The node process itself runs fewer, and says so to the next.
  private static let relaysMax = 4 * CaptureServer.capturesMax

  private let node: String
  private let socket: String
  private let writers = Mutex<[String: NIOAsyncChannelOutboundWriter<ByteBuffer>]>([:])

  init(node: String, socket: String) {
    self.node = node
    self.socket = socket
  }

  /// Whatever is said after the question means the end. False for a name that no capture has.
  func end(_ id: String) async -> Bool {
    guard let writer = writers.withLock({ $0[id] }) else { return false }
    try? await writer.write(ByteBuffer(string: "\n"))
    return true
  }

  /// Until the capture ends, or whoever asked has gone.
  func carry(_ id: String, _ question: [UInt8], _ write: NodePage.Writer) async throws {
    let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
    do {
      channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connect(unixDomainSocketPath: socket) { channel in
          channel.eventLoop.makeCompletedFuture {
            try NIOAsyncChannel(
              wrappingChannelSynchronously: channel,
              configuration: .init(backPressureStrategy: .init(lowWatermark: 1, highWatermark: 2)))
          }
        }
    } catch {
      return try await write(Self.line(refusal("nobody captures there: \(error)", "weft status")))
    }
    try await channel.executeThenClose { inbound, outbound in
      let isRoom = writers.withLock { writers in
        guard writers.count < Self.relaysMax, writers[id] == nil else { return false }
        writers[id] = outbound
        return true
      }
      guard isRoom else {
        return try await write(Self.line(refusal("too many ask for captures", "try again")))
      }
      defer { writers.withLock { _ = $0.removeValue(forKey: id) } }
      try await outbound.write(ByteBuffer(bytes: question + [10]))
      for try await bytes in inbound { try await write(Self.line(bytes.readableBytesView)) }
    }
  }

  private func refusal(_ cause: String, _ next: String) -> [UInt8] {
    CaptureServer.line(WeftError("CAP0006", object: "node \(node)", cause: cause, next: next)) + [10]
  }

  private static func line(_ bytes: some Collection<UInt8>) -> [UInt8] {
    Array((Base64.encode(bytes) + "\n").utf8)
  }
}
