// A descriptor registered with a reactor: the value through which a handler reads, writes and closes.

import CLinux
import Glibc

/// A registered descriptor with one owner, usually a stored property of its handler. Ends its registration
/// and closes when the value ends or `close()` is called. Belongs to its reactor's thread.
public struct Channel: ~Copyable {
  private var descriptor: Descriptor
  private var reactor: Reactor?
  private var token: UInt64

  /// A channel that is closed: the value before registration.
  public init() {
    descriptor = Descriptor()
    reactor = nil
    token = 0
  }

  init(descriptor: consuming Descriptor, reactor: Reactor, token: UInt64) {
    self.descriptor = descriptor
    self.reactor = reactor
    self.token = token
  }

  public var isOpen: Bool { descriptor.isOpen }
  /// The descriptor's number for calls that are not here; -1 when closed.
  public var raw: Int32 { descriptor.raw }

  public mutating func close() {
    guard let reactor else { return }
    let token = token
    self.reactor = nil
    reactor.unregister(token, raw: descriptor.raw)
    descriptor.close()
  }

  /// Ends the registration and hands the descriptor out, unread bytes and all: for who registers it anew.
  public mutating func release() -> Descriptor {
    guard let reactor else { return Descriptor() }
    self.reactor = nil
    reactor.unregister(token, raw: descriptor.raw)
    var given = Descriptor()
    swap(&given, &descriptor)
    return given
  }

  deinit {
    reactor?.unregister(token, raw: descriptor.raw)
  }

  /// Calls the handler again in this turn of the loop, after every other ready channel: for one that stopped
  /// before it would block, so that others get their share.
  public func callAgain(_ readiness: Readiness) { reactor?.callAgain(token, readiness) }

  /// recv(2) without waiting.
  public func receive(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    .of(recv(descriptor.raw, space.baseAddress, space.count, Int32(MSG_DONTWAIT)), reading: true)
  }

  /// Reads without taking: the same bytes come again until `discard`.
  public func peek(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    .of(recv(descriptor.raw, space.baseAddress, space.count, Int32(MSG_DONTWAIT | MSG_PEEK)), reading: true)
  }

  /// Takes `count` bytes that were peeked at, without copying them (TCP). False when they are not there.
  public func discard(_ count: Int) -> Bool {
    recv(descriptor.raw, nil, count, Int32(MSG_DONTWAIT | MSG_TRUNC)) == count
  }

  /// send(2) without waiting and without SIGPIPE.
  /// - Parameter more: more follows at once: the kernel may wait to fill a segment (MSG_MORE).
  public func send(_ bytes: UnsafeRawBufferPointer, more: Bool = false) -> Transfer {
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0)
    return .of(Glibc.send(descriptor.raw, bytes.baseAddress, bytes.count, Int32(flags)), reading: false)
  }

  /// Two pieces in one sendmsg(2): a head and what follows it leave in one segment.
  public func send(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> Transfer {
    if second.isEmpty { return send(first) }
    if first.isEmpty { return send(second) }
    var vectors = (
      iovec(iov_base: UnsafeMutableRawPointer(mutating: first.baseAddress), iov_len: first.count),
      iovec(iov_base: UnsafeMutableRawPointer(mutating: second.baseAddress), iov_len: second.count)
    )
    return withUnsafeMutablePointer(to: &vectors) { pointer in
      pointer.withMemoryRebound(to: iovec.self, capacity: 2) { vectors in
        var message = msghdr()
        message.msg_iov = vectors
        message.msg_iovlen = 2
        let flags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)
        return .of(sendmsg(descriptor.raw, &message, flags), reading: false)
      }
    }
  }

  /// Ends the sending direction; the peer reads an end of stream.
  public func finishSending() { _ = shutdown(descriptor.raw, Int32(SHUT_WR)) }

  /// The pending error of the socket, 0 if none: after a connect became writable, its outcome.
  public func socketError() -> Int32 {
    var code: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor.raw, SOL_SOCKET, SO_ERROR, &code, &length) == 0 else { return errno }
    return code
  }

  /// Whether bytes, an end or an error wait to be read: for an idle connection that should be silent.
  public func hasPeerSpoken() -> Bool {
    var byte: UInt8 = 0
    return recv(descriptor.raw, &byte, 1, Int32(MSG_DONTWAIT | MSG_PEEK)) >= 0 || errno != EAGAIN
  }

  /// Makes close(2) send a reset and drop unsent bytes at once.
  public func resetOnClose() {
    var option = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(descriptor.raw, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  /// Runs `body` with the descriptor, for `Sockets.localEndpoint` and socket options.
  public func withDescriptor<Result>(_ body: (borrowing Descriptor) -> Result) -> Result { body(descriptor) }
}
