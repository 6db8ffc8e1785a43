// Accepting TCP connections: in batches, with patience when descriptors run out.

import Addresses
import CLinux
import Diagnostics
import Glibc

/// A listening socket on a reactor. Hands each accepted connection's descriptor, non-blocking and
/// TCP_NODELAY, to its owner. Stays registered until `close()` or drain.
public final class Listener: ReadinessHandler, TimerHandler {
  /// Connections accepted in one go before others get their turn.
  public static let acceptBatchMax = 64
  /// Pause after accept failed for want of descriptors or memory.
  public static let retryNanoseconds: UInt64 = 50_000_000

  private var channel = Channel()
  private unowned let reactor: Reactor
  private let accepted: (consuming Descriptor, SocketEndpoint) -> Void
  private var isPaused = false
  /// Where it listens, with the port the kernel chose.
  public let endpoint: SocketEndpoint?

  /// - Parameter shared: several reactors have a duplicate of this same listening socket.
  public init(
    _ descriptor: consuming Descriptor, reactor: Reactor, shared: Bool = false,
    accepted: @escaping (consuming Descriptor, SocketEndpoint) -> Void
  ) throws(SocketError) {
    self.reactor = reactor
    self.accepted = accepted
    endpoint = Sockets.localEndpoint(descriptor)
    try Sockets.setNonBlocking(descriptor)
    channel = try reactor.register(descriptor, handler: self, exclusive: shared)
  }

  public var isOpen: Bool { channel.isOpen }

  /// Stops accepting; connections wait in the kernel's backlog.
  public func pause() { isPaused = true }

  public func resume() {
    guard isPaused else { return }
    isPaused = false
    channel.callAgain(.readable)
  }

  public func close() { channel.close() }
  public func cancel() { close() }

  public func timerEnded(tag: Int) { channel.callAgain(.readable) }

  public func ready(_ readiness: Readiness) {
    for _ in 0..<Self.acceptBatchMax {
      guard !isPaused, channel.isOpen else { return }
      let listening = channel.raw
      let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
      let (raw, peer) = SocketAddress.read { weft_accept(listening, $0, $1, flags) }
      if raw >= 0 {
        let descriptor = Descriptor(owning: raw)
        Sockets.setNoDelay(descriptor)
        accepted(descriptor, peer.endpoint ?? SocketEndpoint(.v4(IPv4Address(bits: 0)), 0))
        continue
      }
      switch errno {
      case EAGAIN: return
      case EMFILE, ENFILE, ENOBUFS, ENOMEM:
        // Edge-triggered: nothing would wake us for connections that wait already.
        reactor.metrics.acceptFailures.increment()
        _ = reactor.setTimer(after: Self.retryNanoseconds, handler: self)
        return
      default:
        // The connection died before it was accepted (ECONNABORTED and friends): take the next one.
        reactor.metrics.acceptFailures.increment()
      }
    }
    channel.callAgain(.readable)
  }
}
