// The local socket's two ends, blocking: lines of JSON with a bound.

import CLinux
import ClusterObjects
import Diagnostics
import Glibc

enum FlowSocket {
  /// A listening descriptor at `path`, whose old socket file is removed first; or -1 with errno set.
  static func listen(_ path: String) -> Int32 {
    unlink(path)
    let descriptor = open(path) { bind($0, $1, $2) }
    guard descriptor >= 0 else { return -1 }
    chmod(path, 0o600)
    guard Glibc.listen(descriptor, 16) == 0 else {
      let reason = errno
      close(descriptor)
      errno = reason
      return -1
    }
    return descriptor
  }

  /// A connected descriptor, or -1 with errno set.
  static func connect(_ path: String) -> Int32 { open(path) { Glibc.connect($0, $1, $2) } }

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
  static func setPatience(_ descriptor: Int32, seconds: Int) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// A line. False when the other end is gone or takes nothing.
  static func send(_ descriptor: Int32, _ line: JSON) -> Bool {
    var bytes = (line.bytes + [10])[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return false }
      bytes = bytes.dropFirst(count)
    }
    return true
  }

  /// Sleeps, and says whether the other end has gone meanwhile.
  static func isGone(_ descriptor: Int32, waitMicroseconds: UInt32) -> Bool {
    var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&watched, 1, Int32(waitMicroseconds / 1000)) > 0 else { return false }
    var byte: UInt8 = 0
    // Nobody has anything more to say here: what can be read is the end.
    return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) <= 0
  }
}

/// Lines of a descriptor, one after the other.
public struct FlowLines {
  private let descriptor: Int32
  private let lineMax: Int
  private var waiting: [UInt8] = []
  private var at = 0

  /// - Parameter lineMax: a longer line ends the reading.
  public init(_ descriptor: Int32, lineMax: Int = 1 << 20) {
    self.descriptor = descriptor
    self.lineMax = lineMax
  }

  /// The next line without its end; nil at the end, after an error, and for a line that is too long.
  public mutating func next() -> [UInt8]? {
    var searched = at
    while true {
      if let end = waiting[searched...].firstIndex(of: 10) {
        defer { at = end + 1 }
        return Array(waiting[at..<end])
      }
      searched = waiting.count
      guard waiting.count - at < lineMax else { return nil }
      if at > 0 {
        waiting.removeFirst(at)
        searched -= at
        at = 0
      }
      var chunk = [UInt8](repeating: 0, count: 65536)
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      if count <= 0 {
        // A last line may come without its end.
        guard waiting.count > at else { return nil }
        defer { waiting = [] }
        return Array(waiting[at...])
      }
      waiting += chunk[..<count]
    }
  }
}

/// A thread for one piece of blocking work.
enum OwnThread {
  private final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// False when there is no thread to be had.
  @discardableResult
  static func start(_ run: @escaping @Sendable () -> Void) -> Bool {
    let body = Unmanaged.passRetained(Body(run))
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { raw in
        if let raw { Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run() }
        return nil
      }, body.toOpaque())
    if status != 0 { body.release() } else { pthread_detach(thread) }
    return status == 0
  }
}
