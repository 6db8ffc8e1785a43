// Files that users ask for by name.

import Diagnostics
import Glibc

/// Writes into folders that are there. Errors: `CLI0122`, `CLI0123`.
enum HomeFiles {
  /// Whole or not at all: beside its place, then renamed.
  static func write(_ text: String, to path: String, mode: mode_t) throws {
    try write(Array(text.utf8), to: path, mode: mode)
  }

  static func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws {
    let beside = path + ".new"
    let descriptor = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    if descriptor < 0 { throw refused(path) }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count <= 0 { break }
      rest = rest.dropFirst(count)
    }
    let isWhole = rest.isEmpty && fsync(descriptor) == 0
    let error = refused(path)
    close(descriptor)
    guard isWhole, rename(beside, path) == 0 else {
      unlink(beside)
      throw error
    }
  }

  /// A link that replaces one, but no file that somebody put there.
  static func link(_ path: String, to target: String) throws {
    var found = stat()
    if lstat(path, &found) == 0 {
      guard found.st_mode & S_IFMT == S_IFLNK else {
        throw WeftError(
          "CLI0122", object: path, cause: "is there and no link",
          next: "move it away, or choose another --dir")
      }
      unlink(path)
    }
    if symlink(target, path) != 0 { throw refused(path) }
  }

  private static func refused(_ path: String) -> WeftError {
    WeftError(
      "CLI0123", object: path, cause: "cannot be written (\(String(cString: strerror(errno))))",
      next: "choose a folder that is there and yours with --dir, or run as root")
  }
}
