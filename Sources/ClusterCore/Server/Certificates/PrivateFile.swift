// Small files written whole: to a temporary name, to the disk, then renamed into place.

import Diagnostics
import Glibc

enum PrivateFile {
  static func write(_ path: String, _ text: String, mode: mode_t) throws(WeftError) {
    let temporary = "\(path).\(getpid()).new"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw unusable(path, errno) }
    let bytes = Array(text.utf8)
    var written = 0
    while written < bytes.count {
      let count = bytes[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count <= 0 {
        let code = errno
        if count < 0, code == EINTR { continue }
        close(descriptor)
        unlink(temporary)
        throw unusable(path, code)
      }
      written += count
    }
    fsync(descriptor)
    close(descriptor)
    guard rename(temporary, path) == 0 else {
      let code = errno
      unlink(temporary)
      throw unusable(path, code)
    }
  }

  /// Nil when there is no such file. At most a megabyte.
  static func read(_ path: String) throws(WeftError) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 {
      if errno == ENOENT { return nil }
      throw unusable(path, errno)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16_384)
    while bytes.count < 1 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 { throw unusable(path, errno) }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  static func unusable(_ path: String, _ code: Int32) -> WeftError {
    WeftError(
      "API0003", object: path, cause: "cannot be read or written: \(String(cString: strerror(code)))",
      next: "check its owner and mode (ls -l \(path)), or choose another --data-dir")
  }
}
