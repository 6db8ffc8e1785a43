// Whole files, with a bound and an error that names them.

import Diagnostics
import Glibc

/// The bytes of a file of at most `bytesMax`. `code` is what its caller's failures are called.
func readFile(_ path: String, code: ErrorCode, bytesMax: Int = 64 << 20) throws(WeftError) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else {
    let next =
      errno == EACCES ? "run as a user who may read it (sudo), or name another file" : "check the path"
    throw WeftError(code, object: path, cause: String(cString: strerror(errno)), next: next)
  }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0, errno == EINTR { continue }
    guard count >= 0 else {
      throw WeftError(code, object: path, cause: String(cString: strerror(errno)), next: "check the path")
    }
    if count == 0 { return bytes }
    bytes.append(contentsOf: chunk[..<count])
    guard bytes.count <= bytesMax else {
      throw WeftError(code, object: path, cause: "larger than \(bytesMax) bytes", next: "split it")
    }
  }
}
