// Unix stream sockets, blocking, for short exchanges.

import CLinux
import Diagnostics
import Glibc

enum UnixSocket {
  /// A connected descriptor, or -1 with errno set.
  static func connect(_ path: String) -> Int32 {
    open(path) { Glibc.connect($0, $1, $2) }
  }

  /// A listening descriptor at `path`, whose old socket file is removed first; or -1 with errno set.
  static func listen(_ path: String, backlog: Int32 = 128) -> Int32 {
    unlink(path)
    let descriptor = open(path) { bind($0, $1, $2) }
    guard descriptor >= 0 else { return -1 }
    chmod(path, 0o600)
    guard Glibc.listen(descriptor, backlog) == 0 else {
      close(descriptor)
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
}

extension UnixSocket {
  /// Throws `code` when somebody listens at `path` already; `option` is how to say another folder.
  static func requireFree(_ path: String, code: ErrorCode, option: String) throws(WeftError) {
    let other = connect(path)
    guard other >= 0 else { return }
    close(other)
    throw WeftError(
      code, object: path, cause: "another node agent listens there",
      next: "weft node \(option) DIR, or stop the other: ss -xlp src \(path)")
  }

  /// A listening descriptor at `path`, where nobody else listens. Throws `code`.
  static func listenAlone(_ path: String, code: ErrorCode, option: String) throws(WeftError) -> Int32 {
    try requireFree(path, code: code, option: option)
    let descriptor = listen(path)
    guard descriptor >= 0 else {
      throw WeftError(
        code, object: path, cause: "cannot be listened on: \(String(cString: strerror(errno)))",
        next: "weft node \(option) DIR, or none for none")
    }
    return descriptor
  }
}
