// One process a data folder: a lock that the kernel drops when its holder dies, whatever way it dies.

import Diagnostics
import Glibc
import Synchronization

/// The exclusive use of a data folder, until `release()` or the process's end. Creates the folder (mode
/// 0700) when missing.
public final class DataFolderLock: Sendable {
  private let descriptor: Mutex<Int32>

  /// Errors: `STO0001` the folder cannot be made or written, `STO0002` another process uses it. Does not
  /// wait.
  public init(folder: String) throws(WeftError) {
    var path = ""
    for part in folder.split(separator: "/", omittingEmptySubsequences: false) {
      path += part.isEmpty && path.isEmpty ? "/" : (path.hasSuffix("/") || path.isEmpty ? "" : "/") + part
      if mkdir(path, 0o700) != 0, errno != EEXIST {
        throw Self.unusable(folder, errno)
      }
    }
    let file = folder + "/store.lock"
    let opened = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw Self.unusable(folder, errno) }
    guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
      var text = [UInt8](repeating: 0, count: 32)
      let count = read(opened, &text, 32)
      close(opened)
      let digits = text.prefix(Swift.max(0, count)).prefix { $0 >= 48 && $0 <= 57 }
      let holder = String(decoding: digits, as: UTF8.self)
      throw WeftError(
        "STO0002", object: folder,
        cause: "the data folder is in use by another weft process\(holder.isEmpty ? "" : " (pid \(holder))")",
        next: holder.isEmpty
          ? "stop it, or choose another folder with --data-dir"
          : "stop it (kill \(holder)), or choose another folder with --data-dir")
    }
    let own = "\(getpid())\n"
    ftruncate(opened, 0)
    _ = own.utf8.withContiguousStorageIfAvailable { pwrite(opened, $0.baseAddress, $0.count, 0) }
    descriptor = Mutex(opened)
  }

  deinit { release() }

  /// Gives the folder back. Does nothing the second time.
  public func release() {
    descriptor.withLock { descriptor in
      if descriptor >= 0 {
        // A child between its fork and its program holds the descriptor too: closing ours alone would leave the lock to it.
        flock(descriptor, LOCK_UN)
        close(descriptor)
      }
      descriptor = -1
    }
  }

  private static func unusable(_ folder: String, _ code: Int32) -> WeftError {
    WeftError(
      "STO0001", object: folder, cause: "the data folder cannot be used: \(String(cString: strerror(code)))",
      next: "run as root, or choose a folder of your own with --data-dir")
  }
}
