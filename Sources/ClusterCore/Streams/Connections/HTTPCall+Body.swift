// The answer's body at once, where it is small.

import NIOCore

extension HTTPCall {
  /// To be called once, after `answer()`. Throws `Closed` when it did not come whole or is longer than `bytesMax`; the connection is
  /// closed in the second case.
  public func body(bytesMax: Int) async throws -> [UInt8] {
    let promise = channel.eventLoop.makePromise(of: [UInt8].self)
    channel.eventLoop.execute {
      var bytes: [UInt8] = []
      var isTooLong = false
      self.start(
        onBody: { part in
          isTooLong = isTooLong || bytes.count + part.readableBytes > bytesMax
          if isTooLong { return self.close() }
          bytes += part.readableBytesView
        },
        onEnd: { isWhole in isWhole && !isTooLong ? promise.succeed(bytes) : promise.fail(Closed()) })
    }
    return try await promise.futureResult.get()
  }
}
