// One owner for each file descriptor: closing is the end of a value's life, and closing twice cannot be
// written.

import CLinux
import Glibc

/// A file descriptor with exactly one owner. Closed when the value ends.
public struct Descriptor: ~Copyable, Sendable {
  /// The number, -1 when closed. Valid as long as this value lives; do not close it.
  public private(set) var raw: Int32

  /// Takes ownership of an open descriptor, for example one that was opened inside a network namespace.
  public init(owning raw: Int32) { self.raw = raw }

  /// A descriptor that is closed already.
  public init() { raw = -1 }

  public var isOpen: Bool { raw >= 0 }

  /// Raises the process's soft limit of descriptors to the hard one: 1,024, the usual soft one, is for select(2), and a connection that is
  /// passed on takes two, while bytes wait four.
  public static func raiseLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max
    else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  public mutating func close() {
    if raw >= 0 { _ = Glibc.close(raw) }
    raw = -1
  }

  /// Gives the descriptor to someone else without closing it.
  public consuming func release() -> Int32 {
    let number = raw
    discard self
    return number
  }

  /// A second descriptor of the same open file, closed on exec.
  public borrowing func duplicate() throws(SocketError) -> Descriptor {
    let copy = fcntl(raw, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { throw SocketError("fcntl", errno) }
    return Descriptor(owning: copy)
  }

  deinit {
    if raw >= 0 { _ = Glibc.close(raw) }
  }
}

/// A system call on a socket that failed.
public struct SocketError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The call, for example `bind`.
  public var call: String
  public var errno: Int32
  /// The address it was about, if any.
  public var endpoint: String?

  public init(_ call: String, _ errno: Int32, endpoint: String? = nil) {
    self.call = call
    self.errno = errno
    self.endpoint = endpoint
  }

  public var description: String {
    let reason = strerror(errno).map { String(cString: $0) } ?? "error \(errno)"
    return "\(call)\(endpoint.map { " " + $0 } ?? ""): \(reason)"
  }
}

/// What one non-blocking read or write came to.
public enum Transfer: Equatable, Sendable {
  /// This many bytes were moved.
  case bytes(Int)
  /// Nothing now; readiness will be reported.
  case wouldBlock
  /// The peer has finished sending.
  case end
  /// The connection is broken, with errno.
  case failed(Int32)

  static func of(_ count: Int, reading: Bool) -> Transfer {
    if count > 0 { return .bytes(count) }
    if count == 0 { return reading ? .end : .bytes(0) }
    let code = errno
    return code == EAGAIN || code == EINTR ? .wouldBlock : .failed(code)
  }
}
