// Unix stream sockets, blocking, for short exchanges.

import CPacket
import Glibc

/// Functions on plain descriptors; who opens one closes it.
public enum UnixSocket {
  /// A connected descriptor, or -1 with errno set.
  public static func connect(_ path: String) -> Int32 {
    open(path) { Glibc.connect($0, $1, $2) }
  }

  /// A listening descriptor at `path`, for its owner alone, whose old socket file is removed first; or -1 with errno set.
  public static func listen(_ path: String, backlog: Int32 = 128) -> Int32 {
    unlink(path)
    let descriptor = open(path) { bind($0, $1, $2) }
    guard descriptor >= 0 else { return -1 }
    chmod(path, 0o600)
    guard Glibc.listen(descriptor, backlog) == 0 else {
      let reason = errno
      close(descriptor)
      errno = reason
      return -1
    }
    return descriptor
  }

  private static func open(
    _ path: String, _ use: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      errno = ENAMETOOLONG
      return -1
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return -1 }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        use(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      let reason = errno
      close(descriptor)
      errno = reason
      return -1
    }
    return descriptor
  }

  /// How long a read or a write may wait.
  public static func setPatience(_ descriptor: Int32, seconds: Int) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// All of the bytes. False when the other end is gone or takes nothing.
  public static func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    var bytes = bytes
    while !bytes.isEmpty {
      let count = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return false }
      bytes = UnsafeRawBufferPointer(rebasing: bytes[count...])
    }
    return true
  }

  /// A line, whose end is added. False as above.
  public static func send(_ descriptor: Int32, line: [UInt8]) -> Bool {
    (line + [10]).withUnsafeBytes { send(descriptor, $0) }
  }

  /// Waits, and says whether the other end has gone meanwhile, or has ended its half.
  public static func isGone(_ descriptor: Int32, waitMicroseconds: UInt32) -> Bool {
    var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&watched, 1, Int32(waitMicroseconds / 1000)) > 0 else { return false }
    var byte: UInt8 = 0
    // Nobody has anything more to say here: what can be read is the end.
    return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) <= 0
  }

  /// Whether the process at the other end runs as root, or as the user that this one runs as.
  public static func isPeerTrusted(_ descriptor: Int32) -> Bool {
    let user = weft_peer_user(descriptor)
    return user == 0 || user == Int64(geteuid())
  }
}
