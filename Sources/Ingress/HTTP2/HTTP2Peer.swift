// One end of a connection of HTTP/2 (RFC 9113), as far as both ends are alike: frames in, frames out, their order and bounds.
// Who is at the other end is a subclass: a client (`HTTP2Session`), or an endpoint (`UpstreamSession`). While the other end has
// not taken something, nothing more is read from it, so nothing can pile up.
//
//   peer --> [input, partial] frames --> takeBlock, takeBody, …    (HTTP2Peer+Frames, HTTP2Peer+Blocks)
//   peer <-- [staging] <---------------- frame, data               (HTTP2Peer+Output: leaves once a turn, in one write)

import Diagnostics
import Reactor

class HTTP2Peer {
  /// Bytes of body that the peer may send ahead on all its streams; one stream has the protocol's 65,535.
  static let receiveWindow = 1 << 20
  static let streamWindow = 65_535
  static let frameMax = 16_384
  static let windowMax = 0x7fff_ffff
  /// Frames that one header block may come in.
  static let blockFramesMax = 16
  /// Streams that ended badly, less those that ended well, before the connection is ended (CVE-2023-44487 and the resets
  /// that a server is brought to make, CVE-2025-8671).
  static let mischiefMax = 100
  /// Frames that ask for nothing (PING, SETTINGS, PRIORITY, empty DATA, unknown ones), less `chatterPerSecond`.
  static let chatterMax = 1000
  static let chatterPerSecond = 100
  /// Free bytes of staging without which no further frame is taken.
  static let stagingRoom = 4 << 10

  final let worker: IngressWorker
  final var decoder: HPACKDecoder
  final var hasSettings = false
  /// No new streams: the connection ends with the last of those that run.
  final var isEnding = false

  // Sending.
  final var window = 65_535
  final var initialWindow = 65_535
  final var staging = PooledBuffer()
  final var isFlushAsked = false

  // Receiving.
  /// What is read into: frames are taken from here, so nothing else may be read into it meanwhile.
  private let input: UnsafeMutableRawBufferPointer
  final var partial = PooledBuffer()
  final var credit = 0
  final var receiveRoom = HTTP2Peer.receiveWindow
  final var block = PooledBuffer()
  final var blockStream: UInt32 = 0
  final var blockFrames = 0
  final var blockEnds = false
  final var blockDeadline: UInt64 = 0
  final var mischief = 0
  final var chatter = 0

  init(worker: IngressWorker, input: UnsafeMutableRawBufferPointer) {
    self.worker = worker
    self.input = input
    decoder = HPACKDecoder(worker.http2.tables)
  }

  // MARK: - Asked of subclasses

