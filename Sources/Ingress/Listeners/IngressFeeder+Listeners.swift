// The parent's side of listeners: sockets that the child gets while it runs, and what the child says of what it has in force.
//
//   child -> parent: u32 little-endian, the number of frames that are in force in every worker

import CLinux
import Glibc
import Reactor
import Synchronization

extension IngressFeeder {
  /// Hands the child a socket to serve. It stays the caller's, and open: the next child gets it too.
  /// - Throws: `SocketError`, EPIPE when the child has gone.
  public func open(_ listener: IngressListener, descriptor: Int32) throws(SocketError) {
    try state.withLock { (state) throws(SocketError) in
      try state.write(listener.frame(IngressListener.openMagic), beside: descriptor)
    }
  }

  /// Has the child close its socket: what runs over it ends, and then its connections.
  /// - Throws: like `open`.
  public func close(_ listener: IngressListener) throws(SocketError) {
    try state.withLock { (state) throws(SocketError) in
      try state.write(listener.frame(IngressListener.closeMagic))
    }
  }

  /// Frames that were sent; `isInForce` answers for this number.
  public var sentCount: UInt32 { state.withLock { $0.framesSent } }

  /// Whether every worker of the child works by the first `count` frames. Does not wait.
  public func isInForce(_ count: UInt32) -> Bool {
    state.withLock { state in
      state.readConfirmations()
      return Int32(bitPattern: state.framesConfirmed &- count) >= 0
    }
  }
}
