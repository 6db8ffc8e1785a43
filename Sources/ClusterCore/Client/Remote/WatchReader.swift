// A watch's response: JSON lines without end. Bytes are split as they come; when the reader falls behind,
// the socket is no longer read, so that TCP tells the server.

import ClusterObjects
import DequeModule
import NIOCore
import NIOHTTP1
import Synchronization

final class WatchReader: ResponseSink {
  /// One event. The API's objects are at most a few MiB.
  static let lineBytesMax = 16 << 20
  static let bufferedBytesMax = 8 << 20

  struct LineTooLong: Error {}
  private struct State {
    var status = 0
    var partial: [UInt8] = []
    var lines: Deque<[UInt8]> = []
    var bufferedBytes = 0
    var isPaused = false
    var end: Result<Void, any Error>?
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())
  private let channel: any Channel
  private let headPromise: EventLoopPromise<Int>

  init(channel: any Channel, head: EventLoopPromise<Int>) {
    self.channel = channel
    headPromise = head
  }

  // MARK: From the event loop

  func head(_ head: HTTPResponseHead) {
    state.withLock { $0.status = Int(head.status.code) }
    headPromise.succeed(Int(head.status.code))
  }

  func body(_ bytes: ByteBuffer) {
    let (wake, pauses, isTooLong) = state.withLock { state in
      var rest = bytes.readableBytesView
      while let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
        state.partial.append(contentsOf: rest[..<newline])
        if !state.partial.isEmpty {
          state.bufferedBytes += state.partial.count
          state.lines.append(state.partial)
        }
        state.partial = []
        rest = rest[(newline + 1)...]
      }
      state.partial.append(contentsOf: rest)
      let pauses = state.bufferedBytes > Self.bufferedBytesMax && !state.isPaused
      if pauses { state.isPaused = true }
      defer { state.waiter = nil }
      return (state.waiter, pauses, state.partial.count > Self.lineBytesMax)
    }
    if pauses { _ = channel.setOption(.autoRead, value: false) }
    wake?.resume()
    if isTooLong {
      failed(LineTooLong())
      channel.close(promise: nil)
    }
  }

  func end(keepsAlive: Bool) { finish(.success(())) }
  func failed(_ error: any Error) {
    headPromise.fail(error)
    finish(.failure(error))
  }

  private func finish(_ end: Result<Void, any Error>) {
    let waiter = state.withLock { state in
      if state.end == nil { state.end = end }
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  // MARK: From the one task that reads

  /// The next line, or nil at the end.
  func nextLine() async throws -> [UInt8]? {
    while true {
      let (line, end, resumes) = state.withLock { state in
        let line = state.lines.popFirst()
        state.bufferedBytes -= line?.count ?? 0
        let resumes = state.isPaused && state.bufferedBytes < Self.bufferedBytesMax / 2
        if resumes { state.isPaused = false }
        return (line, line == nil ? state.end : nil, resumes)
      }
      if resumes { _ = channel.setOption(.autoRead, value: true) }
      if let line { return line }
      if let end {
        try end.get()
        let rest = state.withLock { state in
          defer { state.partial = [] }
          return state.partial
        }
        return rest.isEmpty ? nil : rest
      }
      try Task.checkCancellation()
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isReady = state.withLock { state in
            if !state.lines.isEmpty || state.end != nil { return true }
            state.waiter = continuation
            return false
          }
          if isReady { continuation.resume() }
        }
      } onCancel: {
        finish(.failure(CancellationError()))
        channel.close(promise: nil)
      }
    }
  }

  /// The next event. Throws the Status of an ERROR event; nil when the server ended the watch.
  func nextEvent() async throws -> WatchEvent? {
    while let line = try await nextLine() {
      let tree = try JSON(parsing: line)
      let object = tree["object"] ?? .null
      switch tree["type"]?.string {
      case "ADDED": return .added(object)
      case "MODIFIED": return .modified(object)
      case "DELETED": return .deleted(object)
      case "BOOKMARK":
        return .bookmark(
          resourceVersion: object.resourceVersion,
          isInitialEventsEnd: object.annotations["k8s.io/initial-events-end"] == "true")
      case "ERROR": throw APIStatusError(status: object, httpCode: 500)
      default: continue
      }
    }
    return nil
  }
}

/// Who reads a watch holds this; the channel's handler holds the reader. Releasing it closes the connection.
final class WatchHandle: Sendable {
  let reader: WatchReader
  private let channel: any Channel
  init(reader: WatchReader, channel: any Channel) {
    self.reader = reader
    self.channel = channel
  }
  deinit { channel.close(promise: nil) }
}
