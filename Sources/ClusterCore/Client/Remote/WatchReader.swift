// A watch's response: JSON lines without end. Bytes are split as they come; when the reader falls behind,
// the socket is no longer read, so that TCP tells the server.

import ClusterObjects
import Glibc
import NIOCore
import NIOHTTP1
import Synchronization

final class WatchReader: ResponseSink {
  /// One event. The API's objects are at most a few MiB.
  static let lineBytesMax = 16 << 20
  /// Lines that nobody has taken yet; a single one may be longer.
  static let bufferedBytesMax = 256 << 10

  struct LineTooLong: Error {}
  private struct State {
    /// Whole lines, each with its end.
    var lines: [UInt8] = []
    var partial: [UInt8] = []
    /// Room of lines that have been read, to be filled again.
    var spare: [UInt8] = []
    var isPaused = false
    var end: Result<Void, any Error>?
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())
  /// Of the one task that reads: lines it took together and has handed out up to a place.
  private let taken = Mutex<(lines: [UInt8], at: Int)>(([], 0))
  private let channel: any Channel
  private let headPromise: EventLoopPromise<Int>

  init(channel: any Channel, head: EventLoopPromise<Int>) {
    self.channel = channel
    headPromise = head
  }

  // MARK: From the event loop

  func head(_ head: HTTPResponseHead) {
    headPromise.succeed(Int(head.status.code))
  }

  func body(_ bytes: ByteBuffer) {
    let (wake, pauses, isTooLong) = state.withLock { state in
      bytes.withUnsafeReadableBytes { bytes in
        guard let last = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
          state.partial += bytes
          return
        }
        if state.lines.isEmpty { swap(&state.lines, &state.spare) }
        state.lines += state.partial
        state.lines += bytes[...last]
        state.partial = Array(bytes[(last + 1)...])
      }
      let pauses = state.lines.count > Self.bufferedBytesMax && !state.isPaused
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
      let line: [UInt8]? = taken.withLock { taken in
        while taken.at < taken.lines.count {
          let start = taken.at
          let end = taken.lines.withUnsafeBufferPointer { lineEnd($0, from: start) }
          taken.at = end + 1
          if end > start { return Array(taken.lines[start..<end]) }
        }
        return nil
      }
      if let line { return line }
      guard let lines = try await nextLines() else { return nil }
      taken.withLock { $0 = (lines, 0) }
    }
  }

  /// Gives the room of lines back when more are coming. Without it there is new room for each piece.
  func giveBack(_ lines: consuming [UInt8]) {
    var lines = lines
    lines.removeAll(keepingCapacity: true)
    state.withLock { state in if state.isPaused || !state.lines.isEmpty { swap(&state.spare, &lines) } }
  }

  /// All lines that have come, at least one, each with its end but perhaps the last; nil at the end.
  func nextLines() async throws -> [UInt8]? {
    while true {
      let (lines, end, resumes) = state.withLock { state in
        let lines = state.lines
        state.lines = []
        let resumes = state.isPaused
        state.isPaused = false
        return (lines, lines.isEmpty ? state.end : nil, resumes)
      }
      if resumes { _ = channel.setOption(.autoRead, value: true) }
      if !lines.isEmpty { return lines }
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
    while let line = try await nextLine() { if let event = try WatchEvent(line: line) { return event } }
    return nil
  }
}

/// Where the line that begins at `start` ends: at a line feed, or with the bytes.
func lineEnd(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
  guard let base = bytes.baseAddress, start < bytes.count,
    let found = memchr(base + start, Int32(UInt8(ascii: "\n")), bytes.count - start)
  else { return bytes.count }
  return UnsafeRawPointer(found) - UnsafeRawPointer(base)
}

extension WatchEvent {
  /// Reads a line of a watch. Nil for types that are not known; throws the Status of an ERROR event.
  init?(line: [UInt8]) throws {
    let tree = try JSON(parsing: line)
    let object = tree["object"] ?? .null
    switch tree["type"]?.string {
    case "ADDED": self = .added(object)
    case "MODIFIED": self = .modified(object)
    case "DELETED": self = .deleted(object)
    case "BOOKMARK":
      self = .bookmark(
        resourceVersion: object.resourceVersion,
        isInitialEventsEnd: object.annotations["k8s.io/initial-events-end"] == "true")
    case "ERROR": throw APIStatusError(status: object, httpCode: 500)
    default: return nil
    }
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
