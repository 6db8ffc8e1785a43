// Listening where nobody else does, or saying what is in the way.

import Diagnostics
import Glibc
import KernelSockets

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