  /// Frames may come and go.
  var isOpen: Bool { false }
  /// The peer has taken everything that was written.
  var isOutputTaken: Bool { true }
  var isReadable: Bool { false }
  func read(into space: UnsafeMutableRawBufferPointer) -> Transfer { .wouldBlock }
  /// Writes bytes, keeping what the peer does not take now.
  func write(_ bytes: UnsafeRawBufferPointer) {}
  func callAgain(_ readiness: Readiness) {}
  /// Ends the connection without another word.
  func abort() {}
  /// Ends the connection and every stream on it, saying why.
  func end(_ error: HTTP2Error) {}
  /// Bytes at the front that are no frames: 0 when there are none, nil when they have not all come.
  func takePreface(_ bytes: UnsafeRawBufferPointer) -> Int? { 0 }
  /// The peer has begun a stream with this number, or answered on it, at some time.
  func isKnown(_ stream: UInt32) -> Bool { false }
  /// A whole header block.
  func takeBlock(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {}
  /// - Parameter frameBytes: with padding: what the windows are charged with.
  func takeBody(
    _ data: UnsafeRawBufferPointer, frameBytes: Int, stream: UInt32, ends: Bool
  ) throws(HTTP2Error) {}
  func takeReset(_ stream: UInt32, _ error: HTTP2Error?) throws(HTTP2Error) {}
  func takeGoAway(last: UInt32) {}
  func takeSetting(_ name: Int, _ value: Int) {}
  /// - Parameter increment: 0 is an error of the stream.
  func takeWindow(_ increment: Int, stream: UInt32) throws(HTTP2Error) {}
  /// Gives every stream's window this many bytes more. False when one grew beyond what is allowed.
  func shiftWindows(by change: Int) -> Bool { true }
  /// A window has opened, or the peer has taken what was written.
  func resumeStreams() {}

  // MARK: - Reading

  /// Reads what the peer has sent, while it takes what it is told.
  final func pump() {
    var reads = 0
    while isOpen {
      // What was left goes first, and again after the peer has taken something.
      if !partial.isEmpty {
        let used = take(partial.readable)
        guard isOpen else { return }
        partial.consumed(used)
        if used == 0 || partial.isEmpty { if partial.isEmpty { partial = PooledBuffer() } } else { continue }
      }
      guard isOutputTaken, isReadable else { break }
      reads += 1
      if reads > worker.limits.readsPerTurnMax {
        callAgain(.readable)
        break
      }
      // A frame that has not arrived whole goes on where it stopped.
      let kept = partial.count
      if kept > 0 {
        guard kept < input.count else { return end(.frameSize) }
        input.copyMemory(from: partial.readable)
        partial = PooledBuffer()
      }
      switch read(into: UnsafeMutableRawBufferPointer(rebasing: input[kept...])) {
      case .bytes(let count):
        let bytes = UnsafeRawBufferPointer(rebasing: input[..<(kept + count)])
        let used = take(bytes)
        guard isOpen else { return }
        if used < bytes.count, !keep(UnsafeRawBufferPointer(rebasing: bytes[used...])) { return }
      case .wouldBlock:
        if kept > 0, !keep(UnsafeRawBufferPointer(rebasing: input[..<kept])) { return }
      case .end, .failed: return abort()
      }
    }
    askFlush()
  }

  final func keep(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if !partial.isAllocated {
      partial = bytes.count > worker.requests.bufferBytes ? worker.bulk.take() : worker.requests.take()
    }
    if partial.append(bytes) == bytes.count { return true }
    abort()
    return false
  }

  /// Takes whole frames from the front; answers how many bytes they were.
  private func take(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard var at = takePreface(bytes) else { return 0 }
    while isOpen, bytes.count - at >= HTTP2FrameHeader.bytes {
      // Each frame can make us answer: first what was said has to leave.
      if staging.isAllocated, staging.room < Self.stagingRoom {
        flush()
        guard isOpen else { return at }
      }
      guard isOutputTaken else { return at }
      let header = HTTP2FrameHeader(UnsafeRawBufferPointer(rebasing: bytes[at...]))
      guard header.length <= Self.frameMax else {
        end(.frameSize)
        return at
      }
      let next = at + HTTP2FrameHeader.bytes + header.length
      guard next <= bytes.count else { return at }
      let payload = UnsafeRawBufferPointer(rebasing: bytes[(at + HTTP2FrameHeader.bytes)..<next])
      do throws(HTTP2Error) { try take(header, payload) } catch { end(error) }
      at = next
    }
    return at
  }

  // MARK: - Bounds

  final func noteMischief() throws(HTTP2Error) {
    mischief += 1
    if mischief > Self.mischiefMax { throw .enhanceYourCalm }
  }

  final func noteGoodEnd() { if mischief > 0 { mischief -= 1 } }

  final func noteChatter() throws(HTTP2Error) {
    chatter += 1
    if chatter > Self.chatterMax { throw .enhanceYourCalm }
  }

  /// Once a tick. False when it has ended the connection.
  final func forgive() -> Bool {
    chatter = max(0, chatter - Self.chatterPerSecond)
    guard block.isAllocated, worker.reactor.now >= blockDeadline else { return true }
    end(.enhanceYourCalm)
    return false
  }
}

/// What the HTTP/2 connections of one worker share.
final class HTTP2Worker {
  let tables = HPACKTables()
  let builder = RequestBuilder()
  /// What is read from clients, and from endpoints.
  let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
  let upstreamInput = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
  /// Requests to endpoints are read again and written as header blocks here.
  let reader = HeadReader()
  let response = ResponseBuilder()
  let encodeSpace = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 16)
  let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: HPACKDecoder.scratchBytes, alignment: 16)
  deinit {
    input.deallocate()
    upstreamInput.deallocate()
    encodeSpace.deallocate()
    scratch.deallocate()
  }
}
