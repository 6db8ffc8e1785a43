// Reads and writes a small text file that a flag names.

import Diagnostics
import Glibc

enum TextFile {
  static let bytesMax = 1 << 20

  /// Throws an error of this code that says what is wrong with the file.
  static func read(_ path: String, code: ErrorCode) throws(WeftError) -> String {
    func refusal(_ cause: String) -> WeftError {
      WeftError(code, object: path, cause: cause, next: "check the path: ls -l \(path)")
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw refusal("cannot be read: \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while bytes.count <= bytesMax {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 { throw refusal("cannot be read: \(String(cString: strerror(errno)))") }
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += chunk[..<count]
    }
    throw refusal("is larger than \(bytesMax) bytes")
  }

  /// Writes it anew. Throws an error of this code that says why it cannot be.
  static func write(_ text: String, to path: String, code: ErrorCode) throws(WeftError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    defer { if descriptor >= 0 { close(descriptor) } }
    var bytes = Array(text.utf8)[...]
    while descriptor >= 0, !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count <= 0 { break }
      bytes = bytes.dropFirst(count)
    }
    guard descriptor >= 0, bytes.isEmpty else {
      throw WeftError(
        code, object: path, cause: "cannot be written: \(String(cString: strerror(errno)))",
        next: "give a path in a folder that exists")
    }
  }
}
