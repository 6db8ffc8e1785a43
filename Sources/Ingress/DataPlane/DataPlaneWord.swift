// What a parent tells its data plane besides tables and listeners: words, as frames of the same stream.

import CLinux
import Glibc
import Reactor
import Synchronization

/// A word of the parent to its data plane.
enum DataPlaneWord: String, CaseIterable {
  /// Another data plane has taken over: take no new connections, let those that are there end in their own time.
  case leave
  /// Open the access log's file anew.
  case reopenLog

  static let magic: [UInt8] = Array("WRD1".utf8)

  var frame: [UInt8] { Self.magic + Array(rawValue.utf8) }

  init(frame: [UInt8]) throws(RouteTableUnreadable) {
    let text = String(decoding: frame.dropFirst(Self.magic.count), as: UTF8.self)
    guard frame.starts(with: Self.magic), let word = Self(rawValue: text) else {
      throw RouteTableUnreadable(offset: Self.magic.count, reason: "no word of this version")
    }
    self = word
  }
}

extension IngressFeeder {
  /// Has the child open its access log anew, after the file was renamed.
  /// - Throws: `SocketError`, EPIPE when the child has gone.
  public func reopenLog() throws(SocketError) { try say(.reopenLog) }

  /// Tells the child that another one has taken over and closes: it takes no new connections, and those it has may last
  /// (`IngressDataPlaneConfiguration.leave`).
  public func leave() {
    try? say(.leave)
    close()
  }

  private func say(_ word: DataPlaneWord) throws(SocketError) {
    try state.withLock { (state) throws(SocketError) in try state.write(word.frame) }
  }

  /// Waits until the child works by everything it was sent so far. Blocks the calling thread.
  /// - Returns: false when the child has gone, or `seconds` have passed.
  public func waitUntilServing(seconds: Int) -> Bool {
    let count = sentCount
    let end = Reactor.monotonicNanoseconds() + UInt64(seconds) * 1_000_000_000
    while !isInForce(count) {
      guard Reactor.monotonicNanoseconds() < end, !hasGone else { return false }
      usleep(1000)
    }
    return true
  }

  private var hasGone: Bool {
    state.withLock {
      var byte: UInt8 = 0
      return recv($0.descriptor.raw, &byte, 1, Int32(MSG_DONTWAIT | MSG_PEEK)) == 0
    }
  }
}
