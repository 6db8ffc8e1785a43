// A read from a socket whose bytes may be sealed: what the connections of clients and of endpoints have in common.

import Reactor

extension Channel {
  /// One read, through `tls` if there is some, which may leave something to be sent in `tls.output`.
  /// - Parameters:
  ///   - isReadable: false afterwards when another read would give nothing until the socket is ready again.
  ///   - isFinished: the peer has finished sending.
  func receive(
    into space: UnsafeMutableRawBufferPointer, through tls: TLSConnection?, isReadable: inout Bool,
    isFinished: Bool
  ) -> Transfer {
    let transfer = tls?.receive(into: space) ?? receive(into: space)
    switch transfer {
    case .bytes(let count):
      if let tls {
        isReadable = tls.hasMore
      } else if count < space.count, !isFinished {
        // A short read has emptied the socket, unless its end is still to be read.
        isReadable = false
      }
    case .wouldBlock: isReadable = false
    case .end, .failed: break
    }
    return transfer
  }
}
