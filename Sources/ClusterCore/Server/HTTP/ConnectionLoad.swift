// How much of one HTTP/2 connection's bytes waits for its socket, and which watches wait for that.
//
// The HTTP/2 library tells every stream when the connection is full and when it is not: with five hundred watches that is a
// thousand calls through their pipelines each time, about the price of an event for all of them. Watches keep below the
// connection's own mark instead, and only those that had to wait are told.

import NIOCore

/// Used on the connection's event loop, apart from being handed to its streams.
final class ConnectionLoad: @unchecked Sendable {
  /// Bytes from which on watches wait: with what one of them may write at once they stay below the connection's mark.
  static let bytesMax = 512 << 10
  /// Bytes at which they go on.
  static let bytesLow = 128 << 10

  private var bytes = 0
  private(set) var isFull = false
  private var waiting: [StreamWriter] = []

  /// Bytes that were passed on towards the socket.
  func began(_ count: Int) {
    bytes += count
    if bytes > Self.bytesMax { isFull = true }
  }

  /// The same bytes, when the socket has taken them or never will.
  func ended(_ count: Int) {
    bytes -= count
    guard isFull, bytes <= Self.bytesLow else { return }
    isFull = false
    let freed = waiting
    waiting = []
    for writer in freed {
      writer.isHeldUp = false
      writer.resume()
    }
  }

  /// The writer is told when there is room again.
  func hold(_ writer: StreamWriter) {
    if writer.isHeldUp { return }
    writer.isHeldUp = true
    waiting.append(writer)
  }
}

/// What the streams of one HTTP/2 connection share. Used on its event loop, apart from being handed to them.
final class HTTP2Connection: @unchecked Sendable {
  let load: ConnectionLoad
  let splice: FrameSplice
  init(load: ConnectionLoad, splice: FrameSplice) {
    self.load = load
    self.splice = splice
  }
}
