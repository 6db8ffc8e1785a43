// One watch whose frames go past the HTTP/2 library.

import NIOCore

/// Who has more to write on a stream that had no room.
protocol SplicedStreamOwner: AnyObject {
  func streamHasRoom()
}

/// Used on the connection's event loop.
final class SplicedStream {
  let id: UInt32
  // Both until it is closed. Weak references would cost each event of each watch more than its bytes do.
  private var splice: FrameSplice?
  private var owner: (any SplicedStreamOwner)?
  /// Bytes that the peer takes on this stream. Below zero after it took back what it had promised (RFC 9113, 6.9.2).
  private(set) var window: Int
  /// Its HEADERS are on their way.
  private var isOpen = false
  private var isClosed = false
  /// What did not fit into the windows.
  private var pending = ByteBuffer()
  /// It stands among those that wait for the connection's window.
  var isWaiting = false

  init(id: UInt32, window: Int, splice: FrameSplice) {
    self.id = id
    self.window = window
    self.splice = splice
  }

  // MARK: For who writes

  /// Who is told of room. Once, before anything is written.
  func belong(to owner: any SplicedStreamOwner) { if !isClosed { self.owner = owner } }

  /// What was written is on its way. When it is false, the owner is told once it is true.
  var isDrained: Bool { pending.readableBytes == 0 }

  /// When it is false, the owner is told once it is true again, unless the stream ends before.
  var takesMore: Bool {
    guard isOpen, !isClosed, let splice, isDrained, window > 0 else { return false }
    if splice.room > 0 { return true }
    splice.wait(self)
    return false
  }

  /// As much as fits goes out now, the rest as the windows allow.
  func write(_ bytes: ByteBuffer) {
    if isClosed { return }
    if pending.readableBytes > 0 {
      pending.writeImmutableBuffer(bytes)
    } else {
      pending = bytes
      proceed()
    }
  }

  /// Nobody writes any more, and what waits is not sent.
  func detach() {
    splice?.forget(self)
    close()
  }

  private func proceed() {
    guard isOpen, !isClosed, let splice else { return }
    while pending.readableBytes > 0, window > 0 {
      let room = splice.room
      if room == 0 { return splice.wait(self) }
      guard
        let payload = pending.readSlice(
          length: min(pending.readableBytes, window, room, FrameHead.payloadMax))
      else { break }
      window -= payload.readableBytes
      splice.write(payload, of: self)
    }
    // An idle watch keeps nothing.
    if pending.readableBytes == 0 { pending = ByteBuffer() }
  }

  // MARK: For `FrameSplice`

  func open() {
    isOpen = true
    resume()
  }

  func close() {
    isClosed = true
    owner = nil
    splice = nil
    pending = ByteBuffer()
  }

  /// Returns whether the window was closed and is open now.
  func grow(by count: Int) -> Bool {
    let wasClosed = window <= 0
    window += count
    return wasClosed && window > 0
  }

  /// A window has opened, or the HEADERS have gone out.
  func resume() {
    proceed()
    if !isClosed, isDrained { owner?.streamHasRoom() }
  }
}
